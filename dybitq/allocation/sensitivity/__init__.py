"""Sensitivities, one file each: the accuracy lost by a format of a layer's weights or of its input.

A sensitivity gives every choice a number that is 0 for float and adds up over the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dybitq.allocation.space import Space
from dybitq.data.source import DataSource
from dybitq.errors import ConfigError
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics
from dybitq.registry import Registry

SAMPLES = 32
"""Samples that are used by default."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """The network, formats and data that a sensitivity judges.

    Attributes:
        space: the network, its layers and the formats to judge.
        statistics: of the float network.
        source: opens the samples; None where no data were given.
        samples: number of samples to use where data are read.
        progress: called with stage, done, total.
    """

    space: Space
    statistics: Statistics
    source: Callable[[], DataSource] | None = None
    samples: int = SAMPLES
    progress: Progress | None = None

    def data(self, sensitivity: str) -> DataSource:
        """Open the samples.

        Raises:
            ConfigError: there are none.
        """
        if self.source is None:
            raise ConfigError(f"the sensitivity {sensitivity!r} runs the network; give samples with --data")
        return self.source()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The addends of the objective.

    Attributes:
        weights: by layer and weight setting.
        activations: by layer and activation setting, for the layers that choose.
        fixed: the part that does not depend on any choice.
        relative_error: True where the sum predicts the energy of the output's error over that of the output.
    """

    weights: Mapping[str, Mapping[str, float]]
    activations: Mapping[str, Mapping[str, float]]
    fixed: float = 0.0
    relative_error: bool = False


Sensitivity = Callable[[Subject], Scores]

SENSITIVITIES: Registry[Sensitivity] = Registry("sensitivity", "dybitq.allocation.sensitivity")
