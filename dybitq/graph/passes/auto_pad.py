"""``auto_pad`` and ``output_shape`` of convolutions become explicit pads, wherever the sizes allow it."""

import onnx_ir as ir

from dybitq.graph.padding import explicit_pads, string_attribute
from dybitq.graph.values import is_constant, is_op, shape_of


def resolve_auto_pad(model: ir.Model) -> tuple[str, ...]:
    """Rewrite the attributes; needs inferred shapes. Others stay and are noted later."""
    for node in model.graph:
        if not is_op(node, "Conv", "ConvTranspose") or not is_constant(node.inputs[1]):
            continue
        if string_attribute(node, "auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in node.attributes:
            node.attributes.pop("auto_pad", None)
            continue
        pads = explicit_pads(node, shape_of(node.inputs[0]))
        if pads is None:
            continue
        node.attributes.pop("auto_pad", None)
        node.attributes.pop("output_shape", None)
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    return ()
