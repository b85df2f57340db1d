"""The first part of a quantized network, up to one tensor: what the next layer will be fed."""

from collections.abc import Mapping

from dybitq.emit.emit import emit
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.records.fitted import Fitted
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan


def prefix(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, fitted: Fitted, tensor: str
) -> bytes:
    """Emit the model up to ``tensor``, as bytes.

    Layers without fitted arrays stay in float, so ``fitted`` may hold the first few layers only.
    """
    return to_bytes(emit(network, layers, plan, fitted, up_to=tensor))
