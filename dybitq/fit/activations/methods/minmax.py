"""Range: everything calibration saw."""

from dybitq.fit.activations.ranges import Profile, range_methods


@range_methods.register("minmax")
def minmax(profile: Profile, levels: int) -> tuple[float, float]:
    """Exact extremes."""
    return profile.low, profile.high
