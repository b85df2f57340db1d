"""Checks that a plan fits a model: for plans that were edited by hand or made for another model."""

from collections.abc import Mapping

import onnx_ir as ir

from dybitq.errors import ConfigError, did_you_mean, naming
from dybitq.fit.activations.ranges import range_methods
from dybitq.fit.activations.recode import check_recoding
from dybitq.fit.auto import check_weight_format
from dybitq.fit.weights.rounding import roundings
from dybitq.fit.weights.scales import scale_methods
from dybitq.graph.load import Network
from dybitq.graph.operators import Role, role
from dybitq.graph.tensors import Tensors
from dybitq.graph.values import is_constant, values_by_name
from dybitq.plan.recipe import kernel_modes
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable, MatrixProduct
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ACTIVATION, ActivationMode, LayerPlan, Plan

_EDGE_FORMATS = tuple(f"int{bits}" for bits in range(2, 9))


def check_plan(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    """Refuse a plan that names things the model does not have, or combines what cannot be combined.

    Raises:
        ConfigError: the first mistake, with the layer or tensor, what was found and what is allowed.
    """
    with naming(plan.source):
        _check(network, layers, plan)


def _check(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    if plan.model_sha256 != network.sha256:
        raise ConfigError(
            f"made for another model (sha256 {plan.model_sha256[:12]}..., this one has "
            f"{network.sha256[:12]}...); make a new plan, or change model_sha256 if the layers are the same"
        )
    for layer_plan in plan.layers:
        if layer_plan.layer not in layers:
            raise ConfigError(f"no layer {layer_plan.layer!r}.{did_you_mean(layer_plan.layer, layers)}")
        _check_weights(layers[layer_plan.layer], layer_plan)
        if not layer_plan.in_float and plan.arithmetic == FLOAT_RESCALE:
            _check_mode(layers[layer_plan.layer], layer_plan.activations)
        _check_recode(layer_plan)
    _check_methods(plan)
    if plan.arithmetic == FLOAT_RESCALE:  # integer-only arithmetic: see plan/integer.py
        _check_edges(network, layers, plan)


def _check_weights(layer: LayerWork, plan: LayerPlan) -> None:
    dynamic = isinstance(layer.geometry, ActivationProduct)
    if plan.in_float:
        return
    if dynamic != (plan.weights == ACTIVATION):
        what, allowed = (
            ("multiplies two activations", "'activation' or 'float'")
            if dynamic
            else ("has weights of its own", "a number format or 'float'")
        )
        raise ConfigError(
            f"layer {layer.name!r} {what}; its weights can be {allowed}, found {plan.weights!r}"
        )
    if not dynamic:
        with naming(f"layer {layer.name!r}"):
            check_weight_format(plan.weights)


def _check_mode(layer: LayerWork, mode: ActivationMode) -> None:
    """Refuse layers that no kernel with 8-bit operands computes, where activations are static or dynamic."""
    modes = kernel_modes(layer)
    if mode is ActivationMode.DYNAMIC and mode not in modes:
        raise ConfigError(
            f"layer {layer.name!r} is {_what(layer)}; only a MatMul by a constant matrix can take "
            "dynamic activations"
        )
    if mode is ActivationMode.STATIC and mode not in modes:
        raise ConfigError(
            f"layer {layer.name!r} is {_what(layer)}, which has no kernel for 8-bit activations; "
            "set its activations to 'float'"
        )


def _check_methods(plan: Plan) -> None:
    """Every scale method, rounding, re-coding and range method is one that there is."""
    for layer in plan.layers:
        with naming(f"layer {layer.layer!r}"):
            scale_methods.get(layer.scale)
            roundings.get(layer.rounding)
            check_recoding(layer.recode)
    for edge in plan.edges:
        with naming(f"tensor {edge.tensor!r}"):
            range_methods.get(edge.range)


def _check_recode(plan: LayerPlan) -> None:
    """Only codes with a scale of calibration can be re-coded."""
    if not plan.recodes or (plan.activations is ActivationMode.STATIC and not plan.in_float):
        return
    found = "weights: float" if plan.in_float else f"activations: {plan.activations}"
    raise ConfigError(
        f"layer {plan.layer!r} has recode: {plan.recode} and {found}; re-coding takes quantized weights and "
        "static activations"
    )


def _what(layer: LayerWork) -> str:
    match layer.geometry:
        case EmbeddingTable():
            return "an embedding"
        case MatrixProduct(left=True):
            return "a MatMul with its weight on the left"
        case MatrixProduct(stacked=True):
            return "a MatMul by a stack of matrices"
    return f"a {layer.op_type}"


def _check_recoded(tensors: Tensors, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    """Codes of fewer than 8 bits are not re-coded."""
    formats = {edge.tensor: edge.format for edge in plan.edges}
    for layer in plan.layers:
        root = None if not layer.recodes else tensors.coded_root(layers[layer.layer].input, formats)
        if root is not None and formats[root] != "int8":
            raise ConfigError(
                f"layer {layer.layer!r} re-codes its input as {layer.recode!r}, but tensor {root!r} has "
                f"format {formats[root]!r}; only int8 is re-coded"
            )


def _check_edges(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    values = values_by_name(network.model)
    activations = {
        name: value
        for name, value in values.items()
        if value.dtype == ir.DataType.FLOAT and not is_constant(value)
    }
    for edge in plan.edges:
        if edge.tensor not in activations:
            hint = did_you_mean(edge.tensor, activations)
            raise ConfigError(f"no float activation {edge.tensor!r} to code.{hint}")
        if edge.format not in _EDGE_FORMATS:
            raise ConfigError(
                f"tensor {edge.tensor!r} has format {edge.format!r}; activations take int2 to int8"
            )
    _check_recoded(Tensors(network), layers, plan)
    own = {edge.tensor for edge in plan.edges}
    coded = {value.name or "" for value in network.model.graph.inputs if value.name in own}
    for node in network.model.graph:
        source = node.inputs[0].name if node.inputs and node.inputs[0] is not None else None
        moved = source in coded and role(node, layers) in (Role.CODES, Role.CLAMP)
        for value in node.outputs:
            if moved and value.name in own:
                raise ConfigError(
                    f"tensor {value.name!r} has the codes of {source!r}, which {node.op_type} "
                    f"{node.name!r} passes on; remove one of the two from the edges"
                )
            if value.name and (moved or value.name in own):
                coded.add(value.name)
