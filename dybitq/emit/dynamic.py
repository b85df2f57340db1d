"""Matrix products with 8-bit activations whose range is found at every run.

onnxruntime fuses what is written here into DynamicQuantizeMatMul or MatMulIntegerToFloat.
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.layers import Layer, label, scale_constant
from dybitq.records.plan import ActivationMode

Quantized = tuple[ir.Value, ir.Value, ir.Value]
"""Codes, scale and zero point of an activation."""


class DynamicProducts:
    """Dynamically quantized products of one graph; those that read one tensor share its codes."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._quantized: dict[str, Quantized] = {}
        self._multiplied: set[tuple[str, ir.Value]] = set()

    def quantized(self, layer: Layer) -> Quantized:
        """Codes, scale and zero point of the layer's input."""
        activation = layer.activation
        assert activation is not None and activation.name is not None
        if activation.name not in self._quantized:
            node = ir.node("DynamicQuantizeLinear", [activation], num_outputs=3)
            for value, suffix in zip(node.outputs, ("q", "s", "z"), strict=True):
                value.name = self.builder.fresh(suffix)
            self.builder.graph.insert_before(layer.node, node)
            self._quantized[activation.name] = (node.outputs[0], node.outputs[1], node.outputs[2])
        return self._quantized[activation.name]

    def product(self, layer: Layer, activation: Quantized, integers: ir.Value) -> ir.Value:
        """Multiply codes by ``integers``, then by both scales, in place of ``layer``'s output.

        Args:
            layer: a MatMul by a matrix.
            activation: what :meth:`quantized` gives.
            integers: the weight, int8.
        """
        assert layer.activation is not None and layer.activation.name is not None
        (codes, scale, zero_point), before = activation, layer.node
        product = self.builder.node("MatMulInteger", [codes, integers, zero_point], output="p", before=before)
        real = self.builder.node(
            "Cast", [product], attributes={"to": int(ir.DataType.FLOAT)}, output="r", before=before
        )
        scales = self.builder.node(
            "Mul", [scale, self._unshared_scale(layer, layer.activation.name)], output="s", before=before
        )
        result = self.builder.node("Mul", [real, scales], output="r", before=before)
        node = product.producer()
        assert node is not None
        label(node, layer, ActivationMode.DYNAMIC)
        output = layer.node.outputs[0]
        self.builder.stand_in(output, result, list(output.uses()))
        return result

    def _unshared_scale(self, layer: Layer, activation: str) -> ir.Value:
        """Scale of the weights, for one product with the scale of ``activation`` only.

        The runtime merges equal products, and then no longer recognises the kernel around them. It also
        merges equal initializers, but only those of up to eight elements.
        """
        scale = scale_constant(self.builder, layer)
        if (activation, scale) in self._multiplied:
            channels = int(layer.fitted.codes.shape[-1])
            return self.builder.own_constant(np.broadcast_to(layer.scale, (channels,)), "s")
        self._multiplied.add((activation, scale))
        return scale
