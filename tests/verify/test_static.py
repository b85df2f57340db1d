"""The static proof finds what is not integer arithmetic, and every broken rule of a quantized kernel."""

import numpy as np
import onnx
import pytest

from dybitq.api.verify import verify
from dybitq.graph.stored.plain import read_plain
from dybitq.verification.static import NodeKind, prove
from tests.models import make_model
from tests.verify.kit import quantize_net
from tests.verify.networks import NETWORKS

ONE, ZERO, HALF = np.float32(1), np.uint8(0), np.uint8(128)
WEIGHT = np.ones((2, 4, 1, 1), np.int8)


def problems(body, tmp_path, **weights):
    """Operator and problem of each finding in ``x -> codes q -> body -> codes p -> y``."""
    constants = {
        "one": ONE,
        "z": ZERO,
        "h": HALF,
        "w": WEIGHT,
        "wz": np.int8(0),
        "odd": np.uint8(3),
        **weights,
    }
    used = {name: value for name, value in constants.items() if name in body or name in ("one", "z")}
    text = f"q = QuantizeLinear (x, one, z)\n{body}\ny = DequantizeLinear (p, one, z)"
    proto = make_model(text, weights=used, domains=', "com.microsoft" : 1')
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    return [(f.op_type, f.problem) for f in prove(read_plain(path).inner).findings]


CONV = "p = QLinearConv (q, one, {zx}, w, m, {zw}, {s}, {zy})"


@pytest.mark.parametrize(
    ("fields", "scale", "expected"),
    [
        ({}, 2.0**-16 * 777, []),
        ({"zx": "h", "zy": "h"}, 0.5, []),
        ({}, 2.0**-17, ["its factor has a shift of 17, more than 16"]),
        ({}, 0.1, ["its factor has a shift of 27, more than 16"]),
        ({}, -0.5, ["its factor is not positive"]),
        ({"zx": "odd"}, 0.5, ["the zero point at input 3 is 3; expected 0 or 128"]),
        ({"zy": "odd"}, 0.5, ["the zero point at input 8 is 3; expected 0 or 128"]),
        ({"zw": "seven"}, 0.5, ["the zero point at input 6 is 7; expected 0"]),
        ({"s": "third"}, 0.5, ["its factor is not dyadic"]),
        ({"zy": "odd"}, 2.0**-20, ["its factor has a shift of 20", "the zero point at input 8 is 3"]),
    ],
)
def test_rules_of_a_convolution(fields, scale, expected, tmp_path):
    """Shift, sign, zero points and the quotient of scales are looked at one by one."""
    body = CONV.format(**{"zx": "z", "zw": "wz", "s": "one", "zy": "z", **fields})
    weights = {"m": np.array([scale, 0.25], np.float32)}
    weights |= {"seven": np.int8(7)} if "seven" in body else {}
    weights |= {"third": np.float32(0.3)} if "third" in body else {}
    found = problems(body, tmp_path, **weights)
    assert len(found) == len(expected)
    for (op_type, problem), start in zip(found, expected, strict=True):
        assert op_type == "QLinearConv" and problem.startswith(start)


def test_factors_that_the_kernel_rounds_are_found(tmp_path):
    """Two scales whose product needs more than 24 bits: exact on paper, not in float32."""
    body = "p = QLinearConv (q, a, z, w, m, wz, one, z)"
    a, m = np.float32(1 + 2.0**-16), np.array([0.5 + 2.0**-17, 0.5], np.float32)
    assert problems(body, tmp_path, a=a, m=m)[0][1].startswith("its factor has a shift of 33")
    a, m = np.float32(257), np.array([2.0**-16 * 65537, 0.5], np.float32)
    (found,) = problems(body, tmp_path, a=a, m=m)
    assert found[1] == "the float32 steps in which the kernel forms its factor change it"


@pytest.mark.parametrize(
    ("body", "weights", "expected"),
    [
        ("p = com.microsoft.QLinearAdd (q, a, z, q, b, z, one, z)", {"a": 0.75, "b": 2.0**-10}, []),
        (
            "p = com.microsoft.QLinearAdd (q, a, z, q, b, z, one, z)",
            {"a": 3.0, "b": 2.0**-15},
            ["the sum reaches 25067775 in units of 2^-15, more than the 16777216 that float32 keeps"],
        ),
        (
            "p = com.microsoft.QLinearAdd (q, a, odd, q, b, z, one, h)",
            {"a": 0.5, "b": 0.5},
            ["the zero point at input 3 is 3; expected 0 or 128"],
        ),
        ("p = com.microsoft.QLinearMul (q, a, z, q, b, z, one, z)", {"a": 2.0**-8, "b": 2.0**-8}, []),
        (
            "p = com.microsoft.QLinearMul (q, a, z, q, b, z, one, z)",
            {"a": 2.0**-9, "b": 2.0**-8},
            ["its factor has a shift of 17, more than 16"],
        ),
        (
            "p = com.microsoft.QLinearConcat <axis = 1> (one, z, q, a, z, q, b, odd)",
            {"a": 0.5, "b": 0.3},
            [
                "its factor has a shift of 24, more than 16",
                "the zero point at input 8 is 3; expected 0 or 128",
            ],
        ),
        (
            "p = com.microsoft.QLinearGlobalAveragePool (q, a, z, one, z)",
            {"a": 0.5},
            ["how many values it averages is not known"],
        ),
    ],
)
def test_rules_of_the_other_kernels(body, weights, expected, tmp_path):
    """Sums fit 24 bits, zero point included; products, joins and means obey the rule on the shift."""
    arrays = {name: np.float32(value) for name, value in weights.items()}
    found = problems(body, tmp_path, **arrays)
    assert [problem for _, problem in found] == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("p = Transpose (q)", []),
        (
            "d = DequantizeLinear (q, one, z)\n e = Relu (d)\n p = QuantizeLinear (e, one, z)",
            [("Relu", "computes in float"), ("QuantizeLinear", "quantizes what was float in between")],
        ),
        (
            "c = Cast <to = 1> (q)\n e = Mul (c, one)\n p = Cast <to = 2> (e)",
            [("Cast", "computes in float"), ("Mul", "computes in float"), ("Cast", "computes in float")],
        ),
        (
            "r = DequantizeLinear (q, one, z)\n p = QuantizeLinear (r, one, z)",
            [("QuantizeLinear", "quantizes what was float in between")],
        ),
        (
            "s = Shape (q)\n f = Cast <to = 1> (s)\n g = Cast <to = 7> (f)\n p = Reshape (q, g)",
            [("Cast", "computes in float"), ("Cast", "computes in float")],
        ),
    ],
)
def test_float_tensors_in_between_are_found(body, expected, tmp_path):
    """Dequantizing, computing and quantizing again is not integer-only, whatever the names."""
    assert problems(body, tmp_path) == expected


def test_a_scale_that_is_computed_is_found(tmp_path):
    """A quantizer needs one constant scale and a uint8 zero point of 0 or 128."""
    body = "p = Identity (q)"
    text = f"s = ReduceMax (x)\nq = QuantizeLinear (x, s, z)\n{body}\ny = DequantizeLinear (p, one, z)"
    proto = make_model(text, weights={"z": np.uint8(7), "one": ONE})
    onnx.save(proto, tmp_path / "m.onnx")
    found = prove(read_plain(tmp_path / "m.onnx").inner).findings
    assert ("QuantizeLinear", "its scale is not one constant") in [(f.op_type, f.problem) for f in found]
    assert any("zero point is uint8 7" in f.problem for f in found)


def test_somebody_elses_quantized_model_is_refuted_with_names(tmp_path):
    """A QDQ model computes in float as it stands: each operator is named."""
    body = (
        "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n v = DequantizeLinear (w, t)\n"
        "c = Conv (d, v)\n p = QuantizeLinear (c, s, z)\n y = DequantizeLinear (p, s, z)"
    )
    weights = {"s": np.float32(0.02), "z": np.uint8(77), "w": WEIGHT, "t": np.float32(0.01)}
    onnx.save(make_model(body, weights=weights), tmp_path / "qdq.onnx")
    result = verify(tmp_path / "qdq.onnx")
    assert not result.passed and result.comparison is None
    assert [(f.op_type, f.floating) for f in result.findings] == [
        ("QuantizeLinear", False),
        ("Conv", True),
        ("QuantizeLinear", True),
    ]
    assert "zero point is uint8 77" in result.findings[0].problem


def test_what_arranges_the_outputs_may_be_float(tmp_path):
    """Behind the last dequantizers values may be joined and moved, not computed with."""
    path, _ = quantize_net(NETWORKS["several outputs, arranged"], tmp_path)
    proof = prove(read_plain(path).inner)
    assert not proof.findings
    assert proof.count(NodeKind.ARRANGE) == 2 and proof.count(NodeKind.FLOAT) == 0
