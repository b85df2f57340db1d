"""Activation edges in the emitted graph: one quantizer behind each producer, codes passed on where possible.

Every coded tensor exists twice: as uint8 codes, for operators that run on codes, and as the output of a
DequantizeLinear under its old name, for everybody else. onnxruntime fuses the DequantizeLinear and
QuantizeLinear around an operator into its quantized kernel; a pair that nobody reads is removed at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.graph.operators import clamp_bounds
from dybitq.records.fitted import FittedEdge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A tensor in codes: the uint8 value, and what the codes mean."""

    value: ir.Value
    edge: FittedEdge


class Edges:
    """The coded tensors of a graph under emission, by the tensor's name in the float graph."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._coded: dict[str, Coded] = {}

    def get(self, value: ir.Value | None) -> Coded | None:
        """The codes behind ``value``, or None if it is only known in float."""
        return None if value is None or value.name is None else self._coded.get(value.name)

    def scale(self, edge: FittedEdge) -> ir.Value:
        """Scale of an edge as a float32 scalar initializer."""
        return self.builder.constant(np.array(edge.scale, np.float32), "s")

    def zero_point(self, edge: FittedEdge) -> ir.Value:
        """Zero point of an edge as a uint8 scalar initializer."""
        return self.builder.constant(np.array(edge.zero_point, np.uint8), "z")

    def quantize_input(
        self, value: ir.Value, edge: FittedEdge, readers: Sequence[tuple[ir.Node, int]]
    ) -> None:
        """Code a graph input; ``readers`` get the dequantized codes."""
        name = value.name
        assert name is not None
        codes = self.builder.node(
            "QuantizeLinear", [value, self.scale(edge), self.zero_point(edge)], output="q"
        )
        codes = self._clamped(codes, edge.low, edge.high)
        real = self.builder.node(
            "DequantizeLinear", [codes, self.scale(edge), self.zero_point(edge)], output="r"
        )
        for reader, index in readers:
            reader.replace_input_with(index, real)
        self._coded[name] = self._coded[str(real.name)] = Coded(value=codes, edge=edge)

    def quantize(self, value: ir.Value, edge: FittedEdge) -> None:
        """Put the quantizer of ``value`` behind its producer.

        A Relu or Clip that produces it is dropped: the quantizer clamps the codes to its bounds.
        """
        node = value.producer()
        assert node is not None
        source = value
        if clamp_bounds_of(node):
            assert node.inputs[0] is not None
            source = node.inputs[0]
        readers = tuple(value.uses())
        codes = self.builder.node(
            "QuantizeLinear",
            [source, self.scale(edge), self.zero_point(edge)],
            output="q",
            after=node,
        )
        self._stand_in(value, self._clamped(codes, edge.low, edge.high), edge, readers)

    def carry(self, value: ir.Value, codes: ir.Value, edge: FittedEdge) -> None:
        """Make ``codes``, computed from other codes, stand for ``value``, whose producer becomes idle."""
        codes.type = ir.TensorType(ir.DataType.UINT8)
        self._stand_in(value, codes, edge, tuple(value.uses()))

    def _stand_in(
        self, value: ir.Value, codes: ir.Value, edge: FittedEdge, readers: Sequence[tuple[ir.Node, int]]
    ) -> None:
        """Readers of ``value`` get the codes dequantized, under the old name."""
        name, producer = value.name, codes.producer()
        assert name is not None and producer is not None
        real = self.builder.node(
            "DequantizeLinear",
            [codes, self.scale(edge), self.zero_point(edge)],
            output="r",
            after=producer,
        )
        self.builder.stand_in(value, real, readers)
        self._coded[name] = Coded(value=codes, edge=edge)

    def _clamped(self, codes: ir.Value, low: int, high: int) -> ir.Value:
        codes.type = ir.TensorType(ir.DataType.UINT8)
        if low <= 0 and high >= 255:
            return codes
        producer = codes.producer()
        assert producer is not None
        return self.clamp(codes, low, high, after=producer)

    def clamp(self, codes: ir.Value, low: int, high: int, *, after: ir.Node) -> ir.Value:
        """Codes clamped to ``low .. high``."""
        bounds = [self.builder.constant(np.array(b, np.uint8), "c") for b in (low, high)]
        return self.builder.node("Clip", [codes, *bounds], output="q", after=after)


def clamp_bounds_of(node: ir.Node) -> bool:
    """Whether ``node`` is a Relu, or a Clip with constant bounds."""
    return node.op_type in ("Relu", "Clip") and clamp_bounds(node) is not None
