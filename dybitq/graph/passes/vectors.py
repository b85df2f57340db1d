"""A bias that an Add gives to a MatMul is stored as a vector: ``[1, 1, n]`` becomes ``[n]``."""

import onnx_ir as ir

from dybitq.graph.values import constant, is_op, rank_of, replace_constant, sole_consumer


def flatten_bias_vectors(model: ir.Model) -> tuple[str, ...]:
    """Drop leading axes of extent 1 from constants added to a MatMul result of at least that rank."""
    for node in list(model.graph):
        if not is_op(node, "MatMul"):
            continue
        add = sole_consumer(node.outputs[0])
        if add is None or not is_op(add, "Add"):
            continue
        index = 1 if add.inputs[0] is node.outputs[0] else 0
        bias = constant(add.inputs[index])
        rank = rank_of(node.outputs[0])
        if bias is None or rank is None or not 1 < bias.ndim <= rank or bias.size != bias.shape[-1]:
            continue
        replace_constant(model, add, index, bias.reshape(-1))
    return ()
