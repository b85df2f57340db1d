"""Weights of an integer graph: packed codes and their decode, wide ones in two parts, and notes on layers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.unpack import add_decode
from dybitq.graph import keys
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Convolution, Product, Weight

SPLIT = 64
"""Wide weights are multiplied in two parts of at most this magnitude."""


def decoded(graph: IntegerGraph, weight: Weight) -> ir.Value:
    """Add packed codes and their decode to int8."""
    return add_decode(graph.builder, weight.format, weight.codes, as_float=False)


def split(weight: Weight) -> tuple[Weight, ...]:
    """Return the weight itself, or two of int8 where its integers are wider: ``w = 64 high + low``."""
    if weight.format.fits_int8:
        return (weight,)
    high = (weight.format.table + SPLIT // 2) // SPLIT
    low = weight.format.table - SPLIT * high
    return tuple(
        Weight(
            format=replace(weight.format, name=f"{weight.format.name}_{part}", table=table),
            codes=weight.codes,
        )
        for part, table in (("high", high), ("low", low))
    )


def joined(graph: IntegerGraph, sums: Sequence[ir.Value]) -> ir.Value:
    """Return the accumulator of a weight that :func:`split` may have split."""
    if len(sums) == 1:
        return sums[0]
    factor = graph.array(np.array(SPLIT, np.int32))
    return graph.node("Add", [graph.node("Mul", [sums[0], factor]), sums[1]])


def describe(value: ir.Value, weight: Weight) -> None:
    """Note on the node of a layer the format of its weights."""
    node = value.producer()
    assert node is not None
    node.metadata_props[keys.WEIGHTS] = weight.format.name
    node.metadata_props[keys.ACTIVATIONS] = "static"


def accumulate_product(graph: IntegerGraph, operation: Product) -> ir.Value:
    """Add a MatMulInteger and its int32 bias."""
    codes, zero = graph.get(operation.input), graph.scalar(operation.input_zero, np.uint8)
    sums = []
    labels = (operation.name, f"{operation.name}/low")
    for part, label in zip(split(operation.weight), labels, strict=False):
        sums.append(graph.node("MatMulInteger", [codes, decoded(graph, part), zero], label=label))
    describe(sums[0], operation.weight)
    value = joined(graph, sums)
    if operation.bias is None:
        return value
    return graph.node("Add", [value, graph.array(operation.bias.astype(np.int32))])


def window_attributes(window: Window) -> dict[str, int | tuple[int, ...]]:
    """Return the geometry of a convolution as ONNX attributes, those at their default left out."""
    rank = len(window.kernel)
    found: dict[str, int | tuple[int, ...]] = {"kernel_shape": window.kernel}
    if window.strides != (1,) * rank:
        found["strides"] = window.strides
    if window.dilations != (1,) * rank:
        found["dilations"] = window.dilations
    if any(window.pads):
        found["pads"] = window.pads
    if window.group != 1:
        found["group"] = window.group
    return found


def convolution_operands(
    graph: IntegerGraph, operation: Convolution, weight: Weight
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Add codes, weights and the input's zero point."""
    codes = graph.get(operation.input)
    return codes, decoded(graph, weight), graph.scalar(operation.input_zero, np.uint8)
