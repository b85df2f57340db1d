"""Activation tensors as uint8 codes: one quantizer after each producer, codes passed on where possible.

Every coded tensor exists twice: as uint8 codes, for operators that run on codes, and as the output of a
DequantizeLinear under its old name, for everything else. onnxruntime fuses the DequantizeLinear and
QuantizeLinear around an operator into its quantized kernel; a pair that nothing reads is removed at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.lookup import add_lookup, code_table
from dybitq.fit.activations.edges import clamp_codes
from dybitq.graph.operators import activation_inputs, clamp_bounds
from dybitq.graph.values import constant
from dybitq.records.fitted import FittedEdge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A tensor in codes: the uint8 value, and what the codes mean."""

    value: ir.Value
    edge: FittedEdge


class CodedEdges:
    """The coded tensors of a graph under emission, by the tensor's name in the float graph.

    Args:
        builder: of the graph.
        pow2: give constant operands power-of-two scales, as all activations have them.
    """

    def __init__(self, builder: Builder, *, pow2: bool = False) -> None:
        self.builder = builder
        self.pow2 = pow2
        self._coded: dict[str, Coded] = {}

    def has_codes(self, value: ir.Value | None) -> bool:
        """Tell whether ``value`` is known in codes."""
        return self.get(value) is not None

    def get(self, value: ir.Value | None) -> Coded | None:
        """Return the codes of ``value``, or None if it is only known in float."""
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
        """Put the quantizer of ``value`` after its producer.

        A Relu or Clip that produces it is dropped: the quantizer clamps the codes to its bounds.
        """
        node = value.producer()
        assert node is not None
        source = value
        if _is_clamp(node):
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

    def pass_on(self, node: ir.Node) -> None:
        """Run an operator that moves or compares values on the codes themselves."""
        source = self.get(node.inputs[0])
        assert source is not None
        inputs = [source.value, *node.inputs[1:]]
        if node.op_type == "Pad" and len(inputs) > 1:
            pad_value = self.zero_point(source.edge)
            inputs = [*inputs[:2], pad_value, *inputs[3:]]
        clone = ir.Node(
            "", node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs), name=""
        )
        self.builder.graph.insert_after(node, clone)
        for value, made in zip(list(node.outputs), clone.outputs, strict=True):
            made.name = self.builder.fresh("q")
            made.shape = value.shape
            self._carry(value, made, source.edge)

    def clamp(self, node: ir.Node) -> None:
        """Write a Relu or Clip as a Clip of the codes."""
        source = self.get(node.inputs[0])
        assert source is not None
        edge = source.edge
        low, high = clamp_codes(clamp_bounds(node), edge.scale, edge.zero_point)
        low, high = max(low, edge.low), min(high, edge.high)
        self._carry(node.outputs[0], self._clip(source.value, low, high, after=node), edge)

    def function(self, node: ir.Node, edge: FittedEdge) -> None:
        """Write an elementwise function as a table from codes to codes."""
        source = self.get(node.inputs[0])
        assert source is not None
        codes = add_lookup(self.builder, source.value, code_table(node, source.edge, edge), before=node)
        self._carry(node.outputs[0], codes, edge)

    def operands(self, node: ir.Node) -> None:
        """Code the constant operands of a fused operator per tensor, each over its own range."""
        if not all(self.has_codes(value) for value in activation_inputs(node)):
            return  # computes in float
        for index, value in enumerate(node.inputs):
            array = constant(value)
            if value is None or array is None or array.dtype != np.float32:
                continue
            codes, edge = _constant_codes(array, pow2=self.pow2)
            real = self.builder.node(
                "DequantizeLinear",
                [self.builder.constant(codes, "q"), self.scale(edge), self.zero_point(edge)],
                output="r",
                before=node,
            )
            node.replace_input_with(index, real)

    def _carry(self, value: ir.Value, codes: ir.Value, edge: FittedEdge) -> None:
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
        return self._clip(codes, low, high, after=producer)

    def _clip(self, codes: ir.Value, low: int, high: int, *, after: ir.Node) -> ir.Value:
        bounds = [self.builder.constant(np.array(b, np.uint8), "c") for b in (low, high)]
        return self.builder.node("Clip", [codes, *bounds], output="q", after=after)


def _is_clamp(node: ir.Node) -> bool:
    """Tell whether ``node`` is a Relu, or a Clip with constant bounds."""
    return node.op_type in ("Relu", "Clip") and clamp_bounds(node) is not None


def _constant_codes(array: np.ndarray, *, pow2: bool) -> tuple[np.ndarray, FittedEdge]:
    """Codes and encoding of a constant operand, over its own range with zero."""
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    scale = np.float32((high - low) / 255 or 1.0)
    if pow2:
        scale = np.float32(2.0 ** np.ceil(np.log2(scale)))
    zero_point = min(255, max(0, round(-low / float(scale))))
    codes = np.clip(np.rint(array / scale) + zero_point, 0, 255).astype(np.uint8)
    return codes, FittedEdge(format="int8", scale=float(scale), zero_point=zero_point)
