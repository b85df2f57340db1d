"""A workload at other widths, to price a network as if it were quantized so."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from dybitq.errors import ConfigError
from dybitq.records.workload import TensorWork, Workload


def format_bits(name: str) -> tuple[int, int]:
    """Widths of a format by its name: ``(stored bits, bits at the multiplier)``.

    A SPARQ window (``sparq4``) keeps 8 bits in memory and sends its window to the multiplier.

    Raises:
        ConfigError: the name carries no width from 1 to 16.
    """
    minifloat = re.fullmatch(r"e(\d)m(\d)", name)
    if minifloat:
        bits = 1 + int(minifloat.group(1)) + int(minifloat.group(2))
        return bits, bits
    if name == "ternary":
        return 2, 2
    match = re.fullmatch(r"([a-z_]+?)(\d+)(-\w+)?", name)
    if match is None or not 1 <= int(match.group(2)) <= 16:
        raise ConfigError(
            f"format {name!r}: expected a family and a width in bits, such as int8, dybit4 or sparq4"
        )
    bits = int(match.group(2))
    return (8 if match.group(1) == "sparq" else bits), bits


def requantized(
    workload: Workload,
    *,
    weights: str | None = None,
    activations: str | None = None,
    integer_bits: Mapping[str, int] | None = None,
) -> Workload:
    """Set every product of the workload to these formats; None leaves a side unchanged.

    A product of two activations takes the activation format on both sides. Every activation tensor is
    stored at the activation format's width.

    Args:
        workload: as the model has it.
        weights, activations: names of formats.
        integer_bits: width of the integers that codes stand for, by format; formats that are missing are
            taken to be integers.
    """
    wide = integer_bits or {}
    w_bits = format_bits(weights) if weights else None
    a_bits = format_bits(activations) if activations else None

    def tensor(work: TensorWork) -> TensorWork:
        chosen, name = (w_bits, weights) if work.constant else (a_bits, activations)
        if chosen is None or name is None:
            return work
        return dataclasses.replace(work, bits=chosen[0], format=name)

    ops = []
    for op in workload.ops:
        changes: dict[str, Any] = {}
        constant = op.macs > 0 and workload.tensors[op.inputs[1]].constant
        right = (w_bits, weights) if constant else (a_bits, activations)
        if right[0] is not None:
            name = right[1] or ""
            changes |= {"w_bits": right[0][1], "w_format": name, "w_integer_bits": wide.get(name, 0)}
        if a_bits is not None:
            name = activations or ""
            changes |= {"a_bits": a_bits[1], "a_format": name, "a_integer_bits": wide.get(name, 0)}
        ops.append(dataclasses.replace(op, **changes) if changes else op)
    return dataclasses.replace(workload, tensors=tuple(map(tensor, workload.tensors)), ops=tuple(ops))


def planned(
    workload: Workload,
    layers: Mapping[str, tuple[str, str]],
    tensors: Mapping[str, str],
    integer_bits: Mapping[str, int],
    absorbed: Collection[str] = (),
) -> Workload:
    """Set the widths that a plan asks for.

    Args:
        workload: of the float model that the plan is for.
        layers: weight format (``float`` to leave it) and re-coding (``none`` for none) of each layer.
        tensors: format of each quantized activation.
        integer_bits: width of the integers that codes stand for, by format.
        absorbed: names of clamps that the codes of the operator before them take in.

    Raises:
        ConfigError: the plan names a layer that the workload does not have.
    """
    named = {op.name: op for op in workload.ops if op.macs or op.op_type == "Gather"}
    missing = [name for name in layers if name not in named]
    if missing:
        raise ConfigError(
            f"the plan is for another model: it has a layer {missing[0]!r}, which this model does not have"
        )
    if absorbed:
        workload = _without(workload, absorbed)
    bits = [format_bits(tensors[t.name])[0] if t.name in tensors else t.bits for t in workload.tensors]
    needs: dict[int, list[int]] = {}
    ops = []
    for op in workload.ops:
        weights, recode = layers.get(op.name, ("float", "none")) if op.macs else ("float", "none")
        changes: dict[str, Any] = {}
        if weights == "activation":  # both operands carry codes
            own, name = bits[op.inputs[1]], tensors.get(workload.tensors[op.inputs[1]].name, "int8")
            changes |= {"w_bits": own, "w_format": name, "w_integer_bits": integer_bits.get(name, 0)}
        elif weights != "float":
            bits[op.inputs[1]], own = format_bits(weights)
            changes |= {"w_bits": own, "w_format": weights, "w_integer_bits": integer_bits.get(weights, 0)}
        if op.macs:
            source = op.inputs[0]
            name = tensors.get(workload.tensors[source].name, op.a_format) if recode == "none" else recode
            stored, own = (bits[source], bits[source]) if recode == "none" else format_bits(recode)
            changes |= {"a_bits": own, "a_format": name, "a_integer_bits": integer_bits.get(name, 0)}
            needs.setdefault(source, []).append(stored)
        for index in op.inputs[1:] if op.macs else op.inputs:
            needs.setdefault(index, []).append(bits[index])
        ops.append(dataclasses.replace(op, **changes))
    kept = [min(width, max(needs.get(index, [width]))) for index, width in enumerate(bits)]
    stored_as = [dataclasses.replace(t, bits=width) for t, width in zip(workload.tensors, kept)]
    return dataclasses.replace(workload, tensors=tuple(stored_as), ops=tuple(ops))


def _without(workload: Workload, absorbed: Collection[str]) -> Workload:
    """Remove operators of one input from the workload; their producers write their outputs."""
    gone = {op.inputs[0]: op.output for op in workload.ops if op.name in absorbed and op.inputs}
    ops = []
    for op in workload.ops:
        if op.name in absorbed and op.inputs:
            continue
        output = op.output
        while output in gone:
            output = gone[output]
        ops.append(op if output == op.output else dataclasses.replace(op, output=output))
    return dataclasses.replace(workload, ops=tuple(ops))


def int8(workload: Workload) -> Workload:
    """Set everything to 8 bits: the reference of speed-ups."""
    return requantized(workload, weights="int8", activations="int8")
