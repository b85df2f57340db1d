"""Tracing of a layer's weight operand back to the stored codes, scales and tables, and their bits.

A weight that is computed from constants alone (Cast, Gather from a table, DequantizeLinear, Reshape, shifts
and masks, or anything else) is traced to the initializers. At an operator with several operands the trace
follows the one with the most stored bytes; the other operands of a DequantizeLinear or of a product are
scales and zero points.
"""

from dataclasses import dataclass

import onnx_ir as ir

from dybitq.encodings.widths import known_widths
from dybitq.graph import keys
from dybitq.graph.values import has_subgraph, int_attribute, is_constant, is_op, shape_of
from dybitq.records.formats import Granularity, PerBlock, PerChannel, PerTensor
from dybitq.records.layers import Shape

_FLOAT_BITS = 16
"""Stored floats of this many bits and more count as not quantized."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightStorage:
    """Storage of one weight in a file.

    Attributes:
        codes: the initializer with the codes (or the plain weight).
        stored: all initializers that the weight is computed from, codes first.
        bits: stored bits of one weight.
        format: registered format name if the model states one, otherwise the element type.
        granularity: of the scales; None for a float weight.
    """

    codes: ir.Value
    stored: tuple[ir.Value, ...]
    bits: int
    format: str
    granularity: Granularity | None

    @property
    def quantized(self) -> bool:
        """True where the weight is stored in codes rather than in floats."""
        return self.granularity is not None


class Stored:
    """Values of a prepared model that depend on stored tensors alone, with their initializers.

    Args:
        model: as :func:`dybitq.graph.stored.skeleton.prepare` returns it.
        own: names of the tensors that the file stores in its main graph; constants inside functions are
            stored once for all calls and belong to no layer.
    """

    def __init__(self, model: ir.Model, own: frozenset[str]) -> None:
        self._own = own
        self._sources: dict[ir.Value, tuple[ir.Value, ...]] = {}
        for node in model.graph:
            sources = [self.sources(value) for value in node.inputs if value is not None]
            if not sources or None in sources or has_subgraph(node):
                continue
            union = dict.fromkeys(leaf for found in sources if found is not None for leaf in found)
            self._sources.update(dict.fromkeys(node.outputs, tuple(union)))

    def sources(self, value: ir.Value | None) -> tuple[ir.Value, ...] | None:
        """List the initializers that a value is computed from; None where it depends on a graph input."""
        if value is None:
            return None
        return (value,) if is_constant(value) else self._sources.get(value)

    def computes(self, node: ir.Node) -> bool:
        """Tell if the node only prepares stored values, so that a runtime can compute it once."""
        return any(value in self._sources for value in node.outputs)

    def size(self, value: ir.Value) -> int:
        """Return the bytes that the main graph stores for an initializer."""
        held = value.const_value if value.name in self._own else None
        return 0 if held is None else held.nbytes

    def total(self, value: ir.Value | None) -> int:
        """Sum the bytes stored for everything that a value is computed from."""
        return sum(map(self.size, self.sources(value) or ()))


def stored_bits(value: ir.Value) -> int:
    """Return the bits of one element of an initializer; 0 where the type is unknown."""
    return 0 if value.const_value is None else value.const_value.dtype.bitwidth


def type_name(kind: ir.DataType | None) -> str:
    """Name the element type in numpy's spelling: ``float32``, ``uint8``, ``int4``; float32 if unknown."""
    if kind is None:
        return "float32"
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(kind.name, kind.name.lower())


def declared_format(node: ir.Node) -> str | None:
    """Return the format that the model states for a layer's weights, on its node or after a look-up."""
    current: ir.Node | None = node
    for _ in range(4):
        if current is None:
            return None
        name = current.metadata_props.get(keys.WEIGHTS)
        if name is not None:
            return name
        uses = tuple(current.outputs[0].uses())
        current = uses[0].node if is_op(node, "Gather") and len(uses) == 1 else None
    return None


def scale_after(node: ir.Node) -> ir.Value | None:
    """Find the stored scale of an integer product or of a look-up in codes, multiplied in by a later node."""
    value = node.outputs[0]
    for _ in range(4):
        uses = tuple(value.uses())
        if len(uses) != 1:
            return None
        follower, index = uses[0].node, uses[0].idx
        if is_op(follower, "Mul", "DequantizeLinear"):
            return _stored_factor(follower.inputs[1 - index])
        if not is_op(follower, "Cast"):
            return None
        value = follower.outputs[0]
    return None


def _stored_factor(value: ir.Value | None) -> ir.Value | None:
    """Find the constant factor in a scale: itself, picked by a Gather, or one side of a product."""
    if value is None or is_constant(value):
        return value
    node = value.producer()
    if is_op(node, "Gather", "Mul", "Unsqueeze", "Reshape") and node is not None:
        return next((v for v in node.inputs if is_constant(v) and _is_float(v)), None)
    return None


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def trace(
    stored: Stored,
    value: ir.Value,
    shape: Shape | None,
    declared: str | None = None,
    *,
    scale: ir.Value | None = None,
    zero: ir.Value | None = None,
    channel_axis: int = 0,
) -> WeightStorage | None:
    """Trace a weight operand to its storage; None where it depends on graph inputs.

    Args:
        stored: of the model.
        value: the operand.
        shape: of the weight as the layer uses it, if known.
        declared: format that the model states.
        scale, zero: stored outside the operand, as inputs of the layer or after it.
        channel_axis: along which such a scale runs.
    """
    sources = stored.sources(value)
    if not sources:
        return None
    road = _Trace(stored, value)
    codes = road.follow()
    if road.scale is None and scale is not None:
        road.scale, road.axis = scale, channel_axis
    beside = [*sources, *(stored.sources(scale) or ()), *(stored.sources(zero) or ())]
    tensors = tuple(dict.fromkeys([codes, *beside]))
    count = _count(shape)
    bits = stored_bits(codes)
    size = 1
    for extent in shape_of(codes) or ():
        size *= extent or 0
    kind = type_name(codes.dtype)
    packed = count is not None and size != count and road.decoded
    if packed and count:
        bits = max(1, 8 * stored.size(codes) // count)
        kind = f"codes{bits}"
    if declared is not None:
        known = known_widths(declared)
        kind, bits = declared, bits if known is None else known.stored
    is_float = declared in (None, "float") and not road.decoded and bits >= _FLOAT_BITS
    granularity = None if is_float else road.granularity(shape)
    return WeightStorage(codes=codes, stored=tensors, bits=bits, format=kind, granularity=granularity)


def _count(shape: Shape | None) -> int | None:
    if shape is None or None in shape:
        return None
    count = 1
    for extent in shape:
        count *= extent or 0
    return count


class _Trace:
    """The trace from a weight operand back to its codes, and the scale found on it."""

    def __init__(self, stored: Stored, value: ir.Value) -> None:
        self.stored = stored
        self.value = value
        self.scale: ir.Value | None = None
        self.axis = 1
        self.block = 0
        self.decoded = False

    def follow(self) -> ir.Value:
        """Follow the trace to its initializer."""
        current = self.value
        while not is_constant(current):
            node = current.producer()
            if node is None:
                break
            current = self._step(node)
        return current

    def _step(self, node: ir.Node) -> ir.Value:
        weights = [(self.stored.total(v), -i, v) for i, v in enumerate(node.inputs) if v is not None]
        main = max(weights, key=lambda entry: entry[:2])[2]
        if is_op(node, "DequantizeLinear"):
            main = node.inputs[0] or main
            self.decoded = True
            self._meet(node.inputs[1])
            self.axis = int_attribute(node, "axis", 1)
            self.block = int_attribute(node, "block_size", 0)
        elif is_op(node, "Mul", "Div"):
            others = [v for v in node.inputs if v is not None and v is not main]
            if others and self.scale is None:
                self._meet(others[0])
                self.axis = _varying_axis(others[0])
        elif is_op(node, "Gather", "GatherElements") and self._are_codes(node.inputs[1]):
            main = node.inputs[1] or main
            self.decoded = True
        elif is_op(node, "Cast"):
            source = self.stored.sources(main) or ()
            self.decoded |= any(0 < stored_bits(leaf) < _FLOAT_BITS for leaf in source)
        elif is_op(node, "BitShift", "BitwiseAnd", "Mod"):
            self.decoded = True
        return main

    def _are_codes(self, index: ir.Value | None) -> bool:
        """Tell if an index comes from a stored tensor of narrow integers: real positions are int64."""
        sources = self.stored.sources(index) or ()
        return bool(sources) and 0 < stored_bits(max(sources, key=self.stored.size)) <= _FLOAT_BITS

    def _meet(self, scale: ir.Value | None) -> None:
        if self.scale is None:
            self.scale = scale

    def granularity(self, shape: Shape | None) -> Granularity:
        """Infer the granularity from the number of scales and the axis that they run along."""
        extents = None if self.scale is None else shape_of(self.scale)
        count = _count(extents)
        if extents is None or count is None or count <= 1:
            return PerTensor()
        if self.block:
            return PerBlock(axis=self.axis, size=self.block)
        varying = [axis for axis, extent in enumerate(extents) if extent != 1]
        if shape is not None and len(extents) == len(shape) and len(varying) > 1:
            partial = [a for a in varying if extents[a] != shape[a]]
            axis = partial[0] if partial else varying[-1]
            size = (shape[axis] or 1) // (extents[axis] or 1)
            return PerBlock(axis=axis, size=size)
        rank = len(shape) if shape is not None else self.axis + 1
        return PerChannel(axis=self.axis % rank)


def _varying_axis(scale: ir.Value) -> int:
    """Return the axis along which a broadcast scale varies, as a negative number."""
    shape = shape_of(scale) or ()
    varying = [axis - len(shape) for axis, extent in enumerate(shape) if extent != 1]
    return varying[0] if varying else -1
