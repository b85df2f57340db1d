"""Every kind of operator between quantized layers: what runs, and that it computes what was planned."""

import numpy as np
import pytest

from tests.emit.cases import CASES, array
from tests.emit.toolkit import against_float, largest_difference, make, run
from tests.models import make_model


@pytest.mark.parametrize("name", CASES)
def test_static_int8(name, tmp_path):
    """The planned kernels run, and the result is the emulation's within the rounding of a chain of layers."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, activations="int8", rounding="nearest")
    ops = made.ops
    assert {op: ops[op] for op in case.runs} == case.runs, ops
    assert largest_difference(made) < 3.01
    assert against_float(made) > 25


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weights", ["int5", "dybit7"])
def test_other_widths(name, weights, tmp_path):
    """Narrow tables run on the same kernels, wide ones in float; both compute what was planned."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, weights=weights, rounding="nearest")
    ops = made.ops
    if weights != "dybit7":
        convs = case.runs.get("QLinearConv", 0)
        assert ops["QLinearConv"] == convs and ops["Conv"] == 0, ops
    else:
        assert ops["QLinearConv"] == ops["QGemm"] == ops["QLinearMatMul"] == 0, ops
    assert largest_difference(made) < 3.01


@pytest.mark.parametrize(
    "name", ["conv_transpose_between", "gemm", "matmul", "attention", "embedding", "residual"]
)
def test_weights_only(name, tmp_path):
    """With activations in float nothing but the weights changes, and they are folded to constants."""
    case = CASES[name]
    proto = make_model(case.body, **case.options)
    made = make(proto, tmp_path, weights="dybit4", activations="float", rounding="nearest")
    assert not made.fitted.edges
    assert made.ops["DequantizeLinear"] == made.ops["QuantizeLinear"] == 0
    assert largest_difference(made) < 0.01


@pytest.mark.parametrize("name", ["matmul", "attention", "embedding"])
@pytest.mark.parametrize("weights", ["int8", "dybit4", "int3"])
def test_dynamic(name, weights, tmp_path):
    """Products with a weight take 8-bit activations with the range of the run."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, weights=weights, rounding="nearest")
    ops = made.ops
    with_weights = sum(layer.op_type == "MatMul" and layer.weight_count > 0 for layer in made.layers.values())
    assert ops["DynamicQuantizeMatMul"] + ops["MatMulIntegerToFloat"] == with_weights
    assert largest_difference(made) < 1


def test_one_quantizer_for_one_dynamic_input(tmp_path):
    """Layers that read the same tensor share its DynamicQuantizeLinear."""
    case = CASES["attention"]
    made = make(make_model(case.body, **case.options), tmp_path)
    assert made.ops["DynamicQuantizeLinear"] == 1


def test_input_keeps_its_value_where_no_code_is_needed(tmp_path):
    """Readers of a coded graph input that compute in float get the input itself."""
    case = CASES["input_for_codes_and_floats"]
    made = make(make_model(case.body, **case.options), tmp_path)
    np.testing.assert_array_equal(run(made.model, made.feeds)["z"], made.feeds["x"])


def test_equal_scales_do_not_break_dynamic_kernels(tmp_path):
    """Two layers with one input and equal scales still run as two fused products."""
    w = array(6, 16)
    proto = make_model(
        "a = MatMul (x, w)\n b = MatMul (x, v)\n y = Sub (a, b)",
        inputs="float[N, S, 6] x",
        outputs="float[N, S, 16] y",
        weights={"w": w, "v": w[:, ::-1].copy()},
    )
    made = make(proto, tmp_path, granularity="tensor", scale="max", rounding="nearest")
    assert made.ops["MatMulIntegerToFloat"] == 2
    assert largest_difference(made) < 0.01
