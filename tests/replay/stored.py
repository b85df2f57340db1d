"""The stored fingerprints: hashes.yaml, one line for each artefact, sorted, below where they were made."""

from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("hashes.yaml")
_HEAD = """\
# Fingerprints of what dybitq writes: 'exact structure', see tests/replay/record.py.
# Made by: python -m tests.replay.update
# A change that alters bytes must update this file and say in its commit message what changed and why.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Content of the file.

    Attributes:
        environment: where the exact fingerprints were made.
        artefacts: ``exact structure`` by ``case: command: artefact``.
    """

    environment: dict[str, str]
    artefacts: dict[str, str]

    def of(self, case: str) -> dict[str, str]:
        """The lines of one case."""
        return {key: value for key, value in self.artefacts.items() if key.startswith(f"{case}: ")}


def read() -> Stored:
    """Read the stored fingerprints."""
    return Stored(**yaml.safe_load(FILE.read_text()))


def write(stored: Stored) -> None:
    """Replace the stored fingerprints."""
    parts = {"environment": stored.environment, "artefacts": dict(sorted(stored.artefacts.items()))}
    FILE.write_text(_HEAD + yaml.safe_dump(parts, width=1000, sort_keys=False))


def differences(stored: dict[str, str], made: dict[str, str], *, exact: bool) -> list[str]:
    """One line for every artefact that came, went, or changed."""
    lines = [f"no longer made: {key}" for key in sorted(stored.keys() - made.keys())]
    lines += [f"not stored yet: {key}" for key in sorted(made.keys() - stored.keys())]
    for key in sorted(stored.keys() & made.keys()):
        old, new = stored[key].split(), made[key].split()
        if old[1] != new[1]:
            lines.append(f"other structure: {key}")
        elif exact and old[0] != new[0]:
            lines.append(f"other bytes: {key}")
    return lines
