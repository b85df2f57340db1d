"""A pass over data against numpy on the tensors of a plain run."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from dybitq.calibration import store
from dybitq.calibration.channels import POSITIONS_PER_SAMPLE
from dybitq.calibration.run import CalibrationSettings, collect, plan_watch
from dybitq.calibration.sampling import stride
from dybitq.data.source import Opened, Sample
from dybitq.errors import DataError
from dybitq.graph.derived import derived_tensors
from dybitq.graph.export import float_tensors, with_outputs
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.records.statistics import MomentKind
from dybitq.runtime.session import Session
from tests.calibrate.test_tensors import histogram


def plain_run(network, data):
    """Every float tensor for all samples at once."""
    names = float_tensors(network.model)
    feeds = {"x": np.load(data)["x"]}
    return {**feeds, **Session(with_outputs(network, names)).run(feeds)}


def test_every_tensor(network, layers, source, data):
    """Histograms, extremes and sums, for fetched and for derived tensors alike."""
    found = collect(network, layers, source, CalibrationSettings())
    values = plain_run(network, data)
    assert found.samples == 24 and found.model_sha256 == network.sha256
    assert set(found.tensors) == set("xabcdefy")
    for name, tensor in found.tensors.items():
        x = values[name].reshape(24, -1)
        assert tensor.samples == 24 and tensor.count == x.size
        expected = histogram(x)
        if name in "bd":  # the sign of zero is up to the operator
            expected[0], expected[0x8000] = expected[0] + expected[0x8000], 0
        np.testing.assert_array_equal(tensor.histogram, expected, err_msg=name)
        assert (tensor.minimum, tensor.maximum) == (x.min(), x.max())
        assert tensor.sum_sample_max == pytest.approx(x.max(1).astype(np.float64).sum(), rel=1e-9)


def test_every_moment_and_channel(network, layers, source, data):
    """Small layers are summed completely."""
    found = collect(network, layers, source, CalibrationSettings())
    values = plain_run(network, data)
    assert set(found.moments) == {layer.moment_key for layer in layers}
    for layer in layers:
        moment = found.moments[layer.moment_key]
        patches = layer.geometry.patches(values[layer.input]).astype(np.float64)
        assert moment.kind is MomentKind.FULL and moment.rows == patches.shape[1]
        np.testing.assert_allclose(moment.second, patches.transpose(0, 2, 1) @ patches, rtol=1e-4, atol=1e-2)
        y = values[layer.output]
        sums = found.channels[layer.name]
        seen = y.reshape(24, y.shape[1], -1)[:, :, :: stride(y.shape[2:], POSITIONS_PER_SAMPLE)]
        assert sums.count == seen.size // y.shape[1]
        np.testing.assert_allclose(sums.total, seen.sum((0, 2), dtype=np.float64), rtol=1e-4, atol=1e-3)


def test_relu_clip_and_moves_are_derived(network, layers):
    """Nothing is fetched that follows from another tensor, unless patches need its shape."""
    derived = derived_tensors(network, frozenset(float_tensors(network.model)))
    assert {n: r.source for n, r in derived.items()} == {"b": "a", "d": "c", "f": "e"}
    watch = plan_watch(network, layers, MomentKind.FULL, 1 << 20)
    assert set(watch.derived) == {"b", "d"}
    watch = plan_watch(network, layers, MomentKind.NONE, 1 << 20)
    assert set(watch.derived) == {"b", "d", "f"} and set(watch.fetched) == set("xacey")


def test_lanes_do_not_change_a_bit(network, layers, source, tmp_path):
    """One lane and three give the same file."""
    for workers in (1, 3):
        found = collect(network, layers, source, CalibrationSettings(workers=workers, batch_size=5))
        store.save(found, tmp_path / f"{workers}.stats")
    assert (tmp_path / "1.stats").read_bytes() == (tmp_path / "3.stats").read_bytes()


def test_batch_size_does_not_change_counts(network, layers, source):
    """Counts and extremes are the same for any batch size; sums up to rounding."""
    one, seven = (collect(network, layers, source, CalibrationSettings(batch_size=size)) for size in (1, 7))
    for name in one.tensors:
        np.testing.assert_array_equal(one.tensors[name].histogram, seven.tensors[name].histogram)
    for key in one.moments:
        assert one.moments[key].rows == seven.moments[key].rows
        np.testing.assert_allclose(one.moments[key].second, seven.moments[key].second, rtol=1e-4, atol=1e-2)


def test_a_model_with_a_fixed_batch(model, data, tmp_path, source):
    """The last run is filled up, and what fills it is not counted."""
    proto = onnx.load(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(proto, tmp_path / "fixed.onnx")
    fixed = load(tmp_path / "fixed.onnx")
    found = collect(
        fixed, survey(fixed), replace(source, batch_size=5, fixed_batch=True), CalibrationSettings()
    )
    free = load(model)
    expected = collect(free, survey(free), source, CalibrationSettings(batch_size=5))
    assert found.samples == 24
    for name in "xae":
        np.testing.assert_array_equal(found.tensors[name].histogram, expected.tensors[name].histogram)
    for key in found.moments:
        assert found.moments[key].rows == expected.moments[key].rows


def test_the_budget_leaves_less_of_moments(network, layers, source):
    """Without memory there are no moments, and everything else is as before."""
    found = collect(network, layers, source, CalibrationSettings(budget_bytes=0))
    assert not found.moments and len(found.tensors) == 8
    some = collect(network, layers, source, CalibrationSettings(richest=MomentKind.DIAGONAL))
    assert {m.kind for m in some.moments.values()} == {MomentKind.DIAGONAL}


def test_progress_counts_samples(network, layers, source):
    """It ends with all of them."""
    calls = []
    collect(
        network, layers, source, CalibrationSettings(batch_size=10, progress=lambda *call: calls.append(call))
    )
    assert sorted(calls)[-1] == ("calibrate", 24, 24) and len(calls) == 3


def test_a_bad_sample_in_the_middle(network, layers, source):
    """The error names the sample, whatever lane met it."""

    def read(indices):
        for i in range(9):
            value = np.ones((3, 8, 6), np.float32)
            value[0, 0, 0] = np.nan if i == 6 else 1
            yield Sample(values={"x": value}, name=f"sample {i}")

    broken = replace(source, opened=Opened(count=9, labelled=False, inputs=("x",), read=read))
    with pytest.raises(DataError, match="sample 6: input 'x' holds NaN"):
        collect(network, layers, broken, CalibrationSettings(batch_size=2))


def test_nan_inside_the_model(network, layers, source, tmp_path):
    """A finite sample that the network turns into NaN is named with the tensor."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3, 8, 6] x) => (float[N, 3, 8, 6] y) { s = Sqrt (x)  y = Relu (s) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "sqrt.onnx")
    sqrt = load(tmp_path / "sqrt.onnx")
    with pytest.raises(DataError, match=r"tensor 's' holds NaN for the sample d\.npz, x\[0\]"):
        collect(sqrt, survey(sqrt), source, CalibrationSettings())
