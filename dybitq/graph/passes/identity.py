"""Operators that return their input at inference are removed: Identity, Dropout, Cast to the same type."""

import onnx_ir as ir

from dybitq.graph.values import absorb, constant, int_attribute, is_op


def remove_identities(model: ir.Model) -> tuple[str, ...]:
    """Remove them, also before graph outputs, whose names stay.

    One stays where its input is a graph input, an initializer or an output itself and its result is a
    graph output: that is the only way to write such a graph.
    """
    for node in list(model.graph):
        if _returns_its_input(node):
            _remove(model, node)
    return ()


def _returns_its_input(node: ir.Node) -> bool:
    if is_op(node, "Identity"):
        return True
    if is_op(node, "Dropout"):
        return _is_inference_dropout(node)
    if is_op(node, "Cast"):
        source = node.inputs[0]
        return source is not None and source.dtype == ir.DataType(int_attribute(node, "to", 0))
    return False


def _is_inference_dropout(node: ir.Node) -> bool:
    """Tell if the mask is unused, and training mode is absent or the constant false."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return False
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return True
    mode = constant(training)
    return mode is not None and not bool(mode.reshape(-1)[0])


def _remove(model: ir.Model, node: ir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    if source is None:
        return
    if output.is_graph_output():
        if source.producer() is None or source.is_graph_output() or source.graph is not node.graph:
            return
        absorb(model, source, node)
        return
    output.replace_all_uses_with(source)
    model.graph.remove(node, safe=True)
