"""What lies between the layers, as operations of an integer program."""

import numpy as np

from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.factors import requantize, requantize_tied, share
from dybitq.graph.steps.records import Step
from dybitq.records.arithmetic import TieRounding
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Clamp,
    Concatenation,
    Lookup,
    Mean,
    Move,
    Multiplication,
    Operation,
)


def product(assembly: Assembly, step: Step) -> list[Operation]:
    """MatMul of two activations."""
    left, right = assembly.operands(step)
    output = assembly.output_edge(step)
    target, relative = requantize_tied(
        step.name, left.scale * right.scale / output.scale, output, assembly.options
    )
    assembly.relative[step.outputs[0]] = relative
    return [
        ActivationProduct(
            name=step.name,
            inputs=_pair(assembly, step),
            output=assembly.codes(step.outputs[0]),
            zeros=(left.zero_point, right.zero_point),
            requantize=target,
        )
    ]


def add(assembly: Assembly, step: Step) -> list[Operation]:
    """Add: a common shift, one rounding of the exact sum."""
    left, right = assembly.operands(step)
    output = assembly.output_edge(step)
    zeros = (left.zero_point, right.zero_point)
    ratios = [left.scale / output.scale, right.scale / output.scale]
    shared = share(step.name, ratios, zeros, assembly.options)
    assembly.relative[step.outputs[0]] = max(abs(r) for r in shared.relative)
    return [
        Addition(
            name=step.name,
            inputs=_pair(assembly, step),
            output=assembly.codes(step.outputs[0]),
            zeros=zeros,
            multipliers=(np.array([shared.multipliers[0]]), np.array([shared.multipliers[1]])),
            shift=shared.shift,
            zero_point=output.zero_point,
            low=output.low,
            high=output.high,
            rounding=TieRounding(assembly.options.rounding),
            each_branch=assembly.options.residual_rounding == "branch" and shared.shift > 0,
        )
    ]


def multiply(assembly: Assembly, step: Step) -> list[Operation]:
    """Mul of two activations."""
    left, right = assembly.operands(step)
    output = assembly.output_edge(step)
    target, relative = requantize_tied(
        step.name, left.scale * right.scale / output.scale, output, assembly.options
    )
    assembly.relative[step.outputs[0]] = relative
    return [
        Multiplication(
            name=step.name,
            inputs=_pair(assembly, step),
            output=assembly.codes(step.outputs[0]),
            zeros=(left.zero_point, right.zero_point),
            requantize=target,
        )
    ]


def concat(assembly: Assembly, step: Step) -> list[Operation]:
    """Concat of branches with encodings of their own."""
    edges, output = assembly.operands(step), assembly.output_edge(step)
    made = [requantize(step.name, e.scale / output.scale, output, assembly.options) for e in edges]
    assembly.relative[step.outputs[0]] = max(relative for _, relative in made)
    return [
        Concatenation(
            name=step.name,
            inputs=tuple(assembly.codes(name) for name in step.inputs),
            output=assembly.codes(step.outputs[0]),
            zeros=tuple(edge.zero_point for edge in edges),
            requantize=tuple(target for target, _ in made),
            axis=step.axis,
        )
    ]


def mean(assembly: Assembly, step: Step) -> list[Operation]:
    """GlobalAveragePool: the sum, with the reciprocal of the count in the factor."""
    source, target = assembly.input_edge(step), None
    if not step.wide:
        output = assembly.output_edge(step)
        factor = source.scale / (output.scale * step.count)
        target, relative = requantize_tied(step.name, factor, output, assembly.options)
        assembly.relative[step.outputs[0]] = relative
    return [
        Mean(
            name=step.name,
            input=assembly.codes(step.inputs[0]),
            output=assembly.codes(step.outputs[0]),
            input_zero=source.zero_point,
            axes=step.axes,
            count=step.count,
            requantize=target,
        )
    ]


def lookup(assembly: Assembly, step: Step) -> list[Operation]:
    """A function of one value: the output code of every input code, rounded half to even."""
    source, output = assembly.input_edge(step), assembly.output_edge(step)
    assert step.function is not None
    values = step.function((np.arange(256) - source.zero_point) * np.float64(source.scale))
    limit = 512.0 * output.scale
    steps = np.rint(np.nan_to_num(values, nan=0.0, posinf=limit, neginf=-limit) / output.scale)
    return [
        Lookup(
            name=step.name,
            input=assembly.codes(step.inputs[0]),
            output=assembly.codes(step.outputs[0]),
            table=np.clip(steps + output.zero_point, output.low, output.high).astype(np.uint8),
        )
    ]


def move(assembly: Assembly, step: Step) -> list[Operation]:
    """What moves or compares codes; padding holds the zero point."""
    operands: list[str | np.ndarray | None] = [
        assembly.codes(o) if isinstance(o, str) and (o in assembly.edges or o in assembly.accumulators) else o
        for o in step.operands
    ]
    if step.op_type == "Pad" and step.attributes.get("mode", "constant") == "constant":
        operands += [None] * (3 - len(operands))
        operands[2] = np.array(assembly.input_edge(step).zero_point, np.uint8)
    return [
        Move(
            name=step.name,
            op_type=step.op_type,
            operands=tuple(operands),
            outputs=tuple(assembly.codes(name) for name in step.outputs),
            attributes=step.attributes,
        )
    ]


def clamp(assembly: Assembly, step: Step) -> list[Operation]:
    """Relu and Clip that no other operation takes in."""
    edge = assembly.output_edge(step)
    return [
        Clamp(
            name=step.name,
            input=assembly.codes(step.inputs[0]),
            output=assembly.codes(step.outputs[0]),
            low=edge.low,
            high=edge.high,
        )
    ]


def _pair(assembly: Assembly, step: Step) -> tuple[str, str]:
    left, right = step.inputs
    return assembly.codes(left), assembly.codes(right)
