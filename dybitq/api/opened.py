"""A float model and its statistics, as the verbs that quantize open them."""

from pathlib import Path

from dybitq.calibrate.store import load as load_statistics
from dybitq.errors import UnsupportedError
from dybitq.graph.load import Network, load
from dybitq.graph.passes.notes import quantizing_operators
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork
from dybitq.records.statistics import Statistics


def opened(model: Path, statistics: Path) -> tuple[Network, dict[str, LayerWork], Statistics]:
    """Network, survey by name, and the statistics of this network.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedError: all of its weights are codes already.
        StatisticsError: the statistics are damaged, or of another model.
    """
    network, layers = opened_float(model)
    return network, layers, load_statistics(statistics, model_sha256=network.sha256)


def opened_float(model: Path) -> tuple[Network, dict[str, LayerWork]]:
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
