"""Reader ``images``: a folder of image files, decoded one at a time with Pillow; labels in a CSV."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dybitq.data.readers import READERS, Split, refuse_fields, single_input
from dybitq.data.source import Label, Opened, Sample
from dybitq.errors import DataError, UnsupportedError
from dybitq.records.layers import TensorInfo

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


@READERS.register("images")
def open_images(split: Split, inputs: tuple[TensorInfo, ...], named: str | None) -> Opened:
    """Read RGB images, uint8 ``[height, width, 3]``.

    With ``labels`` the files and their order are those of the CSV; without, all image files below
    the folder in the order of their names.

    Raises:
        DataError: the folder is missing or holds no image, or the CSV does not fit it.
        UnsupportedError: Pillow is not installed.
    """
    refuse_fields(split, "images", "arrays", "function", "args")
    _require_pillow()
    name = single_input(split, inputs, named)
    if not split.path.is_dir():
        raise DataError(f"{split.path}: there is no such folder; expected a folder of images")
    labelled = split.labels is not None
    entries = (
        read_labels(split.folder / split.labels, split.path)
        if split.labels is not None
        else _files(split.path)
    )

    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        for index in range(len(entries)) if indices is None else indices:
            path, label = entries[index]
            yield Sample(values={name: decode(path)}, label=label, name=str(path))

    return Opened(count=len(entries), labelled=labelled, inputs=(name,), read=read)


def decode(path: Path) -> np.ndarray:
    """Decode an image file to RGB, uint8 ``[height, width, 3]``; grey and palette images are converted.

    Raises:
        DataError: Pillow cannot read the file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as an image: {reason}") from error


def read_labels(path: Path, folder: Path) -> list[tuple[Path, Label]]:
    """Read a CSV with the header ``file,label``: image paths and integer classes.

    Raises:
        DataError: another header, a row without an integer, a file that does not exist.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as CSV: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not rows or [cell.strip() for cell in rows[0]] != ["file", "label"]:
        found = ",".join(rows[0]) if rows else "an empty file"
        raise DataError(f"{path}: starts with {found!r}; expected the header 'file,label'")
    entries: list[tuple[Path, Label]] = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            name, label = row[0], int(row[1])
        except (IndexError, ValueError):
            raise DataError(f"{path}, line {number}: {','.join(row)!r} is not 'file,integer'") from None
        if not (folder / name).is_file():
            raise DataError(f"{path}, line {number}: there is no file {name!r} in {folder}")
        entries.append((folder / name, label))
    if not entries:
        raise DataError(f"{path}: lists no files; expected at least one")
    return entries


def _files(folder: Path) -> list[tuple[Path, Label]]:
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not paths:
        raise DataError(f"{folder}: holds no images; expected files such as .jpg or .png")
    return [(path, None) for path in sorted(paths, key=lambda p: p.relative_to(folder).as_posix())]


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise UnsupportedError("reading images needs Pillow: pip install 'dybitq[images]'") from None
