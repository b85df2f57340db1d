"""Scales of tensors that layers read through SPARQ windows, found with the windows in the error.

A window spares small codes and rounds large ones coarsely, and the largest not at all well: with 4 bits and
five shifts all codes from 241 on become 240, so that what a ReLU6 holds at its bound loses a sixteenth. With
a scale a sixteenth larger it loses nothing. Where the plan leaves ranges to the expected error, scales
around the best one for plain codes are tried with what the windows do to every value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.encodings import sparq
from dybitq.fit.activations.edges import clamp_codes
from dybitq.fit.activations.ranges import bins
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import FittedEdge
from dybitq.records.layers import LayerWork
from dybitq.records.plan import EdgePlan, Plan
from dybitq.records.statistics import TensorStatistics

_FACTORS = (1.0, *np.linspace(0.8, 1.25, 46).tolist())
_WORTH = 0.99  # of the error, if a scale is to be another one than for plain codes


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReader:
    """A layer that reads a tensor through windows.

    Attributes:
        recode: name of the re-coding.
        count, groups: extent of the axis that pairs lie on, and the groups that they stay in.
    """

    recode: str
    count: int
    groups: int


def reader_of(layer: LayerWork, recode: str) -> WindowReader:
    """Return the layer as a reader of its input."""
    _, count, groups = layer.geometry.pair_axis
    return WindowReader(recode=recode, count=count, groups=groups)


def window_readers(
    layers: Mapping[str, LayerWork], plan: Plan, tensors: Tensors
) -> dict[str, tuple[WindowReader, ...]]:
    """Return the layers that read each coded tensor of the plan through windows, by name of the tensor."""
    coded = {edge.tensor for edge in plan.edges}
    found: dict[str, tuple[WindowReader, ...]] = {}
    for layer_plan in plan.layers:
        if not sparq.has_windows(layer_plan.recode):
            continue
        layer = layers[layer_plan.layer]
        root = tensors.coded_root(layer.input, coded)
        if root is not None:
            found[root] = (*found.get(root, ()), reader_of(layer, layer_plan.recode))
    return found


def windowed_edge(
    plan: EdgePlan,
    own: FittedEdge,
    seen: TensorStatistics,
    clamp: tuple[float, float] | None,
    readers: Sequence[WindowReader],
) -> FittedEdge:
    """``own``, or a scale near it with less expected error after the readers' windows.

    Args:
        plan: of the tensor; only what leaves its range to the expected error (``mse``) is changed.
        own: the encoding for plain codes.
        seen: what calibration saw of the tensor.
        clamp: bounds of the Relu or Clip that writes it, or None.
        readers: the layers that read it through windows.
    """
    if not readers or plan.range != "mse" or plan.format != "int8":
        return own
    values, counts = bins(seen)
    tried = [_scaled(own, factor, clamp) for factor in _FACTORS]
    errors = [sum(windowed_error(edge, reader, values, counts) for reader in readers) for edge in tried]
    best = int(np.argmin(errors))
    return tried[best] if errors[best] < _WORTH * errors[0] else own


def _scaled(edge: FittedEdge, factor: float, clamp: tuple[float, float] | None) -> FittedEdge:
    scale = float(np.float32(edge.scale * factor))
    low, high = clamp_codes(clamp, scale, edge.zero_point)
    return replace(edge, scale=scale, low=low, high=high)


def windowed_error(edge: FittedEdge, reader: WindowReader, values: np.ndarray, counts: np.ndarray) -> float:
    """Sum of the squared errors of ``values``, of each as many as ``counts``, after codes and windows."""
    codes = edge.encode(values)
    zeros = float(counts[codes == edge.zero_point].sum() / max(counts.sum(), 1.0))
    recoding = sparq.get(reader.recode, edge.zero_point)
    alone = sparq.share_alone(reader.count, reader.groups, zeros) if recoding.paired else 0.0
    error = 0.0
    for table, share in ((recoding.single, alone), (recoding.both, 1 - alone)):
        real = edge.decode(table[codes], np.float64)
        error += share * float((real - values) ** 2 @ counts)
    return error
