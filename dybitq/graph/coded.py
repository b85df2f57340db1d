"""Tensors of any quantized model that hold codes, and the float tensors that they stand for."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import constant, is_op

TENSOR_KEY = "dybitq.tensor"
"""Node metadata: the tensor of the float model that the node's output stands for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodedTensor:
    """Codes of one activation: ``tensor`` is about ``(codes - zero_point) * scale``.

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

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The float32 values that ``codes`` stand for."""
        shape = [1] * codes.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        real = codes.astype(np.float32)  # exact up to 16 bits
        real -= self.zero_point.reshape(shape)
        real *= self.scale.reshape(shape)
        return real


def coded_tensors(model: ir.Model, known: Collection[str]) -> tuple[CodedTensor, ...]:
    """The coded activations of a quantized model, in topological order, one for each float tensor.

    They are the inputs of DequantizeLinear that are computed and have constant scales. What a tensor is
    called in the float model is told by node metadata, or is the name of the DequantizeLinear's output or
    of the QuantizeLinear's input. Element types of the codes are filled in where the model has none, so
    that they can become outputs.

    Args:
        model: as :func:`dybitq.graph.read.read` gives it.
        known: names of tensors of the float model.
    """
    found: dict[str, CodedTensor] = {}
    for node in model.graph:
        if not is_op(node, "DequantizeLinear") or node.inputs[0] is None or node.inputs[0].producer() is None:
            continue
        codes, scale = node.inputs[0], constant(node.inputs[1])
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        offset = constant(zero)
        tensor = _tensor(node, known)
        if scale is None or tensor is None or tensor in found or (zero is not None and offset is None):
            continue
        if codes.type is None:
            codes.type = zero.type if zero is not None else ir.TensorType(ir.DataType.UINT8)
        axis = node.attributes.get("axis")
        found[tensor] = CodedTensor(
            tensor=tensor,
            codes=str(codes.name),
            scale=np.asarray(scale, np.float32),
            zero_point=np.zeros_like(scale) if offset is None else np.asarray(offset, np.float32),
            axis=1 if axis is None else axis.as_int(),
        )
    return tuple(found.values())


def _tensor(node: ir.Node, known: Collection[str]) -> str | None:
    """The float tensor that a DequantizeLinear restores, None where nothing says."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    while producer is not None and is_op(producer, "Clip", "Max", "Min"):  # clamps on codes
        before = producer.inputs[0].producer() if producer.inputs[0] is not None else None
        named = producer.metadata_props.get(TENSOR_KEY)
        if named is not None or before is None:
            break
        producer = before
    told = (
        node.metadata_props.get(TENSOR_KEY),
        producer.metadata_props.get(TENSOR_KEY) if producer is not None else None,
        node.outputs[0].name,
        _quantized_input(producer),
    )
    return next((name for name in told if name is not None and name in known), None)


def _quantized_input(producer: ir.Node | None) -> str | None:
    if producer is None or not is_op(producer, "QuantizeLinear") or producer.inputs[0] is None:
        return None
    return producer.inputs[0].name
