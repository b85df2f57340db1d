"""Outputs that are written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dybitq.errors import OutputError


def check_output(path: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse early an output that could not be written at the end.

    Raises:
        OutputError: ``path`` exists and ``force`` is off, is one of ``inputs``, is a folder, or its
            folder is missing or not writable.
    """
    if any(other.exists() and path.exists() and path.samefile(other) for other in inputs):
        raise OutputError(f"{path}: is an input of this command; choose another output name")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected the name of a file to write")
    if path.exists() and not force:
        raise OutputError(f"{path}: exists already; use --force to replace it")
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{path}: the folder {parent} is not writable")


@contextlib.contextmanager
def atomic_output(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary name in the folder of ``path``; rename it to ``path`` on success.

    On any exception, Ctrl-C included, the temporary file is removed and ``path`` is untouched.

    Raises:
        OutputError: as :func:`check_output`, or the file system refused to write.
    """
    check_output(path, force=force)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
