"""Encodings that steps share, and sums that stay as they are up to the output."""

from collections.abc import Mapping, Sequence, Set

from dybitq.integer.operators.move import MoveStep
from dybitq.integer.step import Encoding, IntegerStep

_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def keep_accumulators(
    steps: Sequence[IntegerStep], outputs: Sequence[str]
) -> tuple[list[IntegerStep], dict[str, str]]:
    """Let a last matrix product or mean hand out its sum as it is: nothing is gained by 8 bits there.

    Args:
        steps: in topological order.
        outputs: graph outputs.

    Returns:
        The steps, and the tensors between such a sum and the output, each with the tensor of the sum.
    """
    counts, producers = _reads(steps), _producers(steps)
    sums: dict[int, IntegerStep] = {}
    accumulators: dict[str, str] = {}
    for output in outputs:
        chain, name = [output], output
        made = producers.get(name)
        while isinstance(made, MoveStep) and made.op_type in _RESHAPES:
            name = made.inputs[0]
            chain.append(name)
            made = producers.get(name)
        alone = all(counts.get(n, 0) == (0 if n == output else 1) for n in chain)
        if made is None or made.bounds is not None or not alone or any(n in outputs for n in chain[1:]):
            continue
        total = made.as_sum()
        if total is not None:
            sums[id(made)] = total
            accumulators.update((n, name) for n in chain)
    return [sums.get(id(step), step) for step in steps], accumulators


def _reads(steps: Sequence[IntegerStep]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _producers(steps: Sequence[IntegerStep]) -> dict[str, IntegerStep]:
    return {name: step for step in steps for name in step.outputs}


def share_encodings(
    steps: Sequence[IntegerStep], roots: Mapping[str, str], outputs: Set[str]
) -> tuple[list[IntegerStep], dict[str, str]]:
    """Give a branch that only a joining step reads the encoding of its result: joining it costs nothing.

    Args:
        steps: in topological order.
        roots: every coded tensor to the tensor whose encoding it has.
        outputs: graph outputs.
    """
    counts, producers = _reads(steps), _producers(steps)
    parents = {name: name for name in roots.values()}

    def find(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    def branch(name: str) -> IntegerStep | None:
        """Return the step that writes ``name`` if its reader may choose the encoding."""
        made = producers.get(name)
        alone = counts.get(name) == 1 and name not in outputs
        return made if made is not None and made.recodable and alone else None

    for step in steps:
        if not step.joins:
            continue
        for name in step.inputs:
            made = branch(name)
            while made is not None and made.encoding is Encoding.CARRIED and len(made.inputs) == 1:
                name = made.inputs[0]
                made = branch(name)
            if made is not None and made.encoding is Encoding.OWN:
                parents[find(name)] = find(step.outputs[0])
    shared = {name: find(root) for name, root in roots.items()}
    return [step.joined(shared) for step in steps], shared
