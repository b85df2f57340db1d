"""NaN and infinity in weights are refused by name."""

import numpy as np
import onnx_ir as ir

from dybitq.errors import ModelError
from dybitq.graph.values import constant, is_op

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu")


def check_finite(model: ir.Model) -> tuple[str, ...]:
    """Check all constant operands of weighted operators, and float tables that Gather reads.

    Other constants may hold infinity: the -inf of an attention mask does so rightly.

    Raises:
        ModelError: names the tensor, the layer and how many values are not finite.
    """
    for node in model.graph:
        operands = (
            node.inputs if is_op(node, *_WEIGHTED) else node.inputs[:1] if is_op(node, "Gather") else ()
        )
        for value in operands:
            array = constant(value)
            if value is None or array is None or array.dtype not in (np.float32, np.float64):
                continue
            wrong = array.size - int(np.isfinite(array).sum())
            if wrong:
                raise ModelError(
                    f"weight {value.name!r} of layer {node.name!r} holds {wrong} NaN or infinite values out "
                    f"of {array.size}; the model cannot be quantized, export it again from a sound checkpoint"
                )
    return ()
