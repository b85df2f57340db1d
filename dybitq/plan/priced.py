"""A plan as work for the simulator: which tensors carry codes, and which clamps cost nothing any more."""

from collections.abc import Mapping

from dybitq.encodings.widths import widths
from dybitq.errors import ConfigError
from dybitq.graph.load import Network
from dybitq.graph.operators import Role, role
from dybitq.graph.tensors import Tensors
from dybitq.graph.values import nodes_by_name, values_by_name
from dybitq.hardware.widths import LayerWidths, planned
from dybitq.plan.regions import absorbed_clamp
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ACTIVATION, LayerPlan, Plan
from dybitq.records.workload import Workload


class PlanPricing:
    """Turns plans for one network into workloads; what all of them share is looked up once.

    Args:
        workload: of the float network, from ``graph.workload``.
        network: the same network in normal form.
        layers: its survey by name.
    """

    def __init__(self, workload: Workload, network: Network, layers: Mapping[str, LayerWork]) -> None:
        self.workload = workload
        self._tensors = Tensors(network)
        self._layers = layers
        self._values = values_by_name(network.model)
        self._nodes = nodes_by_name(network.model)
        # With fixed shapes a layer may have become a constant, which has no price.
        self._priced = {op.name for op in workload.ops}
        self._known: dict[frozenset[str], tuple[dict[str, str], frozenset[str]]] = {}

    def workload_of(self, plan: Plan) -> Workload:
        """Return the workload as ``plan`` would have it quantized and emitted.

        Raises:
            ConfigError: the plan names a layer or tensor that the network does not have.
        """
        formats = {edge.tensor: edge.format for edge in plan.edges}
        missing = [name for name in formats if name not in self._values]
        if missing:
            raise ConfigError(
                f"{plan.source}: for another model: it has a tensor {missing[0]!r}, which this one has not"
            )
        roots, absorbed = self._structure(frozenset(formats))
        layers = {
            layer.layer: _widths_of(layer)
            for layer in plan.layers
            if layer.layer in self._priced or layer.layer not in self._layers
        }
        tensors = {name: widths(formats[root]) for name, root in roots.items()}
        return planned(self.workload, layers, tensors, absorbed)

    def roots(self, plan: Plan) -> Mapping[str, str]:
        """By tensor of the workload the coded tensor of ``plan`` whose codes it carries."""
        return self._structure(frozenset(edge.tensor for edge in plan.edges))[0]

    def _structure(self, coded: frozenset[str]) -> tuple[dict[str, str], frozenset[str]]:
        """By tensor of the workload the root whose codes it carries; and the clamps inside a quantizer."""
        if coded not in self._known:
            names = [tensor.name for tensor in self.workload.tensors if tensor.name in self._values]
            found = {name: self._tensors.coded_root(name, coded) for name in names}
            roots = {name: root for name, root in found.items() if root is not None}
            absorbed = frozenset(name for name in self._nodes if self._is_absorbed(name, coded))
            self._known[coded] = roots, absorbed
        return self._known[coded]

    def _is_absorbed(self, name: str, coded: frozenset[str]) -> bool:
        """Return whether a Relu or Clip disappears into the codes that the kernel before it writes."""
        node = self._nodes[name]
        source = node.inputs[0] if node.inputs else None
        if source is None or node.outputs[0].name not in coded or source.name in coded:
            return False
        producer = source.producer()
        if producer is None or role(producer, self._layers) not in (Role.WEIGHTED, Role.FUSED):
            return False
        return absorbed_clamp(source, self._layers) is node


def _widths_of(layer: LayerPlan) -> LayerWidths:
    return LayerWidths(
        weights=widths(layer.weights) if layer.has_coded_weights else None,
        recode=widths(layer.recode) if layer.recodes else None,
        coded_operands=layer.weights == ACTIVATION,
    )
