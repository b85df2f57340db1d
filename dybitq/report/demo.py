"""The result of ``demo``, as text and as data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dybitq.records.workload import SimulationReport
from dybitq.report.calibrate import CalibrateResult
from dybitq.report.evaluate import EvaluateResult
from dybitq.report.page import Page, Shown, Table, spaced
from dybitq.report.quantize import QuantizeResult
from dybitq.report.simulate import SimulateResult

MODEL, DATA, STATISTICS = "digits.onnx", "digits.yaml", "digits.stats"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """One quantized network: how its weights were asked for, and what each step found."""

    weights: str
    quantized: QuantizeResult
    evaluated: EvaluateResult
    simulated: SimulateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult(Shown):
    """Results of the demo. Paths inside are names in ``folder``.

    Attributes:
        folder: where all files were left; None if they are gone.
        hardware: preset that was simulated.
        source_bytes: size of the float32 file.
        calibration: of the float32 network.
        models: one for each weight format.
    """

    folder: Path | None
    hardware: str
    source_bytes: int
    calibration: CalibrateResult
    models: tuple[DemoModel, ...]

    def page(self) -> Page:
        """Print every step with the equivalent command and its result, and a table at the end."""
        command = f"> dybitq calibrate {MODEL} --data {DATA} -o {STATISTICS}"
        blocks: list[Page] = [
            ["A network that reads handwritten digits, on writers that it has never seen."],
            [command, *self.calibration.page()],
        ]
        for model in self.models:
            blocks += _steps(model, self.hardware)
        return spaced([*blocks, [_summary(self)], [_closing(self)]])

    def document(self) -> dict[str, Any]:
        """Collect the documents of all steps."""
        return {
            "folder": None if self.folder is None else str(self.folder),
            "calibrate": self.calibration.document(),
            "models": [
                {
                    "weights": model.weights,
                    "quantize": model.quantized.document(),
                    "evaluate": model.evaluated.document(),
                    "simulate": model.simulated.document(),
                }
                for model in self.models
            ],
        }


def _steps(model: DemoModel, hardware: str) -> list[Page]:
    name = model.quantized.output
    made = f"--statistics {STATISTICS} --weights {model.weights} -o {name}"
    return [
        [f"> dybitq quantize {MODEL} {made}", *model.quantized.page()],
        [f"> dybitq evaluate {name} --data {DATA} --reference {MODEL}", *model.evaluated.page()],
        [
            f"> dybitq simulate {name} --hardware {hardware}",
            "(the command shows every layer)",
            _simulation_line(model.simulated.report),
        ],
    ]


def _simulation_line(report: SimulationReport) -> str:
    macs = sum(layer.macs for layer in report.layers)
    return (
        f"{macs / 1e6:.2f} MMAC in {report.total_cycles:,} cycles: {report.latency_us:.1f} us and "
        f"{report.energy_pj / 1e6:.2f} uJ on {report.machine} ({report.status})"
    )


def _summary(result: DemoResult) -> Table:
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
    return Table(header=header, rows=rows)


def _closing(result: DemoResult) -> str:
    if result.folder is None:
        return "The files were temporary; dybitq demo -o FOLDER keeps them."
    return f"All files are in {result.folder}; the commands above work there."
