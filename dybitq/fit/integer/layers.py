"""Weighted layers, and sums over windows, as operations of an integer program."""

from dataclasses import replace

import numpy as np

from dybitq.encodings import dyadic, formats
from dybitq.errors import UnsupportedError
from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.factors import requantize, requantize_tied
from dybitq.fit.integer.polyphase import Polyphase, interpolation_kernels, transposed_kernels
from dybitq.graph.steps.records import Step
from dybitq.records.fitted import FittedWeight
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow
from dybitq.records.integer_network import Convolution, Move, Operation, Product, Requantize, Weight

_BIAS_LIMIT = 2**31 - 2**7


def unit_of(assembly: Assembly, step: Step) -> np.ndarray:
    """What one unit of a layer's accumulator is worth: ``s_x * s_w``, float64 ``[1]`` or ``[channels]``."""
    return _scale_of(assembly, step).astype(np.float64) * assembly.input_edge(step).scale


def _scale_of(assembly: Assembly, step: Step) -> np.ndarray:
    """Scale of the weights, one for each output channel; groups of a ConvTranspose share theirs."""
    scale, work = assembly.weights[step.name].scale, assembly.layers[step.name]
    return np.tile(scale, work.geometry.output_channels // scale.size) if scale.size > 1 else scale


def layer(assembly: Assembly, step: Step) -> list[Operation]:
    """A weighted layer with its bias in units of the accumulator."""
    work, fitted = assembly.layers[step.name], assembly.weights[step.name]
    unit = unit_of(assembly, step)
    target = None
    raw = step.outputs[0] in assembly.raw_sums
    if not step.wide and not raw:
        edge = assembly.output_edge(step)
        factors = unit / edge.scale
        if assembly.options.multiplier_bits:
            factors = dyadic.factor(assembly.input_edge(step).scale, _scale_of(assembly, step), edge.scale)
        target, _ = requantize(f"layer {step.name}", factors, edge, assembly.options)
    bias = None
    if fitted.bias is not None:
        codes = np.rint(fitted.bias.astype(np.float64) / unit)
        bias = np.clip(codes, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int64)
    if isinstance(work.geometry, TransposedWindow) and target is not None:
        return _transposed(assembly, step, work.geometry, fitted, bias, target)
    if isinstance(work.geometry, SlidingWindow):
        return [
            Convolution(
                name=step.name,
                input=assembly.codes(step.inputs[0]),
                output=_result(assembly, step),
                input_zero=assembly.input_edge(step).zero_point,
                weight=Weight(format=fitted.format, codes=fitted.codes),
                bias=bias,
                window=work.geometry.window,
                requantize=target,
            )
        ]
    return _product(assembly, step, fitted, bias, target)


def _result(assembly: Assembly, step: Step) -> str:
    """Name of what a layer writes: codes, or an accumulator for a sum of 16 bits."""
    name = step.outputs[0]
    return f"{assembly.codes(name)}_sum" if name in assembly.raw_sums else assembly.codes(name)


def _product(
    assembly: Assembly, step: Step, fitted: FittedWeight, bias: np.ndarray | None, target: Requantize | None
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
    step: Step,
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
    return _interleaved(assembly, step, assembly.codes(step.inputs[0]), phases, weight, repeated, target)


def interpolate(assembly: Assembly, step: Step) -> list[Operation]:
    """Linear Resize: repeated border, one kernel for every phase, interleaved; the encoding stays.

    Where the weights' common divisor is no power of two its reciprocal is a dyadic number with any options.
    """
    phases = interpolation_kernels(step.channels, step.factor, half_pixel=step.half_pixel)
    options = replace(assembly.options, scales="free")
    target, relative = requantize(step.name, 1 / phases.divisor, assembly.output_edge(step), options)
    assembly.relative[step.outputs[0]] = relative
    padded = f"{assembly.codes(step.outputs[0])}_border"
    border = Move(
        name=f"{step.name}/border",
        op_type="Pad",
        operands=(assembly.codes(step.inputs[0]), np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)),
        outputs=(padded,),
        attributes={"mode": "edge"},
    )
    weight = whole_numbers(phases.kernels)
    return [border, *_interleaved(assembly, step, padded, phases, weight, None, target)]


def _interleaved(
    assembly: Assembly,
    step: Step,
    source: str,
    phases: Polyphase,
    weight: Weight,
    bias: np.ndarray | None,
    target: Requantize,
) -> list[Operation]:
    output = assembly.codes(step.outputs[0])
    convolution = Convolution(
        name=step.name,
        input=source,
        output=f"{output}_phases",
        input_zero=assembly.input_edge(step).zero_point,
        weight=weight,
        bias=bias,
        window=phases.window,
        requantize=target,
    )
    cut = any(phases.crop)
    mixed = Move(
        name=f"{step.name}/interleave",
        op_type="DepthToSpace",
        operands=(convolution.output,),
        outputs=(f"{output}_whole" if cut else output,),
        attributes={"blocksize": phases.block, "mode": "CRD"},
    )
    if not cut:
        return [convolution, mixed]
    top, left, bottom, right = phases.crop
    last = np.iinfo(np.int64).max
    ends = np.array([-bottom if bottom else last, -right if right else last], np.int64)
    slices = (np.array([top, left], np.int64), ends, np.array([2, 3], np.int64))
    crop = Move(
        name=f"{step.name}/crop", op_type="Slice", operands=(mixed.outputs[0], *slices), outputs=(output,)
    )
    return [convolution, mixed, crop]


def window_mean(assembly: Assembly, step: Step) -> list[Operation]:
    """AveragePool: a depthwise convolution with ones, the size of the window in the factor."""
    source, target_edge = assembly.input_edge(step), assembly.output_edge(step)
    assert step.window is not None
    size = int(np.prod(step.window.kernel))
    factor = source.scale / (target_edge.scale * size)
    target, relative = requantize_tied(step.name, factor, target_edge, assembly.options)
    assembly.relative[step.outputs[0]] = relative
    return [
        Convolution(
            name=step.name,
            input=assembly.codes(step.inputs[0]),
            output=assembly.codes(step.outputs[0]),
            input_zero=source.zero_point,
            weight=whole_numbers(np.ones((step.channels, 1, *step.window.kernel), np.int64)),
            bias=None,
            window=step.window,
            requantize=target,
        )
    ]


def whole_numbers(values: np.ndarray) -> Weight:
    """Whole numbers from 0 to 127 as int8 weights, whose codes they are themselves."""
    fmt = formats.get("int8")
    codes = values.astype(np.uint8)
    if not np.array_equal(fmt.table[codes], values):
        raise ValueError("whole numbers beyond 127 do not fit int8")
    return Weight(format=fmt, codes=codes)
