"""SCALE-Sim: equal cycles and counts on every reference layer, and how much faster the closed forms are.

    python benchmarks/simulator_scalesim.py REFERENCE [--tool PYTHON] [--network resnet50]

REFERENCE holds ``scalesim/*.csv`` (what SCALE-Sim 3.0.0 printed). PYTHON is an interpreter that has scalesim
3.0.0 (with numpy below 2.3); with it, one network is run by both.
"""

import argparse
import csv
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import prepare, simulate
from dybitq.hardware.topology import read_topology

HEADER = "Layer,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n"
FIELDS = ("name", "ifmap_h", "ifmap_w", "filt_h", "filt_w", "channels", "num_filters", "stride_h")
CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {size}
ArrayWidth: {size}
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: ws
Bandwidth: 10
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
DRIVER = """
import sys
from scalesim.scale_sim import scalesim
config, topology, layout, out = sys.argv[1:]
tool = scalesim(save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout,
                input_type_gemm=False)
tool.run_scale(top_path=out)
"""


def topology(network: str) -> str:
    """ResNet-18 or ResNet-50 at 224 (He et al. 2015) as the tool's bundled files have them: no padding."""
    rows = ["Conv1,224,224,7,7,3,64,2,"]
    deep = network == "resnet50"
    units = (3, 4, 6, 3) if deep else (2, 2, 2, 2)
    channels = 64
    for stage, count in enumerate(units):
        width, size = 64 << stage, 56 >> stage
        for unit in range(count):
            shrink = stage > 0 and unit == 0
            name, stride = f"Conv{stage + 2}_{unit + 1}", 2 if shrink else 1
            before = size * 2 if shrink else size
            out = 4 * width if deep else width
            if deep:
                rows.append(f"{name}a,{before},{before},1,1,{channels},{width},{stride},")
                rows.append(f"{name}b,{size},{size},3,3,{width},{width},1,")
                rows.append(f"{name}c,{size},{size},1,1,{width},{out},1,")
            else:
                rows.append(f"{name}a,{before},{before},3,3,{channels},{width},{stride},")
                rows.append(f"{name}b,{size},{size},3,3,{width},{width},1,")
            if channels != out:
                rows.append(f"{name}s,{before},{before},1,1,{channels},{out},{stride},")
            channels = out
    rows.append(f"FC,1,1,1,1,{channels},1000,1,")
    return HEADER + "\n".join(rows) + "\n"


def compare(reference: Path) -> None:
    """Largest deviation of each quantity over all reference layers."""
    worst = dict.fromkeys(("cycles", "ifmap reads", "filter reads", "ofmap writes"), 0)
    layers = files = 0
    for path in sorted((reference / "scalesim").glob("*.csv")):
        found = re.fullmatch(r"(?:compute|full)_(\w+)_(\d+)x(\d+)_(os|ws|is)", path.stem)
        with path.open() as lines:
            rows = list(csv.DictReader(lines))
        files += 1
        settings = {"array.rows": int(found[2]), "array.cols": int(found[3]), "array.dataflow": found[4]}
        machine = load_machine("scalesim_default", settings)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "net.csv"
            fields = FIELDS
            source.write_text(
                HEADER + "".join(",".join(row[field] for field in fields) + ",\n" for row in rows)
            )
            report = simulate(read_topology(source), machine)
        for layer, row in zip(report.layers, rows):
            cycles = int(row["demand_rows"]) if "demand_rows" in row else int(float(row["total_cycles"])) + 1
            pairs = {
                "cycles": (layer.cycles, cycles),
                "ifmap reads": (layer.sram_reads.input, int(row["sram_ifmap_reads"])),
                "filter reads": (layer.sram_reads.weight, int(row["sram_filter_reads"])),
                "ofmap writes": (layer.sram_writes.output, int(row["sram_ofmap_writes"])),
            }
            for name, (mine, theirs) in pairs.items():
                worst[name] = max(worst[name], abs(mine - theirs))
            layers += 1
    print(f"{layers} layers in {files} files; largest deviation: {worst}")


def race(tool: Path, network: str, size: int) -> None:
    """One run of the tool and of the closed forms on the same file; cycles have to be equal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.cfg").write_text(CONFIG.format(size=size))
        (folder / "net.csv").write_text(topology(network))
        (folder / "driver.py").write_text(DRIVER)
        arguments = [str(folder / part) for part in ("run.cfg", "net.csv", "net.csv", "out")]
        before, began = os.times(), time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [str(tool), str(folder / "driver.py"), *arguments]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=folder)
        wall = time.perf_counter() - began
        used = os.times()
        seconds = used.children_user + used.children_system - before.children_user - before.children_system
        with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as lines:
            theirs = [int(float(row[" Total Cycles"])) for row in csv.DictReader(lines)]
        work = read_topology(folder / "net.csv")
    machine = load_machine("scalesim_default", {"array.rows": size, "array.cols": size})
    ready = prepare(work, machine.fusion)
    report = simulate(work, machine, prepared=ready)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        simulate(work, machine, prepared=ready)
        took.append(time.perf_counter() - began)
    mine = [layer.total_cycles for layer in report.layers]
    best = min(took)
    print(f"{network}, {size}x{size} weight-stationary, {len(mine)} layers; equal cycles: {mine == theirs}")
    print(f"SCALE-Sim: {wall:.1f} s wall, {seconds:.1f} s CPU; full report here: {best * 1e3:.3f} ms")
    print(f"ratio: {wall / best:.0f} (wall), {seconds / best:.0f} (the tool's CPU time over our wall time)")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("--tool", type=Path, help="interpreter that has scalesim 3.0.0")
    parser.add_argument("--network", choices=("resnet18", "resnet50"), default="resnet50")
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the array")
    chosen = parser.parse_args()
    compare(chosen.reference)
    if chosen.tool:
        race(chosen.tool, chosen.network, chosen.size)


if __name__ == "__main__":
    main()
