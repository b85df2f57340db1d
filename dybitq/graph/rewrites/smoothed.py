"""Networks with features of a tensor divided and split, and the matrices that read it changed accordingly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from dybitq.graph.load import Network
from dybitq.graph.values import Namer, nodes_by_name, replace_constant, require_constant, values_by_name
from dybitq.records.layers import LayerWork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Selection and scaling of the K features of a tensor, as its layers read them.

    Attributes:
        index: source feature of each of the K' features that are read, int64 ``[K']``: all K in their order,
            then further copies of some.
        scale: divisor of each, float64 ``[K']``, equal for copies of one feature.
    """

    index: np.ndarray
    scale: np.ndarray

    @property
    def split(self) -> bool:
        """True where any feature is read more than once."""
        return self.index.size > int(self.index.max()) + 1

    @property
    def copies(self) -> np.ndarray:
        """Number of copies of each feature that is read, int64 ``[K']``."""
        return np.asarray(np.bincount(self.index)[self.index])

    def rows(self, weight: np.ndarray) -> np.ndarray:
        """Rewrite a matrix ``[K, N]`` to ``[K', N]``, float64, such that the product stays the same."""
        return np.asarray(weight[self.index] * (self.scale / self.copies)[:, None])


def with_features(
    network: Network, layers: Mapping[str, LayerWork], features: Mapping[tuple[str, ...], Features]
) -> tuple[Network, dict[str, LayerWork]]:
    """Let some MatMuls read divided and split features, and change the rows of their weights accordingly.

    Args:
        network: normalised; not changed.
        layers: its survey by name.
        features: for the names of layers that read the same tensor. Where scales are powers of two and
            nothing is split, no product changes by a bit.

    Returns:
        The network, with one Mul before each of these groups of layers and, where features are split, a
        Gather and a Concat before it; and its survey.
    """
    model = network.model.clone()
    nodes, values, namer = nodes_by_name(model), values_by_name(model), Namer(model)
    survey = dict(layers)
    for names, read in features.items():
        value = values[layers[names[0]].input]
        added = _reading(namer, value, read)
        model.graph.insert_before(nodes[_first(list(model.graph), names)], added)
        smoothed = added[-1].outputs[0]
        for name in names:
            layer = nodes[name]
            layer.replace_input_with(0, smoothed)
            weight = np.asarray(require_constant(layer.inputs[1]), np.float32)
            changed = replace_constant(model, layer, 1, read.rows(weight).astype(np.float32))
            survey[name] = _widened(
                survey[name], len(read.index), input=smoothed.name or "", weight=changed.name or ""
            )
    return replace(network, model=model), survey


def _reading(namer: Namer, value: ir.Value, read: Features) -> list[ir.Node]:
    """Make the operators from ``value`` to its divided and split features."""
    added = []
    source, width = value, len(np.unique(read.index))
    if read.split:
        more = namer.initializer(read.index[width:], base=f"{value.name}_copied")
        copies = namer.node("Gather", [value, more], {"axis": -1}, base=f"{value.name}_copies", like=value)
        widened = namer.node(
            "Concat", [value, copies.outputs[0]], {"axis": -1}, base=f"{value.name}_widened", like=value
        )
        copies.outputs[0].shape = _with_last(value.shape, len(read.index) - width)
        added += [copies, widened]
        source = widened.outputs[0]
        source.shape = _with_last(value.shape, len(read.index))
    inverse = namer.initializer((1 / read.scale).astype(np.float32), base=f"{value.name}_factors")
    divided = namer.node("Mul", [source, inverse], base=f"{value.name}_smoothed", like=value)
    divided.outputs[0].shape = _with_last(value.shape, len(read.index))
    return [*added, divided]


def _with_last(shape: ir.Shape | None, extent: int) -> ir.Shape | None:
    return None if shape is None else ir.Shape([*shape.dims[:-1], extent])


def _widened(layer: LayerWork, width: int, *, input: str, weight: str) -> LayerWork:
    """Change the record of a MatMul such that it reads ``width`` features."""
    gemm = None if layer.gemm is None else (*layer.gemm[:2], width, layer.gemm[3])
    return replace(
        layer,
        input=input,
        weight=weight,
        geometry=replace(layer.geometry, weight_shape=(width, layer.weight_shape[1])),
        input_shape=(*layer.input_shape[:-1], width) if layer.input_shape else layer.input_shape,
        gemm=gemm,
    )


def _first(order: Sequence[object], names: Sequence[str]) -> str:
    """Return the first one of the nodes ``names``."""
    wanted = frozenset(names)
    return next(name for node in order if (name := getattr(node, "name", None)) in wanted)
