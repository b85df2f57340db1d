"""Range: the one with a power-of-two step and zero point 0 or the middle, of least squared error."""

import math

from dybitq.fit.activations.ranges import Profile, range_methods

_EXPONENTS = 6  # powers of two tried below the one that holds everything


@range_methods.register("pow2")
def power_of_two(profile: Profile, levels: int) -> tuple[float, float]:
    """``levels - 1`` steps of ``2**e``: from zero, or with half of the levels below it for signed data."""
    largest = max(-profile.low, profile.high)
    if largest <= 0:
        return profile.low, profile.high
    below = levels // 2 if profile.low < 0 else 0
    top = math.ceil(math.log2(largest / (levels - 1 - below)))
    ranges = [(-below * 2.0**e, (levels - 1 - below) * 2.0**e) for e in range(top, top - _EXPONENTS, -1)]
    return min(ranges, key=lambda ends: profile.error(ends[0], ends[1], levels))
