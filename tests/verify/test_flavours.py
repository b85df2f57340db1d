"""Every operation, in both flavours and under every rule: the runtime agrees with the integer reference."""

import numpy as np
import onnx
import pytest

from dybitq.graph.stored.plain import read_plain
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions
from dybitq.verification.interpreter import interpret
from tests.emit.toolkit import run
from tests.models import make_model
from tests.verify.kit import FLAVOURS, Net, outputs, prove, quantize_net
from tests.verify.networks import NETWORKS

RESIDUAL = (
    "residual",
    "rescaled concat",
    "average pooling",
    "squeeze and excitation",
    "mean before a classifier",
)
BY_CHANNEL = (
    "a slope for each channel",
    "normalisation in front of a layer",
    "a gain and a shift for each channel",
)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_flavours_are_proven_and_equal(name, tmp_path):
    """No finding, no mismatch in any integer tensor, the same outputs, and an output near the float one."""
    net = NETWORKS[name]
    found = []
    for arithmetic in FLAVOURS:
        path, made = quantize_net(net, tmp_path, arithmetic)
        assert not made.float_operators
        result = prove(path, net)
        assert result.passed, (result.findings, result.comparison and result.comparison.mismatches)
        assert result.comparison is not None and result.comparison.tensors > 0
        found.append(outputs(path, net))
    for fast, explicit in zip(*found, strict=True):
        np.testing.assert_array_equal(fast, explicit)
    wanted = run(net.proto().SerializeToString(), net.data(9))
    for expected, got in zip(wanted.values(), found[0], strict=True):
        noise = np.sum((expected - got) ** 2) / np.sum(expected**2)
        assert noise < 10 ** (-1.2), f"{-10 * np.log10(noise):.1f} dB"


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize(
    "options",
    [
        IntegerOptions(rounding="half-up"),
        IntegerOptions(scales="pow2"),
        IntegerOptions(multiplier_bits=31, rounding="half-up"),
        IntegerOptions(multiplier_bits=8),
        IntegerOptions(residual_rounding="branch"),
        IntegerOptions(residual_bits=16),
        IntegerOptions(residual_bits=16, residual_rounding="branch", rounding="half-up", scales="pow2"),
    ],
    ids=lambda o: ", ".join(
        f"{k}={getattr(o, k)}" for k in o.__slots__ if getattr(o, k) != getattr(IntegerOptions(), k)
    ),
)
def test_options_of_the_explicit_flavour(name, options, tmp_path):
    """Rounding rules, shifts only, wide multipliers, wide and doubly rounded residual sums are proven."""
    net = NETWORKS[name]
    path, _ = quantize_net(net, tmp_path, INTEGER_EXPLICIT, options)
    result = prove(path, net)
    assert result.passed, (result.findings, result.comparison and result.comparison.mismatches)


@pytest.mark.parametrize(
    "name",
    [
        *RESIDUAL,
        "concat of two sums",
        "attention without softmax",
        "silu",
        *BY_CHANNEL,
    ],
)
def test_powers_of_two_are_pure_shifts(name, tmp_path):
    """With pow2 scales every multiplier is 1 in both flavours, and the outputs are the same."""
    net = NETWORKS[name]
    found = []
    for arithmetic in FLAVOURS:
        path, made = quantize_net(net, tmp_path, arithmetic, IntegerOptions(scales="pow2"))
        result = prove(path, net)
        assert result.passed
        factors = [o for o in result.operations if o.operation != "addition" and o.multipliers]
        assert all(o.multipliers == (1, 1) for o in factors)
        assert all(int(b).bit_count() == 1 for o in result.operations if o.multipliers for b in o.multipliers)
        # no factor had to be moved; a channel's own number has the 7 bits of its weight
        assert max(edge.snap for edge in made.plan.edges) < (1 / 128 if name in BY_CHANNEL else 1e-6)
        found.append(outputs(path, net)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("weights", ["dybit2", "dybit3", "dybit4", "dybit5", "int2", "int3", "int5", "e2m1"])
def test_packed_weights_in_both_flavours(weights, tmp_path):
    """Tables of up to int8 run in both flavours with the same result."""
    net = NETWORKS["residual"]
    found = []
    for arithmetic in FLAVOURS:
        path, _ = quantize_net(net, tmp_path, arithmetic, weights=weights)
        assert prove(path, net).passed
        found.append(outputs(path, net)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("weights", ["dybit6", "dybit7", "dybit8"])
@pytest.mark.parametrize("name", ["residual", "spatial ReduceMean", "transposed convolution"])
def test_wide_tables_run_in_the_explicit_flavour(weights, name, tmp_path):
    """Weights beyond int8 are multiplied in two parts; the proof holds."""
    net = NETWORKS[name]
    path, made = quantize_net(net, tmp_path, INTEGER_EXPLICIT, weights=weights)
    result = prove(path, net)
    assert result.passed
    assert {w.format.name for w in made.fitted.weights.values()} == {weights}


def test_narrow_activations(tmp_path):
    """Four-bit activations are clamped codes in both flavours."""
    net = NETWORKS["relu"]
    for arithmetic in FLAVOURS:
        path, made = quantize_net(net, tmp_path, arithmetic, activations="int4")
        assert prove(path, net).passed
        assert {edge.high - edge.low for edge in made.fitted.edges.values()} >= {15}


def test_narrow_activations_stay_narrow_in_joined_branches(tmp_path):
    """Layers that write the branches of a Concat which is read in 4 bits write 16 levels."""
    net = Net(
        body="c = Conv (x, w)\n d = Conv (x, v)\n e = Concat <axis = 1> (c, d)\n y = Conv (e, u)",
        weights={"w": (6, 4, 3, 3), "v": (2, 4, 3, 3), "u": (3, 8, 1, 1)},
    )
    path, made = quantize_net(net, tmp_path, INTEGER_EXPLICIT, activations="int4")
    assert made.fitted.edges["e"].format == "int4"
    feeds = {name: 100 * array for name, array in net.data(5).items()}
    found = {}
    for computed in interpret(read_plain(path).inner, feeds):
        found.update(computed.outputs)
    for name in ("c_q", "d_q", "e_q"):
        assert int(found[name].max()) - int(found[name].min()) == 15


def test_the_fast_flavour_runs_on_quantized_kernels(tmp_path):
    """The optimized graph has the kernels that were asked for, and no float operator between the ends."""
    from tests.emit.toolkit import optimized

    path, _ = quantize_net(NETWORKS["residual"], tmp_path, INTEGER_FAST)
    ops = [node.op_type for node in optimized(path.read_bytes()).graph.node]
    assert ops.count("QLinearConv") == 3 and ops.count("QLinearAdd") == 2
    assert set(ops) <= {"QuantizeLinear", "QLinearConv", "QLinearAdd", "DequantizeLinear", "Transpose"}


def test_explicit_uses_integer_operators_only(tmp_path):
    """ConvInteger, MatMulInteger, Add, Mul, BitShift, Clip and Cast: nothing else."""
    path, _ = quantize_net(NETWORKS["residual"], tmp_path, INTEGER_EXPLICIT)
    ops = {node.op_type for node in read_plain(path).inner.nodes}
    assert ops == {
        "QuantizeLinear",
        "ConvInteger",
        "Add",
        "Mul",
        "BitShift",
        "Clip",
        "Cast",
        "DequantizeLinear",
    }


def test_report_leaves_float_operators_and_names_them(tmp_path):
    """Softmax stays in float with a reason; the integer part around it is compared all the same."""
    net = Net(
        body="c = Conv (x, w)\n s = Softmax <axis = 1> (c)\n d = Conv (s, v)\n y = Relu (d)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    )
    for arithmetic in FLAVOURS:
        path, made = quantize_net(net, tmp_path, arithmetic, IntegerOptions(only="report"))
        assert [(o.op_type, o.reason) for o in made.float_operators] == [
            ("Softmax", "Softmax has no integer form here")
        ]
        strict = prove(path, net)
        assert not strict.passed and strict.comparison is None
        result = prove(path, net, only="report")
        assert result.passed and result.comparison is not None and result.comparison.tensors >= 4
        assert {f.op_type for f in result.findings} == {"Softmax", "QuantizeLinear"}


def test_ties_that_contradict_each_other_cost_no_accuracy(tmp_path):
    """A tensor and its mean cannot both lie a power of two from their sum: the mean's factor gives way."""
    net = NETWORKS["added to its own mean"]
    path, made = quantize_net(net, tmp_path, INTEGER_FAST, IntegerOptions(scales="pow2"))
    result = prove(path, net)
    assert result.passed
    factors = {o.operation: o.multipliers for o in result.operations}
    assert factors["convolution"] == (1, 1) and factors["mean"] != (1, 1)
    assert all(int(b).bit_count() == 1 for b in factors["addition"])
    assert max(edge.snap for edge in made.plan.edges) < 1e-3


@pytest.mark.parametrize("arithmetic", FLAVOURS)
def test_names_of_float_operators_stay_their_own(arithmetic, tmp_path):
    """Constants of operators in float keep their names, even those that emission would have given away."""
    net = Net(
        body="c = Conv (x, w1)\n s = LayerNormalization <axis = 1> (c, c1)\n y = Conv (s, w2, k1)",
        weights={"w1": (6, 4, 3, 3), "c1": (6, 7, 6), "w2": (3, 6, 1, 1), "k1": (3,)},
    )
    path, made = quantize_net(net, tmp_path, arithmetic, IntegerOptions(only="report"))
    result = prove(path, net, only="report")
    assert result.passed
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    assert [o.op_type for o in made.float_operators] == ["LayerNormalization"]
    given = next(i for i in net.proto().graph.initializer if i.name == "c1")
    np.testing.assert_array_equal(stored["c1"], onnx.numpy_helper.to_array(given))


def test_make_model_is_float(tmp_path):
    """A float model is refuted, operator by operator."""
    from dybitq.api.verify import verify

    proto = make_model("y = Conv (x, w)", weights={"w": np.ones((2, 4, 3, 3), np.float32)})
    onnx.save(proto, tmp_path / "f.onnx")
    result = verify(tmp_path / "f.onnx")
    assert not result.passed
    assert [(f.op_type, f.problem) for f in result.findings] == [("Conv", "computes in float")]
