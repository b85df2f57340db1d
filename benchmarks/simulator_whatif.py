"""What narrower operands bring on real networks: int8 against W4A8, W4A4, DyBit and SPARQ on three machines.

python benchmarks/simulator_whatif.py ZOO [NETWORK...]
"""

import argparse
from pathlib import Path

from dybitq.graph.work_formats import format_integer_bits
from dybitq.graph.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import prepare, simulate
from dybitq.hardware.whatif import requantized
from dybitq.workload import SimulationReport

NETWORKS = ("resnet20_cifar10", "mobilenet_v1_075_224", "squeezenet1_1", "minilm_l6_v2")
MACHINES = ("dybit_zcu102_like", "sparq_sa", "stripes_like")
WIDTHS = (
    ("int8", "int8", "int8"),
    ("W4A8", "int4", "int8"),
    ("W4A4", "int4", "int4"),
    ("DyBit 4, A8", "dybit4", "int8"),
    ("DyBit 3, A3", "dybit3", "dybit3"),
    ("DyBit 2, A2", "dybit2", "dybit2"),
    ("W8, SPARQ 4", "int8", "sparq4"),
)


def split(report: SimulationReport) -> str:
    """Shares of the latency: multiplying, other operators, waiting for memory, fixed times."""
    per = report.clock_mhz
    products = sum(layer.cycles for layer in report.layers if layer.macs) / per
    beside = sum(layer.cycles for layer in report.layers if not layer.macs) / per
    waiting = sum(layer.stall_cycles + layer.fill_cycles for layer in report.layers) / per
    parts = (products, beside, waiting, report.latency_us - products - beside - waiting)
    return " | ".join(f"{abs(part) / report.latency_us:.0%}" for part in parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("zoo", type=Path)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    chosen = parser.parse_args()
    print(
        "| network | machine | widths | ms | speed-up | nominal | mJ | products | beside | memory | fixed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for network in chosen.networks:
        work = read_workload(chosen.zoo / "models" / f"{network}.onnx")
        for name in MACHINES:
            machine = load_machine(name)
            first = 0.0
            for label, weights, activations in WIDTHS:
                wide = {form: format_integer_bits(form) for form in (weights, activations)}
                asked = requantized(work, weights=weights, activations=activations, integer_bits=wide)
                report = simulate(asked, machine, prepared=prepare(asked, machine.fusion))
                first = first or report.latency_us
                w, a = (int(part[-1]) for part in (weights, activations))
                print(
                    f"| {network} | {name} | {label} | {report.latency_us / 1e3:.3f} | "
                    f"{first / report.latency_us:.2f} | {64 / (w * a):.1f} | {report.energy_pj / 1e9:.2f} | "
                    f"{split(report)} |"
                )


if __name__ == "__main__":
    main()
