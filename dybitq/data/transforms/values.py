"""Transforms that change values: channels, grayscale, scale, normalize, to_float.

All arithmetic is float32.
"""

from typing import Any

import numpy as np

from dybitq.data.transforms import TRANSFORMS, Transform, image_axes, number
from dybitq.errors import ConfigError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@TRANSFORMS.register("channels")
def channels(argument: Any) -> Transform:
    """Reverse the channels of an RGB sample (``BGR``), or leave them (``RGB``)."""
    if argument not in ("RGB", "BGR"):
        raise ConfigError(f"channels: expected RGB or BGR, found {argument!r}")

    def apply(value: np.ndarray) -> np.ndarray:
        if image_axes(value, "channels")[2] != 3:
            raise ConfigError(f"channels: expected three channels last, found the shape {list(value.shape)}")
        return value[..., ::-1] if argument == "BGR" else value

    return apply


@TRANSFORMS.register("grayscale")
def grayscale(argument: Any) -> Transform:
    """Convert RGB to one channel of luma, float32 ``[height, width, 1]`` in the range of the input."""
    if argument not in (None, True):
        raise ConfigError(f"grayscale: takes no argument, found {argument!r}")

    def apply(value: np.ndarray) -> np.ndarray:
        if image_axes(value, "grayscale")[2] == 1:
            return value
        if value.shape[2] != 3:
            raise ConfigError(f"grayscale: expected three channels last, found the shape {list(value.shape)}")
        return (value.astype(np.float32) @ _LUMA)[..., None]

    return apply


@TRANSFORMS.register("to_float")
def to_float(argument: Any) -> Transform:
    """Cast to float32 without changing values."""
    if argument not in (None, True):
        raise ConfigError(f"to_float: takes no argument, found {argument!r}")
    return lambda value: value.astype(np.float32)


@TRANSFORMS.register("scale")
def scale(argument: Any) -> Transform:
    """Multiply by a number."""
    factor = np.float32(number(argument, "scale"))
    return lambda value: value.astype(np.float32) * factor


@TRANSFORMS.register("normalize")
def normalize(argument: Any) -> Transform:
    """Subtract ``mean`` and divide by ``std``: one number, or one for each channel (the last axis)."""
    if not isinstance(argument, dict) or set(argument) != {"mean", "std"}:
        raise ConfigError(f"normalize: expected 'mean' and 'std', found {argument!r}")
    mean, std = (_per_channel(argument[key], key) for key in ("mean", "std"))
    if (std == 0).any():
        raise ConfigError("normalize: std holds a zero")

    def apply(value: np.ndarray) -> np.ndarray:
        last = value.shape[-1] if value.ndim else 1
        for key, numbers in (("mean", mean), ("std", std)):
            if numbers.size not in (1, last):
                raise ConfigError(
                    f"normalize: {key} has {numbers.size} numbers, the sample {list(value.shape)} has {last} "
                    "channels (the last axis; put normalize before layout)"
                )
        return (value.astype(np.float32) - mean) / std

    return apply


def _per_channel(argument: Any, key: str) -> np.ndarray:
    numbers = argument if isinstance(argument, list) else [argument]
    if not numbers:
        raise ConfigError(f"normalize: {key} is empty")
    return np.array([number(n, f"normalize {key}") for n in numbers], np.float32)
