"""A float model and its statistics, as the verbs that quantize open them."""

import os
from pathlib import Path
from typing import TypeAlias

from dybitq.calibration import store
from dybitq.errors import UnsupportedError
from dybitq.graph.load import Network, load
from dybitq.graph.passes.notes import quantizing_operators
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork
from dybitq.records.models import ModelSource
from dybitq.records.statistics import Statistics
from dybitq.report.calibrate import CalibrateResult

StatisticsLike: TypeAlias = str | os.PathLike[str] | Statistics | CalibrateResult
"""Path of a statistics file, its contents, or the result of ``calibrate``."""


def opened(
    model: ModelSource, statistics: StatisticsLike
) -> tuple[Network, dict[str, LayerWork], Statistics]:
    """Network, survey by name, and the statistics of this network.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedError: all of its weights are codes already.
        StatisticsError: the statistics are damaged, or of another model.
    """
    network, layers = opened_float(model)
    found = statistics_of(statistics)
    store.check_model(found, network.sha256)
    return network, layers, found


def statistics_of(statistics: StatisticsLike) -> Statistics:
    """Return the statistics themselves.

    Raises:
        StatisticsError: a file that is none, or is damaged.
    """
    if isinstance(statistics, Statistics):
        return statistics
    if isinstance(statistics, CalibrateResult):
        return statistics.statistics
    return store.load(Path(statistics))


def statistics_file(statistics: StatisticsLike) -> tuple[Path, ...]:
    """Return the file that no output may replace; none for statistics in memory."""
    if isinstance(statistics, CalibrateResult):
        return () if statistics.output is None else (statistics.output,)
    return () if isinstance(statistics, Statistics) else (Path(statistics),)


def opened_float(model: ModelSource) -> tuple[Network, dict[str, LayerWork]]:
    """Network, and survey by name.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedError: all of its weights are codes already.
    """
    network = load(model)
    layers = {layer.name: layer for layer in survey(network)}
    count = quantizing_operators(network.model)
    if count and not any(layer.weight_count for layer in layers.values()):
        raise UnsupportedError(
            f"{model}: quantized already: it has {count} quantizing operators and no layer with float "
            "weights; start from the float model, and from statistics of it"
        )
    return network, layers
