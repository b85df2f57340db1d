"""Replay: what the command line wrote before, it writes again, byte for byte.

Some thirty small networks go through calibrate, quantize and search in all their variants, and
fingerprints of every plan, statistics file and model are compared with the stored ones. Where floats add
up as on the machine that the fingerprints come from, bytes are compared; elsewhere the structure is, and
the test then counts as skipped, with the reason. Nothing here names a module of dybitq but the command
line.

A change that alters bytes must update the file (``python -m tests.replay.update``) and say in its commit
message what changed and why.
"""

import pytest

from tests.replay.cases import CASES
from tests.replay.environment import environment
from tests.replay.record import record
from tests.replay.stored import Stored, differences, read

ADVICE = (
    "\nIf this is meant: run `python -m tests.replay.update`, commit hashes.yaml, and say in the commit "
    "message what changed and why."
)


@pytest.fixture(scope="module")
def stored() -> Stored:
    """The stored fingerprints."""
    return read()


@pytest.fixture(scope="module")
def other(stored) -> list[str]:
    """Parts of the environment that differ from where the fingerprints were made."""
    here = environment()
    return [
        f"{key} {here.get(key)}, not {value}"
        for key, value in stored.environment.items()
        if here.get(key) != value
    ]


@pytest.mark.parametrize("name", CASES)
def test_files_are_what_they_were(name, stored, other, tmp_path, monkeypatch):
    """Every plan, statistics file and model of a case has its stored fingerprint."""
    monkeypatch.chdir(tmp_path)
    made = record(name, CASES[name])
    changed = differences(stored.of(name), made, exact=not other)
    assert not changed, "\n".join(["", *changed, ADVICE])
    if other:
        pytest.skip(
            f"only the structure was compared, bytes are those of another machine: {'; '.join(other)}"
        )


def test_every_stored_line_belongs_to_a_case(stored):
    """No line stays when its case goes."""
    assert {key.split(": ")[0] for key in stored.artefacts} == set(CASES)
