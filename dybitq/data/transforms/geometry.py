"""Transforms that move values: center_crop, pad, resize, layout."""

from typing import Any

import numpy as np

from dybitq.data.transforms import TRANSFORMS, Transform, image_axes, number, size_pair
from dybitq.errors import ConfigError, UnsupportedError


@TRANSFORMS.register("center_crop")
def center_crop(argument: Any) -> Transform:
    """Cut ``size`` or ``[height, width]`` out of the middle; an odd margin is smaller above and left."""
    height, width = size_pair(argument, "center_crop")

    def apply(value: np.ndarray) -> np.ndarray:
        h, w, _ = image_axes(value, "center_crop")
        if h < height or w < width:
            raise ConfigError(f"center_crop: the sample is {h} x {w}, smaller than {height} x {width}")
        top, left = (h - height) // 2, (w - width) // 2
        return value[top : top + height, left : left + width]

    return apply


@TRANSFORMS.register("pad")
def pad(argument: Any) -> Transform:
    """Fill up to ``{size: , value: 0, position: center | corner}``; corner keeps the top left corner."""
    if not isinstance(argument, dict):
        argument = {"size": argument}
    unknown = set(argument) - {"size", "value", "position"}
    if unknown or "size" not in argument:
        raise ConfigError(f"pad: expected size, value and position, found {', '.join(map(str, argument))}")
    height, width = size_pair(argument["size"], "pad")
    fill = number(argument.get("value", 0), "pad")
    position = argument.get("position", "center")
    if position not in ("center", "corner"):
        raise ConfigError(f"pad: position is 'center' or 'corner', found {position!r}")

    def apply(value: np.ndarray) -> np.ndarray:
        h, w, _ = image_axes(value, "pad")
        if h > height or w > width:
            raise ConfigError(f"pad: the sample is {h} x {w}, larger than {height} x {width}")
        top, left = ((height - h) // 2, (width - w) // 2) if position == "center" else (0, 0)
        around = ((top, height - h - top), (left, width - w - left), (0, 0))
        return np.pad(value, around, constant_values=value.dtype.type(fill))

    return apply


@TRANSFORMS.register("resize")
def resize(argument: Any) -> Transform:
    """Resize bilinearly with antialiasing; a single number is the length of the shorter side."""
    shorter = argument if isinstance(argument, int) else None
    pair = size_pair(argument, "resize")

    def apply(value: np.ndarray) -> np.ndarray:
        h, w, _ = image_axes(value, "resize")
        height, width = pair
        if shorter is not None:
            height = max(shorter, int(shorter * h / w))
            width = max(shorter, int(shorter * w / h))
        return _resample(value, height, width)

    return apply


def _resample(value: np.ndarray, height: int, width: int) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError("resize needs Pillow: pip install 'dybitq[images]'") from None
    # Pillow resamples one byte or one float32 plane at a time; bytes stay bytes.
    planes = value if value.dtype == np.uint8 else value.astype(np.float32)
    resized = [
        np.asarray(Image.fromarray(planes[..., c]).resize((width, height), Image.Resampling.BILINEAR))
        for c in range(value.shape[2])
    ]
    return np.stack(resized, axis=-1)


@TRANSFORMS.register("layout")
def layout(argument: Any) -> Transform:
    """Move the channels first (``CHW``), or leave a sample as it is stored (``HWC``)."""
    if argument not in ("CHW", "HWC"):
        raise ConfigError(f"layout: expected CHW or HWC, found {argument!r}")

    def apply(value: np.ndarray) -> np.ndarray:
        image_axes(value, "layout")
        return value.transpose(2, 0, 1) if argument == "CHW" else value

    return apply
