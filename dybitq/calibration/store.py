"""Statistics files (docs/statistics.md): a zip archive whose bytes depend on its contents only.

`statistics.json` holds names and scalars, `.npy` members hold arrays. Histograms are stored as their used
bins; second moments, which are symmetric and by far the largest part, as float32 upper triangles, read
back one at a time when they are asked for.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dybitq import log_histogram
from dybitq.calibration.moments import second_shape
from dybitq.errors import StatisticsError
from dybitq.records.statistics import ChannelStatistics, Moment, MomentKind, Statistics, TensorStatistics

FORMAT = "dybitq statistics"
VERSION = 4
SUFFIX = ".stats"

_HEADER = "statistics.json"
_SCALARS = ("samples", "count", "minimum", "maximum", "sum_sample_max", "sum_sample_min")
_CHANNEL_ROWS = ("total", "squares", "minimum", "maximum")
_BINS = 1 << 16
_IN_MEMORY = "the statistics in memory"


def save(statistics: Statistics, file: Path | IO[bytes]) -> None:
    """Write a statistics file; the same statistics give the same bytes.

    Raises:
        OSError: the file system refuses.
    """
    tensors = list(statistics.tensors.items())
    used = [np.flatnonzero(t.histogram).astype(np.uint16) for _, t in tensors]
    counts = [t.histogram[bins] for (_, t), bins in zip(tensors, used)]
    channels = list(statistics.channels.items())
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model_sha256": statistics.model_sha256,
        "samples": statistics.samples,
        "tensors": [
            {"name": name, "bins": len(bins)} | {field: getattr(t, field) for field in _SCALARS}
            for (name, t), bins in zip(tensors, used)
        ],
        "channels": [
            {
                "layer": n,
                "count": c.count,
                "channels": len(c.total),
                "histogram": c.histogram is not None,
            }
            for n, c in channels
        ],
        "moments": [
            {
                "key": k,
                "kind": m.kind.value,
                "rows": m.rows,
                "groups": m.first.shape[0],
                "k": m.first.shape[1],
            }
            for k, m in statistics.moments.items()
        ],
    }
    with zipfile.ZipFile(file, "w") as archive:
        _write(archive, _HEADER, json.dumps(header, indent=1).encode(), compress=True)
        _write_array(archive, "bins.npy", np.concatenate(used) if used else np.zeros(0, np.uint16))
        _write_array(archive, "counts.npy", np.concatenate(counts) if counts else np.zeros(0, np.int64))
        values = [np.stack([getattr(c, field) for field in _CHANNEL_ROWS]) for _, c in channels]
        empty = np.zeros((len(_CHANNEL_ROWS), 0))
        _write_array(archive, "channels.npy", np.concatenate(values, axis=1) if values else empty)
        shaped = [c.histogram for _, c in channels if c.histogram is not None]
        nothing = np.zeros((0, log_histogram.BINS), np.int32)
        _write_array(archive, "histograms.npy", np.concatenate(shaped) if shaped else nothing)
        for index, moment in enumerate(statistics.moments.values()):
            _write_array(archive, f"moments/{index}/first.npy", moment.first, compress=False)
            extremes = np.stack([moment.minimum, moment.maximum])
            _write_array(archive, f"moments/{index}/extremes.npy", extremes, compress=False)
            _write_array(archive, f"moments/{index}/second.npy", _packed(moment), compress=False)


def stored(statistics: Statistics) -> Statistics:
    """Return the statistics as a file would hold them, with moments rounded to float32."""
    buffer = io.BytesIO()
    save(statistics, buffer)
    return load(buffer.getvalue())


def sha256_of(statistics: Statistics) -> str:
    """Hash of the bytes that the file of these statistics has."""
    if isinstance(statistics.moments, StoredMoments):
        return statistics.moments.sha256
    return sha256_of(stored(statistics))


def size_bytes(statistics: Statistics) -> int:
    """Size of the file of these statistics."""
    moments = statistics.moments
    return moments.size_bytes if isinstance(moments, StoredMoments) else size_bytes(stored(statistics))


def check_model(statistics: Statistics, model_sha256: str) -> None:
    """Make sure that the statistics are of this model.

    Raises:
        StatisticsError: they are of another one.
    """
    sha256, moments = statistics.model_sha256, statistics.moments
    if sha256 != model_sha256:
        name = moments.name if isinstance(moments, StoredMoments) else _IN_MEMORY
        raise StatisticsError(
            f"{name}: statistics of another model (its sha256 is {sha256[:12]}..., that of this "
            f"model {model_sha256[:12]}...); run dybitq calibrate on this model"
        )


def load(source: Path | bytes) -> Statistics:
    """Read a statistics file, or its bytes; moments are read from it when they are asked for.

    Raises:
        StatisticsError: the file is not a statistics file, is damaged, or of a newer version.
    """
    archive = _Archive(source)
    header = _header(archive)
    try:
        return Statistics(
            model_sha256=header["model_sha256"],
            samples=header["samples"],
            tensors=_tensors(archive, header["tensors"]),
            moments=StoredMoments(archive, header["moments"]),
            channels=_channels(archive, header["channels"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StatisticsError(f"{archive.name}: damaged statistics file; calibrate again") from error


class StoredMoments(Mapping[str, Moment]):
    """Moments of a file by key; each access reads its arrays anew, so that memory holds one at a time."""

    def __init__(self, archive: "_Archive", entries: list[dict[str, Any]]) -> None:
        self._archive = archive
        self._entries = {entry["key"]: (index, entry) for index, entry in enumerate(entries)}
        for entry in entries:
            MomentKind(entry["kind"])

    def __getitem__(self, key: str) -> Moment:
        index, entry = self._entries[key]
        kind, groups, k = MomentKind(entry["kind"]), entry["groups"], entry["k"]
        first, extremes, packed = self._archive.arrays(
            {
                f"moments/{index}/first.npy": (groups, k),
                f"moments/{index}/extremes.npy": (2, groups, k),
                f"moments/{index}/second.npy": None,
            }
        )
        try:
            second = _unpacked(packed, kind, groups, k)
        except ValueError as error:
            raise self._archive.damaged() from error
        return Moment(
            kind=kind,
            rows=entry["rows"],
            first=first,
            second=second,
            minimum=extremes[0],
            maximum=extremes[1],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def name(self) -> str:
        """The file, as messages call it."""
        return self._archive.name

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self._archive.size_bytes()

    @property
    def sha256(self) -> str:
        """Hash of the whole file."""
        return self._archive.sha256()

    def kind(self, key: str) -> MomentKind:
        """Return the kind of a moment, without reading its arrays."""
        return MomentKind(self._entries[key][1]["kind"])

    def rows(self, key: str) -> int:
        """Return the number of patches in a moment, without reading its arrays."""
        return int(self._entries[key][1]["rows"])


class _Archive:
    """Members of the zip file, opened anew for every call so that no handle outlives it."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self.name = str(source) if isinstance(source, Path) else _IN_MEMORY

    def size_bytes(self) -> int:
        return len(self._source) if isinstance(self._source, bytes) else self._source.stat().st_size

    def sha256(self) -> str:
        if isinstance(self._source, bytes):
            return hashlib.sha256(self._source).hexdigest()
        try:
            with self._source.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StatisticsError:
        return StatisticsError(f"{self.name}: cannot be read: {error.strerror or error}")

    def read(self, *names: str) -> list[bytes]:
        file = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        try:
            with zipfile.ZipFile(file) as archive:
                return [archive.read(name) for name in names]  # checks the members' CRC
        except OSError as error:
            raise self._unreadable(error) from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise self.damaged() from error

    def array(self, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
        return self.arrays({name: shape})[0]

    def arrays(self, shapes: Mapping[str, tuple[int, ...] | None]) -> list[np.ndarray]:
        """Members as arrays, each of its shape if one is given."""
        try:
            arrays = [np.load(io.BytesIO(data), allow_pickle=False) for data in self.read(*shapes)]
        except (ValueError, EOFError) as error:
            raise self.damaged() from error
        if any(s is not None and array.shape != s for array, s in zip(arrays, shapes.values())):
            raise self.damaged()
        return arrays

    def damaged(self) -> StatisticsError:
        return StatisticsError(
            f"{self.name}: is not a statistics file, or is damaged; expected one that dybitq calibrate wrote"
        )


def _header(archive: _Archive) -> dict[str, Any]:
    try:
        header = json.loads(archive.read(_HEADER)[0])
    except ValueError as error:
        raise archive.damaged() from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise archive.damaged()
    if header.get("version") != VERSION:
        raise StatisticsError(
            f"{archive.name}: statistics of format version {header.get('version')}; this dybitq reads "
            f"version {VERSION}; calibrate again, or use the dybitq that wrote it"
        )
    return header


def _tensors(archive: _Archive, entries: list[dict[str, Any]]) -> dict[str, TensorStatistics]:
    bins, counts = archive.array("bins.npy", None), archive.array("counts.npy", None)
    ends = np.cumsum([entry["bins"] for entry in entries], dtype=np.int64)
    if len(bins) != len(counts) or len(bins) != (ends[-1] if len(ends) else 0):
        raise archive.damaged()
    tensors = {}
    for entry, end in zip(entries, ends):
        part = slice(end - entry["bins"], end)
        histogram = np.zeros(_BINS, np.int64)
        histogram[bins[part]] = counts[part]
        scalars = {field: entry[field] for field in _SCALARS}
        if not (entry["samples"] > 0 and entry["minimum"] <= entry["maximum"]):
            raise archive.damaged()
        tensors[entry["name"]] = TensorStatistics(histogram=histogram, **scalars)
    return tensors


def _channels(archive: _Archive, entries: list[dict[str, Any]]) -> dict[str, ChannelStatistics]:
    shape = (len(_CHANNEL_ROWS), sum(entry["channels"] for entry in entries))
    shaped = sum(entry["channels"] for entry in entries if entry["histogram"])
    arrays = {"channels.npy": shape, "histograms.npy": (shaped, log_histogram.BINS)}
    values, histograms = archive.arrays(arrays)
    found, start, row = {}, 0, 0
    for entry in entries:
        count, histogram = entry["channels"], None
        rows = dict(zip(_CHANNEL_ROWS, values[:, start : start + count], strict=True))
        start += count
        if entry["histogram"]:
            histogram, row = histograms[row : row + count], row + count
        found[entry["layer"]] = ChannelStatistics(count=entry["count"], histogram=histogram, **rows)
    return found


def _packed(moment: Moment) -> np.ndarray:
    """Pack a second moment for the file: squares as float32 upper triangles, row by row."""
    if moment.kind is MomentKind.DIAGONAL:
        return moment.second
    return moment.second[..., _upper(moment.second.shape[-1])].astype(np.float32)


def _unpacked(packed: np.ndarray, kind: MomentKind, groups: int, k: int) -> np.ndarray:
    shape = second_shape(kind, groups, k)
    if kind is MomentKind.DIAGONAL:
        return packed.reshape(shape).astype(np.float64)
    second = np.zeros(shape)
    upper = _upper(shape[-1])
    second[..., upper] = packed
    second[..., ~upper] = np.swapaxes(second, -1, -2)[..., ~upper]
    return second


def _upper(side: int) -> np.ndarray:
    """Mask of the upper triangle with its diagonal, bool ``[side, side]``."""
    return np.triu(np.ones((side, side), bool))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray, *, compress: bool = True) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    _write(archive, name, buffer.getbuffer(), compress=compress)


def _write(archive: zipfile.ZipFile, name: str, data: bytes | memoryview, *, compress: bool) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    info.create_system = 3  # the same on every platform
    info.external_attr = 0o644 << 16
    archive.writestr(info, data, compresslevel=6)
