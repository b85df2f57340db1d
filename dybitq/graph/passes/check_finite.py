"""Refusal of NaN and infinity in weights, by the tensor's name."""

import contextlib

import numpy as np
import onnx_ir as ir

from dybitq.errors import ModelError
from dybitq.graph.values import constant, is_op

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu")


def check_finite(model: ir.Model) -> tuple[str, ...]:
    """Check all constant operands of weighted operators, and float tables that Gather reads.

    Other constants may hold infinity, such as the -inf of an attention mask.

    Raises:
        ModelError: with the tensor, the layer and the number of values that are not finite.
    """
    for node in model.graph:
        operands = (
            node.inputs if is_op(node, *_WEIGHTED) else node.inputs[:1] if is_op(node, "Gather") else ()
        )
        for value in operands:
            array = constant(value)
            if value is None or value.const_value is None or array is None or array.dtype.kind != "f":
                continue
            wrong = _not_finite(array)
            del array
            _release(value)
            if wrong:
                raise ModelError(
                    f"weight {value.name!r} of layer {node.name!r} holds {wrong} NaN or infinite values out "
                    f"of {value.const_value.size}; export the model again from a sound checkpoint"
                )
    return ()


def _not_finite(array: np.ndarray) -> int:
    """Count values that are not finite; extremes first, because they need no memory."""
    if not array.size or (np.isfinite(array.min()) and np.isfinite(array.max())):
        return 0
    return array.size - int(np.isfinite(array).sum())


def _release(value: ir.Value) -> None:
    """Release a mapped file, so that a large model is not held in memory from here on."""
    if isinstance(value.const_value, ir.ExternalTensor):
        with contextlib.suppress(BufferError):  # another view of it is in use
            value.const_value.release()
