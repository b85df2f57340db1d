"""Transforms of one sample ``[height, width, channels]``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dybitq.errors import ConfigError
from dybitq.registry import Registry

Transform = Callable[[np.ndarray], np.ndarray]
MakeTransform = Callable[[Any], Transform]
"""From the argument in the data spec to the function; raises ConfigError on a bad argument."""

TRANSFORMS: Registry[MakeTransform] = Registry("transform", "dybitq.data.transforms")


def size_pair(argument: Any, transform: str) -> tuple[int, int]:
    """Parse ``224`` or ``[height, width]`` to a pair of positive integers."""
    pair = [argument, argument] if isinstance(argument, int) else argument
    good = isinstance(pair, list | tuple) and len(pair) == 2
    if not good or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in pair):
        raise ConfigError(f"{transform}: expected a size such as 224 or [height, width], found {argument!r}")
    return pair[0], pair[1]


def number(argument: Any, transform: str) -> float:
    """Parse a finite number."""
    if isinstance(argument, bool) or not isinstance(argument, int | float) or not np.isfinite(argument):
        raise ConfigError(f"{transform}: expected a number, found {argument!r}")
    return float(argument)


def image_axes(value: np.ndarray, transform: str) -> tuple[int, int, int]:
    """Return height, width and channels of a sample that must be ``[height, width, channels]``."""
    if value.ndim != 3:
        raise ConfigError(
            f"{transform}: expected a sample [height, width, channels], found the shape {list(value.shape)}"
        )
    return value.shape
