"""Range: all but a fixed share of the values."""

import numpy as np

from dybitq.fit.activations.ranges import Profile, range_methods

_TAIL = 5e-5  # share of the values left outside, on each side


@range_methods.register("percentile")
def percentile(profile: Profile, levels: int) -> tuple[float, float]:
    """Return the central 99.99 % of the values."""
    centres = profile.centres
    share = np.cumsum(profile.counts) / profile.counts.sum()
    first = centres[min(int(np.searchsorted(share, _TAIL)), len(centres) - 1)]
    last = centres[min(int(np.searchsorted(share, 1 - _TAIL)), len(centres) - 1)]
    return max(profile.low, min(0.0, float(first))), min(profile.high, max(0.0, float(last)))
