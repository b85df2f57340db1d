"""SCALE-Sim mode against what SCALE-Sim 3.0.0 prints."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dybitq.cli.main import group
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.topology import read_topology
from dybitq.records.workload import Workload
from tests.hardware.reference import Layers, reference, rows

# Rows of SCALE-Sim 3.0.0, small GEMMs: array, dataflow, (M, N, K), array cycles, ifmap, filter, ofmap counts.
PRINTED = [
    ((8, 8), "is", (64, 64, 64), 5504, 4096, 32768, 32768),
    ((8, 8), "is", (37, 53, 29), 1500, 1073, 7685, 7844),
    ((8, 8), "is", (1, 100, 300), 4636, 300, 30000, 3800),
    ((8, 8), "is", (200, 100, 17), 9150, 3400, 42500, 60000),
    ((8, 8), "is", (300, 9, 9), 2356, 2700, 3078, 5400),
]
# Sums of array cycles over the tool's bundled networks.
TOTALS = [("resnet18", 32, "ws", 2519836), ("resnet18", 32, "os", 1718374), ("resnet18", 128, "ws", 417649)]
TOTALS += [("resnet18", 128, "os", 262391), ("alexnet", 32, "ws", 1136244), ("alexnet", 32, "os", 850965)]


def topology(path: Path, text: str) -> Workload:
    """The workload of a topology with this text."""
    path.write_text(text)
    return read_topology(path)


def settings(rows_: int, cols: int, flow: str) -> dict[str, object]:
    """Machine settings of an array."""
    return {"array.rows": rows_, "array.cols": cols, "array.dataflow": flow}


@pytest.mark.parametrize("case", PRINTED)
def test_small_products(tmp_path, case):
    """Cycles and buffer counts of small products are the printed ones."""
    (height, width), flow, (m, n, k), cycles, inputs, weights, outputs = case
    work = topology(tmp_path / "t.csv", f"Layer,M,N,K,\na,{m},{n},{k},\n")
    layer = simulate(work, load_machine("scalesim_default", settings(height, width, flow))).layers[0]
    assert (layer.cycles, layer.total_cycles) == (cycles, cycles - 1)
    assert (layer.sram_reads.input, layer.sram_reads.weight, layer.sram_writes.output) == (
        inputs,
        weights,
        outputs,
    )


@pytest.mark.parametrize(("network", "size", "flow", "cycles"), TOTALS)
def test_network_totals(network, size, flow, cycles):
    """Array cycles of whole networks are the published sums."""
    work = read_topology(reference(f"scalesim_topologies/{network}.csv"))
    report = simulate(work, load_machine("scalesim_default", settings(size, size, flow)))
    assert sum(layer.cycles for layer in report.layers) == cycles


def test_every_reference_row_from_the_command_line():
    """Each layer of each reference file: cycles, counts and utilisation, as the command line prints them."""
    folder = reference("scalesim")
    checked = 0
    for path in sorted(folder.glob("*.csv")):
        parts = re.fullmatch(r"(?:compute|full)_(\w+)_(\d+)x(\d+)_(os|ws|is)", path.stem)
        assert parts
        network, height, width, flow = parts.groups()
        if network == "smallgemm":  # test_small_products_of_the_reference
            continue
        source = folder.parent / "scalesim_topologies" / f"{network}.csv"
        words = ["simulate", str(source), "--hardware", "scalesim_default", "--json"]
        for name, value in (("rows", height), ("cols", width), ("dataflow", flow)):
            words += ["--set", f"array.{name}={value}"]
        result = CliRunner().invoke(group, words)
        assert result.exit_code == 0, result.output
        layers = json.loads(result.stdout)["layers"]
        for row in rows(path):
            check_row(layers[int(row["layer"])], row)
            checked += 1
    assert checked == 393


def check_row(layer: dict[str, object], row: dict[str, str]) -> None:
    """One printed layer against one reference row."""
    assert layer["name"] == row["name"]
    cycles = int(row["demand_rows"]) if "demand_rows" in row else int(float(row["total_cycles"])) + 1
    assert layer["cycles"] == cycles
    assert layer["total_cycles"] == cycles - 1
    assert layer["sram_reads"]["input"] == int(row["sram_ifmap_reads"])
    assert layer["sram_reads"]["weight"] == int(row["sram_filter_reads"])
    assert layer["sram_writes"]["output"] == int(row["sram_ofmap_writes"])
    assert layer["extra"]["scalesim_mapping_eff_pct"] == pytest.approx(
        float(row["mapping_eff_pct"]), abs=1e-9
    )
    assert layer["extra"]["scalesim_compute_util_pct"] == pytest.approx(
        float(row["compute_util_pct"]), abs=1e-9
    )
    if "overall_util_pct" in row:
        assert layer["extra"]["scalesim_overall_util_pct"] == float(row["overall_util_pct"])


def test_small_products_of_the_reference():
    """The reference's set of small products, whose topology is in its own rows."""
    checked = 0
    for path in sorted(reference("scalesim").glob("full_smallgemm_*.csv")):
        for row in rows(path):
            shape = int(row["ifmap_h"]), int(row["num_filters"]), int(row["ifmap_w"])
            work = one_product(row["name"], *shape)
            machine = load_machine(
                "scalesim_default", settings(int(row["rows"]), int(row["cols"]), row["dataflow"])
            )
            layer = simulate(work, machine).layers[0]
            assert layer.cycles == int(row["total_cycles"]) + 1
            assert layer.sram_reads.input == int(row["sram_ifmap_reads"])
            assert layer.sram_reads.weight == int(row["sram_filter_reads"])
            assert layer.sram_writes.output == int(row["sram_ofmap_writes"])
            assert layer.extra["scalesim_overall_util_pct"] == float(row["overall_util_pct"])
            checked += 1
    assert checked == 96


def one_product(name: str, m: int, n: int, k: int) -> Workload:
    """A workload of one product in the tool's convention."""
    layers = Layers()
    layers.gemm(name, m, k, n)
    return layers.workload()
