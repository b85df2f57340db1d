"""Bit Fusion's published rows: compute cycles exactly, totals and traffic as close as the tile search comes.

    python benchmarks/simulator_published.py ROWS.csv

ROWS is the table of published results in the Bit Fusion repository (RESNET-18, five arrays, batch 16).
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.records.workload import ConvWork, OpWork, TensorWork, Workload

# Channels, filters, kernel, output size; the network is twice as wide as ResNet-18 and has 17 layers.
LAYERS = {"conv1_a": (3, 128, 7, 112)}
for _stage, _before, _width, _size in (
    (2, 128, 128, 56),
    (3, 128, 256, 28),
    (4, 256, 512, 14),
    (5, 512, 1024, 7),
):
    for _unit, _channels in (("1", _before), ("2", _width)):
        LAYERS[f"module{_stage}/conv{_stage}_{_unit}_a"] = (_channels, _width, 1, _size)
        LAYERS[f"module{_stage}/conv{_stage}_{_unit}_b"] = (_width, _width, 3, _size)


def network(batch: int = 16) -> Workload:
    """Chain the layers, each reading the output of the one before: 8 bits first, then 4."""
    tensors = [TensorWork(name="input", elements=batch * 3 * 224 * 224, bits=8)]
    ops = []
    source = 0
    for name, (channels, filters, kernel, out) in LAYERS.items():
        bits = 8 if name == "conv1_a" else 4
        stride = 2 if name == "conv1_a" else 1
        weights, pixels = kernel * kernel * channels * filters, batch * out * out
        tensors.append(TensorWork(name=f"{name}.w", elements=weights, bits=bits, constant=True))
        tensors.append(TensorWork(name=name, elements=pixels * filters, bits=4))
        conv = ConvWork(
            batch=batch, in_h=out * stride, in_w=out * stride, in_c=channels, out_h=out, out_w=out,
            out_c=filters, kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride,
            pad_top=kernel // 2, pad_left=kernel // 2,
        )  # fmt: skip
        ops.append(
            OpWork(
                name=name,
                op_type="Conv",
                groups=1,
                m=pixels,
                k=kernel * kernel * channels,
                n=filters,
                conv=conv,
                inputs=(source, len(tensors) - 2),
                output=len(tensors) - 1,
                w_bits=bits,
                a_bits=bits,
            )
        )
        source = len(tensors) - 1
    return Workload(name="RESNET-18", tensors=tuple(tensors), ops=tuple(ops), outputs=(source,))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    with parser.parse_args().rows.open() as lines:
        published = list(csv.DictReader(lines))
    work, equal, rates = network(), 0, {}
    for row in published:
        settings = {
            "array.rows": int(row["N"]),
            "array.cols": int(row["M"]),
            "dram.gb_per_s": int(row["Bandwidth (bits/cycle)"]) / 16,
            "buffers.wgt_kb": int(row["WBUF Size (bits)"]) / 1024,
            "buffers.out_kb": int(row["OBUF Size (bits)"]) / 1024,
            "buffers.act_kb": int(row["IBUF Size (bits)"]) / 1024,
        }
        layers = {
            layer.name: layer for layer in simulate(work, load_machine("bitfusion_45nm", settings)).layers
        }
        layer = layers[row["Layer"].removesuffix("/Convolution")]
        total, waiting = int(row["Cycles"]), int(row["Memory wait cycles"])
        equal += layer.cycles == total - waiting
        moved = (int(row["DRAM Read"]) + int(row["DRAM Write"])) / 8
        case = f"{row['N']}x{row['M']}, {row['Bandwidth (bits/cycle)']} bit/cycle"
        rates.setdefault(case, []).append((layer.total_cycles / total, layer.dram_bytes.total / moved))
    print(f"equal compute cycles: {equal} of {len(published)}")
    for case, pairs in rates.items():
        cycles, traffic = np.array(pairs).T
        low, high, middle = cycles.min(), cycles.max(), np.median(cycles)
        print(f"{case}: total cycles {low:.2f} to {high:.2f} of the published, median {middle:.2f};", end=" ")
        print(f"traffic {traffic.min():.2f} to {traffic.max():.2f}, median {np.median(traffic):.2f}")


if __name__ == "__main__":
    main()
