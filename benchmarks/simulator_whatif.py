"""Speed-ups by narrower operands on real networks: int8 against W4A8, W4A4, DyBit and SPARQ on 3 machines.

python benchmarks/simulator_whatif.py ZOO [NETWORK...]
"""

import argparse
from pathlib import Path

from dybitq.encodings.widths import widths
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.widths import requantized
from dybitq.records.workload import SimulationReport, Workload

NETWORKS = ("resnet20_cifar10", "mobilenet_v1_075_224", "squeezenet1_1", "minilm_l6_v2")
MACHINES = ("dybit_zcu102_like", "sparq_sa", "stripes_like")
WIDTHS = {
    "int8": ("int8", "int8", 1.0),
    "W4A8": ("int4", "int8", 2.0),
    "W4A4": ("int4", "int4", 4.0),
    "DyBit 4, A8": ("dybit4", "int8", 2.0),
    "DyBit 4, A DyBit 4": ("dybit4", "dybit4", 4.0),
    "DyBit 2, A DyBit 2": ("dybit2", "dybit2", 16.0),
    "W8, SPARQ 4": ("int8", "sparq4", 2.0),
}


def priced(work: Workload, machine: str, label: str) -> SimulationReport:
    """Price the network at these formats on this machine."""
    weights, activations, _ = WIDTHS[label]
    asked = requantized(work, weights=widths(weights), activations=widths(activations))
    return simulate(asked, load_machine(machine))


def split(report: SimulationReport) -> list[str]:
    """Shares of the latency: multiplying, other operators, waiting for memory, fixed times."""
    per = report.clock_mhz * report.latency_us
    products = sum(layer.cycles for layer in report.layers if layer.macs) / per
    beside = sum(layer.cycles for layer in report.layers if not layer.macs) / per
    waiting = sum(layer.stall_cycles + layer.fill_cycles for layer in report.layers) / per
    return [f"{max(part, 0.0):.0%}" for part in (products, beside, waiting, 1 - products - beside - waiting)]


def line(*cells: str) -> None:
    """One row of a table."""
    print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("zoo", type=Path)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    chosen = parser.parse_args()
    works = {name: read_workload(chosen.zoo / "models" / f"{name}.onnx") for name in chosen.networks}
    found = {
        (network, machine, label): priced(work, machine, label)
        for network, work in works.items()
        for machine in MACHINES
        for label in WIDTHS
    }
    line("network", "widths", "64/(w a)", *MACHINES)
    line(*["---"] * (3 + len(MACHINES)))
    for network in works:
        for label, (_, _, nominal) in WIDTHS.items():
            cells = []
            for machine in MACHINES:
                time = found[network, machine, label].latency_us
                first = found[network, machine, "int8"].latency_us
                cells.append(f"{time / 1e3:.3f} ms" if label == "int8" else f"{first / time:.2f}")
            line(network, label, f"{nominal:g}", *cells)
    print()
    line("network", "machine", "widths", "products", "beside", "memory", "fixed", "mJ")
    line(*["---"] * 8)
    for network in works:
        for machine in MACHINES[:2]:
            for label in ("int8", "W4A4", "DyBit 2, A DyBit 2"):
                report = found[network, machine, label]
                line(network, machine, label, *split(report), f"{report.energy_pj / 1e9:.2f}")


if __name__ == "__main__":
    main()
