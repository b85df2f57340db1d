"""Which steps share an encoding, and which nodes only arrange the outputs."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.steps import Step, StepKind
from dybitq.graph.values import is_op

_WRITES_ANY_ENCODING = frozenset(
    {StepKind.LAYER, StepKind.PRODUCT, StepKind.ADD, StepKind.MULTIPLY, StepKind.CONCAT, StepKind.LOOKUP}
    | {StepKind.MEAN, StepKind.WINDOW_MEAN}
)
_PASSES_ON = frozenset({StepKind.MOVE, StepKind.CLAMP})


def share_encodings(
    steps: Sequence[Step], roots: Mapping[str, str], outputs: Set[str]
) -> tuple[list[Step], dict[str, str]]:
    """Let a branch that only a CONCAT reads have its encoding; a CONCAT of one encoding becomes a MOVE.

    Args:
        steps: in topological order.
        roots: see :class:`IntegerSteps`.
        outputs: graph outputs.
    """
    counts: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            counts[name] = counts.get(name, 0) + 1
    producers = {name: step for step in steps for name in step.outputs if step.kind is not StepKind.QUANTIZE}
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
