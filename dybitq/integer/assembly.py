"""An integer network under construction: names of codes, encodings, ways out of the integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dybitq.integer.factors import requantize
from dybitq.integer.step import Encoding, IntegerStep
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.fitted import FittedEdge, FittedWeight
from dybitq.records.integer_network import Clamp, Dequantize, IntegerNetwork, Operation, Requantization
from dybitq.records.layers import LayerWork

SIGNED_ZERO = 128


@dataclass(slots=True, kw_only=True, eq=False)
class Assembly:
    """An integer network under construction.

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
    raw_sums: Mapping[str, IntegerStep] = field(default_factory=dict)
    wide: dict[str, float] = field(default_factory=dict)
    relative: dict[str, float] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _coded: set[str] = field(default_factory=set)  # coded tensors written so far
    _in_float: set[str] = field(default_factory=set)  # coded tensors that also exist in float

    def codes(self, tensor: str) -> str:
        """Name of the codes of a tensor."""
        return f"{tensor}_q"

    def input_edge(self, step: IntegerStep) -> FittedEdge:
        """Return the encoding of the first operand."""
        return self.edges[step.inputs[0]]

    def output_edge(self, step: IntegerStep) -> FittedEdge:
        """Return the encoding of the result."""
        return self.edges[step.outputs[0]]

    def operands(self, step: IntegerStep, unit: float) -> list[FittedEdge]:
        """Return the encodings of the operands; constants are coded now.

        Args:
            step: whose inputs they are.
            unit: scale at which the factor of a constant would be 1; with scales that are powers of two
                apart, the constant's scale is one of ``unit * 2^k``.
        """
        for name, array in step.constants.items():
            if name not in self.edges:
                self.edges[name], codes = code_constant(
                    array, unit if self.options.scales == "pow2" else None
                )
                self.constants[self.codes(name)] = codes
        return [self.edges[name] for name in step.inputs]

    def pair(self, step: IntegerStep) -> tuple[str, str]:
        """Names of the codes of two operands."""
        left, right = step.inputs
        return self.codes(left), self.codes(right)

    def recoded(self, step: IntegerStep, name: str) -> tuple[str, list[Operation]]:
        """Codes of an operand in the encoding of the result, and the operations that make them.

        There are none where the operand has that encoding already and stays within the result's clamp.
        """
        edge, output = self.edges[name], self.output_edge(step)
        codes, made = self.codes(name), f"{step.name}/{name}"
        if (edge.scale, edge.zero_point) != (output.scale, output.zero_point):
            target, relative = requantize(step.name, edge.scale / output.scale, output, self.options)
            result = step.outputs[0]
            self.relative[result] = max(self.relative.get(result, 0.0), relative)
            recode = Requantization(
                name=made,
                input=codes,
                output=f"{made}_q",
                input_zero=edge.zero_point,
                requantize=target,
            )
            return recode.output, [recode]
        if edge.low < output.low or edge.high > output.high:
            clamp = Clamp(name=made, input=codes, output=f"{made}_q", low=output.low, high=output.high)
            return clamp.output, [clamp]
        return codes, []

    def append(self, step: IntegerStep, operations: Sequence[Operation]) -> None:
        """Add the operations that ``step`` has become."""
        self.operations += operations
        if step.encoding is not Encoding.NONE:
            self._coded.update(step.outputs)

    def network(self, outputs: Sequence[str], accumulators: Mapping[str, np.ndarray]) -> IntegerNetwork:
        """Return the finished network.

        Args:
            outputs: graph outputs, which are dequantized here unless they are float already.
            accumulators: value of one unit of the outputs that are accumulators, float64 ``[1]`` or
                ``[channels]``.
        """
        for name in outputs:
            if name in accumulators:
                unit = accumulators[name].astype(np.float32)
                self.operations.append(_dequantize(name, self.codes(name), unit, 0))
            elif name in self.edges:
                self._to_float(name)
        scales = {self.codes(tensor): edge.scale for tensor, edge in self.edges.items()}
        return IntegerNetwork(operations=tuple(self.operations), constants=self.constants, scales=scales)

    def _to_float(self, name: str) -> None:
        if name not in self._in_float:
            self._in_float.add(name)
            edge = self.edges[name]
            scale = np.array([edge.scale], np.float32)
            self.operations.append(_dequantize(name, self.codes(name), scale, edge.zero_point))

    def note_float(self, name: str) -> None:
        """Note that a coded tensor exists in float as well."""
        self._in_float.add(name)

    def in_float(self, name: str) -> str:
        """Name of a tensor in float; codes are dequantized for it, once."""
        if name in self._coded:
            self._to_float(name)
        return name

    def either(self, name: str) -> str:
        """Name of a tensor in float if it exists in float, otherwise of its codes."""
        return self.codes(name) if name in self._coded and name not in self._in_float else name


def _dequantize(name: str, codes: str, scale: np.ndarray, zero_point: int) -> Dequantize:
    return Dequantize(name=f"{name}/dequantize", input=codes, output=name, scale=scale, zero_point=zero_point)


def code_constant(array: np.ndarray, unit: float | None) -> tuple[FittedEdge, np.ndarray]:
    """Code a constant operand over its own range, with a scale of ``unit * 2^k`` if a unit is given."""
    signed = bool((array < 0).any())
    scale = float(np.abs(array).max(initial=0.0)) / (127 if signed else 255) or 1.0
    if unit is not None:
        scale = unit * 2.0 ** float(np.ceil(np.log2(scale / unit)))
    scale = float(np.float32(scale))
    zero = SIGNED_ZERO if signed else 0
    codes = np.clip(np.rint(array / scale) + zero, 0, 255).astype(np.uint8)
    return FittedEdge(format="int8", scale=scale, zero_point=zero), codes
