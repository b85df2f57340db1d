"""What scales every channel by its own number, as depthwise convolutions with one weight a channel."""

import numpy as np

from dybitq.encodings import dyadic, formats
from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.factors import dyadic_factors, requantize, share
from dybitq.graph.steps.records import Step
from dybitq.records.arithmetic import TieRounding
from dybitq.records.fitted import FittedEdge
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Addition, Clamp, Convolution, Operation, Requantize, Weight

_MANTISSAS = np.arange(64, 128)  # weights from which the factor's mantissa is chosen
_SMALLEST = 2.0**-40
_BIAS_LIMIT = 2**31 - 2**7


def affine(assembly: Assembly, step: Step) -> list[Operation]:
    """A gain and a shift for each channel."""
    assert step.gains is not None
    gains, shifts = step.gains
    source, output = assembly.input_edge(step), assembly.output_edge(step)
    weights, target, relative = _scaled(assembly, step, gains * (source.scale / output.scale), output)
    assembly.relative[step.outputs[0]] = relative
    unit = output.scale * dyadic.value(target.multiplier, target.shift)
    bias = np.clip(np.rint(shifts / unit), -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int64)
    return [
        Convolution(
            name=step.name,
            input=assembly.codes(step.inputs[0]),
            output=assembly.codes(step.outputs[0]),
            input_zero=source.zero_point,
            weight=_depthwise(weights, step.rank),
            bias=bias,
            window=_point(len(gains), step.rank),
            requantize=target,
        )
    ]


def slopes(assembly: Assembly, step: Step) -> list[Operation]:
    """PRelu: what is above zero, plus what is below it times the slope of its channel."""
    assert step.gains is not None
    gains, _ = step.gains
    source, output = assembly.input_edge(step), assembly.output_edge(step)
    weights, target, relative = _scaled(assembly, step, gains * (source.scale / output.scale), output)
    codes, result = assembly.codes(step.inputs[0]), assembly.codes(step.outputs[0])
    below, above, scaled = f"{result}_below", f"{result}_above", f"{result}_scaled"
    zero = source.zero_point
    zeros = (zero, output.zero_point)
    shared = share(step.name, [source.scale / output.scale, 1.0], zeros, assembly.options)
    assembly.relative[step.outputs[0]] = max(relative, *(abs(r) for r in shared.relative))
    return [
        Clamp(name=f"{step.name}/below", input=codes, output=below, low=0, high=zero),
        Convolution(
            name=f"{step.name}/slopes",
            input=below,
            output=scaled,
            input_zero=zero,
            weight=_depthwise(weights, step.rank),
            bias=None,
            window=_point(len(gains), step.rank),
            requantize=target,
        ),
        Clamp(name=f"{step.name}/above", input=codes, output=above, low=zero, high=255),
        Addition(
            name=step.name,
            inputs=(above, scaled),
            output=result,
            zeros=zeros,
            multipliers=(np.array([shared.multipliers[0]]), np.array([shared.multipliers[1]])),
            shift=shared.shift,
            zero_point=output.zero_point,
            low=output.low,
            high=output.high,
            rounding=TieRounding(assembly.options.rounding),
        ),
    ]


def _scaled(
    assembly: Assembly, step: Step, factors: np.ndarray, output: FittedEdge
) -> tuple[np.ndarray, Requantize, float]:
    """Integer weight and dyadic factor of every channel whose product is closest to ``factors``.

    Returns:
        Weights, int64 ``[channels]``; the requantization; the largest relative error.
    """
    magnitudes = np.abs(factors)
    wanted = np.maximum(magnitudes, _SMALLEST)[:, None] / _MANTISSAS
    b, c = dyadic_factors(f"{step.op_type} {step.name}", wanted, assembly.options)
    errors = np.abs(dyadic.value(b, c) / wanted - 1)
    best = errors.argmin(axis=1)
    rows = np.arange(len(factors))
    chosen, relative = dyadic.value(b[rows, best], c[rows, best]), errors[rows, best]
    dead = magnitudes < _SMALLEST
    weights = np.where(dead, 0, _MANTISSAS[best] * np.sign(factors)).astype(np.int64)
    # a channel whose factor vanishes at the largest shift takes the weight that is left of it
    vanishing = relative > 1 / _MANTISSAS[0]
    weights = np.where(vanishing & ~dead, np.rint(factors / chosen), weights).astype(np.int64)
    target, _ = requantize(f"{step.op_type} {step.name}", chosen, output, assembly.options)
    return weights, target, float(np.where(dead | vanishing, 0.0, relative).max())


def _depthwise(weights: np.ndarray, rank: int) -> Weight:
    fmt = formats.get("int8")
    order = np.argsort(fmt.table)
    codes = order[np.searchsorted(fmt.table[order], weights)].astype(np.uint8)
    return Weight(format=fmt, codes=codes.reshape(-1, 1, *[1] * (rank - 2)))


def _point(channels: int, rank: int) -> Window:
    ones = (1,) * (rank - 2)
    return Window(kernel=ones, strides=ones, dilations=ones, pads=(0,) * 2 * len(ones), group=channels)
