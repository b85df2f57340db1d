"""When a quantized kernel with float32 parameters is integer arithmetic: one rule for each operator.

A kernel multiplies its accumulator by a float32 factor and rounds half to even. Results that do not
saturate at 8 bits are smaller than 2^8, so with a factor ``b * 2^-c`` and c <= 16 the product is at most 2^24
in units of 2^-c: every float32 step is exact. What saturates stays saturated, because float rounding is
monotone. QLinearAdd rounds a float32 sum that has the zero point in it already, so there the whole sum has to
fit.
"""

from collections.abc import Callable

import numpy as np

from dybitq.graph import keys
from dybitq.graph.stored.plain import PlainGraph, PlainNode
from dybitq.verification.exact import Factor, NotDyadicError, factor_of

MAX_SHIFT = 16
EXACT = 1 << 24
ZERO_POINTS = (0, 128)

Rule = Callable[[PlainGraph, PlainNode], list[str]]


def rule_of(op_type: str) -> Rule | None:
    """Return the rule of a quantized operator, None for any other."""
    return {
        "QLinearConv": _multiplying((1, 4), 6, codes=(2, 7), weight=5),
        "QLinearMatMul": _multiplying((1, 4), 6, codes=(2, 7), weight=5),
        "QGemm": _multiplying((1, 4), 7, codes=(2, 8), weight=5),
        "QLinearMul": _multiplying((1, 4), 6, codes=(2, 5, 7), weight=None),
        "QLinearAdd": _add,
        "QLinearConcat": _concat,
        "QLinearGlobalAveragePool": _mean,
    }.get(op_type)


def _multiplying(over: tuple[int, int], under: int, *, codes: tuple[int, ...], weight: int | None) -> Rule:
    """Rule of an operator with one factor.

    Args:
        over, under: inputs that hold the scales whose quotient the factor is.
        codes: inputs that hold zero points of activations.
        weight: input that holds the zero point of the right operand, two behind that operand.
    """

    def rule(graph: PlainGraph, node: PlainNode) -> list[str]:
        scales = [_constant(graph, node, index) for index in over]
        divisor = _constant(graph, node, under)
        if divisor is None or any(scale is None for scale in scales):
            return ["a scale is computed at run time"]
        found = _factor_problems([scale for scale in scales if scale is not None], divisor)
        for index in codes:
            found += _zero_problems(graph, node, index, ZERO_POINTS)
        if weight is not None:
            fixed = _constant(graph, node, weight - 2) is not None
            found += _zero_problems(graph, node, weight, (0,) if fixed else ZERO_POINTS)
        return found

    return rule


def _add(graph: PlainGraph, node: PlainNode) -> list[str]:
    scales = [_constant(graph, node, index) for index in (1, 4, 6)]
    if any(scale is None for scale in scales):
        return ["a scale is computed at run time"]
    found = []
    for index in (2, 5, 7):
        found += _zero_problems(graph, node, index, ZERO_POINTS)
    factors: list[Factor] = []
    for scale in scales[:2]:
        assert scale is not None
        found += _factor_problems([scale], scales[2])
        try:
            factors.append(factor_of([scale], scales[2]))
        except NotDyadicError:
            return found
    if found:
        return found
    shift = max(int(f.shift.max()) for f in factors)
    multipliers = [int(f.numerator.max()) << (shift - int(f.shift.max())) for f in factors]
    zeros = [_zero(graph, node, index) for index in (2, 5)]
    total = _zero(graph, node, 7) << shift
    total += sum(b * (128 if zero else 255) for b, zero in zip(multipliers, zeros, strict=True))
    if total > EXACT or 255 * max(multipliers) > EXACT:
        return [f"the sum reaches {total} in units of 2^-{shift}, more than the {EXACT} that float32 keeps"]
    return []


def _concat(graph: PlainGraph, node: PlainNode) -> list[str]:
    under = _constant(graph, node, 0)
    found = _zero_problems(graph, node, 1, ZERO_POINTS)
    for first in range(2, len(node.inputs), 3):
        scale = _constant(graph, node, first + 1)
        if scale is None or under is None:
            return ["a scale is computed at run time"]
        found += _factor_problems([scale], under)
        found += _zero_problems(graph, node, first + 2, ZERO_POINTS)
    return found


def _mean(graph: PlainGraph, node: PlainNode) -> list[str]:
    scale, under = _constant(graph, node, 1), _constant(graph, node, 3)
    count = int(node.metadata.get(keys.COUNT, "0"))
    if scale is None or under is None:
        return ["a scale is computed at run time"]
    if count < 1:
        return ["how many values it averages is not known"]
    whole = np.asarray(np.float32(under.reshape(())) * np.float32(count))
    found = _factor_problems([scale], whole)
    for index in (2, 4):
        found += _zero_problems(graph, node, index, ZERO_POINTS)
    return found


def _factor_problems(over: list[np.ndarray], under: np.ndarray | None) -> list[str]:
    """Return the problem that keeps ``product(over) / under`` from being dyadic with a small shift."""
    assert under is not None
    try:
        exact = factor_of([array.reshape(-1) for array in over], under)
    except NotDyadicError as error:
        return [f"its factor is not dyadic: {error}"]
    if int(exact.numerator.min()) < 1:
        return ["its factor is not positive"]
    if int(exact.shift.max()) > MAX_SHIFT:
        return [f"its factor has a shift of {int(exact.shift.max())}, more than {MAX_SHIFT}"]
    formed = over[0].reshape(-1).astype(np.float32)
    for array in over[1:]:
        formed = formed * array.reshape(-1).astype(np.float32)
    formed = formed / np.float32(under.reshape(()))
    wanted = np.ldexp(exact.numerator.astype(np.float64), -exact.shift)
    if not np.array_equal(formed.astype(np.float64), wanted):
        return ["the float32 steps in which the kernel forms its factor change it"]
    return []


def _zero_problems(graph: PlainGraph, node: PlainNode, index: int, allowed: tuple[int, ...]) -> list[str]:
    array = _constant(graph, node, index)
    if array is None:
        return [f"the zero point at input {index + 1} is computed at run time"]
    wrong = [int(zero) for zero in array.reshape(-1) if int(zero) not in allowed]
    if not wrong:
        return []
    expected = " or ".join(str(zero) for zero in allowed)
    return [f"the zero point at input {index + 1} is {wrong[0]}; expected {expected}"]


def _constant(graph: PlainGraph, node: PlainNode, index: int) -> np.ndarray | None:
    return graph.constants.get(node.inputs[index]) if index < len(node.inputs) else None


def _zero(graph: PlainGraph, node: PlainNode, index: int) -> int:
    array = _constant(graph, node, index)
    assert array is not None
    return int(array.reshape(-1)[0])
