"""Graph, plan and fitted arrays to a quantized model, written for the target of the plan.

The emission goes through the graph once, in topological order. It decides what every node is: a layer, an
operator on codes, a function, an operator that reads and writes quantized tensors, or one that stays as it
is. The writer of the target says how that is written.
"""

from collections.abc import Mapping

import onnx_ir as ir

from dybitq.emit.builder import remove_unused
from dybitq.emit.layers import Layer
from dybitq.emit.target import GraphWriter, target_of
from dybitq.graph.load import Network
from dybitq.graph.operators import Role, role
from dybitq.graph.values import nodes_by_name, values_by_name
from dybitq.plan.regions import absorbed_clamp
from dybitq.records.fitted import Fitted
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, Plan


def emit(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    fitted: Fitted,
    *,
    up_to: str | None = None,
) -> ir.Model:
    """Build the quantized model.

    A pure function of its arguments: the network is not changed, and the same arguments give the same
    model. See docs/emitted-model.md for what is written operator by operator.

    Args:
        network: normalised float network.
        layers: its survey, by node name.
        plan: decisions, and the target.
        fitted: arrays for every layer and edge of the plan.
        up_to: make this tensor the only output; what it does not need is left out.

    Raises:
        ConfigError: the plan names a target that there is not.
    """
    target = target_of(plan)
    model = network.model.clone()
    writer = target.open(model, plan)
    _Emission(model, layers, plan, fitted, writer).run()
    if up_to is not None:
        output = values_by_name(model)[up_to]
        output.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.clear()
        model.graph.outputs.append(output)
    writer.finish()
    remove_unused(model)
    _forget_shapes(model)
    return model


def _forget_shapes(model: ir.Model) -> None:
    """Drop the inferred types of inner tensors: whoever loads the file infers or reads them again."""
    ends = {*model.graph.outputs, *model.graph.inputs}
    inner = [value for node in model.graph for value in node.outputs]
    for value in (*inner, *model.graph.initializers.values()):
        if value not in ends:
            value.type = value.shape = None


class _Emission:
    def __init__(
        self,
        model: ir.Model,
        layers: Mapping[str, LayerWork],
        plan: Plan,
        fitted: Fitted,
        writer: GraphWriter,
    ) -> None:
        self.model = model
        self.layers = layers
        self.plans = {p.layer: p for p in plan.layers}
        self.fitted = fitted
        self.writer = writer
        self.edges = writer.edges

    def run(self) -> None:
        for value in list(self.model.graph.inputs):
            edge = self.fitted.edges.get(value.name or "")
            if edge is not None:
                readers = [use for use in value.uses() if self._takes_codes(use.node)]
                self.edges.quantize_input(value, edge, readers)
        for node in list(nodes_by_name(self.model).values()):
            self._node(node)

    def _takes_codes(self, node: ir.Node) -> bool:
        """Tell whether a reader of a graph input works on its codes; others read the input as it came."""
        if node.graph is not self.model.graph:
            return False
        kind = role(node, self.layers)
        if kind is Role.WEIGHTED:
            plan = self.plans.get(node.name or "")
            return plan is not None and plan.activations is ActivationMode.STATIC and plan.weights != "float"
        if kind in (Role.FUSED, Role.TABLE):
            return self._gets_codes(node.outputs[0])
        return kind in (Role.CODES, Role.CLAMP)

    def _node(self, node: ir.Node) -> None:
        kind = role(node, self.layers)
        source_coded = bool(node.inputs) and self.edges.has_codes(node.inputs[0])
        outputs = [(value, self.fitted.edges.get(value.name or "")) for value in node.outputs]
        match kind:
            case Role.WEIGHTED:
                value = self._weighted(node)
                outputs = [(value, self.fitted.edges.get(value.name or ""))]
            case Role.CODES if source_coded:
                self.edges.pass_on(node)
                return
            case Role.CLAMP if source_coded:
                self.edges.clamp(node)
                return
            case Role.TABLE if source_coded and outputs[0][1] is not None:
                self.edges.function(node, outputs[0][1])
                return
            case Role.FUSED if self._gets_codes(node.outputs[0]):
                self.edges.operands(node)
        for value, edge in outputs:
            if edge is not None:
                self.edges.quantize(value, edge)

    def _gets_codes(self, value: ir.Value) -> bool:
        """Tell whether a quantizer will follow ``value``, or the clamp that is its only reader."""
        clamp = absorbed_clamp(value, self.layers)
        last = value if clamp is None else clamp.outputs[0]
        return value.name in self.fitted.edges or last.name in self.fitted.edges

    def _weighted(self, node: ir.Node) -> ir.Value:
        assert node.name is not None
        work, output_coded = self.layers[node.name], self._gets_codes(node.outputs[0])
        plan, fitted = self.plans.get(node.name), self.fitted.weights.get(node.name)
        if plan is None or fitted is None:
            self.writer.float_layer(node, work, output_coded=output_coded)
            return node.outputs[0]
        recoding = self.fitted.recodings.get(node.name)
        layer = Layer(node=node, work=work, plan=plan, fitted=fitted, recoding=recoding)
        return self.writer.layer(layer, output_coded=output_coded)
