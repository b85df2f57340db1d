"""The data specs in ``calibration/`` work as they stand, given data of the shape they expect."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dybitq.data.spec import load_data
from tests.data.conftest import info

FOLDER = Path(__file__).parents[2] / "calibration"
SPECS = sorted(path.name for path in FOLDER.glob("*.yaml"))
INPUTS = {
    "imagenet.yaml": (info(None, 3, 224, 224),),
    "tf_imagenet.yaml": (info(None, 224, 224, 3),),
    "detection.yaml": (info(None, 3, 416, 416),),
    "arrays.yaml": tuple(info(None, None, name=n, dtype="int64") for n in ("input_ids", "attention_mask")),
    "hook.yaml": (info(None, 3, 32, 32, name="input"),),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The examples beside images and arrays."""
    for path in FOLDER.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    for split in ("calib", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
    ids = np.ones((3, 7), np.int16)
    arrays = {f"{name}_{split}": ids for name in ("ids", "mask") for split in ("calib", "val")}
    np.savez(tmp_path / "sentences.npz", **arrays)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in SPECS if name in INPUTS])
def test_examples_work(name, folder):
    """Both splits give batches that fit the network."""
    if name not in ("arrays.yaml", "hook.yaml"):
        image = pytest.importorskip("PIL.Image")
        for split in ("calib", "val"):
            image.new("RGB", (400, 300)).save(folder / "images" / split / "a.png")
        (folder / "images" / "val.csv").write_text("file,label\na.png,3\n")
    for split in ("calib", "val"):
        batch = next(iter(load_data(folder / name, inputs=INPUTS[name], split=split, batch_size=2)))
        assert set(batch.feeds) == {i.name for i in INPUTS[name]}


def test_all_data_specs_are_tested():
    """Every YAML file with a reader is among the examples above."""
    readers = {path.name for path in FOLDER.glob("*.yaml") if "reader:" in path.read_text()}
    assert readers == set(INPUTS)
