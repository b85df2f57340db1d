"""One layer at a time: biases that take up the mean error, dead channels, zeros, extremes."""

from dataclasses import replace

import numpy as np
import pytest

from dybitq.encodings import formats
from dybitq.fit.weights.layers import LayerArrays, fit_layer
from dybitq.fit.weights.moments import hessian_from
from dybitq.records.fitted import FittedWeight
from dybitq.records.geometry.products import EmbeddingTable, MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow, Window
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan
from dybitq.records.statistics import MomentKind
from tests.fit.conftest import moment_of
from tests.models import layer_of


def dense(out: int, inner: int) -> LayerWork:
    """A Gemm with a transposed weight ``[out, in]``."""
    geometry = MatrixProduct(weight_shape=(out, inner), gemm=True, transposed=True)
    return layer_of(geometry, bias="b", gemm=(1, 1, inner, out))


def window(group: int, kernel: tuple[int, ...]) -> Window:
    """A window without strides, dilations and pads."""
    zeros, ones = (0,) * (2 * len(kernel)), (1,) * len(kernel)
    return Window(kernel=kernel, strides=ones, dilations=ones, pads=zeros, group=group)


def grouped(out: int, inner: int, group: int, kernel: tuple[int, ...]) -> LayerWork:
    """A Conv with weight ``[out, inner / group, *kernel]``."""
    shape = (out, inner // group, *kernel)
    return layer_of(SlidingWindow(weight_shape=shape, window=window(group, kernel)), bias="b")


def arrays(
    weight: np.ndarray, bias: np.ndarray | None = None, input_scale: float | None = None
) -> LayerArrays:
    """Float parameters."""
    return LayerArrays(weight=weight.astype(np.float32), bias=bias, input_scale=input_scale)


def decoded(fitted: FittedWeight) -> np.ndarray:
    """The weights as they will multiply."""
    shape = [1] * fitted.codes.ndim
    if fitted.axis is not None:
        shape[fitted.axis] = -1
    return fitted.format.table[fitted.codes] * fitted.scale.reshape(shape).astype(np.float64)


PLAN = LayerPlan(layer="fc", weights="int4", rounding="nearest")
ROUNDINGS = ["nearest", "compensated"]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("weights", ["int2", "dybit4", "int8", "dybit6"])
def test_bias_takes_up_the_mean_error(rounding, granularity, weights):
    """Over the samples of the moment, the mean output is exactly that of the float layer."""
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((5, 12)), rng.standard_normal(5).astype(np.float32)
    x = rng.standard_normal((1, 200, 12)) + 1
    plan = replace(PLAN, weights=weights, granularity=granularity, rounding=rounding)
    layer = dense(5, 12)
    fitted = fit_layer(layer, plan, arrays(weight, bias), moment_of(x), correct_bias=True)
    wanted = x[0] @ weight.T + bias
    found = x[0] @ decoded(fitted).T + fitted.bias
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), rtol=1e-5, atol=1e-5)
    kept = fit_layer(layer, plan, arrays(weight, bias), moment_of(x), correct_bias=False)
    np.testing.assert_array_equal(kept.bias, bias)


def test_correction_gives_a_bias_to_a_layer_without():
    """A layer that had none gets one, and none without correction."""
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((5, 12)), rng.uniform(0, 1, (1, 50, 12))
    layer = replace(dense(5, 12), bias=None)
    fitted = fit_layer(layer, PLAN, arrays(weight), moment_of(x), correct_bias=True)
    assert fitted.bias is not None and fitted.bias.shape == (5,) and fitted.bias.dtype == np.float32
    assert fit_layer(layer, PLAN, arrays(weight), moment_of(x), correct_bias=False).bias is None
    assert fit_layer(layer, PLAN, arrays(weight), None, correct_bias=True).bias is None


@pytest.mark.parametrize("kind", [MomentKind.FULL, MomentKind.DIAGONAL])
def test_correction_of_a_grouped_convolution(kind):
    """Every group has its own mean input."""
    rng = np.random.default_rng(2)
    layer = grouped(6, 4, 2, (3,))
    weight = rng.standard_normal((6, 2, 3))
    patches = rng.standard_normal((2, 80, 6)) + np.array([[[1.0]], [[-2.0]]])
    moment = moment_of(patches, kind)
    fitted = fit_layer(layer, PLAN, arrays(weight, np.zeros(6, np.float32)), moment, correct_bias=True)
    float_mean = np.einsum("grk,gnk->grn", layer.geometry.to_matrix(weight), patches).mean(axis=2)
    mean = np.einsum("grk,gnk->grn", layer.geometry.to_matrix(decoded(fitted)), patches).mean(axis=2)
    np.testing.assert_allclose(mean.reshape(-1) + fitted.bias, float_mean.reshape(-1), atol=1e-5)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_dead_channels(rounding):
    """A channel of zeros stays zero and gets a scale of the size of the others."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 12))
    weight[2] = 0
    moment = moment_of(rng.standard_normal((1, 60, 12)))
    fitted = fit_layer(
        dense(6, 12), replace(PLAN, rounding=rounding), arrays(weight), moment, correct_bias=True
    )
    assert (decoded(fitted)[2] == 0).all()
    assert fitted.scale.min() <= fitted.scale[2] <= fitted.scale.max()


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_layer_of_zeros(granularity, rounding):
    """Nothing but zeros: finite scales, zero codes, no error to speak of."""
    plan = replace(PLAN, granularity=granularity, rounding=rounding)
    fitted = fit_layer(dense(3, 4), plan, arrays(np.zeros((3, 4))), None, correct_bias=True)
    assert np.isfinite(fitted.scale).all() and (fitted.scale > 0).all()
    assert (decoded(fitted) == 0).all()
    assert np.isnan(fitted.error)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_dead_inputs(rounding):
    """Inputs that calibration never saw alive cost nothing, and their weights stay sane."""
    rng = np.random.default_rng(4)
    weight, x = rng.standard_normal((5, 12)), rng.standard_normal((1, 60, 12))
    x[:, :, [0, 7]] = 0
    for moment in (moment_of(x), moment_of(np.zeros((1, 60, 12)))):
        fitted = fit_layer(
            dense(5, 12), replace(PLAN, rounding=rounding), arrays(weight), moment, correct_bias=True
        )
        assert np.abs(decoded(fitted) - weight).max() < 3


def test_constant_input():
    """An input that never varies leaves no error at all behind a corrected bias."""
    rng = np.random.default_rng(5)
    weight, x = rng.standard_normal((5, 12)), np.ones((1, 30, 12))
    fitted = fit_layer(
        dense(5, 12), replace(PLAN, weights="int2"), arrays(weight), moment_of(x), correct_bias=True
    )
    np.testing.assert_allclose(decoded(fitted).sum(axis=1) + fitted.bias, weight.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_huge_bias_beside_tiny_weights(granularity):
    """The scale is raised until the bias fits int32 at input scale times weight scale."""
    weight = np.random.default_rng(10).uniform(0.5, 1, (3, 40)) * 1e-7
    bias = np.array([0, 1e3, -1e3], np.float32)
    plan = replace(PLAN, granularity=granularity, weights="int8")
    fitted = fit_layer(dense(3, 40), plan, arrays(weight, bias, 1e-3), None, correct_bias=False)
    scale = np.broadcast_to(fitted.scale, (3,))
    assert np.abs(bias / (1e-3 * scale.astype(np.float64))).max() <= 2.0**29 * 1.001
    if granularity == "channel":
        assert scale[0] == pytest.approx(1e-7 / 127, rel=0.1)


@pytest.mark.parametrize("factor", [1e-29, 1e-20, 1e30, 1e37])
def test_extreme_weights(factor):
    """Codes do not depend on the magnitude of the weights."""
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((4, 30)).astype(np.float32) * np.float32(factor)
    fitted = fit_layer(dense(4, 30), PLAN, arrays(weight), None, correct_bias=False)
    assert np.isfinite(fitted.scale).all() and (fitted.scale > 0).all()
    assert np.abs(decoded(fitted) / factor - weight / factor).max() < 1


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_denormal_channels(rounding):
    """A channel of denormal numbers counts as zero, without a warning, and leaves the others alone."""
    rng = np.random.default_rng(11)
    weight = rng.standard_normal((4, 30)).astype(np.float32)
    moment = moment_of(rng.standard_normal((1, 90, 30)))
    plan = replace(PLAN, rounding=rounding)
    before = fit_layer(dense(4, 30), plan, arrays(weight), moment, correct_bias=False)
    weight[1] *= np.float32(1e-39)
    with np.errstate(all="raise", under="ignore"):
        after = fit_layer(dense(4, 30), plan, arrays(weight), moment, correct_bias=False)
    assert (decoded(after)[1] == 0).all()
    np.testing.assert_array_equal(after.codes[[0, 2, 3]], before.codes[[0, 2, 3]])


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (dense(5, 12), (5, 12), 5),
        (layer_of(MatrixProduct(weight_shape=(12, 5), gemm=True)), (12, 5), 5),
        (grouped(8, 4, 4, (3, 3)), (8, 1, 3, 3), 8),
        (grouped(6, 4, 2, (2, 1, 3)), (6, 2, 2, 1, 3), 6),
        (
            layer_of(TransposedWindow(weight_shape=(4, 3, 2, 2), window=window(2, (2, 2)))),
            (4, 3, 2, 2),
            3,
        ),
        (layer_of(MatrixProduct(weight_shape=(5, 12), left=True)), (5, 12), 5),
        (layer_of(MatrixProduct(weight_shape=(3, 12, 5))), (3, 12, 5), 5),
        (layer_of(EmbeddingTable(weight_shape=(20, 8))), (20, 8), 20),
    ],
    ids=["gemm_t", "gemm", "depthwise", "conv3d", "conv_transpose", "left", "batched", "embedding"],
)
@pytest.mark.parametrize("weights", ["int8", "dybit3"])
def test_every_layout(layer, shape, count, weights):
    """Scales lie along the channel axis; each channel is close to its own weights, whatever their size."""
    rng = np.random.default_rng(7)
    weight = rng.standard_normal(shape)
    sizes = np.geomspace(1e-3, 1e3, count)
    axis = layer.geometry.channel_axis
    weight = weight * sizes.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    plan = replace(PLAN, weights=weights)
    fitted = fit_layer(layer, plan, arrays(weight), None, correct_bias=False)
    assert fitted.codes.shape == shape and fitted.codes.dtype == np.uint8
    assert (fitted.axis, fitted.scale.shape, fitted.scale.dtype) == (axis, (count,), np.float32)
    error = np.moveaxis((decoded(fitted) - weight) ** 2, axis, 0).reshape(count, -1).sum(axis=1)
    energy = np.moveaxis(weight**2, axis, 0).reshape(count, -1).sum(axis=1)
    assert (error / energy).max() < (1e-4 if weights == "int8" else 0.25)
    tensor = fit_layer(layer, replace(plan, granularity="tensor"), arrays(weight), None, correct_bias=False)
    assert tensor.axis is None and tensor.scale.shape == (1,)


@pytest.mark.parametrize("name", formats.names(signed=True))
def test_every_format(name):
    """No reserved code is used, and more bits never hurt within a family."""
    rng = np.random.default_rng(8)
    weight = rng.standard_normal((4, 64))
    fitted = fit_layer(dense(4, 64), replace(PLAN, weights=name), arrays(weight), None, correct_bias=False)
    fmt = formats.get(name)
    assert not np.isin(fitted.codes, list(fmt.reserved)).any()
    assert fitted.codes.max() < 2**fmt.bits
    assert 0 < fitted.error < 0.4


def test_compensation_lowers_the_output_error():
    """On correlated inputs compensated rounding beats nearest by far in what it is measured with."""
    rng = np.random.default_rng(9)
    mixing = rng.standard_normal((32, 32)) * np.geomspace(1, 0.02, 32)
    x = rng.standard_normal((1, 20_000, 32)) @ mixing.T
    weight = rng.standard_normal((16, 32))
    errors = {}
    for rounding in ROUNDINGS:
        plan = replace(PLAN, weights="int3", rounding=rounding)
        fitted = fit_layer(dense(16, 32), plan, arrays(weight), moment_of(x), correct_bias=True)
        found, wanted = x[0] @ decoded(fitted).T + fitted.bias, x[0] @ weight.T
        errors[rounding] = float(((found - wanted) ** 2).sum())
        relative = errors[rounding] / float(((wanted - wanted.mean(axis=0)) ** 2).sum())
        assert fitted.error == pytest.approx(relative, rel=0.05)
    assert errors["compensated"] < 0.5 * errors["nearest"]


def test_one_patch_has_no_covariance():
    """What float32 leaves of a covariance of one row is no reason to round by it."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, (1, 1, 24)).astype(np.float32)
    hessian = hessian_from(moment_of(x), 24, centred=True)
    np.testing.assert_allclose(hessian.diagonal[0], x[0, 0].astype(np.float64) ** 2, rtol=1e-5)
    again = hessian_from(moment_of(np.concatenate([x, 2 * x], axis=1)), 24, centred=True)
    np.testing.assert_allclose(again.diagonal[0], x[0, 0].astype(np.float64) ** 2 / 4, rtol=1e-4)
