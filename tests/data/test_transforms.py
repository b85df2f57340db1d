"""Each transform by example, and its complaints."""

import numpy as np
import pytest

from dybitq.data.transforms import TRANSFORMS
from dybitq.errors import ConfigError

RAMP = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def apply(name: str, argument: object, value: np.ndarray = RAMP) -> np.ndarray:
    """The transform by its name in a spec."""
    return TRANSFORMS.get(name)(argument)(value)


def test_center_crop():
    """The smaller half of an odd margin is above and left; a pair gives height and width."""
    np.testing.assert_array_equal(apply("center_crop", 4), RAMP[0:4, 1:5])
    np.testing.assert_array_equal(apply("center_crop", [3, 7]), RAMP[1:4])


def test_pad():
    """In the middle or in the corner, with any value."""
    padded = apply("pad", {"size": 7, "value": 9})
    assert padded.shape == (7, 7, 3) and padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[1:6], RAMP)
    assert set(padded[[0, 6]].ravel()) == {9}
    np.testing.assert_array_equal(apply("pad", {"size": [6, 8], "position": "corner"})[:5, :7], RAMP)
    assert apply("pad", 7).shape == (7, 7, 3)


def test_resize():
    """A number is the shorter side, a pair is exact; bytes stay bytes; a constant stays itself."""
    pytest.importorskip("PIL.Image")
    assert apply("resize", 10).shape == (10, 14, 3)
    assert apply("resize", 10, RAMP.transpose(1, 0, 2)).shape == (14, 10, 3)
    constant = apply("resize", [4, 9], np.full((5, 7, 3), 17, np.uint8))
    assert constant.shape == (4, 9, 3) and constant.dtype == np.uint8 and set(constant.ravel()) == {17}
    assert apply("resize", [4, 9], RAMP.astype(np.float64)).dtype == np.float32


def test_layout():
    """CHW moves the channels to the front."""
    np.testing.assert_array_equal(apply("layout", "CHW")[2], RAMP[..., 2])
    assert apply("layout", "HWC") is RAMP


def test_channels():
    """BGR reverses."""
    np.testing.assert_array_equal(apply("channels", "BGR")[..., 0], RAMP[..., 2])
    assert apply("channels", "RGB") is RAMP


def test_grayscale():
    """White keeps its value; one channel remains; grey samples pass."""
    white = np.full((2, 2, 3), 255, np.uint8)
    assert apply("grayscale", None, white).shape == (2, 2, 1)
    np.testing.assert_allclose(apply("grayscale", None, white), 255, rtol=1e-6)
    assert apply("grayscale", None, RAMP[..., :1]).shape == (5, 7, 1)


def test_arithmetic_is_float32():
    """Scale, normalize and to_float: the values, and their type."""
    scaled = apply("scale", 0.5)
    assert scaled.dtype == np.float32 and scaled[0, 1, 0] == 1.5
    normal = apply("normalize", {"mean": [1, 2, 3], "std": [2.0]})
    assert normal.dtype == np.float32 and normal[0, 0].tolist() == [-0.5, -0.5, -0.5]
    assert apply("to_float", None).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("center_crop", 9, "the sample is 5 x 7, smaller than 9 x 9"),
        ("center_crop", "big", "expected a size such as 224 or"),
        ("center_crop", 0, "expected a size"),
        ("pad", 3, "the sample is 5 x 7, larger than 3 x 3"),
        ("pad", {"value": 1}, "expected size, value and position"),
        ("pad", {"size": 9, "position": "left"}, "position is 'center' or 'corner'"),
        ("layout", "NCHW", "expected CHW or HWC, found 'NCHW'"),
        ("channels", "RBG", "expected RGB or BGR"),
        ("grayscale", 3, "takes no argument"),
        ("to_float", "yes", "takes no argument"),
        ("scale", True, "expected a number"),
        ("scale", float("nan"), "expected a number"),
        ("normalize", {"mean": 1}, "expected 'mean' and 'std'"),
        ("normalize", {"mean": [], "std": 1}, "mean is empty"),
        ("normalize", {"mean": 1, "std": 0}, "std holds a zero"),
        ("normalize", {"mean": [1, 2], "std": 1}, "mean has 2 numbers, the sample .* has 3 channels"),
    ],
)
def test_complaints(name, argument, message):
    """A bad argument, or a sample that does not fit it, is named."""
    with pytest.raises(ConfigError, match=message):
        apply(name, argument)


@pytest.mark.parametrize("name", ["center_crop", "pad", "layout", "channels", "grayscale"])
def test_images_have_three_axes(name):
    """Transforms of images refuse other arrays by their shape."""
    argument = {"center_crop": 2, "pad": 9, "layout": "CHW", "channels": "BGR", "grayscale": None}[name]
    with pytest.raises(ConfigError, match=r"expected a sample \[height, width, channels\].*\[5, 7\]"):
        apply(name, argument, RAMP[..., 0])
