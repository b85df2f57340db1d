"""BatchNormalization is folded into the Conv, ConvTranspose, Gemm or MatMul in front of it.

y = gamma * (x - mean) / sqrt(variance + epsilon) + beta is a scale and a shift per channel. It stays
where the layer's raw output has other readers, where its parameters are computed or not finite, in
training mode, and where it follows none of these layers.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.affine import apply_output_affine
from dybitq.graph.values import (
    absorb,
    constant,
    float_attribute,
    int_attribute,
    is_op,
    rank_of,
    sole_consumer,
)


def fold_batch_norm(model: ir.Model) -> tuple[str, ...]:
    """Fold every BatchNormalization that can be folded exactly; shared weights are duplicated."""
    folded = 0
    left: list[str] = []
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization"):
            continue
        if _fold(model, node):
            folded += 1
        else:
            left.append(f"BatchNormalization {node.name!r} could not be folded and stays in float")
    if folded:
        left.insert(0, f"{folded} BatchNormalization folded into the layers before them")
    return tuple(left)


def _fold(model: ir.Model, node: ir.Node) -> bool:
    source = node.inputs[0]
    affine = affine_of(node)
    if source is None or affine is None or sole_consumer(source) is not node:
        return False
    layer = _layer_before(model, source)
    if layer is None or not apply_output_affine(model, layer, *affine):
        return False
    absorb(model, layer.outputs[0], node)
    return True


def affine_of(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Compute scale and shift per channel in float64; None where they are not fixed and finite."""
    if int_attribute(node, "training_mode", 0):
        return None
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    arrays = [constant(value) for value in node.inputs[1:5]]
    gamma, beta, mean, variance = (None if a is None else a.astype(np.float64) for a in arrays)
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    total = variance + float_attribute(node, "epsilon", 1e-5)
    if not (total > 0).all():
        return None
    scale = gamma / np.sqrt(total)
    return scale, beta - mean * scale


def _layer_before(model: ir.Model, source: ir.Value) -> ir.Node | None:
    """Find the layer that computes ``source``; a MatMul of matrices (and its bias Add) becomes a Gemm."""
    layer = source.producer()
    if layer is None or is_op(layer, "Conv", "ConvTranspose", "Gemm"):
        return layer
    if rank_of(source) != 2:
        return None
    if is_op(layer, "MatMul"):
        return _as_gemm(layer)
    if not is_op(layer, "Add"):
        return None
    for index in (0, 1):
        product, bias = layer.inputs[index], layer.inputs[1 - index]
        matmul = None if product is None else product.producer()
        array = constant(bias)
        if product is None or matmul is None or array is None or not is_op(matmul, "MatMul"):
            continue
        weight = constant(matmul.inputs[1])
        if weight is None or array.shape != weight.shape[1:] or sole_consumer(product) is not layer:
            continue
        if _as_gemm(matmul) is None:
            return None
        matmul.resize_inputs(3)
        matmul.replace_input_with(2, bias)
        absorb(model, product, layer)
        return matmul
    return None


def _as_gemm(matmul: ir.Node) -> ir.Node | None:
    weight = constant(matmul.inputs[1])
    if rank_of(matmul.inputs[0]) != 2 or weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    matmul.op_type = "Gemm"
    return matmul
