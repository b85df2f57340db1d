"""Re-codings of a layer's input: SPARQ windows, or the 2**b best levels of a format on the 8-bit grid.

A format's levels are placed at ``zero point + round(integer * step)`` in units of the 8-bit codes. For
uniform formats the step is a whole number, so that the levels are an exact coarser grid, with a zero
point of its own; for the others it may be any number, and the table that comes out is what the layer
multiplies. Nothing about either is approximate: the integers of the table are the operands.
"""

from collections.abc import Sequence

import numpy as np

from dybitq.encodings import codec, formats, sparq
from dybitq.errors import ConfigError, did_you_mean, listed
from dybitq.fit.activations.ranges import bins
from dybitq.records.fitted import FittedEdge, Recoding
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.layers import LayerWork
from dybitq.records.plan import NO_RECODING
from dybitq.records.statistics import TensorStatistics

_STEPS = 48  # steps tried for a format that is not uniform


def is_recoding(name: str) -> bool:
    """Return whether ``name`` is a re-coding that :func:`fit_recoding` can make.

    A format needs a form for unsigned activations beside the one for signed ones.
    """
    known = set(formats.FORMATS)
    both_forms = name in known and f"u{name}" in known
    return sparq.has_windows(name) or (both_forms and formats.get(name).bits < 8)


def as_read(name: str, layer: LayerWork) -> str:
    """Return the re-coding that ``name`` comes to in ``layer``: ``int8`` if windows change no code.

    Values without a partner have both multipliers of a pair to themselves; in a depthwise convolution that
    is all of them.
    """
    if not sparq.has_windows(name) or not isinstance(layer.geometry, SlidingWindow):
        return name
    recoding = sparq.get(name)
    _, count, groups = layer.geometry.pair_axis
    alone = recoding.paired and bool(sparq.partners(count, groups)[1].all())
    return "int8" if alone and (recoding.single == np.arange(256)).all() else name


def check_recoding(name: str, kind: str = "re-coding", besides: Sequence[str] = (NO_RECODING,)) -> None:
    """Refuse an unknown name.

    Args:
        name: of a re-coding.
        kind: what such names are called where this one stands.
        besides: what else it may be there.

    Raises:
        ConfigError: with the known names.
    """
    if name in besides or is_recoding(name):
        return
    plain = [*besides, *(n for n in formats.FORMATS if is_recoding(n))]
    hint = did_you_mean(name, [*plain, *sparq.RECODINGS])
    known = f"{listed([*plain, *sparq.WINDOWS])}; -raw, -nopair or both after the last five"
    raise ConfigError(f"unknown {kind} {name!r}.{hint} Known: {known}.")


def fit_recoding(name: str, edge: FittedEdge, statistics: TensorStatistics) -> Recoding:
    """Return the re-coding ``name`` for a layer that reads ``edge``.

    Args:
        name: a SPARQ re-coding, or a format below 8 bits; unsigned where the zero point is 0.
        edge: the 8-bit codes that arrive.
        statistics: of the tensor that the layer reads.
    """
    if sparq.has_windows(name):
        return sparq.get(name, edge.zero_point)
    fmt = formats.get(name, signed=edge.zero_point != 0)
    centres, counts = bins(statistics)
    counts = np.bincount(edge.encode(centres), weights=counts, minlength=256)
    if fmt.family == "int":
        candidates = _uniform_tables(fmt.bits, edge.zero_point)
    else:
        integers, _ = codec.levels(fmt)
        candidates = _scaled_tables(integers, edge.zero_point)
    errors = ((candidates.astype(np.float64) - np.arange(256)) ** 2) @ counts
    table = candidates[int(np.argmin(errors))]
    return Recoding(name=name, single=table, both=table, paired=False, zero_point=edge.zero_point)


def _uniform_tables(bits: int, zero_point: int) -> np.ndarray:
    """All coarser grids with a whole step that contain the zero point; uint8 ``[tables, 256]``."""
    tables = []
    offsets = [0] if zero_point == 0 else range(1, 2**bits - 1)  # levels below the zero point
    for step in range(1, 255 // (2**bits - 1) + 2):
        index = np.rint((np.arange(256) - zero_point) / step)
        for below in offsets:
            levels = np.minimum(np.maximum(index, -below), 2**bits - 1 - below)
            tables.append(zero_point + levels * step)
    return np.clip(tables, 0, 255).astype(np.uint8)


def _scaled_tables(integers: np.ndarray, zero_point: int) -> np.ndarray:
    """Return the levels at different steps around the zero point; uint8 ``[tables, 256]``."""
    reach = max(zero_point, 255 - zero_point)
    tables = []
    for step in np.geomspace(0.25, 1.5, _STEPS) * reach / integers.max():
        levels = np.unique(np.clip(np.rint(zero_point + integers * step), 0, 255))
        middles = (levels[1:] + levels[:-1]) / 2
        tables.append(levels[np.searchsorted(middles, np.arange(256))])
    return np.array(tables).astype(np.uint8)
