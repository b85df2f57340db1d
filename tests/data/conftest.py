"""Small data sets on disk, and model inputs to go with them."""

from pathlib import Path

import numpy as np
import pytest

from dybitq.records.layers import TensorInfo


def info(*shape: int | None, name: str = "x", dtype: str = "float32") -> TensorInfo:
    """A model input."""
    return TensorInfo(name=name, shape=shape, dtype=dtype)


IMAGE = info(None, 3, 4, 6)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three colour images of 4 x 6, one below a subfolder; pixel values tell them apart."""
    image = pytest.importorskip("PIL.Image", reason="Pillow (extra 'images') is not installed")
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b/c.png", "d.png")):
        pixels = np.full((4, 6, 3), 10 * index, np.uint8)
        pixels[..., 2] += 1
        image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Ten samples of shape [4, 6, 3] whose values are their index, labels, and a second array."""
    path = tmp_path / "data.npz"
    values = np.broadcast_to(np.arange(10)[:, None, None, None], (10, 4, 6, 3)).astype(np.uint8)
    np.savez(path, x=values, y=np.arange(10) % 3, ids=np.arange(20).reshape(10, 2), short=np.zeros(9))
    return path


@pytest.fixture
def spec(tmp_path: Path):
    """Writes a data spec beside the data and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return path

    return write
