"""Outputs that are written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dybitq.errors import OutputError


def path_of(path: str | os.PathLike[str] | None) -> Path | None:
    """Return a path that may have been left out."""
    return None if path is None else Path(path)


def check_output(path: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse early an output that could not be written at the end.

    Raises:
        OutputError: ``path`` exists and ``force`` is off, is one of ``inputs``, is a folder or a device, or
            its folder is missing or not writable.
    """
    if any(other.exists() and path.exists() and path.samefile(other) for other in inputs):
        raise OutputError(f"{path}: is an input of this command; choose another output name")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected the name of a file to write")
    if path.exists() and not path.is_file():  # renaming over /dev/null would take it from everyone
        raise OutputError(f"{path}: is a device or pipe, which is not replaced; expected a file to write")
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


def check_folder(path: Path, *, force: bool, marker: str) -> None:
    """Refuse early a folder that could not be written at the end.

    Args:
        path: the folder to be made.
        force: replace one that exists, if it holds the file ``marker``: only what this tool has written is
            ever removed.
        marker: a file that every such folder holds.

    Raises:
        OutputError: ``path`` exists, or its parent is missing or not writable.
    """
    if path.exists() and not force:
        raise OutputError(f"{path}: exists already; use --force to replace it")
    if path.exists() and not (path / marker).is_file():
        raise OutputError(f"{path}: exists and holds no {marker}, so it is not replaced; choose another name")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable")


@contextlib.contextmanager
def atomic_folder(path: Path, *, force: bool, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` on success.

    On any exception, Ctrl-C included, the temporary folder is removed and ``path`` is untouched.

    Raises:
        OutputError: as :func:`check_folder`, or the file system refused to write.
    """
    check_folder(path, force=force, marker=marker)
    parent = path.absolute().parent
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=parent))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=parent))
            path.replace(old / "old")
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
