"""The ZCU102 preset against AMD's measured latencies, on the quicker ones of the networks it was fitted to.

``benchmarks/simulator_zcu102.py`` has all twelve, the fit, and networks the fit never saw.
"""

import importlib.util
from pathlib import Path

import onnx_ir as ir
import pytest

from dybitq.graph.work.workload import workload_of_model
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate

# Milliseconds, Vitis AI 1.4 model zoo, one thread, end to end.
MEASURED = {
    "resnet18": 5.46,
    "resnet50": 13.75,
    "mobilenet_v1_1.0": 3.37,
    "mobilenet_v1_0.5": 1.40,
    "mobilenet_v1_0.25": 0.89,
    "mobilenet_v2_1.0": 4.08,
}


@pytest.fixture(scope="module")
def networks():
    """``benchmarks/networks.py``, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "networks.py"
    spec = importlib.util.spec_from_file_location("networks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_measured_latencies(networks):
    """Mean error at most 4 %, none above 6 %, from ONNX files with random weights."""
    machine, errors = load_machine("zcu102_dpu_b4096"), {}
    for name, milliseconds in MEASURED.items():
        work = workload_of_model(ir.from_proto(networks.ZCU102[name]()), name=name)
        errors[name] = abs(simulate(work, machine).latency_us / 1e3 / milliseconds - 1)
    assert sum(errors.values()) / len(errors) <= 0.04
    assert max(errors.values()) <= 0.06, errors


def test_operation_counts(networks):
    """The builders have the operation counts that AMD's model names state."""
    for name, giga in (
        ("resnet18", 3.65),
        ("resnet50", 7.7),
        ("mobilenet_v1_1.0", 1.14),
        ("mobilenet_v2_1.0", 0.59),
    ):
        work = workload_of_model(ir.from_proto(networks.ZCU102[name]()), name=name)
        assert 2 * sum(op.macs for op in work.ops) / 1e9 == pytest.approx(giga, rel=0.02)
