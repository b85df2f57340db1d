"""The result of ``verify`` as text and as data."""

import dataclasses
from typing import Any

from dybitq.api.verify import OperationFacts, VerifyResult
from dybitq.graph.stored.checksum import Change
from dybitq.verify.static import NodeKind

_SHOWN = 20  # findings and mismatches printed one by one


def verify_text(result: VerifyResult) -> str:
    """Print the static proof layer by layer, the bounds, the host, the comparison, and the verdict."""
    lines = [_nodes(result)]
    lines += _table(result.operations)
    lines += _findings(result)
    lines += _bounds(result)
    lines += _comparison(result)
    lines += [f"changed: {_change(change)}" for change in result.changes[:_SHOWN]]
    lines.append(_verdict(result))
    return "\n".join(lines)


def _verdict(result: VerifyResult) -> str:
    if not result.proven:
        reason = ": nothing computes in integers" if result.without_integers else ""
        return f"integer-only: NOT proven{reason}"
    floating = sum(finding.floating for finding in result.findings)
    around = f" around {floating} float operators" if floating else ""
    edited = ", but the file is not what dybitq wrote" if result.changes else ""
    return f"integer-only: proven{around}{edited}"


def _change(change: Change) -> str:
    return f"{change.operator}: {change.problem}" if change.operator else change.problem


def verify_document(result: VerifyResult) -> dict[str, Any]:
    """Convert a result to data."""
    comparison = result.comparison
    return {
        "model": str(result.model),
        "arithmetic": result.arithmetic,
        "integer_only": result.only,
        "passed": result.passed,
        "nodes": result.nodes,
        "findings": [dataclasses.asdict(finding) for finding in result.findings],
        "operations": [dataclasses.asdict(operation) for operation in result.operations],
        "accumulator_bits": result.bits,
        "host": dataclasses.asdict(result.host),
        "comparison": None
        if comparison is None
        else {
            "samples": comparison.samples,
            "tensors": comparison.tensors,
            "values": comparison.values,
            "mismatches": [dataclasses.asdict(m) for m in comparison.mismatches.values()],
            "output_differences": None if result.findings else comparison.output_differences,
        },
        "changes": [dataclasses.asdict(change) for change in result.changes],
    }


def failure(result: VerifyResult) -> str | None:
    """Explain in one line why the proof failed; None if it holds."""
    if result.passed:
        return None
    if result.broken:
        first = result.broken[0]
        more = f" (and {len(result.broken) - 1} more)" if len(result.broken) > 1 else ""
        return f"{result.model}: not integer-only: {first.op_type} {first.operator}: {first.problem}{more}"
    if result.without_integers:
        return f"{result.model}: nothing in it computes in integers, so there is nothing to prove"
    if result.proven:
        more = f" (and {len(result.changes) - 1} more)" if len(result.changes) > 1 else ""
        return f"{result.model}: changed since it was written: {_change(result.changes[0])}{more}"
    assert result.comparison is not None
    if result.comparison.mismatches:
        worst = next(iter(result.comparison.mismatches.values()))
        return (
            f"{result.model}: {len(result.comparison.mismatches)} tensors differ from the reference; "
            f"the first is {worst.tensor} of {worst.op_type} {worst.operator}"
        )
    return f"{result.model}: {result.comparison.output_differences} output values differ from the reference"


def _nodes(result: VerifyResult) -> str:
    counts = ", ".join(
        f"{count} {kind}" for kind, count in result.nodes.items() if count and kind != NodeKind.FLOAT
    )
    floats = result.nodes[NodeKind.FLOAT]
    said = f" ({result.arithmetic})" if result.arithmetic else ""
    return f"{result.model}{said}: {counts or 'no integers'}; {floats} in float"


def _table(operations: tuple[OperationFacts, ...]) -> list[str]:
    if not operations:
        return []
    width = max(len(o.name) for o in operations)
    width = min(max(width, 9), 44)
    lines = [f"{'operation':{width}}  {'kind':14} {'b':>15} {'c':>7} {'bits':>5} {'x b':>4}"]
    for o in operations:
        bits = "" if o.bound is None else str(o.bound.bits)
        wide = "" if o.bound is None or o.bound.product_bits is None else str(o.bound.product_bits)
        name = o.name if len(o.name) <= width else "..." + o.name[3 - width :]
        factor = f"{_span(o.multipliers):>15} {_span(o.shifts):>7}"
        lines.append(f"{name:{width}}  {o.operation:14} {factor} {bits:>5} {wide:>4}".rstrip())
    return lines


def _span(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return "-"
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"


def _findings(result: VerifyResult) -> list[str]:
    if not result.findings:
        return [
            "static: every tensor in between is an integer, every factor b * 2^-c keeps its kernel's rule"
        ]
    lines = [f"static: {len(result.findings)} findings"]
    lines += [f"  {f.op_type} {f.operator}: {f.problem}" for f in result.findings[:_SHOWN]]
    if len(result.findings) > _SHOWN:
        lines.append(f"  ... and {len(result.findings) - _SHOWN} more (--json has all)")
    return lines


def _bounds(result: VerifyResult) -> list[str]:
    bounded = [o.bound for o in result.operations if o.bound is not None]
    if not bounded:
        return []
    widest = max(bounded, key=lambda bound: bound.bits)
    lines = [f"bounds: accumulators need at most {widest.bits} bits ({widest.name})"]
    pairs = [bound.name for bound in bounded if bound.saturates_pairs]
    if pairs:
        host = "exact" if result.host.exact else "NOT exact"
        lines.append(
            f"kernels that add pairs of products in 16 bits can saturate in {len(pairs)} layers; "
            f"this host is {host}"
        )
    else:
        lines.append("no pair of products can saturate 16 bits: the same integers on every processor")
    return lines


def _comparison(result: VerifyResult) -> list[str]:
    comparison = result.comparison
    if comparison is None:
        return ["reference: not run (give --data)" if not result.broken else "reference: not run"]
    mismatches = list(comparison.mismatches.values())
    what = f"{comparison.samples} samples, {comparison.tensors} integer tensors, {comparison.values:,} values"
    wrong = sum(m.count for m in mismatches)
    outputs = f"{comparison.output_differences} in the outputs"
    if result.findings:
        outputs = "the outputs are not compared, because float operators compute parts of them"
    lines = [f"reference: {what} compared; {wrong} differ, {outputs}"]
    lines += [
        f"  {m.tensor} of {m.op_type} {m.operator}: {m.count} of {m.total} differ; at {list(m.index)} "
        f"the reference has {m.expected:g}, onnxruntime {m.found:g}"
        for m in mismatches[:_SHOWN]
    ]
    return lines
