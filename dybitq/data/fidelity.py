"""Running error of one tensor against a reference: signal, noise and the largest difference."""

from dataclasses import dataclass

import numpy as np

from dybitq.errors import ModelError


@dataclass(slots=True, eq=False)
class ErrorTotal:
    """State of :func:`update`: sums of squares, and the largest absolute difference."""

    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    values: int = 0

    @property
    def sqnr_db(self) -> float:
        """See :func:`sqnr_db`."""
        return sqnr_db(self.signal, self.noise)


def init() -> ErrorTotal:
    """Start without values."""
    return ErrorTotal()


def update(total: ErrorTotal, found: np.ndarray, reference: np.ndarray, name: str) -> None:
    """Add ``found`` against ``reference``; both of the same shape.

    NaN or infinity in ``found`` where the reference is finite makes the noise infinite; values
    whose reference is not finite are not compared.

    Raises:
        ModelError: the shapes differ.
    """
    if found.shape != reference.shape:
        raise ModelError(
            f"tensor {name!r} has the shape {list(found.shape)} in the model and {list(reference.shape)} in "
            "the reference; they are not the same network"
        )
    real, wanted = (np.asarray(v, np.float32).reshape(-1) for v in (found, reference))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = real - wanted
        signal, noise = float(np.dot(wanted, wanted)), float(np.dot(difference, difference))
    if not (np.isfinite(signal) and np.isfinite(noise)):
        _update_carefully(total, real, wanted)
        return
    # float32 dot products of one batch at a time are good to far better than a hundredth of a dB.
    total.signal += signal
    total.noise += noise
    largest = max(difference.max(initial=0.0), -difference.min(initial=0.0))
    total.largest = max(total.largest, float(largest))
    total.values += wanted.size


def _update_carefully(total: ErrorTotal, real: np.ndarray, wanted: np.ndarray) -> None:
    """Add in float64 where the reference is finite, for values that float32 sums cannot hold."""
    sound = np.isfinite(wanted)
    real, wanted = real[sound].astype(np.float64), wanted[sound].astype(np.float64)
    difference = np.where(np.isfinite(real), real - wanted, np.inf)
    total.signal += float(np.dot(wanted, wanted))
    total.noise += float(np.dot(difference, difference))
    total.largest = max(total.largest, float(np.abs(difference).max(initial=0.0)))
    total.values += wanted.size


def merge(a: ErrorTotal, b: ErrorTotal) -> ErrorTotal:
    """Add up both states."""
    return ErrorTotal(
        signal=a.signal + b.signal,
        noise=a.noise + b.noise,
        largest=max(a.largest, b.largest),
        values=a.values + b.values,
    )


def sqnr_db(signal: float, noise: float) -> float:
    """Return signal to quantization noise, ``10 log10(signal / noise)`` of energies, in dB.

    Infinite without noise; minus infinity where the noise is not finite or the signal zero.
    """
    if noise == 0:
        return float("inf")
    if signal == 0 or not np.isfinite(noise):
        return float("-inf")
    return float(10 * np.log10(signal / noise))
