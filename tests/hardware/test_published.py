"""Bit Fusion's and ANT's compute cycles, HAWQ's kernels, and the speed-ups of the bit-serial rules."""

import json

import pytest

from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.records.workload import TensorWork
from tests.hardware.reference import Layers, reference, resnet18, rows

# Bit Fusion's RESNET-18 (17 layers, doubled width): name, channels, filters, kernel, output size.
_STAGES = [("2", 128, 128, 56), ("3", 128, 256, 28), ("4", 256, 512, 14), ("5", 512, 1024, 7)]
BITFUSION = {"conv1_a": (3, 128, 7, 112)}
for stage, before, width, size in _STAGES:
    for unit, channels in (("1", before), ("2", width)):
        BITFUSION[f"module{stage}/conv{stage}_{unit}_a"] = (channels, width, 1, size)
        BITFUSION[f"module{stage}/conv{stage}_{unit}_b"] = (width, width, 3, size)


ROOMY = {"dram.gb_per_s": 1e6, "buffers.act_kb": 1e6, "buffers.wgt_kb": 1e6, "buffers.out_kb": 1e6}
"""Settings under which memory plays no part."""


def bitfusion_network():
    """Its layers at batch 16: 8 bits in the first, 4 in the others."""
    layers = Layers(16)
    source = None
    for name, (channels, filters, kernel, out) in BITFUSION.items():
        first = name == "conv1_a"
        source = None if first else layers.tensor(16 * channels * out * out, 4)
        if not first:  # something has to have written the input, or the layer would count as the first
            source = layers.gemm(f"{name}.before", 1, 1, 1, source=source)
            layers.tensors[source] = TensorWork(name=f"t{source}", elements=16 * channels * out * out, bits=4)
        bits = 8 if first else 4
        layers.conv(name, channels, filters, kernel, out, w=bits, a=bits, source=source)
    return layers.workload(*(op.output for op in layers.ops if not op.name.endswith(".before")))


def test_bitfusion_compute_cycles():
    """Compute cycles of all 85 published rows: 17 layers on five arrays."""
    published = rows(reference("bitfusion_resnet18_published.csv"))
    work, reports = bitfusion_network(), {}
    equal = 0
    for row in published:
        key = row["N"], row["M"], row["Bandwidth (bits/cycle)"]
        if key not in reports:
            kilobytes = {name: int(row[f"{name} Size (bits)"]) // 1024 for name in ("WBUF", "OBUF", "IBUF")}
            machine = load_machine(
                "bitfusion_45nm",
                {
                    "array.rows": int(row["N"]),
                    "array.cols": int(row["M"]),
                    "dram.gb_per_s": int(row["Bandwidth (bits/cycle)"]) / 16,
                    "buffers.wgt_kb": kilobytes["WBUF"],
                    "buffers.out_kb": kilobytes["OBUF"],
                    "buffers.act_kb": kilobytes["IBUF"],
                },
            )
            reports[key] = {layer.name: layer for layer in simulate(work, machine).layers}
        layer = reports[key][row["Layer"].removesuffix("/Convolution")]
        equal += layer.cycles == int(row["Cycles"]) - int(row["Memory wait cycles"])
    assert equal == len(published) == 85


def test_bitfusion_first_rows():
    """Three rows that need no file: 16x32 units at 192 bit per cycle."""
    layers = {
        layer.name: layer.cycles
        for layer in simulate(bitfusion_network(), load_machine("bitfusion_45nm")).layers
    }
    assert layers["conv1_a"] == 8028160
    assert layers["module4/conv4_1_b"] == 3612672
    assert layers["module5/conv5_1_a"] == 200704


def test_ant_resnet18():
    """ResNet-18 at batch 64, 8 bits in the first and last layer and 4 between: 33 901 568 cycles."""
    report = simulate(resnet18(64, middle_bits=4), load_machine("ant_28nm"))
    assert sum(layer.cycles for layer in report.layers) == 33_901_568


@pytest.mark.parametrize(("a", "share"), [(16, 1.0), (8, 0.5), (5, 5 / 16), (2, 2 / 16)])
def test_stripes_rule(a, share):
    """Streaming time is a/16 of the 16-bit design's; the skew stays."""
    machine = load_machine("stripes_like", ROOMY)
    layers = Layers()
    layers.gemm("x", 16 * 4096, 16, 16, a=a, w=8)
    cycles = simulate(layers.workload(), machine).layers[0].cycles
    assert cycles == pytest.approx(16 * 4096 * share, rel=0.01)


@pytest.mark.parametrize(("w", "a", "share"), [(16, 16, 1.0), (8, 8, 1 / 4), (3, 5, 15 / 256)])
def test_loom_rule(w, a, share):
    """Convolutions take w*a/256 of the 16-bit design's time."""
    machine = load_machine("loom_like", ROOMY)
    layers = Layers()
    layers.gemm("x", 16 * 4096, 4, 64, w=w, a=a)
    one = 16 * 4096 * 64 / 4
    assert simulate(layers.workload(), machine).layers[0].cycles == pytest.approx(one * share, rel=0.02)


def test_loom_dense_layers_depend_on_weights_alone():
    """With one position, time is w/16 and activations make no difference."""
    machine = load_machine("loom_like", ROOMY)
    cycles = []
    for w, a in ((8, 8), (8, 2), (4, 8)):
        layers = Layers()
        layers.gemm("x", 1, 4096, 4096, w=w, a=a)
        cycles.append(simulate(layers.workload(), machine).layers[0].cycles)
    assert cycles[0] == cycles[1] > cycles[2]


def test_t4_kernels():
    """HAWQ-V3's kernels at batch 8: at most 15 % mean error over the table."""
    machine = load_machine("t4_hawq_calibrated")
    errors = []
    for row in rows(reference("hawq_t4_tvm_kernels.csv")):
        data, weight = json.loads(row["data_shape"]), json.loads(row["weight_shape"])
        bits = 4 if row["data_dtype"] == "uint4" else 8
        if row["op"].startswith("dense"):
            m, k, n, elements = data[0], data[1], weight[0], data[0] * data[1]
        else:
            height, width, batch, channels = (
                data if "HWNC" in row["op"] else (data[1], data[2], data[0], data[3])
            )
            kh, kw, n, _ = weight
            stride = json.loads(row["stride"])[0]
            m = batch * ((height - kh) // stride + 1) * ((width - kw) // stride + 1)
            k, elements = kh * kw * channels, height * width * batch * channels
        layers = Layers()
        source = layers.tensor(elements, bits)
        layers.gemm("kernel", m, k, n, w=bits, a=bits, source=source)
        report = simulate(layers.workload(), machine)
        errors.append(abs(report.latency_us / (float(row["seconds"]) * 1e6) - 1))
    assert len(errors) == 22
    assert sum(errors) / len(errors) <= 0.15


def test_eyeriss_on_alexnet():
    """AlexNet's convolutions at batch 4: near the 35 images per second of the chip (Chen et al., 2016)."""
    layers = Layers(4)
    shapes = [(3, 96, 11, 55, 4, 1), (96, 256, 5, 27, 1, 2), (256, 384, 3, 13, 1, 1)]
    shapes += [(384, 384, 3, 13, 1, 2), (384, 256, 3, 13, 1, 2)]
    for index, (channels, filters, kernel, out, stride, group) in enumerate(shapes):
        layers.conv(f"conv{index}", channels, filters, kernel, out, stride=stride, group=group, w=16, a=16)
    work = layers.workload(*(op.output for op in layers.ops))
    assert sum(op.macs for op in work.ops) == 4 * 665_784_864
    report = simulate(work, load_machine("eyeriss_v1"))
    assert 4e6 / report.latency_us == pytest.approx(35, rel=0.15)
