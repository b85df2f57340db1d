"""``dybitq verify`` as a function: the proof that a stored model is integer-only."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from dybitq.data.spec import load_data
from dybitq.errors import ConfigError
from dybitq.graph import keys
from dybitq.graph.stored.checksum import Change
from dybitq.graph.stored.plain import StoredModel, read_plain
from dybitq.records.integer_network import IntegerNetwork
from dybitq.records.progress import Progress
from dybitq.runtime.host import Host, inspect_host
from dybitq.runtime.session import Session
from dybitq.verify.bounds import AccumulatorBound, accumulator_bounds
from dybitq.verify.compare import Comparison, compare
from dybitq.verify.exact import NotDyadicError
from dybitq.verify.read.network import read_network
from dybitq.verify.static import Finding, NodeKind, prove


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
class VerifyResult:
    """Result of ``verify``.

    Attributes:
        model: the file.
        arithmetic: what its metadata says, empty if nothing.
        only: ``strict``, or ``report`` where float operators are listed and allowed.
        nodes: how many nodes of each kind the graph has.
        findings: what contradicts integer-only arithmetic.
        operations: in order; empty where the parameters of the file cannot be read as integers.
        host: integer arithmetic of this machine.
        comparison: runtime against reference on data; None without data or where it makes no sense.
        changes: what differs from the checksum that dybitq wrote into the file.
    """

    model: Path
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
        """True if all that the model computes is in float, so that there is nothing to prove."""
        return bool(self.findings) and not self.nodes[NodeKind.INTEGER]

    @property
    def proven(self) -> bool:
        """True if the proof holds for the file as it is."""
        clean = self.comparison is None or self.comparison.clean
        return not self.broken and not self.without_integers and clean

    @property
    def passed(self) -> bool:
        """True if the proof holds, and the file is what dybitq wrote."""
        return self.proven and not self.changes

    @property
    def bits(self) -> int | None:
        """Width of an accumulator that is wide enough for all operations."""
        return max((o.bound.bits for o in self.operations if o.bound is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a verification.

    Attributes:
        only: ``strict`` or ``report``.
        split, samples, batch_size: what to read.
        threads: of onnxruntime.
    """

    only: str = "strict"
    split: str = "val"
    samples: int | None = 64
    batch_size: int = 4
    threads: int | None = None


def verify(
    model: Path,
    *,
    data: Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Prove that ``model`` computes in integers, bound its accumulators, and compare it on data.

    Args:
        model: ONNX file.
        data: data spec, npz or folder; without it nothing is run but a probe of the host.
        settings: see there.
        progress: called with stage, done, total.

    Raises:
        ModelError: the file cannot be read or run.
        ConfigError, DataError: the data do not fit.
    """
    chosen = settings or Settings()
    if chosen.only not in ("strict", "report"):
        raise ConfigError(f"integer-only is {chosen.only!r}; expected strict or report")
    stored = read_plain(model)
    proof = prove(stored.inner)
    operations = _facts(stored, readable=not any(not f.floating for f in proof.findings))
    comparison, findings = None, proof.findings
    allowed = all(f.floating for f in proof.findings) if chosen.only == "report" else not proof.findings
    if data is not None and allowed:
        try:
            comparison = _compare(stored, data, chosen, exact=not proof.findings, progress=progress)
        except OverflowError as error:  # of the reference, whose registers are as wide as the types say
            findings += (Finding(operator="run", op_type="reference", problem=str(error), floating=False),)
    return VerifyResult(
        model=model,
        arithmetic=_arithmetic(stored),
        only=chosen.only,
        nodes={str(kind): proof.count(kind) for kind in NodeKind},
        findings=findings,
        operations=operations,
        host=inspect_host(),
        comparison=comparison,
        changes=stored.changes,
    )


def _arithmetic(stored: StoredModel) -> str:
    try:
        plan = json.loads(stored.inner.metadata.get(keys.PLAN, "{}"))
    except json.JSONDecodeError:
        return ""
    return str(plan.get("arithmetic", "float-rescale")) if plan else ""


def _compare(
    stored: StoredModel, data: Path, chosen: Settings, *, exact: bool, progress: Progress | None
) -> Comparison:
    inputs = Session(stored.path, 1).inputs
    source = load_data(data, inputs=inputs, split=chosen.split, batch_size=chosen.batch_size)
    if chosen.samples is not None and (source.samples is None or source.samples > chosen.samples):
        source = replace(source, limit=chosen.samples)
    batches = ((batch.feeds, batch.count) for batch in source)
    return compare(
        stored, batches, exact=exact, threads=chosen.threads, total=source.samples, progress=progress
    )


def _facts(stored: StoredModel, *, readable: bool) -> tuple[OperationFacts, ...]:
    if not readable:
        return ()
    try:
        network = read_network(stored)
    except (NotDyadicError, ValueError):  # somebody else's file; the static proof says what is wrong
        return ()
    return facts_of(network)


def facts_of(network: IntegerNetwork) -> tuple[OperationFacts, ...]:
    """Return the facts about every operation that multiplies or adds."""
    bounds = {bound.name: bound for bound in accumulator_bounds(network)}
    found = []
    for operation in network.operations:
        parts = operation.factors
        bound = bounds.get(operation.name)
        if bound is None and not parts:
            continue
        found.append(
            OperationFacts(
                name=operation.name,
                operation=operation.kind,
                multipliers=_ends([b for b, _ in parts]),
                shifts=_ends([c for _, c in parts]),
                bound=bound,
            )
        )
    return tuple(found)


def _ends(values: list[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None
