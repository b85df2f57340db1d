"""Whether a plan fits a model: for plans that were edited by hand or made for another model."""

import difflib
from collections.abc import Mapping

import onnx_ir as ir

from dybitq.encodings import formats
from dybitq.errors import ConfigError
from dybitq.graph.load import Network
from dybitq.graph.values import values_by_name
from dybitq.records import ActivationMode, LayerKind, LayerWork, Plan

_NO_TABLE = ("float", "activation")  # LayerPlan.weights without weights of their own


def check_plan(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    """Refuse a plan that names things the model does not have, or combines what cannot be combined.

    Raises:
        ConfigError: the first mistake, with the layer or tensor, what was found and what is allowed.
    """
    if plan.model_sha256 != network.sha256:
        raise ConfigError(
            f"the plan was made for another model (sha256 {plan.model_sha256[:12]}..., this one has "
            f"{network.sha256[:12]}...); make a new plan, or change model_sha256 if the layers are the same"
        )
    for layer_plan in plan.layers:
        if layer_plan.layer not in layers:
            raise ConfigError(
                f"plan: no layer {layer_plan.layer!r}.{_suggest(layer_plan.layer, list(layers))}"
            )
        _check_layer(layers[layer_plan.layer], layer_plan.weights, layer_plan.activations)
    values = values_by_name(network.model)
    for edge in plan.edges:
        value = values.get(edge.tensor)
        if value is None or value.dtype != ir.DataType.FLOAT:
            raise ConfigError(
                f"plan: no float tensor {edge.tensor!r} to code.{_suggest(edge.tensor, list(values))}"
            )
        if formats.get(edge.format).family != "int":
            raise ConfigError(
                f"plan: tensor {edge.tensor!r} has format {edge.format!r}; activations take int2 to int8"
            )


def _check_layer(layer: LayerWork, weights: str, mode: ActivationMode) -> None:
    if layer.kind is LayerKind.MATMUL_DYNAMIC:
        if weights not in _NO_TABLE:
            raise ConfigError(
                f"plan: layer {layer.name!r} multiplies two activations; its weights can only be "
                f"'activation' or 'float', found {weights!r}"
            )
        return
    if weights not in _NO_TABLE and not weights.startswith("auto"):
        formats.get(weights)
    if mode is ActivationMode.DYNAMIC and layer.kind is not LayerKind.MATMUL:
        raise ConfigError(
            f"plan: layer {layer.name!r} is a {layer.op_type}; only MatMul can take dynamic activations"
        )


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
