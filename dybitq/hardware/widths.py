"""A workload at other widths, to price a network as if it were quantized so."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dybitq.errors import ConfigError
from dybitq.records.formats import INT8, FormatWidths
from dybitq.records.workload import OpWork, TensorWork, Workload


def requantized(
    workload: Workload, *, weights: FormatWidths | None = None, activations: FormatWidths | None = None
) -> Workload:
    """Set every product of the workload to these formats; None leaves a side unchanged.

    A product of two activations takes the activation format on both sides. Every activation tensor is
    stored at the activation format's width.
    """

    def tensor(work: TensorWork) -> TensorWork:
        chosen = weights if work.constant else activations
        if chosen is None:
            return work
        return dataclasses.replace(work, bits=chosen.stored, format=chosen.name)

    ops = []
    for op in workload.ops:
        constant = op.macs > 0 and workload.tensors[op.inputs[1]].constant
        right = weights if constant else activations
        if right is not None:
            op = _with_weights(op, right)
        ops.append(op if activations is None else _with_activations(op, activations))
    return dataclasses.replace(workload, tensors=tuple(map(tensor, workload.tensors)), ops=tuple(ops))


def _with_weights(op: OpWork, widths: FormatWidths) -> OpWork:
    return dataclasses.replace(
        op, w_bits=widths.multiplied, w_family=widths.family, w_integer_bits=widths.integer
    )


def _with_activations(op: OpWork, widths: FormatWidths) -> OpWork:
    return dataclasses.replace(
        op,
        a_bits=widths.multiplied,
        a_family=widths.family,
        a_integer_bits=widths.integer,
        a_windowed=widths.windowed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWidths:
    """Formats of one layer under a plan.

    Attributes:
        weights: None where the layer has no weight in codes.
        recode: re-coding of its input; None for codes as they are stored.
        coded_operands: both operands are activations, in the codes of their tensors.
    """

    weights: FormatWidths | None = None
    recode: FormatWidths | None = None
    coded_operands: bool = False


def planned(
    workload: Workload,
    layers: Mapping[str, LayerWidths],
    tensors: Mapping[str, FormatWidths],
    absorbed: Collection[str] = (),
) -> Workload:
    """Set the widths that a plan asks for.

    Args:
        workload: of the float model that the plan is for.
        layers: formats of each layer.
        tensors: format of each quantized activation.
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
    coded = [tensors.get(tensor.name) for tensor in workload.tensors]
    bits = [t.bits if known is None else known.stored for t, known in zip(workload.tensors, coded)]
    needs: dict[int, list[int]] = {}
    ops = []
    for op in workload.ops:
        layer = layers.get(op.name, LayerWidths()) if op.macs else LayerWidths()
        if layer.coded_operands:
            right = op.inputs[1]
            op = dataclasses.replace(_with_weights(op, coded[right] or INT8), w_bits=bits[right])
        elif layer.weights is not None:
            bits[op.inputs[1]] = layer.weights.stored
            op = _with_weights(op, layer.weights)
        if op.macs:
            source = op.inputs[0]
            reads = layer.recode or coded[source]
            op = (
                dataclasses.replace(op, a_bits=bits[source])
                if reads is None
                else _with_activations(op, reads)
            )
            needs.setdefault(source, []).append(bits[source] if layer.recode is None else layer.recode.stored)
        for index in op.inputs[1:] if op.macs else op.inputs:
            needs.setdefault(index, []).append(bits[index])
        ops.append(op)
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
    return requantized(workload, weights=INT8, activations=INT8)
