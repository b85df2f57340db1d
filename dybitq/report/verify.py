"""The result of ``verify``, as text and as data."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dybitq.graph.stored.checksum import Change
from dybitq.records.models import ModelSource
from dybitq.report.page import Page, Shown, Table
from dybitq.runtime.host import Host
from dybitq.verification.bounds import AccumulatorBound
from dybitq.verification.compare import Comparison
from dybitq.verification.static import Finding, NodeKind

_WIDEST = 44  # characters of a name in the table
_SHOWN = 20  # findings and mismatches printed one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFacts:
    """One operation that multiplies or adds, as the file has it.

    Attributes:
        name: of the operator.
        operation: what it computes, ``convolution``, ``addition``, ...
        multipliers: smallest and largest b; None where nothing is rescaled.
        shifts: smallest and largest c.
        bound: of its accumulator; None where the file does not tell.
    """

    name: str
    operation: str
    multipliers: tuple[int, int] | None
    shifts: tuple[int, int] | None
    bound: AccumulatorBound | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VerifyResult(Shown):
    """Result of ``verify``: the proof, its counterexamples, and the comparison on data.

    Attributes:
        model: the file, or the model in memory.
        arithmetic: what its metadata says, empty if nothing.
        only: ``strict``, or ``report`` where float operators are listed and allowed.
        nodes: how many nodes of each kind the graph has.
        findings: what contradicts integer-only arithmetic.
        operations: in order; empty where the parameters of the file cannot be read as integers.
        host: integer arithmetic of this machine.
        comparison: runtime against reference on data; None without data or where it makes no sense.
        changes: differences from the checksum that dybitq wrote into the file.
    """

    model: ModelSource
    arithmetic: str
    only: str
    nodes: dict[str, int]
    findings: tuple[Finding, ...]
    operations: tuple[OperationFacts, ...]
    host: Host
    comparison: Comparison | None
    changes: tuple[Change, ...] = ()

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Findings that count: all of them if strict, otherwise those about parameters."""
        return tuple(f for f in self.findings if self.only == "strict" or not f.floating)

    @property
    def without_integers(self) -> bool:
        """True where all that the model computes is in float, so that there is nothing to prove."""
        return bool(self.findings) and not self.nodes[NodeKind.INTEGER]

    @property
    def proven(self) -> bool:
        """True where the proof holds for the model as it is."""
        clean = self.comparison is None or self.comparison.clean
        return not self.broken and not self.without_integers and clean

    @property
    def passed(self) -> bool:
        """True where the proof holds, and the model is as dybitq wrote it."""
        return self.proven and not self.changes

    @property
    def bits(self) -> int | None:
        """Width of an accumulator that is wide enough for all operations."""
        return max((o.bound.bits for o in self.operations if o.bound is not None), default=None)

    def page(self) -> Page:
        """Print the static proof layer by layer, the bounds, the host, the comparison, and the verdict."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the result to data."""
        comparison = self.comparison
        return {
            "model": str(self.model),
            "arithmetic": self.arithmetic,
            "integer_only": self.only,
            "passed": self.passed,
            "nodes": self.nodes,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "operations": [dataclasses.asdict(operation) for operation in self.operations],
            "accumulator_bits": self.bits,
            "host": dataclasses.asdict(self.host),
            "comparison": None
            if comparison is None
            else {
                "samples": comparison.samples,
                "tensors": comparison.tensors,
                "values": comparison.values,
                "mismatches": [dataclasses.asdict(m) for m in comparison.mismatches.values()],
                "output_differences": None if self.findings else comparison.output_differences,
            },
            "changes": [dataclasses.asdict(change) for change in self.changes],
        }


def _page(result: VerifyResult) -> Page:
    lines: list[str | Table] = [_nodes(result)]
    lines += _table(result.operations)
    lines += _findings(result)
    lines += _bounds(result)
    lines += _comparison(result)
    lines += [f"changed: {_change(change)}" for change in result.changes[:_SHOWN]]
    lines.append(_verdict(result))
    return lines


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


def _table(operations: tuple[OperationFacts, ...]) -> Page:
    if not operations:
        return []
    rows = [
        (
            operation.name if len(operation.name) <= _WIDEST else "..." + operation.name[3 - _WIDEST :],
            operation.operation,
            _span(operation.multipliers),
            _span(operation.shifts),
            "" if operation.bound is None else str(operation.bound.bits),
            "" if operation.bound is None else str(operation.bound.product_bits or ""),
        )
        for operation in operations
    ]
    return [Table(header=("operation", "kind", "b", "c", "bits", "x b"), rows=rows)]


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
