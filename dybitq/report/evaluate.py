"""The result of ``evaluate``, as text and as data."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from dybitq.errors import counted
from dybitq.records.models import ModelSource
from dybitq.report.page import Page, Shown, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure over all samples, in percent.

    Attributes:
        name: ``top-1``.
        value: of the model.
        reference: of the reference; None without one.
        drop: ``reference - value`` in points.
        drop_error: standard error of the drop, paired: from the samples' own differences.
    """

    name: str
    value: float
    reference: float | None
    drop: float | None
    drop_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """Error of one tensor against the reference: SQNR in dB, and the largest absolute difference."""

    tensor: str
    sqnr_db: float
    largest_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit that the user set."""

    name: str
    limit: float
    found: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult(Shown):
    """Result of ``evaluate``: measurements and the limits on them.

    Attributes:
        model, reference: what was compared.
        samples: number of samples.
        seconds: wall time.
        metrics: of the task, the headline first; empty without labels or a task.
        agreement: percent of samples decided as the reference does; None without task or reference.
        outputs: error of each float output against the reference.
        edges: error of each quantized activation, in topological order; None if not asked for.
        rescaled: quantized activations that cannot be compared, as equalization changed their channels.
        gates: limits and whether they were kept.
        saturates: whether this processor's kernels saturate in the model (see :mod:`dybitq.runtime.host`), as
            the first batch shows; None where that cannot be told.
        saturation_db: if so, smallest SQNR of a float output against exact kernels.
        notes: what makes the figures doubtful.
    """

    model: ModelSource
    reference: ModelSource | None
    samples: int
    seconds: float
    metrics: tuple[Metric, ...]
    agreement: float | None
    outputs: tuple[TensorError, ...]
    edges: tuple[TensorError, ...] | None
    rescaled: tuple[str, ...]
    gates: tuple[Gate, ...]
    saturates: bool | None = False
    saturation_db: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def missed(self) -> tuple[Gate, ...]:
        """Limits that were not kept."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def page(self) -> Page:
        """Print the figures line by line, the activations of ``--per-layer`` as a table, and the gates."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the result to data; without any difference ``sqnr_db`` is infinite and ``exact`` true."""
        return {
            "model": str(self.model),
            "reference": None if self.reference is None else str(self.reference),
            "samples": self.samples,
            "seconds": round(self.seconds, 3),
            "metrics": {
                metric.name: {k: v for k, v in dataclasses.asdict(metric).items() if k != "name"}
                for metric in self.metrics
            },
            "agreement": self.agreement,
            "outputs": [_error(error) for error in self.outputs],
            "edges": None if self.edges is None else [_error(error) for error in self.edges],
            "rescaled": list(self.rescaled),
            "saturates": self.saturates,
            "saturation_db": self.saturation_db,
            "notes": list(self.notes),
            "gates": [dataclasses.asdict(gate) for gate in self.gates],
        }


def _page(result: EvaluateResult) -> Page:
    against = f" against {result.reference}" if result.reference is not None else ""
    lines: list[str | Table] = [
        f"{result.model}{against}: {result.samples} samples in {result.seconds:.1f} s"
    ]
    lines += [_metric(metric) for metric in result.metrics]
    if result.agreement is not None:
        lines.append(f"agreement {result.agreement:.2f} %")
    lines += [
        f"output {error.tensor}: SQNR {_db(error.sqnr_db)}, largest difference {error.largest_difference:.4g}"
        for error in result.outputs
    ]
    if result.edges is not None:
        lines.append(_table(result.edges))
    if result.rescaled:
        count = counted(len(result.rescaled), "activation")
        lines.append(f"left out: {count} whose channels were rescaled ({', '.join(result.rescaled)})")
    if result.saturates:
        found = "" if result.saturation_db is None else f": {_db(result.saturation_db)} against exact ones"
        lines.append(f"this processor's kernels saturate in the model{found}, on the first batch")
    elif result.saturates is None:
        lines.append("the test whether this processor's kernels saturate in the model failed")
    lines += [f"note: {note}" for note in result.notes]
    lines += [_gate(gate) for gate in result.gates]
    return lines


def _error(error: TensorError) -> dict[str, Any]:
    return {**dataclasses.asdict(error), "exact": error.sqnr_db == math.inf}


def missed_gates(result: EvaluateResult) -> str | None:
    """Describe the gates that were missed in one line; None if there are none."""
    if not result.missed:
        return None
    found = ", ".join(f"--{gate.name} {gate.limit:g} (found {_number(gate)})" for gate in result.missed)
    return f"{result.model}: gate missed: {found}"


def _metric(metric: Metric) -> str:
    text = f"{metric.name} {metric.value:.2f} %"
    if metric.reference is None or metric.drop is None:
        return text
    return f"{text}, reference {metric.reference:.2f} %, drop {metric.drop:.2f} +- {metric.drop_error:.2f}"


def _table(edges: tuple[TensorError, ...]) -> Table | str:
    if not edges:
        return "no quantized activation of the model has a counterpart in the reference"
    rows = [(edge.tensor, _bare_db(edge.sqnr_db), f"{edge.largest_difference:.4g}") for edge in edges]
    return Table(header=("quantized activation", "SQNR dB", "largest difference"), rows=rows, left=1)


def _gate(gate: Gate) -> str:
    verdict = "kept" if gate.passed else "MISSED"
    return f"gate --{gate.name} {gate.limit:g}: {verdict}, found {_number(gate)}"


def _number(gate: Gate) -> str:
    return _bare_db(gate.found) if gate.name == "min-sqnr" else f"{gate.found:.2f}"


def _db(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _bare_db(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f}"
