"""Which steps share an encoding, and which nodes only arrange the outputs."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.steps.records import Step, StepKind
from dybitq.graph.values import is_op

_WRITES_ANY_ENCODING = frozenset(
    {StepKind.LAYER, StepKind.PRODUCT, StepKind.ADD, StepKind.MULTIPLY, StepKind.CONCAT, StepKind.LOOKUP}
    | {StepKind.MEAN, StepKind.WINDOW_MEAN, StepKind.REGION_MEANS, StepKind.AFFINE, StepKind.SLOPES}
)
_PASSES_ON = frozenset({StepKind.MOVE, StepKind.CLAMP})


_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def keep_accumulators(
    steps: Sequence[Step], outputs: Sequence[str], products: Set[str]
) -> tuple[list[Step], dict[str, str]]:
    """Let a last matrix product or mean hand out its sum as it is: nothing is gained by 8 bits there.

    Args:
        steps: in topological order.
        outputs: graph outputs.
        products: names of the layers that may do so.

    Returns:
        The steps, and the tensors between such a sum and the output, each with the tensor of the sum.
    """
    counts = _reads(steps)
    producers = _producers(steps)
    wide: set[str] = set()
    accumulators: dict[str, str] = {}
    for output in outputs:
        chain, name = [output], output
        made = producers.get(name)
        while made is not None and made.kind is StepKind.MOVE and made.op_type in _RESHAPES:
            name = made.inputs[0]
            chain.append(name)
            made = producers.get(name)
        alone = all(counts.get(n, 0) == (0 if n == output else 1) for n in chain)
        ends = made is not None and made.bounds is None
        if made is None or not ends or not alone or any(n in outputs for n in chain[1:]):
            continue
        if made.kind is StepKind.MEAN or (made.kind is StepKind.LAYER and made.name in products):
            wide.add(made.name)
            accumulators.update((n, name) for n in chain)
    kept = [replace(s, wide=True) if s.name in wide and s.outputs[0] in accumulators else s for s in steps]
    return kept, accumulators


def _reads(steps: Sequence[Step]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _producers(steps: Sequence[Step]) -> dict[str, Step]:
    return {name: step for step in steps for name in step.outputs if step.kind is not StepKind.QUANTIZE}


def share_encodings(
    steps: Sequence[Step], roots: Mapping[str, str], outputs: Set[str]
) -> tuple[list[Step], dict[str, str]]:
    """Let a branch that only a CONCAT reads have its encoding; a CONCAT of one encoding becomes a MOVE.

    Args:
        steps: in topological order.
        roots: see :class:`IntegerSteps`.
        outputs: graph outputs.
    """
    counts, producers = _reads(steps), _producers(steps)
    parents = {name: name for name in roots.values()}

    def find(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    def only_read_here(name: str) -> bool:
        return counts.get(name) == 1 and name not in outputs

    for step in steps:
        if step.kind is not StepKind.CONCAT:
            continue
        for name in step.inputs:
            made = producers.get(name)
            while (
                made is not None
                and only_read_here(name)
                and made.kind in _PASSES_ON
                and len(made.inputs) == 1
            ):
                name = made.inputs[0]
                made = producers.get(name)
            if made is not None and only_read_here(name) and made.kind in _WRITES_ANY_ENCODING:
                parents[find(name)] = find(step.outputs[0])
    shared = {name: find(root) for name, root in roots.items()}
    return [_plain_join(step, shared) for step in steps], shared


def _plain_join(step: Step, roots: Mapping[str, str]) -> Step:
    joined = step.kind is StepKind.CONCAT and step.bounds is None and not step.constants
    if joined and {roots[name] for name in step.inputs} == {roots[step.outputs[0]]}:
        return replace(step, kind=StepKind.MOVE, operands=step.inputs, attributes={"axis": step.axis})
    return step


def tail_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """Concats whose values only reach graph outputs, by moves and other Concats; and those moves."""
    ends: set[ir.Node] = set()
    for node in reversed(list(graph)):
        moves = (role(node, {}) is Role.CODES and not is_op(node, "MaxPool")) or is_op(node, "Concat")
        if moves and all(_ends(value, ends) for value in node.outputs):
            ends.add(node)
    behind: set[ir.Node] = set()
    for node in graph:
        follows = any(v is not None and v.producer() in behind for v in node.inputs)
        if node in ends and (is_op(node, "Concat") or follows):
            behind.add(node)
    return frozenset(behind)


def _ends(value: ir.Value, ends: Set[ir.Node]) -> bool:
    readers = [use.node for use in value.uses()]
    return (bool(readers) or value.is_graph_output()) and all(node in ends for node in readers)
