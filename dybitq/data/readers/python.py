"""Reader ``python``: a hook with ``get_next()``, as onnxruntime's calibration data readers have."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dybitq.data.readers import READERS, Split, refuse_fields
from dybitq.data.source import Opened, Sample
from dybitq.errors import ConfigError, DataError
from dybitq.records.layers import TensorInfo


@READERS.register("python")
def open_python(split: Split, inputs: tuple[TensorInfo, ...], named: str | None) -> Opened:
    """Call ``function(**args)`` of a Python file and read from the reader that it returns.

    ``get_next()`` returns a mapping of model input to array ``[batch, ...]``, or None at the end; the
    batches are run as they come. ``labels`` names the key under which a mapping holds its labels.

    Raises:
        ConfigError: the file cannot be imported, or has no such function or class.
        DataError: the hook fails, or returns something else.
    """
    refuse_fields(split, "python", "arrays")
    if split.function is None:
        raise ConfigError(f"{split.where}: the reader 'python' needs 'function:' or 'class:'")
    if named is not None:
        raise ConfigError(f"{split.where}: the reader 'python' does not use 'input:'; remove it")
    make = _load(split)

    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        reader = _call(split, lambda: make(**dict(split.args or ())))
        if not callable(getattr(reader, "get_next", None)):
            raise DataError(f"{split.where}: {split.function} returned {reader!r}, which has no get_next()")
        number = 0
        while (values := _call(split, reader.get_next)) is not None:
            yield _sample(split, values, number)
            number += 1

    names = tuple(i.name for i in inputs)
    return Opened(count=None, labelled=split.labels is not None, inputs=names, read=read, batches=True)


def _load(split: Split) -> Any:
    """Import the function or class that the split names."""
    if not split.path.is_file():
        raise ConfigError(f"{split.where}: no such file: {split.path}")
    name = f"dybitq_hook_{split.path.stem}"
    spec = importlib.util.spec_from_file_location(name, split.path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{split.path}: is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    folder = str(split.path.parent)
    sys.path.insert(0, folder)  # so that a hook can import its neighbours, as a script can
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        said = " ".join(str(error).split())
        raise ConfigError(f"{split.path}: cannot be imported: {type(error).__name__}: {said}") from error
    finally:
        sys.path.remove(folder)
    hook = getattr(module, split.function or "", None)
    if not callable(hook):
        raise ConfigError(f"{split.path}: has no function or class {split.function!r}")
    return hook


def _call(split: Split, function: Any) -> Any:
    """Run the user's function; any exception becomes a DataError."""
    try:
        return function()
    except Exception as error:  # whatever the user's code raises
        said = " ".join(str(error).split())
        raise DataError(f"{split.path}: {split.function} failed: {type(error).__name__}: {said}") from error


def _sample(split: Split, values: Any, number: int) -> Sample:
    name = f"{split.path.name}, batch {number}"
    if not isinstance(values, Mapping):
        raise DataError(f"{name}: get_next() returned {type(values).__name__}, expected a mapping or None")
    arrays = {str(key): np.asarray(value) for key, value in values.items()}
    labels = None
    if split.labels is not None:
        if split.labels not in arrays:
            raise DataError(f"{name}: has no labels under {split.labels!r}; it has {', '.join(arrays)}")
        labels = arrays.pop(split.labels).reshape(-1)
    lengths = {k: v.shape[0] if v.ndim else 0 for k, v in arrays.items()}
    if labels is not None:
        lengths[split.labels or ""] = labels.shape[0]
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{k} {n}" for k, n in lengths.items())
        raise DataError(f"{name}: axis 0 must count the samples of the batch, found {found}")
    return Sample(values=arrays, labels=labels, name=name)
