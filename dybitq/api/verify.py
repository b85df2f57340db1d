"""``dybitq verify`` as a function: the proof that a stored model is integer-only."""

import json
from dataclasses import dataclass, replace
from typing import Literal

from dybitq.data.memory import Data, DataLike, data_of
from dybitq.data.spec import load_data
from dybitq.errors import ConfigError
from dybitq.graph import keys
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.stored.plain import StoredModel, read_plain
from dybitq.records.integer_network import IntegerNetwork
from dybitq.records.progress import Progress
from dybitq.report.verify import OperationFacts, VerifyResult
from dybitq.runtime.host import inspect_host
from dybitq.runtime.session import Session
from dybitq.verification.bounds import accumulator_bounds
from dybitq.verification.compare import Comparison, compare
from dybitq.verification.exact import NotDyadicError
from dybitq.verification.read.network import read_network
from dybitq.verification.static import Finding, NodeKind, prove


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Samples to compare on, and the threads that onnxruntime may use."""

    split: str
    samples: int | None
    batch_size: int
    threads: int | None


def verify(
    model: ModelLike,
    *,
    data: DataLike | None = None,
    split: str = "val",
    samples: int | None = 64,
    batch_size: int = 4,
    integer_only: Literal["strict", "report"] = "strict",
    threads: int | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Prove that ``model`` computes in integers, bound its accumulators, and compare it on data.

    Args:
        model: any ONNX model.
        data: data spec, .npz or folder of images, or samples in memory; without it nothing is run but a
            probe of the host.
        split: split of the data spec to read.
        samples: most samples to compare, spread evenly over the split; None for all.
        batch_size: samples of one run.
        integer_only: ``strict``, or ``report`` where float operators are listed and allowed.
        threads: of onnxruntime; None for one on each core.
        progress: called with stage, done, total.

    Raises:
        ModelError: the model cannot be read or run.
        ConfigError, DataError: the data do not fit.
    """
    if integer_only not in ("strict", "report"):
        raise ConfigError(f"integer-only is {integer_only!r}; expected strict or report")
    given = None if data is None else data_of(data)
    stored = read_plain(model_source(model))
    proof = prove(stored.inner)
    operations = _facts(stored, readable=not any(not f.floating for f in proof.findings))
    comparison, findings = None, proof.findings
    allowed = all(f.floating for f in proof.findings) if integer_only == "report" else not proof.findings
    if given is not None and allowed:
        reading = Reading(split=split, samples=samples, batch_size=batch_size, threads=threads)
        try:
            comparison = _compare(stored, given, reading, exact=not proof.findings, progress=progress)
        except OverflowError as error:  # of the reference, whose registers are as wide as the types say
            findings += (Finding(operator="run", op_type="reference", problem=str(error), floating=False),)
    return VerifyResult(
        model=stored.source,
        arithmetic=_arithmetic(stored),
        only=integer_only,
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
    stored: StoredModel, data: Data, reading: Reading, *, exact: bool, progress: Progress | None
) -> Comparison:
    inputs = Session(stored.source, 1).inputs
    source = load_data(data, inputs=inputs, split=reading.split, batch_size=reading.batch_size)
    if reading.samples is not None and (source.samples is None or source.samples > reading.samples):
        source = replace(source, limit=reading.samples)
    batches = ((batch.feeds, batch.count) for batch in source)
    return compare(
        stored, batches, exact=exact, threads=reading.threads, total=source.samples, progress=progress
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
    """Collect the facts of every operation that multiplies or adds."""
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
