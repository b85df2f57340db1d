"""Weighted layers: convolutions, their transposes, and matrix products with constant weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from dybitq.encodings import dyadic
from dybitq.errors import UnsupportedError
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, plain_attributes
from dybitq.integer.factors import requantize
from dybitq.integer.operators.product import ProductStep
from dybitq.integer.polyphase import interleaved, transposed_kernels
from dybitq.integer.step import IntegerStep
from dybitq.records.fitted import FittedWeight
from dybitq.records.geometry.products import EmbeddingTable, MatrixPair, MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow
from dybitq.records.integer_network import (
    AttributeValue,
    Convolution,
    Move,
    Operation,
    Product,
    Requantize,
    Weight,
)
from dybitq.records.layers import LayerWork

_BIAS_LIMIT = 2**31 - 2**7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerStep(IntegerStep):
    """Weights times codes.

    Attributes:
        attributes: of the operator.
        rows: whether it multiplies rows by a matrix, whose sums can be handed out as they are.
        wide: whether the result stays an int32 sum.
    """

    any_width: ClassVar[bool] = True

    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    rows: bool = False
    wide: bool = False

    def as_sum(self) -> IntegerStep | None:
        """Return the step that leaves its sums as they are, if it multiplies rows by a matrix."""
        return replace(self, wide=True) if self.rows else None

    def sum_unit(self, assembly: Assembly) -> np.ndarray:
        """Value of one unit of the accumulator: ``s_x * s_w``."""
        return _scale_of(assembly, self).astype(np.float64) * assembly.input_edge(self).scale

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Multiply by the fitted weights, with the bias in units of the accumulator."""
        work, fitted = assembly.layers[self.name], assembly.weights[self.name]
        unit = self.sum_unit(assembly)
        target = None
        if not self.wide and self.outputs[0] not in assembly.raw_sums:
            edge = assembly.output_edge(self)
            factors = unit / edge.scale
            if assembly.options.multiplier_bits:
                scale = _scale_of(assembly, self)
                factors = dyadic.factor(assembly.input_edge(self).scale, scale, edge.scale)
            target, _ = requantize(f"layer {self.name}", factors, edge, assembly.options)
        bias = None
        if fitted.bias is not None:
            codes = np.rint(fitted.bias.astype(np.float64) / unit)
            bias = np.clip(codes, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int64)
        if isinstance(work.geometry, TransposedWindow) and target is not None:
            return _transposed(assembly, self, work.geometry, fitted, bias, target)
        if isinstance(work.geometry, SlidingWindow):
            return [
                Convolution(
                    name=self.name,
                    input=assembly.codes(self.inputs[0]),
                    output=_result(assembly, self),
                    input_zero=assembly.input_edge(self).zero_point,
                    weight=Weight(format=fitted.format, codes=fitted.codes),
                    bias=bias,
                    window=work.geometry.window,
                    requantize=target,
                )
            ]
        return _product(assembly, self, fitted, bias, target)


def recognise(node: ir.Node, context: Context) -> IntegerStep | None:
    """Recognise a layer of the survey; the Add of a matrix product's bias becomes part of it."""
    layer = context.layers[str(node.name)]
    if isinstance(layer.geometry, EmbeddingTable) or not has_phases(layer):
        return None
    dynamic = isinstance(layer.geometry, MatrixPair)
    names = [layer.input, layer.weight] if dynamic else [layer.input]
    values = [next(v for v in node.inputs if v is not None and v.name == name) for name in names]
    if not all(context.is_coded(value, demand=True) for value in values):
        return None
    output = node.outputs[0]
    if layer.bias_node is not None and not layer.geometry.stacked:
        added = context.nodes[layer.bias_node]
        context.done.add(added)
        output = added.outputs[0]
    fields = names_of(node, values, outputs=(str(output.name),))
    if dynamic:
        return context.own(ProductStep(**fields), output)
    rows = isinstance(layer.geometry, MatrixProduct) and layer.geometry.plain
    return context.own(LayerStep(**fields, attributes=plain_attributes(node), rows=rows), output)


def has_phases(layer: LayerWork) -> bool:
    """Return whether a ConvTranspose can be a convolution with one kernel a phase; True for other layers."""
    if not isinstance(layer.geometry, TransposedWindow):
        return True
    window = layer.geometry.window
    plain = window.dilations == (1, 1) and window.strides[0] == window.strides[-1]
    return plain and len(window.kernel) == 2 and min(window.pads) >= 0


def _scale_of(assembly: Assembly, step: LayerStep) -> np.ndarray:
    """Scale of the weights, one for each output channel; groups of a ConvTranspose share theirs."""
    scale, work = assembly.weights[step.name].scale, assembly.layers[step.name]
    return np.tile(scale, work.geometry.output_channels // scale.size) if scale.size > 1 else scale


def _result(assembly: Assembly, step: LayerStep) -> str:
    """Name of the tensor that a layer writes: codes, or an accumulator for a sum of 16 bits."""
    name = step.outputs[0]
    return f"{assembly.codes(name)}_sum" if name in assembly.raw_sums else assembly.codes(name)


def _product(
    assembly: Assembly,
    step: LayerStep,
    fitted: FittedWeight,
    bias: np.ndarray | None,
    target: Requantize | None,
) -> list[Operation]:
    work = assembly.layers[step.name]
    turned = work.geometry.weight_input == 0
    outward = work.geometry.channel_axis == fitted.codes.ndim - 2  # [..., out, in]
    codes = np.swapaxes(fitted.codes, -1, -2) if outward else fitted.codes
    rank = len(work.input_shape) or None
    operation = Product(
        name=step.name,
        input=assembly.codes(step.inputs[0]),
        output=_result(assembly, step),
        input_zero=assembly.input_edge(step).zero_point,
        weight=Weight(format=fitted.format, codes=np.ascontiguousarray(codes)),
        bias=bias,
        requantize=target,
        input_rank=rank,
    )
    if not turned:
        return [operation]
    if rank is None:
        raise UnsupportedError(f"layer {step.name}: the rank of its input is unknown")
    before = f"{operation.output}_columns", f"{operation.output}_rows"
    return [
        _turn(f"{step.name}/turn", operation.input, before[0], rank),
        replace(operation, input=before[0], output=before[1]),
        _turn(f"{step.name}/turn_back", before[1], operation.output, max(rank, codes.ndim)),
    ]


def _turn(name: str, source: str, output: str, rank: int) -> Move:
    order = (*range(rank - 2), rank - 1, rank - 2)
    return Move(
        name=name, op_type="Transpose", operands=(source,), outputs=(output,), attributes={"perm": order}
    )


def _transposed(
    assembly: Assembly,
    step: LayerStep,
    geometry: TransposedWindow,
    fitted: FittedWeight,
    bias: np.ndarray | None,
    target: Requantize,
) -> list[Operation]:
    """ConvTranspose: every phase a convolution, interleaved, cut to size."""
    given = step.attributes.get("output_padding", (0, 0))
    padding = tuple(int(extra) for extra in given) if isinstance(given, tuple) else (0, 0)
    zero_codes = np.flatnonzero(fitted.format.table == 0)
    if not zero_codes.size:
        name, bits = fitted.format.name, fitted.format.bits
        raise UnsupportedError(
            f"layer {step.name}: the phases of an integer ConvTranspose are filled up with zeros, which "
            f"{name} does not have; give this layer another format, such as int{bits}"
        )
    phases = transposed_kernels(fitted.codes, int(zero_codes[0]), geometry.window, padding)
    square = phases.block**2
    if target.multiplier.size > 1:
        multiplier, shift = target.multiplier.repeat(square), target.shift.repeat(square)
        target = replace(target, multiplier=multiplier, shift=shift)
    weight = Weight(format=fitted.format, codes=np.ascontiguousarray(phases.kernels))
    repeated = None if bias is None else bias.repeat(square)
    return interleaved(assembly, step, assembly.codes(step.inputs[0]), phases, weight, repeated, target)
