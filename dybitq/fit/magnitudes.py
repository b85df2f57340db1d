"""Values that float32 can hold, but not what fitting makes of them."""

from collections.abc import Mapping

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan
from dybitq.records.statistics import Statistics

_LARGEST = 1e36  # squares summed in float32 stay below its 3.4e38, whatever the rounding


def check_magnitudes(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> None:
    """Refuse layers whose inputs, weights or outputs have squares that overflow float32.

    Raises:
        UnsupportedError: naming the layer, and how large its inputs and weights are.
    """
    tensors = Tensors(network)
    for layer_plan in plan.layers:
        layer, seen = layers[layer_plan.layer], statistics.tensors.get(layers[layer_plan.layer].input)
        if not layer_plan.has_coded_weights:
            continue
        weight = float(np.abs(tensors.array(layer.weight)).max(initial=0))
        value = 1.0 if seen is None else max(-seen.minimum, seen.maximum)
        width = layer.geometry.patch_shape[1]
        largest = width * max(value**2, weight**2, width * (value * weight) ** 2)
        if not largest < _LARGEST:
            raise UnsupportedError(
                f"layer {layer.name!r}: its inputs reach {value:.3g} in calibration and its weights "
                f"{weight:.3g}, whose squares overflow float32; rescale the network or leave it in float"
            )
