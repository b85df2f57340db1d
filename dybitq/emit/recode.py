"""Re-codings on the consumer's edge: tables on codes, in pairs of neighbouring channels where asked."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.lookup import add_lookup
from dybitq.encodings.sparq import partners
from dybitq.records import LayerKind, LayerWork, Recoding


def add_recoding(
    builder: Builder, codes: ir.Value, recoding: Recoding, layer: LayerWork, *, before: ir.Node
) -> ir.Value:
    """Codes as ``layer`` multiplies them, uint8, shape of ``codes``.

    Pairs are neighbouring input channels at one tap of a convolution, or neighbours along the reduction
    axis of a matrix product. A value beside a zero goes through ``recoding.single``, others through
    ``recoding.both``.
    """
    both = add_lookup(builder, codes, recoding.both, before=before)
    if not recoding.paired:
        return both
    identity = bool((recoding.single == np.arange(256)).all())
    single = codes if identity else add_lookup(builder, codes, recoding.single, before=before)
    axis, count, groups = reduction_axis(layer)
    partner, lone = partners(count, groups)
    neighbour = builder.node(
        "Gather",
        [codes, builder.constant(partner, "n")],
        attributes={"axis": axis},
        output="q",
        before=before,
    )
    zero = builder.constant(np.array(recoding.zero_point, np.uint8), "z")
    alone = builder.node("Equal", [neighbour, zero], output="m", before=before)
    if lone.any():
        shape = (-1,) if axis == -1 else (1, -1, *[1] * (len(layer.weight_shape) - 2))
        mask = builder.constant(lone.reshape(shape), "m")
        alone = builder.node("Or", [alone, mask], output="m", before=before)
    return builder.node("Where", [alone, single, both], output="q", before=before)


def reduction_axis(layer: LayerWork) -> tuple[int, int, int]:
    """Axis of the input along which a layer's pairs lie, its extent, and the groups that pairs stay in."""
    shape = tuple(int(d or 1) for d in layer.weight_shape)
    if layer.kind is LayerKind.CONV and layer.window is not None:
        return 1, shape[1] * layer.window.group, layer.window.group
    return -1, shape[-1] if layer.transposed else shape[-2], 1
