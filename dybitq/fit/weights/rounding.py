"""Ways to round weights to codes, by name: every file of ``fit/weights/methods`` may register some."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dybitq.fit.weights.moments import Hessian
from dybitq.records.formats import NumberFormat
from dybitq.registry import Registry

# (matrix [groups, rows, K] float32, scale [groups, rows, 1] float32, format, H)
# -> uint8 codes of the same shape, and what the errors cost in H, float64 [groups, rows]
Round = Callable[[np.ndarray, np.ndarray, NumberFormat, Hessian], tuple[np.ndarray, np.ndarray]]
# (codes, matrix, scale, format, H) -> codes of less energy
Improve = Callable[[np.ndarray, np.ndarray, np.ndarray, NumberFormat, Hessian], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingMethod:
    """A way from weights to codes.

    Attributes:
        round: codes at a given scale.
        trials: multiples of the searched scale that are tried, the most telling first; one that compensates
            wants another scale, and its error jumps from one to the next.
        finer: the same for matrices so small that it takes no time; None: no others.
        improve: what is done to the codes of the best trial.
        compensates: later weights make up for the errors of earlier ones, for which it needs the second
            moments of the inputs.
    """

    round: Round
    trials: Sequence[float] = (1.0,)
    finer: Sequence[float] | None = None
    improve: Improve | None = None
    compensates: bool = False


roundings: Registry[RoundingMethod] = Registry("rounding", "dybitq.fit.weights.methods")
