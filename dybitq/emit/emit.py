"""Graph, plan and fitted arrays to a quantized model: one walk in topological order."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder, remove_unused
from dybitq.emit.edges import Edges
from dybitq.emit.layers import Layer, Layers, dequantized
from dybitq.emit.lookup import add_lookup, code_table
from dybitq.fit.activations.edges import clamp_codes
from dybitq.graph.load import Network
from dybitq.graph.operators import Role, activation_inputs, clamp_bounds, role
from dybitq.graph.values import constant, nodes_by_name, values_by_name
from dybitq.plan.regions import absorbed_clamp
from dybitq.records.fitted import Fitted, FittedEdge
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, Plan

_IR_VERSION = 10  # node metadata came with it


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
        plan: decisions.
        fitted: arrays for every layer and edge of the plan.
        up_to: make this tensor the only output; what it does not need is left out.
    """
    model = network.model.clone()
    _Walk(model, layers, plan, fitted).run()
    if up_to is not None:
        output = values_by_name(model)[up_to]
        output.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.clear()
        model.graph.outputs.append(output)
    remove_unused(model)
    _forget_shapes(model)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return model


def _forget_shapes(model: ir.Model) -> None:
    """Drop the inferred types of inner tensors: whoever loads the file infers or reads them again."""
    ends = {*model.graph.outputs, *model.graph.inputs}
    inner = [value for node in model.graph for value in node.outputs]
    for value in (*inner, *model.graph.initializers.values()):
        if value not in ends:
            value.type = value.shape = None


class _Walk:
    def __init__(self, model: ir.Model, layers: Mapping[str, LayerWork], plan: Plan, fitted: Fitted) -> None:
        self.model = model
        self.layers = layers
        self.plans = {p.layer: p for p in plan.layers}
        self.fitted = fitted
        self.pow2 = bool(plan.edges) and all(edge.range == "pow2" for edge in plan.edges)
        self.builder = Builder(model)
        self.edges = Edges(self.builder)
        self.writer = Layers(self.builder, self.edges)

    def run(self) -> None:
        for value in list(self.model.graph.inputs):
            edge = self.fitted.edges.get(value.name or "")
            if edge is not None:
                readers = [use for use in value.uses() if self._takes_codes(use.node)]
                self.edges.quantize_input(value, edge, readers)
        for node in list(nodes_by_name(self.model).values()):
            self._node(node)

    def _takes_codes(self, node: ir.Node) -> bool:
        """Whether a reader of a graph input works on its codes; others read the input as it came."""
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
        names = [v.name for v in node.outputs]
        kind = role(node, self.layers)
        source = self.edges.get(node.inputs[0]) if node.inputs else None
        outputs = list(node.outputs)
        if kind is Role.WEIGHTED:
            outputs = [self._weighted(node)]
        elif kind in (Role.CODES, Role.CLAMP) and source is not None:
            self._on_codes(node, kind, source.value, source.edge)
            return
        elif kind is Role.TABLE and source is not None and names[0] in self.fitted.edges:
            target = self.fitted.edges[str(names[0])]
            table = code_table(node, source.edge, target)
            codes = add_lookup(self.builder, source.value, table, before=node)
            self.edges.carry(node.outputs[0], codes, target)
            return
        elif kind is Role.FUSED and self._gets_codes(node.outputs[0]):
            self._code_constants(node)
        for value in outputs:
            edge = self.fitted.edges.get(value.name or "")
            if edge is not None:
                self.edges.quantize(value, edge)

    def _gets_codes(self, value: ir.Value) -> bool:
        """Whether a quantizer will stand behind ``value``, or behind the clamp that is its only reader."""
        clamp = absorbed_clamp(value, self.layers)
        last = value if clamp is None else clamp.outputs[0]
        return value.name in self.fitted.edges or last.name in self.fitted.edges

    def _weighted(self, node: ir.Node) -> ir.Value:
        assert node.name is not None
        work, output_coded = self.layers[node.name], self._gets_codes(node.outputs[0])
        plan, fitted = self.plans.get(node.name), self.fitted.weights.get(node.name)
        output = node.outputs[0]
        if plan is not None and fitted is not None:
            recoding = self.fitted.recodings.get(node.name)
            layer = Layer(node=node, work=work, plan=plan, fitted=fitted, recoding=recoding)
            output = self.writer.emit(layer, output_coded=output_coded)
        if output_coded and not dequantized(node.inputs[1]):
            self.writer.keep_float(node, work)
        return output

    def _on_codes(self, node: ir.Node, kind: Role, codes: ir.Value, edge: FittedEdge) -> None:
        """Run a moving or comparing operator on the codes themselves."""
        if kind is Role.CLAMP:
            low, high = clamp_codes(clamp_bounds(node), edge.scale, edge.zero_point)
            low, high = max(low, edge.low), min(high, edge.high)
            self.edges.carry(node.outputs[0], self.edges.clamp(codes, low, high, after=node), edge)
            return
        inputs = [codes, *node.inputs[1:]]
        if node.op_type == "Pad" and len(inputs) > 1:
            pad_value = self.edges.zero_point(edge)
            inputs = [*inputs[:2], pad_value, *inputs[3:]]
        clone = ir.Node(
            "", node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs), name=""
        )
        self.builder.graph.insert_after(node, clone)
        for value, made in zip(list(node.outputs), clone.outputs, strict=True):
            made.name = self.builder.fresh("q")
            made.shape = value.shape
            self.edges.carry(value, made, edge)

    def _code_constants(self, node: ir.Node) -> None:
        """Constant operands of a fused operator are coded per tensor over their own range."""
        if any(self.edges.get(v) is None for v in activation_inputs(node)):
            return  # computes in float
        for index, value in enumerate(node.inputs):
            array = constant(value)
            if value is None or array is None or array.dtype != np.float32:
                continue
            low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
            scale = np.float32((high - low) / 255 or 1.0)
            if self.pow2:  # power-of-two scales everywhere
                scale = np.float32(2.0 ** np.ceil(np.log2(scale)))
            zero_point = min(255, max(0, round(-low / float(scale))))
            codes = np.clip(np.rint(array / scale) + zero_point, 0, 255).astype(np.uint8)
            edge = FittedEdge(format="int8", scale=float(scale), zero_point=zero_point)
            real = self.builder.node(
                "DequantizeLinear",
                [
                    self.builder.constant(codes, "q"),
                    self.edges.scale(edge),
                    self.edges.zero_point(edge),
                ],
                output="r",
                before=node,
            )
            node.replace_input_with(index, real)
