"""From data to a source of batches: a data spec in YAML, an .npz file, a folder of images, or memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dybitq.data.memory import WHERE, Data, Samples, open_samples
from dybitq.data.readers import READERS, Split
from dybitq.data.readers.npz import array_names
from dybitq.data.source import DataSource, Opened, Sample
from dybitq.data.tasks import TASKS
from dybitq.data.transforms import TRANSFORMS, Transform
from dybitq.errors import ConfigError, DataError
from dybitq.records.layers import TensorInfo
from dybitq.schema.base import DataShape, SplitShape, read_document, validate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSpec:
    """A data spec as a record; ``transforms`` pairs the name with the argument."""

    source: str
    reader: str
    input: str | None
    splits: Mapping[str, Split]
    transforms: tuple[tuple[str, Any], ...]
    task: str | None
    label_offset: int


def load_data(
    data: Data,
    *,
    inputs: Sequence[TensorInfo],
    split: str = "calib",
    batch_size: int = 1,
    samples: int | None = None,
) -> DataSource:
    """Open the data for a model with these ``inputs``.

    ``data`` is a data spec (``.yaml``), an ``.npz`` with one array for each model input (``split`` is
    then ignored, and an array ``labels`` holds classes), a folder of images, or samples in memory. Where
    the model's batch extent is fixed it overrides ``batch_size``. With ``samples`` that many are read,
    spread evenly over the split.

    Raises:
        ConfigError: the spec contradicts itself or the model.
        DataError: files are missing or unreadable, or the split is too small.
    """
    model_inputs = tuple(inputs)
    if isinstance(data, Samples):
        opened, task, where = open_samples(data, model_inputs), _task(data.labels is not None), WHERE
        offset = 0
    else:
        spec, chosen = _chosen_split(data, model_inputs, split)
        opened, task, where = _open_split(spec, chosen, model_inputs), spec.task, chosen.where
        offset = spec.label_offset
    if opened.count is not None and samples is not None and opened.count < samples:
        raise DataError(
            f"{where}: holds {opened.count} samples, but {samples} were asked for; lower --samples"
        )
    fixed = _fixed_batch(model_inputs)
    return DataSource(
        opened=opened,
        inputs=model_inputs,
        batch_size=fixed or batch_size,
        fixed_batch=fixed is not None,
        limit=samples,
        task=task,
        label_offset=offset,
        where=where,
    )


def _task(labelled: bool) -> str | None:
    """Return the task of labels that no data spec says anything about."""
    return "classification" if labelled else None


def _chosen_split(path: Path, model_inputs: tuple[TensorInfo, ...], split: str) -> tuple[DataSpec, Split]:
    spec = read_spec(path, model_inputs)
    if spec.input is not None and spec.input not in {i.name for i in model_inputs}:
        names = ", ".join(i.name for i in model_inputs)
        raise ConfigError(f"{spec.source}: input {spec.input!r} is not one of the model's inputs ({names})")
    if split not in spec.splits:
        if len(spec.splits) == 1 and "" in spec.splits:
            split = ""
        else:
            raise ConfigError(f"{spec.source}: has no split {split!r}; it has {', '.join(spec.splits)}")
    return spec, spec.splits[split]


def _open_split(spec: DataSpec, chosen: Split, model_inputs: tuple[TensorInfo, ...]) -> Opened:
    try:
        if spec.task is not None:
            TASKS.get(spec.task)
        reader = READERS.get(spec.reader)
    except ConfigError as error:
        raise ConfigError(f"{spec.source}: {error}") from None
    return _transformed(reader(chosen, model_inputs, spec.input), spec, chosen)


def data_files(path: Data) -> tuple[Path, ...]:
    """Files that no output may replace: ``path``, and what the splits name if it is a data spec.

    Raises:
        ConfigError: the spec contradicts itself.
    """
    if isinstance(path, Samples):
        return ()
    if path.suffix not in (".yaml", ".yml"):
        return (path,)
    return (path, *(split.path for split in read_spec(path, ()).splits.values()))


def read_spec(path: Path, inputs: tuple[TensorInfo, ...]) -> DataSpec:
    """Read the data spec at ``path``, or make the one that an .npz file or a folder of images stands for."""
    if path.is_dir():
        return _folder_spec(path, inputs)
    if path.suffix == ".npz":
        return _npz_spec(path)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: expected a data spec (.yaml), an .npz file or a folder of images")
    shape = validate(DataShape, read_document(path), source=str(path))
    folder = path.resolve().parent
    splits = {name: _split(entry, name, str(path), folder) for name, entry in shape.splits.items()}
    return DataSpec(
        source=str(path),
        reader=shape.reader,
        input=shape.input,
        splits=splits,
        transforms=_transform_list(shape.transform or [], str(path)),
        task=shape.task,
        label_offset=shape.label_offset,
    )


def _split(entry: SplitShape, name: str, source: str, folder: Path) -> Split:
    if entry.function is not None and entry.class_ is not None:
        raise ConfigError(f"{source}: splits.{name}: give 'function' or 'class', not both")
    return Split(
        where=f"{source}, split {name!r}",
        path=folder / entry.path,
        labels=entry.labels,
        folder=folder,
        arrays=None if entry.arrays is None else tuple(entry.arrays.items()),
        function=entry.function or entry.class_,
        args=None if entry.args is None else tuple(entry.args.items()),
    )


def _transform_list(entries: Sequence[Any], source: str) -> tuple[tuple[str, Any], ...]:
    """Parse ``[grayscale, {scale: 2}]`` to pairs of name and argument."""
    pairs: list[tuple[str, Any]] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            pairs.append((entry, None))
        elif len(entry) == 1:
            pairs.extend(entry.items())
        else:
            raise ConfigError(
                f"{source}: transform.{index}: expected one transform for each list item, "
                f"found {', '.join(map(str, entry)) or 'nothing'}"
            )
    return tuple(pairs)


def _npz_spec(path: Path) -> DataSpec:
    """Make the spec of a single .npz file: arrays called like the inputs, and perhaps ``labels``."""
    labelled = "labels" in array_names(path)
    split = Split(where=str(path), path=path, labels="labels" if labelled else None)
    return _bare_spec(path, "npz", split, (), _task(labelled))


def _folder_spec(path: Path, inputs: tuple[TensorInfo, ...]) -> DataSpec:
    """Make the spec of a folder of images: values 0 to 255, in the layout of the model's input."""
    shape = inputs[0].shape if len(inputs) == 1 else ()
    transforms: list[tuple[str, Any]] = []
    if len(shape) == 4:
        if 1 in (shape[1], shape[3]) and 3 not in (shape[1], shape[3]):
            transforms.append(("grayscale", None))
        if shape[1] in (1, 3) or shape[3] not in (1, 3):
            transforms.append(("layout", "CHW"))
    return _bare_spec(path, "images", Split(where=str(path), path=path), tuple(transforms), None)


def _bare_spec(
    path: Path, reader: str, split: Split, transforms: tuple[tuple[str, Any], ...], task: str | None
) -> DataSpec:
    return DataSpec(
        source=str(path),
        reader=reader,
        input=None,
        splits={"": split},
        transforms=transforms,
        task=task,
        label_offset=0,
    )


def _transformed(opened: Opened, spec: DataSpec, split: Split) -> Opened:
    """Apply the spec's transforms to every sample of the input that they belong to."""
    steps: list[Transform] = []
    for index, (name, argument) in enumerate(spec.transforms):
        try:
            steps.append(TRANSFORMS.get(name)(argument))
        except ConfigError as error:
            raise ConfigError(f"{spec.source}: transform.{index}: {error}") from error
    if not steps:
        return opened
    target = spec.input or (opened.inputs[0] if len(opened.inputs) == 1 else None)
    if target is None:
        raise ConfigError(
            f"{spec.source}: transforms with several inputs ({', '.join(opened.inputs)}) need 'input:' "
            "to say which one they change"
        )

    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        for sample in opened.read(indices):
            if target not in sample.values:
                raise DataError(f"{sample.name}: has no value for the input {target!r}")
            value = _apply(steps, sample.values[target], sample.name, batch_axis=opened.batches)
            yield replace(sample, values={**sample.values, target: value})

    return replace(opened, read=read)


def _apply(steps: Sequence[Transform], value: np.ndarray, name: str, *, batch_axis: bool) -> np.ndarray:
    try:
        if batch_axis:
            return np.stack([_apply(steps, item, name, batch_axis=False) for item in value])
        for step in steps:
            value = step(value)
    except ConfigError as error:
        raise DataError(f"{name}: {error}") from error
    return value


def _fixed_batch(inputs: Sequence[TensorInfo]) -> int | None:
    """Return the batch extent if the model fixes it.

    Raises:
        ConfigError: inputs fix different extents.
    """
    extents = {i.name: i.shape[0] for i in inputs if i.shape and i.shape[0] is not None}
    if len(set(extents.values())) > 1:
        found = ", ".join(f"{name} {extent}" for name, extent in extents.items())
        raise ConfigError(f"the model's inputs fix different batch sizes on axis 0: {found}")
    return next(iter(extents.values()), None)
