"""Reader ``npz``: arrays of one .npz file, axis 0 counting samples."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dybitq.data.readers import READERS, Split, refuse_fields, single_input
from dybitq.data.source import Opened, Sample
from dybitq.errors import DataError
from dybitq.records.layers import TensorInfo


@READERS.register("npz")
def open_npz(split: Split, inputs: tuple[TensorInfo, ...], named: str | None) -> Opened:
    """Load the arrays that the split names, once, and return their rows as samples.

    Without ``arrays`` every model input is taken from the array of its own name.

    Raises:
        DataError: the file is not an .npz file, an array is missing, or arrays differ in length.
    """
    refuse_fields(split, "npz", "function", "args")
    if split.arrays is not None:
        keys = dict(split.arrays)
    elif named is not None:
        keys = {single_input(split, inputs, named): named}
    else:
        keys = {i.name: i.name for i in inputs}
    names = list(keys.values()) + ([split.labels] if split.labels is not None else [])
    loaded = load_arrays(split.path, names)
    lengths = {name: _length(split.path, name, array) for name, array in loaded.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{split.path}: arrays of different length ({found}); axis 0 must count samples")
    count = next(iter(lengths.values()))
    arrays = {i: loaded[key] for i, key in keys.items()}
    labels = loaded[split.labels] if split.labels is not None else None
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iuf"):
        raise DataError(
            f"{split.path}: labels {split.labels!r} have the shape {list(labels.shape)} and type "
            f"{labels.dtype}; expected one number for each sample"
        )
    title = next(iter(keys.values()))

    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        for index in range(count) if indices is None else indices:
            yield Sample(
                values={name: array[index] for name, array in arrays.items()},
                label=None if labels is None else labels[index].item(),
                name=f"{split.path.name}, {title}[{index}]",
            )

    return Opened(count=count, labelled=labels is not None, inputs=tuple(arrays), read=read)


def array_names(path: Path) -> list[str]:
    """List the names of the arrays in an .npz file.

    Raises:
        DataError: the file is missing, damaged or no .npz.
    """
    with _opened(path) as archive:
        return list(archive.files)


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Load the named arrays of an .npz file.

    Raises:
        DataError: the file is missing, damaged or no .npz, or an array is missing or holds objects.
    """
    with _opened(path) as archive:
        missing = [name for name in names if name not in archive.files]
        if missing:
            raise DataError(
                f"{path}: has no array {missing[0]!r}; it has {', '.join(archive.files) or 'none'}"
            )
        return {name: archive[name] for name in names}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: is a single array; expected an .npz with one array per model input")
        with archive:
            yield archive
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:  # numpy's message about any other file; its advice would mislead here
            reason = "it is no archive of plain arrays"
        raise DataError(f"{path}: cannot be read as .npz: {reason}") from error


def _length(path: Path, name: str, array: np.ndarray) -> int:
    if array.ndim == 0:
        raise DataError(f"{path}: array {name!r} is a single number; expected samples along axis 0")
    return int(array.shape[0])
