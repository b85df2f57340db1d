"""The verbs in memory: the same bytes as through files, and nothing left behind."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import dybitq
from dybitq.cli.main import group
from dybitq.data.spec import load_data
from dybitq.runtime.session import Session


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The demo's network, samples as they are fed, and what the commands make of them."""
    from dybitq.api.demo import demo

    folder = tmp_path_factory.mktemp("digits")
    demo(folder / "demo")
    (folder / "demo" / "digits.onnx").rename(folder / "m.onnx")
    digits = np.load(folder / "demo" / "digits.npz")
    image = np.float32(digits["x_calib"]).transpose(0, 3, 1, 2) / 16
    np.savez(folder / "x.npz", image=image, labels=digits["y_calib"])
    run(f"calibrate {folder}/m.onnx --data {folder}/x.npz -o {folder}/m.stats")
    run(f"quantize {folder}/m.onnx --statistics {folder}/m.stats --weights dybit4 -o {folder}/q.onnx")
    return folder


def run(command: str) -> None:
    """Run a command line in this process."""
    assert group.main(command.split(), standalone_mode=False) == 0


def samples(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the samples."""
    return {"image": np.load(folder / "x.npz")["image"]}


def test_same_bytes_as_the_commands(files):
    """Model, samples and statistics in memory make the very file that the commands make."""
    model = onnx.load(files / "m.onnx")
    statistics = dybitq.calibrate(model, samples(files))
    assert statistics.file_bytes == (files / "m.stats").stat().st_size
    small = dybitq.quantize(model, statistics, weights="dybit4")
    assert small.content == (files / "q.onnx").read_bytes()
    assert small.model.SerializeToString() == small.content
    again = dybitq.quantize(files / "m.onnx", statistics.statistics, weights="dybit4")
    assert again.content == small.content


def test_models_of_every_kind(files):
    """A path, its text, a ModelProto and a model of onnx-ir say the same."""
    path = files / "q.onnx"
    whole = dybitq.inspect(path)
    for model in (str(path), onnx.load(path), ir.load(path)):
        found = dybitq.inspect(model)
        assert found.coverage == whole.coverage
    assert dybitq.inspect(onnx.load(path)).sha256 == whole.sha256
    assert str(dybitq.inspect(onnx.load(path))).startswith("the model in memory: ")


def test_nothing_is_written_or_printed(files, tmp_path, monkeypatch, capfd):
    """Without a path, no verb leaves a file or a line."""
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    model, data = onnx.load(files / "m.onnx"), samples(files)
    statistics = dybitq.calibrate(model, data, samples=32)
    plan = dybitq.search(model, statistics, "dybit_zcu102_like", budgets=["size=0.6"], data=data).plan
    small = dybitq.quantize(model, statistics, plan=plan, data=data, samples=8)
    labels = np.load(files / "x.npz")["labels"]
    dybitq.evaluate(small.model, data, labels=labels, reference=model, per_layer=True)
    dybitq.verify(small.model, data=data, samples=4)
    dybitq.simulate(model, "dybit_zcu102_like", plan=plan)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before


def test_measured_drop_reads_a_generator_again(files):
    """A search that measures every plan needs the samples many times."""
    model, arrays = onnx.load(files / "m.onnx"), np.load(files / "x.npz")
    data = (batch for batch in np.split(arrays["image"], 8))
    statistics = dybitq.calibrate(model, samples(files), samples=64)
    with pytest.raises(dybitq.ConfigError, match="the samples in memory: --budget drop needs 'task:' and"):
        dybitq.search(model, statistics, "dybit_zcu102_like", budgets={"drop": 50}, data=data)


def test_messages(files):
    """Errors say what the command would say, of the model in memory."""
    model = onnx.load(files / "m.onnx")
    statistics = dybitq.calibrate(model, samples(files), samples=8)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.name = "other"
    with pytest.raises(dybitq.StatisticsError, match="the statistics in memory: statistics of another model"):
        dybitq.quantize(other, statistics)
    with pytest.raises(dybitq.ModelError, match="the model in memory: is empty"):
        dybitq.inspect(onnx.ModelProto())
    with pytest.raises(
        dybitq.ConfigError, match="the model is of the type int; expected the path of an ONNX"
    ):
        dybitq.inspect(3)
    with pytest.raises(dybitq.ConfigError, match="settings: weigths: unknown field; did you mean 'weights'"):
        dybitq.quantize(model, statistics, weigths="int4")
    with pytest.raises(dybitq.ConfigError, match="settings: granularity: input should be 'channel' or"):
        dybitq.quantize(model, statistics, granularity="row")
    with pytest.raises(dybitq.ConfigError, match="--plan cannot be combined with a recipe"):
        dybitq.quantize(model, statistics, plan={}, weights="int4")
    with pytest.raises(dybitq.ConfigError, match="the plan: schema_version: is missing"):
        dybitq.quantize(model, statistics, plan={})
    with pytest.raises(dybitq.ConfigError, match="moments is 'all'; expected full, block, diagonal, none"):
        dybitq.calibrate(model, samples(files), moments="all")


def test_external_data_must_be_loaded(files, tmp_path):
    """A model in memory has no folder in which its data could lie."""
    onnx.save(onnx.load(files / "m.onnx"), tmp_path / "e.onnx", save_as_external_data=True, size_threshold=0)
    bare = onnx.load(tmp_path / "e.onnx", load_external_data=False)
    with pytest.raises(dybitq.ModelError, match=r"lies in the external file .* give the path of its file"):
        dybitq.inspect(bare)
    assert dybitq.inspect(onnx.load(tmp_path / "e.onnx")).coverage.layers == 7


def test_outputs_do_not_replace_inputs(files):
    """Recipe and plan files are inputs too."""
    with pytest.raises(dybitq.OutputError, match="is an input of this command"):
        dybitq.quantize(files / "m.onnx", files / "m.stats", files / "m.onnx", force=True)
    with pytest.raises(dybitq.OutputError, match="is an input of this command"):
        dybitq.quantize(
            files / "m.onnx", files / "m.stats", files / "x.npz", data=files / "x.npz", force=True
        )


def test_results_as_html(files):
    """Tables become tables with all their cells, the lines around them stay text, and both are escaped."""
    found = dybitq.inspect(files / "q.onnx")
    page = found._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 2
    for layer in found.layers:
        assert f">{layer.layer.name}</td>" in page
    cells = re.sub(r"<[^>]*>", " ", page).split()
    assert cells == [word for word in str(found).replace("'", "&#x27;").split() if word]
    named = dybitq.simulate(files / "q.onnx", "dybit_zcu102_like", shapes={"image": (1, 1, 8, 8)})
    assert "<b>" not in named._repr_html_()


def test_html_is_escaped():
    """No cell or line can end its tag."""
    from dybitq.report.page import Table, as_html

    page = ["a < b", "", Table(header=("<b>",), rows=[("&",)])]
    assert "<pre>a &lt; b</pre>" in as_html(page)
    assert "&lt;b&gt;" in as_html(page)
    assert ">&amp;</td>" in as_html(page)


@pytest.mark.parametrize("name", ["resnet8_cifar10", "kws_dscnn"])
def test_real_networks(name, zoo, tmp_path):
    """Real networks with samples as arrays: the same bytes as by the commands."""
    path = zoo / "models" / f"{name}.onnx"
    source = load_data(zoo / "specs" / f"{name}.yaml", inputs=Session(path, 1).inputs, samples=24)
    feeds = [batch.feeds for batch in source]
    arrays = {key: np.concatenate([each[key] for each in feeds]) for key in feeds[0]}
    np.savez(tmp_path / "x.npz", **arrays)
    run(f"calibrate {path} --data {tmp_path}/x.npz -o {tmp_path}/m.stats")
    run(f"quantize {path} --statistics {tmp_path}/m.stats --weights int4 -o {tmp_path}/q.onnx")
    model = onnx.load(path)
    made = dybitq.quantize(model, dybitq.calibrate(model, arrays), weights="int4")
    assert made.content == (tmp_path / "q.onnx").read_bytes()
