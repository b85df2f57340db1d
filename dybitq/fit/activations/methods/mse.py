"""Range: smallest expected squared error of what the readers make of the values."""

import numpy as np

from dybitq.fit.activations.ranges import Profile, range_methods

_SHRINK = np.concatenate([np.linspace(1.0, 0.5, 26), np.geomspace(0.48, 0.01, 30)])


@range_methods.register("mse")
def mse(profile: Profile, levels: int) -> tuple[float, float]:
    """Alternating search of both ends, each over fractions of its extreme."""
    ends = [profile.low, profile.high]
    for _ in range(2):
        for side, extreme in ((1, profile.high), (0, profile.low)):
            if extreme == 0:
                continue
            trials = [np.full(len(_SHRINK), end) for end in ends]
            trials[side] = extreme * _SHRINK
            errors = profile.errors(trials[0], trials[1], levels)
            ends[side] = extreme * float(_SHRINK[int(np.argmin(errors))])
    return ends[0], ends[1]
