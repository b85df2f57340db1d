"""Low bits on the networks of the zoo: the section Low bits of docs/benchmarks.md.

``python benchmarks/low_bits.py --cache FOLDER`` prints Markdown tables; ``--tables`` chooses among them:

- ``goals``: every setting on every network, with the drop that it is held to;
- ``formats``: weight formats against each other, at 4, 3 and 2 bits, per channel and per tensor;
- ``onnxruntime``: onnxruntime's static quantizer at 8 and 4 bits beside dybitq, in the same run;
- ``speed``: SPARQ models against the plain int8 model.

Every cell is a process of its own, which reports its time and its peak memory, and is kept in the folder as
JSON: a run that was cut off goes on where it stopped. Cells that an earlier state of the source made are
measured again unless ``--keep`` is given. All networks get the same settings; what a setting does not name
is at its default, first and last layers at 8 bits included.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prepared

SIGMAS = 1.64  # one-sided 95 %
UNLABELLED = ("minilm_l6_v2", "yolox_nano", "espcn_y_x3")
GOAL_NETWORKS = (
    "resnet20_cifar10",
    "resnet8_cifar10",
    "mobilenet_v2_cifar10lp",
    "mobilenet_v1_075_224",
    "squeezenet1_1",
    "kws_dscnn",
)
TABLES = ("goals", "formats", "onnxruntime", "speed")
ROUNDS = 40
WINDOWS = ("sparq4-5opt", "sparq4-5opt-nopair", "sparq3-6opt", "sparq2-7opt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A recipe, and what it is held to.

    Attributes:
        recipe: settings that differ from the default recipe.
        data: whether layers are fitted on data.
        goals: largest drop in points, in the order of ``GOAL_NETWORKS``; None is reported only.
        least_db: smallest SQNR on networks without labels, or None.
    """

    recipe: Mapping[str, str] = field(default_factory=dict)
    data: bool = False
    goals: tuple[float | None, ...] = ()
    least_db: float | None = None

    def goal(self, network: str) -> float | None:
        """Largest drop of one network, or None."""
        found = dict(zip(GOAL_NETWORKS, self.goals))
        return found.get(network)


W4A4_GOALS = (2.0, 3.0, 6.0, None, 4.0, 3.0)
SETTINGS = {
    "W8A8": Setting(goals=(0.3, 0.3, 0.6, 0.4, 0.3, 0.4)),
    "W8A8-data": Setting(data=True),
    "W4A8": Setting(recipe={"weights": "auto4"}, goals=(0.5, 0.8, 1.5, 4.0, 1.0, 1.0), least_db=15),
    "W4A8-data": Setting(
        recipe={"weights": "auto4"}, data=True, goals=(0.2, 0.3, 1.0, 1.5, 0.5, 0.5), least_db=16
    ),
    "W3A8-data": Setting(recipe={"weights": "auto3"}, data=True, goals=(0.6, 1.2, 3.0, 9, 3, 1.5)),
    "W4A4-int-data": Setting(recipe={"weights": "auto4", "activations": "int4"}, data=True, goals=W4A4_GOALS),
    "W4A4-dybit-data": Setting(
        recipe={"weights": "auto4", "activations": "dybit4"}, data=True, goals=W4A4_GOALS
    ),
    "W4A4-sparq-data": Setting(
        recipe={"weights": "auto4", "activations": "sparq4-5opt"}, data=True, goals=W4A4_GOALS
    ),
    "W8-sparq5opt": Setting(recipe={"activations": "sparq4-5opt"}, goals=(0.4, 0.5, 1.0, 1.2, 0.6, 0.7)),
    "W8-sparq5opt-data": Setting(
        recipe={"activations": "sparq4-5opt"}, data=True, goals=(0.4, 0.5, 1.0, 1.2, 0.6, 0.7)
    ),
    "W8A8-pow2": Setting(recipe={"scale": "pow2", "range": "pow2"}, goals=(0.5, 0.5, 1.2, 2.0, 0.6, 0.7)),
}
FORMATS = {4: ("int4", "dybit4", "e2m1", "pot4", "auto4"), 3: ("int3", "dybit3", "pot3", "auto3")}
FORMATS[2] = ("int2", "dybit2", "pot2", "auto2")


def format_settings(*, data: bool) -> dict[str, Setting]:
    """Every weight format at both granularities."""
    return {
        f"{weights}-{granularity}{'-data' * data}": Setting(
            recipe={"weights": weights, "granularity": granularity}, data=data
        )
        for names in FORMATS.values()
        for weights in names
        for granularity in ("channel", "tensor")
    }


def setting_of(key: str) -> Setting:
    """Return the setting with this name."""
    return (SETTINGS | format_settings(data=False) | format_settings(data=True))[key]


# --------------------------------------------------------------------------- one cell, in its own process


def one(bench: prepared.Bench, name: str, key: str) -> dict[str, Any]:
    """Quantize and evaluate one network in one setting (or ``onnxruntime-W4``)."""
    from dybitq.api.evaluate import evaluate
    from dybitq.errors import DybitqError

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        start, started, notes = time.perf_counter(), time.process_time(), ()
        try:
            if key.startswith("onnxruntime"):
                onnxruntime_model(bench, name, path, bits=int(key[-1]))
            else:
                notes = quantized(bench, name, setting_of(key), path)
        except DybitqError as error:
            return {"failed": str(error)}
        seconds, busy = time.perf_counter() - start, time.process_time() - started
        peak = peak_mib()
        found = evaluate(path, bench.spec(name), reference=bench.model(name))
        cell: dict[str, Any] = {
            "seconds": seconds,
            "processor_seconds": busy,
            "peak_mib": peak,
            "bytes": path.stat().st_size,
            "sqnr_db": min(output.sqnr_db for output in found.outputs),
            "agreement": found.agreement,
            "notes": list(notes),
        }
        if found.metrics and found.metrics[0].drop is not None:
            best = found.metrics[0]
            cell |= {"value": best.value, "drop": best.drop, "error": best.drop_error}
        return cell


def peak_mib() -> float:
    """Peak resident memory of this process (getrusage would count that of the parent, up to the exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def quantized(bench: prepared.Bench, name: str, setting: Setting, path: Path) -> tuple[str, ...]:
    """Write the quantized model; returns the notes of the result."""
    from dybitq.api.quantize import quantize

    return quantize(
        bench.model(name),
        bench.statistics(name),
        path,
        recipe=prepared.recipe_of(**setting.recipe),
        data=bench.spec(name) if setting.data else None,
    ).notes


def onnxruntime_model(bench: prepared.Bench, name: str, path: Path, *, bits: int) -> None:
    """Quantize the network by onnxruntime's static quantizer, per channel, minmax, 8-bit activations."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = itertools.islice(bench.batches(name, "calib"), prepared.ORT_SAMPLES)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    with contextlib.redirect_stdout(io.StringIO()):
        prepared_path = path.with_suffix(".prepared.onnx")
        quant_pre_process(str(bench.model(name)), str(prepared_path), skip_symbolic_shape=True)
        quantize_static(
            str(prepared_path),
            str(path),
            Reader(),
            per_channel=True,
            weight_type=QuantType.QInt8 if bits == 8 else QuantType.QInt4,
            activation_type=QuantType.QUInt8,
        )


def speed(bench: prepared.Bench, name: str) -> dict[str, Any]:
    """One sample on one thread, int8 and SPARQ windows in turns.

    Milliseconds of int8, and how many times that the others take: processor time of the thread, medians of
    what each round gives.
    """
    from dybitq.runtime.session import Session

    feeds = next(bench.batches(name, "val", 1))
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for key in ("int8", *WINDOWS):
            path = Path(folder) / f"{key}.onnx"
            quantized(bench, name, Setting(recipe={"activations": key}), path)
            sessions[key] = Session(path, 1)
        times: dict[str, list[float]] = {key: [] for key in sessions}
        for _ in range(ROUNDS):
            for key, session in sessions.items():
                session.run(feeds)
                start = time.thread_time()
                session.run(feeds)
                times[key].append(1000 * (time.thread_time() - start))
    plain = times.pop("int8")
    ratios = {
        key: statistics.median(a / b for a, b in zip(values, plain, strict=True))
        for key, values in times.items()
    }
    return {"int8": statistics.median(plain), **ratios}


# --------------------------------------------------------------------------- cells from the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Measured cells in a folder."""

    bench: prepared.Bench
    keep: bool

    def get(self, name: str, key: str) -> dict[str, Any]:
        """Read the cell from the folder, or measure it now."""
        path = self.bench.work / "cells" / f"{name}.{key}.json"
        state = json.loads((self.bench.work / "state.json").read_text())["models"]
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            if self.keep or found.pop("state") == state:
                return found
        self.bench.statistics(name)
        found = self._measured(name, key)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**found, "state": state}, indent=1))
        return found

    def _measured(self, name: str, key: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--one", name, key]
        command += ["--cache", str(self.bench.work), "--zoo", str(self.bench.zoo)]
        print(f"{name} {key}", file=sys.stderr, flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["killed"]
            return {"failed": reason[0]}
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


# --------------------------------------------------------------------------- tables


def goals_table(cells: Cells, keys: list[str]) -> None:
    """Every setting on every network against its goal."""
    row = prepared.table(
        (
            *("setting", "network", "drop", "± se", "- 1.64 se", "goal", "", "agreement %", "SQNR dB"),
            *("seconds", "processor s", "peak MiB"),
        )
    )
    for key in keys:
        setting = SETTINGS[key]
        for name in cells.bench.networks:
            cell = cells.get(name, key)
            if "failed" in cell:
                row(key, name, *[""] * 5, *("", "", "", cell["failed"]))
                continue
            row(
                key,
                name,
                *judged(cell, setting.goal(name), setting.least_db),
                "" if cell["agreement"] is None else f"{cell['agreement']:.1f}",
                f"{cell['sqnr_db']:.1f}",
                f"{cell['seconds']:.1f}",
                f"{cell['processor_seconds']:.1f}",
                f"{cell['peak_mib']:.0f}",
            )


def judged(cell: Mapping[str, Any], goal: float | None, least_db: float | None) -> tuple[str, ...]:
    """Drop, its error, what can be excluded, goal and whether it is met."""
    if "drop" not in cell:
        if least_db is None:
            return ("",) * 5
        met = "met" if cell["sqnr_db"] >= least_db else "missed"
        return "", "", "", f"{least_db:g} dB", met
    excluded = cell["drop"] - SIGMAS * cell["error"]
    shown = (f"{cell['drop']:+.2f}", f"{cell['error']:.2f}", f"{excluded:+.2f}")
    if goal is None:
        return *shown, "", ""
    return *shown, f"{goal:g}", "met" if excluded <= goal else "missed"


def formats_table(cells: Cells, *, data: bool) -> None:
    """Weight formats against each other: drop in points, or SQNR in dB where there are no labels."""
    families = ("int", "dybit", "e2m1", "pot", "auto")
    row = prepared.table(("network", "bits", "scales", *families))
    for name in cells.bench.networks:
        for bits, names in FORMATS.items():
            for granularity in ("channel", "tensor"):
                found = {n.rstrip("0123456789") if n != "e2m1" else n: n for n in names}
                shown = []
                for family in families:
                    if family not in found:
                        shown.append("")
                        continue
                    key = f"{found[family]}-{granularity}{'-data' * data}"
                    shown.append(short(cells.get(name, key)))
                row(name, bits, granularity, *shown)


def short(cell: Mapping[str, Any]) -> str:
    """One cell of a table of formats."""
    if "failed" in cell:
        return "failed"
    if "drop" in cell:
        return f"{cell['drop']:+.2f} ± {cell['error']:.2f}, {cell['sqnr_db']:.1f} dB"
    return f"{cell['sqnr_db']:.1f} dB"


def onnxruntime_table(cells: Cells) -> None:
    """Compare onnxruntime's static quantizer with dybitq: accuracy, bytes and seconds."""
    pairs = (("onnxruntime-W8", "W8A8"), ("onnxruntime-W4", "W4A8"))
    row = prepared.table(("network", "bits", "onnxruntime", "bytes", "s", "dybitq", "bytes", "s"))
    for name in cells.bench.networks:
        for keys in pairs:
            shown: list[str] = []
            for key in keys:
                cell = cells.get(name, key)
                sizes = ("", "") if "failed" in cell else (f"{cell['bytes']:,}", f"{cell['seconds']:.1f}")
                shown += [short(cell), *sizes]
            row(name, keys[0][-1], *shown)


def speed_table(cells: Cells) -> None:
    """Processor milliseconds of one sample, and how many times that of the plain int8 model."""
    row = prepared.table(("network", "int8 ms", *WINDOWS))
    for name in cells.bench.networks:
        found = cells.get(name, "speed")
        if "failed" in found:
            row(name, found["failed"], *[""] * len(WINDOWS))
            continue
        ratios = [f"{found[key]:.2f}x" for key in WINDOWS]
        row(name, f"{found['int8']:.2f}", *ratios)


def main() -> None:
    """Take the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder to keep statistics and cells in")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="comma-separated, of the goals table")
    parser.add_argument("--tables", default="goals", help=f"comma-separated, of {', '.join(TABLES)}")
    parser.add_argument("--data", action="store_true", help="fit the formats of the formats table on data")
    parser.add_argument("--keep", action="store_true", help="take cells of an earlier state as they are")
    parser.add_argument("--networks", default=",".join((*GOAL_NETWORKS, *UNLABELLED)))
    parser.add_argument(
        "--zoo", type=Path, default=os.environ.get("DYBITQ_ZOO"), help="[default: DYBITQ_ZOO]"
    )
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "SETTING"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        bench = prepared.Bench(zoo=given.zoo, work=given.cache, networks=(given.one[0],))
        name, key = given.one
        print(json.dumps(speed(bench, name) if key == "speed" else one(bench, name, key)))
        return
    sys.argv[1:] = ["--work", str(given.cache), "--networks", given.networks]
    sys.argv += ["--zoo", str(given.zoo)] if given.zoo else []

    def measure(bench: prepared.Bench) -> None:
        cells = Cells(bench=bench, keep=given.keep)
        for table in given.tables.split(","):
            if table == "goals":
                goals_table(cells, given.settings.split(","))
            elif table == "formats":
                formats_table(cells, data=given.data)
            elif table == "onnxruntime":
                onnxruntime_table(cells)
            elif table == "speed":
                speed_table(cells)
            else:
                parser.error(f"unknown table {table!r}; known: {', '.join(TABLES)}")
            print()

    prepared.run(__doc__, given.networks.split(","), measure)


if __name__ == "__main__":
    main()
