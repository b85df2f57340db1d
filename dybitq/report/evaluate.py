"""The result of ``evaluate`` as text and as data."""

import dataclasses
import math
from typing import Any

from dybitq.api.evaluate import EvaluateResult, Gate, Metric, TensorError
from dybitq.errors import counted


def evaluate_text(result: EvaluateResult) -> str:
    """Print the figures line by line, the activations of ``--per-layer`` as a table, and the gates."""
    against = f" against {result.reference}" if result.reference is not None else ""
    lines = [f"{result.model}{against}: {result.samples} samples in {result.seconds:.1f} s"]
    lines += [_metric(metric) for metric in result.metrics]
    if result.agreement is not None:
        lines.append(f"agreement {result.agreement:.2f} %")
    lines += [
        f"output {error.tensor}: SQNR {_db(error.sqnr_db)}, largest difference {error.largest_difference:.4g}"
        for error in result.outputs
    ]
    if result.edges is not None:
        lines += _table(result.edges)
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
    return "\n".join(lines)


def evaluate_document(result: EvaluateResult) -> dict[str, Any]:
    """Convert a result to data; without any difference ``sqnr_db`` is infinite and ``exact`` true."""
    return {
        "model": str(result.model),
        "reference": None if result.reference is None else str(result.reference),
        "samples": result.samples,
        "seconds": round(result.seconds, 3),
        "metrics": {
            metric.name: {k: v for k, v in dataclasses.asdict(metric).items() if k != "name"}
            for metric in result.metrics
        },
        "agreement": result.agreement,
        "outputs": [_error(error) for error in result.outputs],
        "edges": None if result.edges is None else [_error(error) for error in result.edges],
        "rescaled": list(result.rescaled),
        "saturates": result.saturates,
        "saturation_db": result.saturation_db,
        "notes": list(result.notes),
        "gates": [dataclasses.asdict(gate) for gate in result.gates],
    }


def _error(error: TensorError) -> dict[str, Any]:
    return {**dataclasses.asdict(error), "exact": error.sqnr_db == math.inf}


def missed_gates(result: EvaluateResult) -> str | None:
    """Describe the gates that were missed in one line; None if there are none."""
    missed = [gate for gate in result.gates if not gate.passed]
    if not missed:
        return None
    found = ", ".join(f"--{gate.name} {gate.limit:g} (found {_number(gate)})" for gate in missed)
    return f"{result.model}: gate missed: {found}"


def _metric(metric: Metric) -> str:
    text = f"{metric.name} {metric.value:.2f} %"
    if metric.reference is None or metric.drop is None:
        return text
    return f"{text}, reference {metric.reference:.2f} %, drop {metric.drop:.2f} +- {metric.drop_error:.2f}"


def _table(edges: tuple[TensorError, ...]) -> list[str]:
    if not edges:
        return ["no quantized activation of the model has a counterpart in the reference"]
    width = max(len("quantized activation"), *(len(edge.tensor) for edge in edges))
    head = f"{'quantized activation':{width}}  {'SQNR dB':>8}  {'largest difference':>18}"
    rows = [
        f"{edge.tensor:{width}}  {_bare_db(edge.sqnr_db):>8}  {edge.largest_difference:>18.4g}"
        for edge in edges
    ]
    return [head, *rows]


def _gate(gate: Gate) -> str:
    verdict = "kept" if gate.passed else "MISSED"
    return f"gate --{gate.name} {gate.limit:g}: {verdict}, found {_number(gate)}"


def _number(gate: Gate) -> str:
    return _bare_db(gate.found) if gate.name == "min-sqnr" else f"{gate.found:.2f}"


def _db(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _bare_db(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f}"
