"""Range: the mean over samples of each sample's own extremes, as SPARQ calibrates."""

from dybitq.fit.activations.ranges import Profile, range_methods


@range_methods.register("mean-max")
def mean_max(profile: Profile, levels: int) -> tuple[float, float]:
    """Mean of maxima, and of minima where there are values below zero (the published method has none)."""
    return min(0.0, profile.mean_low), max(0.0, profile.mean_high)
