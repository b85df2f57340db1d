"""Fitted steps to an integer program: what all operations share, and the ways in and out of the integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dybitq.graph.steps.records import Step, StepKind
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.fitted import FittedEdge, FittedWeight
from dybitq.records.integer_network import Dequantize, Operation, Other, Program, Quantize
from dybitq.records.layers import LayerWork

SIGNED_ZERO = 128


@dataclass(slots=True, kw_only=True, eq=False)
class Assembly:
    """A program under construction.

    Attributes:
        layers: survey by name.
        weights: fitted layers by name.
        edges: encodings of the coded tensors by name; constant operands are added on the way.
        options: of integer-only arithmetic.
        accumulators: tensors that stay int32.
        raw_sums: tensors that stay accumulators because only a sum of 16 bits reads them, by their step.
        wide: scales of the sums of 16 bits, by tensor.
        relative: by tensor, the largest relative error of a factor that writes it; what layers write has
            none, because their weight scales took it up.
        operations: so far.
        constants: codes of constant operands.
    """

    layers: Mapping[str, LayerWork]
    weights: Mapping[str, FittedWeight]
    edges: dict[str, FittedEdge]
    options: IntegerOptions
    accumulators: frozenset[str] = frozenset()
    raw_sums: Mapping[str, Step] = field(default_factory=dict)
    wide: dict[str, float] = field(default_factory=dict)
    relative: dict[str, float] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _coded: set[str] = field(default_factory=set)  # coded tensors written so far
    _in_float: set[str] = field(default_factory=set)  # coded tensors that also exist in float

    def codes(self, tensor: str) -> str:
        """What the codes of a tensor are called."""
        return f"{tensor}_q"

    def input_edge(self, step: Step) -> FittedEdge:
        """Encoding of the first operand."""
        return self.edges[step.inputs[0]]

    def output_edge(self, step: Step) -> FittedEdge:
        """Encoding of the result."""
        return self.edges[step.outputs[0]]

    def operands(self, step: Step) -> list[FittedEdge]:
        """Encodings of the operands; constants are coded now."""
        for name, array in step.constants.items():
            if name not in self.edges:
                unit = self._unit_of_constant(step) if self.options.scales == "pow2" else None
                self.edges[name], codes = code_constant(array, unit)
                self.constants[self.codes(name)] = codes
        return [self.edges[name] for name in step.inputs]

    def _unit_of_constant(self, step: Step) -> float:
        """A scale at which the constant's factor would be 1: others are powers of two apart."""
        output = self.output_edge(step).scale
        if step.kind is not StepKind.MULTIPLY:
            return output
        others = [self.edges[name].scale for name in step.inputs if name not in step.constants]
        return output / others[0]

    def append(self, step: Step, operations: Sequence[Operation]) -> None:
        """Add what ``step`` has become."""
        self.operations += operations
        if step.kind not in (StepKind.FLOAT, StepKind.TAIL, StepKind.SHAPE):
            self._coded.update(step.outputs)

    def program(self, outputs: Sequence[str], accumulators: Mapping[str, np.ndarray]) -> Program:
        """The finished program.

        Args:
            outputs: graph outputs, which are dequantized here unless they are float already.
            accumulators: what one unit of the outputs that are accumulators is worth, float64 ``[1]`` or
                ``[channels]``.
        """
        for name in outputs:
            if name in accumulators:
                unit = accumulators[name].astype(np.float32)
                self.operations.append(_dequantize(name, self.codes(name), unit, 0))
            elif name in self.edges:
                self._to_float(name)
        scales = {self.codes(tensor): edge.scale for tensor, edge in self.edges.items()}
        return Program(operations=tuple(self.operations), constants=self.constants, scales=scales)

    def _to_float(self, name: str) -> None:
        if name not in self._in_float:
            self._in_float.add(name)
            edge = self.edges[name]
            scale = np.array([edge.scale], np.float32)
            self.operations.append(_dequantize(name, self.codes(name), scale, edge.zero_point))

    def quantize(self, step: Step) -> list[Operation]:
        """Float tensor to codes."""
        name, edge = step.inputs[0], self.input_edge(step)
        self._in_float.add(name)
        return [
            Quantize(
                name=f"{name}/quantize",
                input=name,
                output=self.codes(name),
                scale=edge.scale,
                zero_point=edge.zero_point,
                low=edge.low,
                high=edge.high,
            )
        ]

    def other(self, step: Step) -> list[Operation]:
        """What stays as it is reads float tensors; shapes can be taken of codes as well."""
        shapes = step.kind is StepKind.SHAPE
        inputs = []
        for name in step.inputs:
            coded = name in self._coded and name not in self._in_float
            if coded and not shapes:
                self._to_float(name)
            inputs.append(self.codes(name) if coded and shapes else name)
        return [
            Other(
                name=step.name,
                op_type=step.op_type,
                inputs=tuple(inputs),
                outputs=step.outputs,
                reason=step.reason,
            )
        ]


def _dequantize(name: str, codes: str, scale: np.ndarray, zero_point: int) -> Dequantize:
    return Dequantize(name=f"{name}/dequantize", input=codes, output=name, scale=scale, zero_point=zero_point)


def code_constant(array: np.ndarray, unit: float | None) -> tuple[FittedEdge, np.ndarray]:
    """Encoding and uint8 codes of a constant operand over its own range; scales ``unit * 2^k`` if given."""
    signed = bool((array < 0).any())
    scale = float(np.abs(array).max(initial=0.0)) / (127 if signed else 255) or 1.0
    if unit is not None:
        scale = unit * 2.0 ** float(np.ceil(np.log2(scale / unit)))
    scale = float(np.float32(scale))
    zero = SIGNED_ZERO if signed else 0
    codes = np.clip(np.rint(array / scale) + zero, 0, 255).astype(np.uint8)
    return FittedEdge(format="int8", scale=scale, zero_point=zero), codes
