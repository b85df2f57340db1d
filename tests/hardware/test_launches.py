"""Launches: what rides on its producer, and what stays on chip."""

import numpy as np

from dybitq.hardware.launches import build, fuse
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.residency import lifetimes, resident
from dybitq.records.workload import OpWork
from dybitq.schema.machine import Fusion
from tests.hardware.reference import Layers

ALL = Fusion()


def vector(layers, name, op_type, inputs, elements, *, in_place=True, view=False):
    """Add a vector operator; returns its output tensor."""
    output = layers.tensor(elements)
    layers.ops.append(
        OpWork(
            name=name, op_type=op_type, inputs=tuple(inputs), output=output,
            vector_ops=0 if view else elements, in_place=in_place, view=view,
        )
    )  # fmt: skip
    return output


def launched(layers, *outputs, fusion=ALL):
    """Names of the operators of every launch."""
    work = layers.workload(*outputs)
    return [[work.ops[index].name for index in launch] for launch in fuse(work, fusion)]


def test_activation_and_pool_ride():
    """Conv, Relu and MaxPool are one launch; a pool rides only where the machine allows it."""
    layers = Layers()
    x = layers.conv("conv", 3, 8, 3, 8)
    x = vector(layers, "relu", "Relu", [x], 512)
    vector(layers, "pool", "MaxPool", [x], 128, in_place=False)
    assert launched(layers) == [["conv", "relu", "pool"]]
    assert launched(layers, fusion=Fusion(pooling=False)) == [["conv", "relu"], ["pool"]]
    assert launched(layers, fusion=Fusion(elementwise=False)) == [["conv"], ["relu", "pool"]]


def test_residual_rides_on_the_later_branch():
    """An addition rides on the branch computed last; the other is streamed in."""
    layers = Layers()
    a = layers.conv("a", 8, 8, 3, 8)
    b = layers.conv("b", 8, 8, 3, 8, source=a)
    vector(layers, "add", "Add", [b, a], 512)
    assert launched(layers) == [["a"], ["b", "add"]]
    assert launched(layers, fusion=Fusion(residual=False)) == [["a"], ["b"], ["add"]]
    assert build(layers.workload(), ALL).extras[1] == (a,)


def test_gated_activation_rides_whole():
    """A SiLU, x * sigmoid(x): both operators ride though x has two readers."""
    layers = Layers()
    x = layers.conv("conv", 8, 8, 3, 8)
    gate = vector(layers, "sigmoid", "Sigmoid", [x], 512)
    vector(layers, "mul", "Mul", [x, gate], 512)
    assert launched(layers) == [["conv", "sigmoid", "mul"]]


def test_what_others_read_is_written():
    """A tensor with a reader elsewhere ends its launch."""
    layers = Layers()
    x = layers.conv("conv", 8, 8, 3, 8)
    y = vector(layers, "relu", "Relu", [x], 512)
    z = layers.conv("next", 8, 8, 3, 8, source=x)
    assert launched(layers, y, z) == [["conv"], ["relu"], ["next"]]


def test_a_gate_spread_over_a_map_does_not_ride_on_the_gate():
    """Squeeze and excitation: the product is larger than the gate that was computed last."""
    layers = Layers()
    x = layers.conv("conv", 8, 8, 3, 8)
    gate = layers.gemm("gate", 1, 8, 8)
    vector(layers, "mul", "Mul", [x, gate], 512)
    assert launched(layers) == [["conv"], ["gate"], ["mul"]]


def test_views_cost_nothing_and_share_storage():
    """A concatenation is no launch; its parts stay on chip together or not at all."""
    layers = Layers()
    a = layers.conv("a", 8, 8, 3, 8)
    b = layers.conv("b", 8, 8, 3, 8)
    both = vector(layers, "cat", "Concat", [a, b], 1024, view=True)
    layers.conv("c", 16, 8, 3, 8, source=both)
    work = layers.workload()
    launches = build(work, ALL)
    assert len(launches.heads) == 3
    bits = np.full((len(work.tensors), 1), 8)
    lives = lifetimes(work, launches)
    kept = resident(lives, bits, 1024)[:, 0]
    assert kept[a] and kept[b] and kept[both]
    assert not resident(lives, bits, 1023)[:, 0].any()


def test_network_inputs_and_outputs_are_never_resident():
    """However much room there is."""
    layers = Layers()
    source = layers.tensor(512)
    x = layers.conv("a", 8, 8, 3, 8, source=source)
    y = layers.conv("b", 8, 8, 3, 8, source=x)
    work = layers.workload()
    kept = resident(lifetimes(work, build(work, ALL)), np.full((len(work.tensors), 1), 8), 1e9)[:, 0]
    assert kept[x] and not kept[source] and not kept[y]


def test_resident_tensors_cause_no_traffic():
    """The tensor between two layers costs neither a store nor a load."""
    layers = Layers()
    x = layers.conv("a", 8, 8, 3, 8)
    layers.conv("b", 8, 8, 3, 8, source=x)
    free = simulate(layers.workload(), load_machine("int8_sa", {"buffers.resident_kb": 64}))
    paid = simulate(layers.workload(), load_machine("int8_sa"))
    assert free.layers[0].dram_bytes.output == free.layers[1].dram_bytes.input == 0
    assert paid.layers[0].dram_bytes.output == 512
    assert free.total_cycles <= paid.total_cycles


def test_output_is_written_at_its_consumers_width():
    """A tensor that its reader takes at 4 bits moves as 4 bits."""
    layers = Layers()
    source = layers.conv("a", 8, 8, 3, 8)
    layers.tensors[source] = layers.tensors[source].__class__(name="t", elements=512, bits=4)
    layers.conv("b", 8, 8, 3, 8, source=source, a=4)
    report = simulate(layers.workload(), load_machine("int8_sa", {"dram.burst_bytes": 1}))
    assert report.layers[0].dram_bytes.output == 256
    assert report.layers[0].out_bits == 4
