"""The result of ``demo`` as text and as data."""

from typing import Any

from dybitq.api.demo import DATA, MODEL, STATISTICS, DemoModel, DemoResult
from dybitq.records.workload import SimulationReport
from dybitq.report.calibrate import calibrate_document, calibrate_text
from dybitq.report.evaluate import evaluate_document, evaluate_text
from dybitq.report.quantize import quantize_document, quantize_text
from dybitq.report.simulate import simulation_document, table


def demo_text(result: DemoResult) -> str:
    """Print every step with the equivalent command and its result, and a table at the end."""
    blocks = [
        "A network that reads handwritten digits, on writers that it has never seen.",
        f"> dybitq calibrate {MODEL} --data {DATA} -o {STATISTICS}\n{calibrate_text(result.calibration)}",
    ]
    for model in result.models:
        blocks += _steps(model, result.hardware)
    blocks += [_summary(result), _closing(result)]
    return "\n\n".join(blocks)


def demo_document(result: DemoResult) -> dict[str, Any]:
    """Collect the documents of all steps."""
    return {
        "folder": None if result.folder is None else str(result.folder),
        "calibrate": calibrate_document(result.calibration),
        "models": [
            {
                "weights": model.weights,
                "quantize": quantize_document(model.quantized),
                "evaluate": evaluate_document(model.evaluated),
                "simulate": simulation_document(model.simulated),
            }
            for model in result.models
        ],
    }


def _steps(model: DemoModel, hardware: str) -> list[str]:
    name = model.quantized.output
    made = f"--statistics {STATISTICS} --weights {model.weights} -o {name}"
    return [
        f"> dybitq quantize {MODEL} {made}\n{quantize_text(model.quantized)}",
        f"> dybitq evaluate {name} --data {DATA} --reference {MODEL}\n{evaluate_text(model.evaluated)}",
        f"> dybitq simulate {name} --hardware {hardware}\n(the command shows every layer)\n"
        + _simulation_line(model.simulated.report),
    ]


def _simulation_line(report: SimulationReport) -> str:
    macs = sum(layer.macs for layer in report.layers)
    return (
        f"{macs / 1e6:.2f} MMAC in {report.total_cycles:,} cycles: {report.latency_us:.1f} us and "
        f"{report.energy_pj / 1e6:.2f} uJ on {report.machine} ({report.status})"
    )


def _summary(result: DemoResult) -> str:
    """One row for the float32 file and for each quantized one."""
    metrics = result.models[0].evaluated.metrics[0]
    rows: list[tuple[str, ...]] = [
        (MODEL, "float32", f"{result.source_bytes:,}", f"{metrics.reference:.2f}", "", "", "", "")
    ]
    for model in result.models:
        metric, report = model.evaluated.metrics[0], model.simulated.report
        rows.append(
            (
                str(model.quantized.output),
                model.weights,
                f"{model.quantized.coverage.file_bytes:,}",
                f"{metric.value:.2f}",
                f"{metric.drop:.2f} +- {metric.drop_error:.2f}",
                f"{min(output.sqnr_db for output in model.evaluated.outputs):.1f}",
                f"{report.total_cycles:,}",
                f"{report.energy_pj / 1e6:.2f}",
            )
        )
    header = ("file", "weights", "bytes", f"{metrics.name} %", "drop", "SQNR dB", "cycles", "uJ")
    return table(header, rows)


def _closing(result: DemoResult) -> str:
    if result.folder is None:
        return "The files were temporary; dybitq demo -o FOLDER keeps them."
    return f"All files are in {result.folder}; the commands above work there."
