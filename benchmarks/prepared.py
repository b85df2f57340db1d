"""Common input of the benchmark scripts: networks, their statistics, quantized models of both kinds.

The networks are those of the folder that ``DYBITQ_ZOO`` names: ``models/NAME.onnx`` with a data spec
``specs/NAME.yaml`` each. What is made of them is kept in the folder given by ``--work``, so that scripts
share it.
"""

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dybitq.api.calibrate import calibrate
from dybitq.api.quantize import quantize
from dybitq.calibration.run import model_inputs
from dybitq.data.spec import load_data
from dybitq.graph.load import load
from dybitq.plan.recipe import DEFAULTS, Recipe

LABELLED = (
    "mnist_cnn",
    "kws_dscnn",
    "resnet8_cifar10",
    "resnet20_cifar10",
    "mobilenet_v2_cifar10lp",
    "mobilenet_v1_075_224",
    "squeezenet1_1",
)
NETWORKS = (*LABELLED, "espcn_y_x3", "yolox_nano", "minilm_l6_v2")
ORT_SAMPLES = 64  # calibration samples of onnxruntime's quantizer: peers were measured with as many or fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Folders of the networks and of the files made from them."""

    zoo: Path
    work: Path
    networks: tuple[str, ...]

    def model(self, name: str) -> Path:
        """Return the float32 file of a network."""
        return self.zoo / "models" / f"{name}.onnx"

    def spec(self, name: str) -> Path:
        """Return the data spec of a network."""
        return self.zoo / "specs" / f"{name}.yaml"

    def statistics(self, name: str) -> Path:
        """Statistics of a network over its whole calibration split, at default settings."""
        path = self.work / f"{name}.stats"
        if not path.exists():
            calibrate(self.model(name), self.spec(name), path)
        return path

    def quantized(self, name: str, *, with_data: bool = False, **settings: str | bool | None) -> Path:
        """Quantize a model by dybitq with the settings of a recipe; everything else at its default."""
        parts = [f"{key}={value}" for key, value in sorted(settings.items())] + ["data"] * with_data
        path = self.work / f"{name}.{'.'.join(parts) or 'default'}.onnx"
        if not path.exists():
            quantize(
                self.model(name),
                self.statistics(name),
                path,
                recipe=recipe_of(**settings),
                data=self.spec(name) if with_data else None,
            )
        return path

    def batches(self, name: str, split: str, samples: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Single samples of a split as feeds."""
        inputs = model_inputs(load(self.model(name)))
        source = load_data(self.spec(name), inputs=inputs, split=split, samples=samples)
        for batch in source:
            yield dict(batch.feeds)

    def onnxruntime(self, name: str) -> Path:
        """Quantize the network by onnxruntime's own static quantizer: int8 weights per channel, minmax."""
        path = self.work / f"{name}.onnxruntime.onnx"
        if not path.exists():
            _onnxruntime_static(self, name, path)
        return path


def recipe_of(**settings: str | bool | None) -> Recipe:
    """Change some settings of the default recipe; ``first_last`` is one of them."""
    recipe = Recipe()
    if "first_last" in settings:
        recipe = replace(recipe, first_last=settings.pop("first_last"))
    return replace(recipe, defaults=replace(DEFAULTS, **settings))


def _onnxruntime_static(bench: Bench, name: str, path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter(list(bench.batches(name, "calib"))[:ORT_SAMPLES])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(bench.model(name)), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            Reader(),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    logging.disable(logging.NOTSET)


def table(head: Sequence[str]) -> Callable[..., None]:
    """Print the head of a Markdown table; the result prints one row."""
    print(f"| {' | '.join(head)} |", "|---" * len(head) + "|", sep="\n", flush=True)

    def row(*cells: object) -> None:
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)

    return row


def sha256(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(description: str, networks: Sequence[str], measure: Callable[[Bench], None]) -> None:
    """Parse the options that all scripts have, and measure."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--networks", default=",".join(networks), help="comma-separated  [default: %(default)s]"
    )
    parser.add_argument("--work", type=Path, help="folder to keep statistics and models in")
    parser.add_argument(
        "--zoo", type=Path, default=os.environ.get("DYBITQ_ZOO"), help="[default: DYBITQ_ZOO]"
    )
    arguments = parser.parse_args()
    if arguments.zoo is None or not (arguments.zoo / "models").is_dir():
        parser.error("--zoo, or DYBITQ_ZOO, has to name a folder with models/ and specs/")
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(zoo=arguments.zoo, work=work, networks=tuple(arguments.networks.split(",")))
        check_work(bench)
        measure(bench)


def check_work(bench: Bench) -> None:
    """Throw away what an earlier state of dybitq made: statistics by what makes those, all else always."""
    made_by = {"statistics": ("calibrate", "graph", "data", "encodings", "records"), "models": ("",)}
    patterns = {"statistics": ("*.stats",), "models": ("*.onnx", "plans/*", "sensitivity/*")}
    now = {kind: _state(*folders) for kind, folders in made_by.items()}
    stamp = bench.work / "state.json"
    before = json.loads(stamp.read_text()) if stamp.exists() else {}
    for kind, state in now.items():
        if before.get(kind) != state:
            for path in (path for pattern in patterns[kind] for path in bench.work.glob(pattern)):
                if ".onnxruntime." not in path.name:
                    path.unlink()
    stamp.write_text(json.dumps(now))


def _state(*folders: str) -> str:
    """Hash of the code in some folders of the package."""
    package = Path(__file__).parent.parent / "dybitq"
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
