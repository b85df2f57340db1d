"""Make the stored fingerprints anew and say what changed: ``python -m tests.replay.update``."""

import contextlib
import tempfile

import tests.conftest  # noqa: F401 - one thread, before numpy is imported
from tests.replay.cases import CASES
from tests.replay.environment import environment
from tests.replay.record import record
from tests.replay.stored import FILE, Stored, differences, read, write


def main() -> None:
    """Run all cases, replace the file, print the differences to the old one."""
    old = read() if FILE.exists() else Stored(environment={}, artefacts={})
    made: dict[str, str] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            made.update(record(name, case))
    new = Stored(environment=environment(), artefacts=made)
    write(new)
    print(*differences(old.artefacts, made, exact=True), sep="\n")
    for key in sorted(old.environment.keys() | new.environment.keys()):
        before, after = old.environment.get(key), new.environment.get(key)
        if before != after:
            print(f"environment: {key} {before} -> {after}")
    print(f"{len(made)} artefacts of {len(CASES)} cases in {FILE.name}")


if __name__ == "__main__":
    main()
