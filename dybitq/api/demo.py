"""``dybitq demo`` as a function: the whole road on the network inside the package."""

import tempfile
from dataclasses import replace
from importlib import resources
from pathlib import Path

from dybitq.api.calibrate import calibrate
from dybitq.api.evaluate import evaluate
from dybitq.api.quantize import quantize
from dybitq.api.simulate import simulate
from dybitq.errors import OutputError
from dybitq.files import atomic_output, check_output
from dybitq.records.progress import Progress
from dybitq.report.demo import DATA, MODEL, STATISTICS, DemoModel, DemoResult

SHIPPED = (MODEL, DATA, "digits.npz", "LICENSE-digits.txt")
WEIGHTS = ("int8", "dybit4")
HARDWARE = "dybit_zcu102_like"


def demo(folder: Path | None = None, *, force: bool = False, progress: Progress | None = None) -> DemoResult:
    """Calibrate, quantize, evaluate and simulate a small CNN that reads handwritten digits.

    Args:
        folder: where to leave model, data, statistics and results; made if it is missing. None works in
            a temporary folder.
        force: replace files that are in ``folder`` already.
        progress: called with stage, done, total.

    Raises:
        OutputError: a file exists, or the folder cannot be written.
    """
    if folder is not None:
        _check_folder(folder, force=force)
    parent = None if folder is None else folder.parent
    with tempfile.TemporaryDirectory(prefix=".dybitq-demo.", dir=parent, ignore_cleanup_errors=True) as name:
        result = _run(Path(name), progress)
        if folder is not None:
            folder.mkdir(exist_ok=True)
            for path in sorted(Path(name).iterdir()):
                path.replace(folder / path.name)
    return replace(result, folder=folder)


def _check_folder(folder: Path, *, force: bool) -> None:
    """Refuse early what could not be written at the end."""
    if not folder.exists():
        check_output(folder, force=force)
    elif not folder.is_dir():
        raise OutputError(f"{folder}: is a file; expected the name of a folder")
    else:
        for name in (*SHIPPED, STATISTICS, *(f"{weights}.onnx" for weights in WEIGHTS)):
            check_output(folder / name, force=force)


def _run(folder: Path, progress: Progress | None) -> DemoResult:
    shipped = resources.files("dybitq.demo")
    for name in SHIPPED:
        with atomic_output(folder / name, force=False) as temporary:
            temporary.write_bytes(shipped.joinpath(name).read_bytes())
    calibration = calibrate(folder / MODEL, folder / DATA, folder / STATISTICS, progress=progress)
    return DemoResult(
        folder=None,
        hardware=HARDWARE,
        source_bytes=(folder / MODEL).stat().st_size,
        calibration=replace(calibration, output=Path(STATISTICS)),
        models=tuple(_one(folder, weights, progress) for weights in WEIGHTS),
    )


def _one(folder: Path, weights: str, progress: Progress | None) -> DemoModel:
    output = folder / f"{weights}.onnx"
    quantized = quantize(folder / MODEL, folder / STATISTICS, output, weights=weights, progress=progress)
    evaluated = evaluate(output, folder / DATA, reference=folder / MODEL, progress=progress)
    return DemoModel(
        weights=weights,
        quantized=replace(quantized, output=Path(output.name)),
        evaluated=replace(evaluated, model=Path(output.name), reference=Path(MODEL)),
        simulated=simulate(output, HARDWARE),
    )
