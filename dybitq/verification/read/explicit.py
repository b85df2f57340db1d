"""Integer operators of ONNX as operations of an integer network.

Everything that is rescaled ends in a clamp of lifted values (see ``emit/integer/round_shift.py``) and a cast
to uint8; from there the chain is followed back::

    Cast(Add(Cast(Clip(RoundShift(Mul(accumulator, b), c), low + 2^62, high + 2^62)), zero_point - 2^62))

Mul is missing where b is 1; where c is 0, ``Cast(Add(value, 2^62))`` stands for RoundShift.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.graph import keys
from dybitq.graph.stored.plain import PlainNode
from dybitq.records.arithmetic import TieRounding
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Convolution,
    Mean,
    Multiplication,
    Operation,
    Product,
    Requantization,
    Requantize,
)
from dybitq.verification.read.fast import window_of
from dybitq.verification.read.graph import Reading, weight_of

_UINT8, _INT32 = 2, 6  # element types of ONNX
Term = tuple[str, int, np.ndarray]  # operand of a sum: codes, zero point, multiplier
_OFFSET = 1 << 62
_SHIFTS = {"RoundShiftHalfEven": TieRounding.HALF_EVEN, "RoundShiftHalfUp": TieRounding.HALF_UP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """An accumulator before it is rescaled.

    Attributes:
        node: what computes it.
        bias: added to it, or None.
        parts: the nodes of a split weight, the second for the lower part.
    """

    node: PlainNode
    bias: np.ndarray | None
    parts: tuple[PlainNode, ...]


def read_cast(reading: Reading, node: PlainNode) -> Operation | None:
    """Return the operation that a Cast to uint8 (or, for sums of 16 bits, to int32) ends; None for others."""
    found = _clamped(reading, node)
    if node.attributes.get("to") not in (_UINT8, _INT32) or found is None:
        return None
    name, zero_point, low, high = found
    each = _each_branch(reading, name)
    if each is not None:
        return _added(reading, node, each, zero_point, (low, high))
    name, shift, rounding = _shifted(reading, name)
    added = reading.producer(name, "Add")
    if added is not None and reading.constant_operand(added) is None:
        terms = [_term(reading, operand) for operand in added.inputs]
        if all(term is not None for term in terms):
            reading.cover(added)
            return _sum_of_terms(node, added, terms, shift, rounding, zero_point, (low, high))
    name, multiplier = _multiplied(reading, name)
    multiplier, shift = (array.copy() for array in np.broadcast_arrays(multiplier, shift))
    target = Requantize(
        multiplier=multiplier,
        shift=shift,
        zero_point=zero_point,
        low=low,
        high=high,
        rounding=rounding,
    )
    return _rescaled(reading, node, name, target)


def _clamped(reading: Reading, node: PlainNode) -> tuple[str, int, int, int] | None:
    """Lifted tensor, zero point and bounds of ``Add(Cast(Clip(tensor)), zero point - 2^62)``."""
    added = reading.producer(node.inputs[0], "Add")
    found = None if added is None else reading.constant_operand(added)
    cast = None if found is None else reading.producer(found[0], "Cast")
    clip = None if cast is None else reading.producer(cast.inputs[0], "Clip")
    if added is None or found is None or cast is None or clip is None or found[1].size != 1:
        return None
    low, high = (reading.number(name) for name in clip.inputs[1:3])
    if low is None or high is None:
        return None
    reading.cover(added, cast, clip)
    zero_point = int(found[1].reshape(())) + _OFFSET
    return clip.inputs[0], zero_point, low - _OFFSET + zero_point, high - _OFFSET + zero_point


def _less_constant(reading: Reading, name: str) -> tuple[str, int]:
    """Tensor and zero point of ``Add(tensor, zero point)``."""
    added = reading.producer(name, "Add")
    found = None if added is None else reading.constant_operand(added)
    if added is None or found is None or found[1].size != 1:
        return name, 0
    reading.cover(added)
    return found[0], int(found[1].reshape(()))


def _shifted(reading: Reading, name: str) -> tuple[str, np.ndarray, TieRounding]:
    node = reading.producer(name, *_SHIFTS)
    if node is None:
        return _unlifted(reading, name), np.zeros(1, np.int64), TieRounding.HALF_EVEN
    reading.cover(node)
    shift = reading.graph.constants[node.inputs[2]].astype(np.int64).reshape(-1)
    return node.inputs[0], shift, _SHIFTS[node.op_type]


def _unlifted(reading: Reading, name: str) -> str:
    """Return the tensor in ``Cast(Add(tensor, 2^62))``."""
    cast = reading.producer(name, "Cast")
    added = None if cast is None else reading.producer(cast.inputs[0], "Add")
    found = None if added is None else reading.constant_operand(added)
    if cast is None or added is None or found is None or found[1].size != 1:
        return name
    reading.cover(cast, added)
    return found[0]


def _lowered(reading: Reading, name: str) -> str:
    """Return the lifted tensor in ``Add(Cast(tensor), -2^62)``."""
    added = reading.producer(name, "Add")
    found = None if added is None else reading.constant_operand(added)
    cast = None if found is None else reading.producer(found[0], "Cast")
    if added is None or cast is None:
        return name
    reading.cover(added, cast)
    return cast.inputs[0]


def _multiplied(reading: Reading, name: str) -> tuple[str, np.ndarray]:
    node = reading.producer(name, "Mul")
    found = None if node is None else reading.constant_operand(node)
    if node is None or found is None:
        return name, np.ones(1, np.int64)
    reading.cover(node)
    return found[0], found[1].astype(np.int64).reshape(-1)


def _centred(reading: Reading, name: str) -> tuple[str, int]:
    """Codes and zero point of ``Add(Cast(codes), -zero_point)``."""
    name, less = _less_constant(reading, name)
    cast = reading.producer(name, "Cast")
    if cast is None:
        return name, -less
    reading.cover(cast)
    return cast.inputs[0], -less


def _term(reading: Reading, name: str) -> Term | None:
    """Codes, zero point and multiplier of one operand of a sum."""
    node = reading.producer(name, "Mul")
    found = None if node is None else reading.constant_operand(node)
    if node is None or found is None:
        return None
    reading.cover(node)
    codes, zero = _centred(reading, found[0])
    total = read_sum(reading, codes)
    operation = None if total is None else weighted(reading, total, codes, None)
    if operation is not None:  # an accumulator that goes into the sum as it is
        reading.found[codes] = operation
        reading.covered.discard(codes)
    return codes, zero, found[1].reshape(1) if found[1].size == 1 else found[1]


def _each_branch(reading: Reading, name: str) -> tuple[PlainNode, list[Term | None], int, TieRounding] | None:
    """Read a sum whose terms are rounded one by one."""
    cast = reading.producer(name, "Cast")
    raised = None if cast is None else reading.producer(cast.inputs[0], "Add")
    found = None if raised is None else reading.constant_operand(raised)
    added = None if found is None else reading.producer(found[0], "Add")
    if cast is None or raised is None or added is None or reading.constant_operand(added) is not None:
        return None
    lowered = [_lowered(reading, operand) for operand in added.inputs]
    if any(reading.producer(inner, *_SHIFTS) is None for inner in lowered):
        return None
    terms, amounts = [], []
    rounding = TieRounding.HALF_EVEN
    for operand in lowered:
        inner, amount, rounding = _shifted(reading, operand)
        terms.append(_term(reading, inner))
        amounts.append(int(amount[0]))
    if amounts[0] != amounts[1] or any(term is None for term in terms):
        return None
    reading.cover(cast, raised, added)
    return added, terms, amounts[0], rounding


def _added(
    reading: Reading,
    node: PlainNode,
    each: tuple[PlainNode, list[Term | None], int, TieRounding],
    zero_point: int,
    bounds: tuple[int, int],
) -> Operation:
    added, terms, shift, rounding = each
    made = _sum_of_terms(
        node, added, terms, np.array([shift]), rounding, zero_point, bounds, each_branch=True
    )
    assert made is not None
    return made


def _sum_of_terms(
    node: PlainNode,
    added: PlainNode,
    terms: list[Term | None],
    shift: np.ndarray,
    rounding: TieRounding,
    zero_point: int,
    bounds: tuple[int, int],
    *,
    each_branch: bool = False,
) -> Operation:
    left, right = terms
    assert left is not None and right is not None
    return Addition(
        name=added.name,
        inputs=(left[0], right[0]),
        output=node.outputs[0],
        zeros=(left[1], right[1]),
        multipliers=(left[2], right[2]),
        shift=int(shift.reshape(-1)[0]),
        zero_point=zero_point,
        low=bounds[0],
        high=bounds[1],
        rounding=rounding,
        each_branch=each_branch,
        bits=8 if node.attributes["to"] == _UINT8 else 16,
    )


def _rescaled(reading: Reading, node: PlainNode, name: str, target: Requantize) -> Operation | None:
    """Return the operation that rescales ``name``: products, means, products of activations, or codes."""
    cast = reading.producer(name, "Cast")
    found = None if cast is None else read_sum(reading, cast.inputs[0])
    if cast is not None and found is not None:
        reading.cover(cast)
        return weighted(reading, found, node.outputs[0], target)
    summed = reading.producer(name, "ReduceSum")
    if summed is not None:
        codes, zero = _centred(reading, summed.inputs[0])
        reading.cover(summed)
        return mean_of(reading, summed, codes, zero, node.outputs[0], target)
    multiplied = reading.producer(name, "Mul")
    if multiplied is not None and reading.constant_operand(multiplied) is None:
        reading.cover(multiplied)
        left, right = (_centred(reading, operand) for operand in multiplied.inputs)
        return Multiplication(
            name=multiplied.name,
            inputs=(left[0], right[0]),
            output=node.outputs[0],
            zeros=(left[1], right[1]),
            requantize=target,
        )
    codes, zero = _centred(reading, name)
    return Requantization(
        name=node.name, input=codes, output=node.outputs[0], input_zero=zero, requantize=target
    )


def read_sum(reading: Reading, name: str) -> Sum | None:
    """Return the accumulator that ``name`` is: one product, or two of a split weight, and a bias."""
    bias = None
    added = reading.producer(name, "Add")
    found = None if added is None else reading.constant_operand(added)
    if added is not None and found is not None:
        reading.cover(added)
        name, bias = found[0], found[1].astype(np.int64).reshape(-1)
    node = reading.producer(name, "ConvInteger", "MatMulInteger")
    if node is not None:
        reading.cover(node)
        return Sum(node=node, bias=bias, parts=(node,))
    joined = reading.producer(name, "Add")
    if joined is None:
        return None
    scaled = reading.producer(joined.inputs[0], "Mul")
    low = reading.producer(joined.inputs[1], "ConvInteger", "MatMulInteger")
    high = None if scaled is None else reading.producer(scaled.inputs[0], "ConvInteger", "MatMulInteger")
    if scaled is None or low is None or high is None:
        return None
    reading.cover(joined, scaled, low, high)
    return Sum(node=high, bias=bias, parts=(high, low))


def weighted(reading: Reading, found: Sum, output: str, target: Requantize | None) -> Operation | None:
    """Read a layer from its accumulator."""
    node = found.node
    zero = (reading.number(node.inputs[2]) or 0) if len(node.inputs) > 2 else 0
    arrays = [reading.array(part.inputs[1]) for part in found.parts]
    if arrays[0] is None:
        other = (reading.number(node.inputs[3]) or 0) if len(node.inputs) > 3 else 0
        if target is None:
            return None
        return ActivationProduct(
            name=node.name,
            inputs=(node.inputs[0], node.inputs[1]),
            output=output,
            zeros=(zero, other),
            requantize=target,
        )
    integers = arrays[0].astype(np.int64)
    if len(arrays) > 1 and arrays[1] is not None:
        integers = 64 * integers + arrays[1]
    if node.op_type == "MatMulInteger":
        return Product(
            name=node.name,
            input=node.inputs[0],
            output=output,
            input_zero=zero,
            weight=weight_of(node, integers),
            bias=found.bias,
            requantize=target,
            input_rank=None,
        )
    return Convolution(
        name=node.name,
        input=node.inputs[0],
        output=output,
        input_zero=zero,
        weight=weight_of(node, integers),
        bias=found.bias,
        window=window_of(node, integers.shape[2:]),
        requantize=target,
    )


def mean_of(
    reading: Reading, node: PlainNode, codes: str, zero: int, output: str, target: Requantize | None
) -> Operation:
    """Read a mean over space from its ReduceSum."""
    axes = tuple(int(a) for a in reading.graph.constants[node.inputs[1]].reshape(-1))
    return Mean(
        name=node.name,
        input=codes,
        output=output,
        input_zero=zero,
        axes=axes,
        count=int(node.metadata.get(keys.COUNT, "0")),
        requantize=target,
    )


def read_total(reading: Reading, node: PlainNode) -> Operation | None:
    """Read an int32 sum over space that goes to the output as it is."""
    codes, zero = _centred(reading, node.inputs[0])
    return mean_of(reading, node, codes, zero, node.outputs[0], None)
