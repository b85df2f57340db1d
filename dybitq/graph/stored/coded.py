"""Tensors of any quantized model that stand for float tensors of the original, as codes or floats."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph import keys
from dybitq.graph.values import constant, is_op

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticCodes:
    """Codes with a fixed scale: ``tensor`` is about ``(codes - zero_point) * scale``.

    Attributes:
        tensor: name in the float model.
        codes: name in the quantized model.
        scale: float32, one number, or one for each index along ``axis``.
        zero_point: float32, shaped as the scale.
        axis: axis of a scale with several numbers.
    """

    tensor: str
    codes: str
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """List the tensors of a run that :meth:`decode` needs."""
        return (self.codes,)

    def decode(self, values: Values) -> np.ndarray:
        """Return the float32 values that the codes stand for."""
        real = values[self.codes].astype(np.float32)  # exact up to 16 bits
        shape = [1] * real.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        real -= self.zero_point.reshape(shape)
        real *= self.scale.reshape(shape)
        return real


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DynamicCodes:
    """Codes with a scale that each run computes; all but ``tensor`` are names in the quantized model."""

    tensor: str
    codes: str
    scale: str
    zero_point: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """List the tensors of a run that :meth:`decode` needs."""
        return (self.codes, self.scale, self.zero_point)

    def decode(self, values: Values) -> np.ndarray:
        """Return the float32 values that the codes stand for."""
        centred = values[self.codes].astype(np.float32) - values[self.zero_point].astype(np.float32)
        return np.asarray(centred * values[self.scale])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatOutput:
    """The float output of a layer with quantized weights, under the name that the float model uses."""

    tensor: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """List the tensors of a run that :meth:`decode` needs."""
        return (self.tensor,)

    def decode(self, values: Values) -> np.ndarray:
        """Return the values unchanged."""
        return values[self.tensor]


Counterpart = StaticCodes | DynamicCodes | FloatOutput


def counterparts(model: ir.Model, known: Collection[str]) -> tuple[Counterpart, ...]:
    """Find the activations of a quantized model that stand for tensors of the float model.

    In topological order, one for each float tensor:

    - computed inputs of a DequantizeLinear with constant scales. The tensor's name in the float model is in
      node metadata, or is the name of the DequantizeLinear's output or of the QuantizeLinear's input;
    - inputs of a DynamicQuantizeLinear, by their name;
    - float outputs of layers that dybitq has quantized weights for, unless they are outputs of the model, or
      a quantizer reads them: to fetch these would keep the runtime from fusing it.

    Element types are filled in where the model has none, so that the tensors can become outputs.

    Args:
        model: as :func:`dybitq.graph.read.read` gives it.
        known: names of tensors of the float model.
    """
    result: dict[str, Counterpart] = {}
    for node in model.graph:
        if is_op(node, "DequantizeLinear"):
            entry: Counterpart | None = _static(node, known)
        elif is_op(node, "DynamicQuantizeLinear"):
            entry = _dynamic(node, known)
        else:
            entry = _float(node, known)
        if entry is not None:
            result.setdefault(entry.tensor, entry)
    return tuple(result.values())


def _static(node: ir.Node, known: Collection[str]) -> StaticCodes | None:
    codes, scale = node.inputs[0], constant(node.inputs[1])
    if codes is None or codes.producer() is None or scale is None:
        return None
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    offset = constant(zero)
    tensor = _tensor(node, known)
    if tensor is None or (zero is not None and offset is None):
        return None
    if codes.type is None:
        # without a zero point the codes are uint8, or the int32 sums of an integer-only layer
        codes.type = zero.type if zero is not None else ir.TensorType(_element_type(codes))
    axis = node.attributes.get("axis")
    return StaticCodes(
        tensor=tensor,
        codes=str(codes.name),
        scale=np.asarray(scale, np.float32),
        zero_point=np.zeros_like(scale) if offset is None else np.asarray(offset, np.float32),
        axis=1 if axis is None else axis.as_int(),
    )


def _element_type(codes: ir.Value) -> ir.DataType:
    """Infer the type of codes without a declared one: int32 if they are sums, before biases and shapes."""
    producer = codes.producer()
    while is_op(producer, "Add", "Reshape", "Flatten") and producer is not None and producer.inputs[0]:
        producer = producer.inputs[0].producer()
    return ir.DataType.INT32 if is_op(producer, "ConvInteger", "MatMulInteger") else ir.DataType.UINT8


def _dynamic(node: ir.Node, known: Collection[str]) -> DynamicCodes | None:
    source = node.inputs[0]
    if source is None or source.name not in known:
        return None
    types = (ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8)
    for value, element in zip(node.outputs, types, strict=True):
        value.type = value.type or ir.TensorType(element)
    codes, scale, zero_point = (str(value.name) for value in node.outputs)
    return DynamicCodes(tensor=str(source.name), codes=codes, scale=scale, zero_point=zero_point)


def _float(node: ir.Node, known: Collection[str]) -> FloatOutput | None:
    if keys.WEIGHTS not in node.metadata_props or node.outputs[0].name not in known:
        return None
    value = node.outputs[0]
    if value.is_graph_output() or any(is_op(use.node, "QuantizeLinear") for use in value.uses()):
        return None
    value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    return FloatOutput(tensor=str(value.name))


def _tensor(node: ir.Node, known: Collection[str]) -> str | None:
    """Name the float tensor that a DequantizeLinear restores; None where it is unknown."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    while producer is not None and is_op(producer, "Clip", "Max", "Min"):  # clamps on codes
        before = producer.inputs[0].producer() if producer.inputs[0] is not None else None
        named = producer.metadata_props.get(keys.TENSOR)
        if named is not None or before is None:
            break
        producer = before
    told = (
        node.metadata_props.get(keys.TENSOR),
        producer.metadata_props.get(keys.TENSOR) if producer is not None else None,
        node.outputs[0].name,
        _quantized_input(producer),
    )
    return next((name for name in told if name is not None and name in known), None)


def _quantized_input(producer: ir.Node | None) -> str | None:
    if producer is None or not is_op(producer, "QuantizeLinear") or producer.inputs[0] is None:
        return None
    return producer.inputs[0].name
