"""Range: smallest Kullback-Leibler divergence between the clipped and the quantized histogram.

The procedure published for TensorRT's calibrator (Migacz, GTC 2017): a linear histogram of magnitudes is
cut at a threshold, what lies beyond is added to the last bin, and the cut histogram is compared with
itself after merging its bins into the available levels.
"""

import numpy as np

from dybitq.fit.activations.ranges import Profile, range_methods

_BINS = 2048


@range_methods.register("entropy")
def entropy(profile: Profile, levels: int) -> tuple[float, float]:
    """One threshold for both signs, never beyond the extremes."""
    low, high = profile.low, profile.high
    largest = max(-low, high)
    if largest == 0:
        return low, high
    magnitudes = np.abs(profile.centres)
    histogram, _ = np.histogram(magnitudes, bins=_BINS, range=(0, largest), weights=profile.counts)
    histogram[0] = histogram[1]  # exact zeros cost nothing at any threshold
    signed = low < 0
    merged = levels // 2 if signed else levels
    cuts = np.arange(merged, _BINS + 1, max(1, merged // 8))
    divergences = [_divergence(histogram, int(cut), merged) for cut in cuts]
    threshold = largest * float(cuts[int(np.argmin(divergences))]) / _BINS
    return max(low, -threshold), min(high, threshold)


def _divergence(histogram: np.ndarray, cut: int, merged: int) -> float:
    reference = histogram[:cut].astype(np.float64)
    occupied = reference > 0
    group = np.arange(cut) * merged // cut
    totals = np.bincount(group, weights=reference, minlength=merged)
    members = np.bincount(group, weights=occupied, minlength=merged)
    candidate = np.where(occupied, totals[group] / np.maximum(members[group], 1), 0)
    reference[-1] += histogram[cut:].sum()
    p, q = reference / reference.sum(), candidate / max(candidate.sum(), 1e-300)
    both = (p > 0) & (q > 0)
    missing = p[(p > 0) & (q == 0)].sum()
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + missing * 50)
