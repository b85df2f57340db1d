"""A Pad with zeros before a Conv becomes part of the Conv's own pads."""

import onnx_ir as ir

from dybitq.graph.padding import string_attribute
from dybitq.graph.values import constant, ints_attribute, is_op, rank_of, sole_consumer


def merge_pads(model: ir.Model) -> tuple[str, ...]:
    """Merge where only spatial axes are padded, with zeros, and the Conv is the only reader."""
    for node in list(model.graph):
        data = node.inputs[0] if node.inputs else None
        conv = sole_consumer(node.outputs[0]) if is_op(node, "Pad") else None
        if data is None or conv is None or not is_op(conv, "Conv") or conv.inputs[0] is not node.outputs[0]:
            continue
        amounts = _zero_pads(node)
        if conv.graph is not node.graph or "auto_pad" in conv.attributes or amounts is None:
            continue
        spatial = len(amounts) // 2 - 2
        present = ints_attribute(conv, "pads") or (0,) * (2 * spatial)
        added = (*amounts[2 : 2 + spatial], *amounts[4 + spatial :])
        if any(amounts[:2]) or any(amounts[2 + spatial : 4 + spatial]) or len(present) != len(added):
            continue
        pads = [old + new for old, new in zip(present, added, strict=True)]
        conv.attributes["pads"] = ir.AttrInt64s("pads", pads)
        conv.replace_input_with(0, data)
        model.graph.remove(node, safe=True)
    return ()


def _zero_pads(node: ir.Node) -> tuple[int, ...] | None:
    """Return the pads of a Pad, begins before ends; None unless they are fixed, zero-filled, and >= 0."""
    if string_attribute(node, "mode", "constant") != "constant":
        return None
    amounts = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    fill_array = constant(fill)
    if amounts is None or (fill is not None and (fill_array is None or fill_array.any())):
        return None
    if (amounts < 0).any():
        return None
    axes_value = node.inputs[3] if len(node.inputs) > 3 else None
    if axes_value is None:
        return tuple(int(amount) for amount in amounts)
    axes, rank = constant(axes_value), rank_of(node.inputs[0])
    if axes is None or rank is None:
        return None
    full = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        full[int(axis) % rank] = int(amounts[index])
        full[int(axis) % rank + rank] = int(amounts[index + len(axes)])
    return tuple(full)
