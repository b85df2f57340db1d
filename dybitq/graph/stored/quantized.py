"""Survey of any model as stored: for every layer its work, and the bits of each of its operands.

Float models, models with QuantizeLinear and DequantizeLinear, models of integer operators, those of
onnxruntime's own quantizers, and what dybitq emits all go the same way: the operands are traced in the
stored graph, then the graph is turned into a float skeleton that the ordinary survey understands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from dybitq.encodings.widths import known_widths
from dybitq.graph import keys
from dybitq.graph.passes.gemm import canonical_gemm
from dybitq.graph.passes.notes import float_parts
from dybitq.graph.stored.contents import StoredTensor, stored_tensors
from dybitq.graph.stored.skeleton import (
    AS_FLOAT,
    MICROSOFT,
    packed_matmul_shape,
    placeholder,
    prepare,
    refresh_shapes,
    to_float_operators,
)
from dybitq.graph.stored.storage import (
    Stored,
    WeightStorage,
    declared_format,
    scale_after,
    trace,
)
from dybitq.graph.stored.widths import Width, input_width, output_width
from dybitq.graph.survey import survey_model
from dybitq.graph.values import all_value_names, int_attribute, is_op, shape_of, unique
from dybitq.records.formats import PerBlock
from dybitq.records.geometry.base import Shape
from dybitq.records.geometry.products import ActivationProduct
from dybitq.records.layers import LayerWork, QuantizedLayer

# Where the scale and the zero point of the weight are, for operators that take them as inputs.
_SCALES: Mapping[str, tuple[int, int]] = {
    "QLinearConv": (4, 5),
    "QLinearMatMul": (4, 5),
    "QGemm": (4, 5),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (3, 5),
    "MatMulNBits": (2, 3),
}
# Zero points of left operand, right operand and result: they have the types of the codes.
_CODES: Mapping[str, tuple[int, int, int]] = {
    "QLinearConv": (2, 5, 7),
    "QLinearMatMul": (2, 5, 7),
    "QGemm": (2, 5, 8),
}
_DYNAMIC = ("DynamicQuantizeMatMul",)
_MULTIPLIES = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Operands:
    """Operands of one layer in the stored graph."""

    name: str
    op_type: str
    weight: WeightStorage | None  # None where both operands are activations
    left: Width
    right: Width
    output: Width
    bias: tuple[ir.Value, ...]  # values that the bias is computed from
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSurvey:
    """Contents of a file: its layers, its tensors in their order, and notes on parts in float."""

    layers: tuple[QuantizedLayer, ...]
    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...]


def quantized_survey(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[QuantizedLayer, ...]:
    """List the layers of any model, with the stored and multiplied widths of their operands.

    Args:
        model: as :func:`dybitq.graph.read.read` returns it. Its nodes are sorted, otherwise it is not
            changed.
        shapes: binds dynamic extents of graph inputs.

    Returns:
        Layers in topological order. Node names are those of the normal form (``docs/models.md``), or what
        the model says in ``dybitq.layer``; ``layer.weight`` is the initializer that holds the codes.

    Raises:
        ModelError, UnsupportedError: the graph is damaged, or its functions cannot be inlined.
        ConfigError: as :func:`dybitq.graph.survey.survey`.
    """
    return stored_survey(model, shapes).layers


def stored_survey(model: ir.Model, shapes: Mapping[str, tuple[int, ...]] | None = None) -> StoredSurvey:
    """Survey a model as :func:`quantized_survey` does, with all stored tensors and notes."""
    stored_names = frozenset(
        [*model.graph.initializers, *(v.name or "" for n in model.graph for v in n.outputs)]
    )
    prepared = prepare(model)
    stored = Stored(prepared, stored_names)
    operands = {n.name or "": _operands(n, stored) for n in prepared.graph if _multiplies(n, stored)}
    _simplify(prepared, operands, stored)
    counted: set[ir.Value] = set()
    layers = []
    users: dict[str, str] = {}
    for layer in survey_model(prepared, shapes):
        operand = operands.get(layer.name)
        if operand is not None:
            layers.append(_quantized(layer, operand, stored, counted))
            for value in (*operand.bias, *(operand.weight.stored if operand.weight else ())):
                users.setdefault(value.name or "", layers[-1].layer.name)
    return StoredSurvey(
        layers=tuple(layers), tensors=stored_tensors(model, users), notes=float_parts(prepared)
    )


def _multiplies(node: ir.Node, stored: Stored) -> bool:
    """Tell if the node may be a layer: a product, or a look-up in a table that is stored."""
    if stored.computes(node):
        return False
    if is_op(node, "Gather"):
        return stored.sources(node.inputs[0]) is not None and _is_table(node)
    as_float = AS_FLOAT.get((node.domain, node.op_type), (node.op_type, ()))[0]
    known_domain = node.domain in ("", MICROSOFT)
    return known_domain and as_float in _MULTIPLIES


def _is_table(node: ir.Node) -> bool:
    """Tell if a look-up reads a matrix of floats or codes; wide integers are indices, a column a scale."""
    data = node.inputs[0]
    shape = shape_of(data)
    wide_integer = data is not None and data.dtype is not None and data.dtype.is_integer()
    matrix = shape is not None and len(shape) == 2 and shape[1] != 1
    return matrix and not (wide_integer and _bits(data) > 8)


def _bits(value: ir.Value | None) -> int:
    return 0 if value is None or value.dtype is None else value.dtype.bitwidth


# --------------------------------------------------------------------------- operands


def _operands(node: ir.Node, stored: Stored) -> _Operands:
    left, right = _positions(node)
    scale_at, zero_at = _SCALES.get(node.op_type, (-1, -1))
    scale, zero = _input(node, scale_at), _input(node, zero_at)
    if scale is None and node.op_type in ("ConvInteger", "MatMulInteger", "Gather"):
        scale = scale_after(node)
    weight = None
    if right is not None:
        weight = trace(
            stored,
            right,
            _weight_shape(node, right),
            declared_format(node),
            scale=scale,
            zero=zero,
            channel_axis=_channel_axis(node),
        )
    if weight is None and left is not None and stored.sources(left) is not None:
        weight = trace(stored, left, shape_of(left), declared_format(node))
        left, right = right, left
    codes = [_code_width(_input(node, index)) for index in _CODES.get(node.op_type, (-1, -1, -1))]
    width = codes[0] or input_width(left)
    recoded = known_widths(node.metadata_props.get(keys.RECODE, ""))
    if recoded is not None:
        width = Width(bits=recoded.multiplied, format=recoded.name)
    if node.op_type in _DYNAMIC:
        width = Width(bits=8, format="dynamic uint8")
    if weight is not None and node.op_type == "MatMulNBits":
        bits, size = int_attribute(node, "bits", 4), int_attribute(node, "block_size", 32)
        weight = replace(weight, bits=bits, format=f"int{bits}", granularity=PerBlock(axis=0, size=size))
    return _Operands(
        name=node.metadata_props.get(keys.LAYER, node.name or ""),
        op_type=node.op_type,
        weight=weight,
        left=width,
        right=codes[1] or input_width(right),
        output=codes[2] or output_width(node),
        bias=stored.sources(_input(node, _bias_index(node))) or (),
        reason=node.metadata_props.get(keys.REASON, ""),
    )


def _positions(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """Return the activation and the weight, or the two factors, of a node."""
    if is_op(node, "Gather"):
        return node.inputs[1], node.inputs[0]
    positions = AS_FLOAT.get((node.domain, node.op_type), ("", (0, 1)))[1]
    return _input(node, positions[0]), _input(node, positions[1])


def _code_width(zero_point: ir.Value | None) -> Width | None:
    """Return the width of the codes that a zero point belongs to; None where there is none."""
    return None if zero_point is None else input_width(zero_point)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if 0 <= index < len(node.inputs) else None


def _channel_axis(node: ir.Node) -> int:
    """Return the axis of the weight along which a scale per channel runs."""
    as_float = AS_FLOAT.get((node.domain, node.op_type), (node.op_type, ()))[0]
    if as_float == "MatMul" or (as_float == "Gemm" and not int_attribute(node, "transB", 0)):
        return -1
    return 0


def _weight_shape(node: ir.Node, weight: ir.Value) -> Shape | None:
    return packed_matmul_shape(node) if node.op_type == "MatMulNBits" else shape_of(weight)


# --------------------------------------------------------------------------- skeleton


def _simplify(model: ir.Model, operands: Mapping[str, _Operands], stored: Stored) -> None:
    """Turn the prepared model into a float skeleton whose weights and biases are placeholders."""
    names = all_value_names(model)
    made: dict[tuple[ir.Value, Shape], ir.Value] = {}
    for node in list(model.graph):
        operand = operands.get(node.name or "")
        if operand is None or operand.weight is None:
            continue
        weight_at = _weight_index(node, stored)
        for index in {weight_at, _bias_index(node)} - {-1}:
            value = node.inputs[index]
            if value is None or stored.sources(value) is None:
                continue
            shape = _weight_shape(node, value) if index == weight_at else shape_of(value)
            if shape is None:
                continue
            if (value, shape) not in made:
                extents = tuple(extent or 1 for extent in shape)
                made[value, shape] = placeholder(model, unique(f"{value.name}_shape", names), extents)
            node.replace_input_with(index, made[value, shape])
    to_float_operators(model)
    refresh_shapes(model)
    for node in model.graph:
        if node.name in operands:
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    canonical_gemm(model)


def _weight_index(node: ir.Node, stored: Stored) -> int:
    """Index the input with the weight: the right operand if it is stored, otherwise the left one."""
    if is_op(node, "Gather"):
        return 0
    left, right = AS_FLOAT.get((node.domain, node.op_type), ("", (0, 1)))[1][:2]
    return right if stored.sources(node.inputs[right]) is not None else left


def _bias_index(node: ir.Node) -> int:
    """Index the input with the bias; -1 where there is none."""
    positions = AS_FLOAT.get((node.domain, node.op_type), ("", (0, 1, 2)))[1]
    has_bias = not is_op(node, "Gather", "MatMul") and len(positions) > 2 and len(node.inputs) > positions[2]
    return positions[2] if has_bias else -1


# --------------------------------------------------------------------------- layers


def _quantized(layer: LayerWork, found: _Operands, stored: Stored, counted: set[ir.Value]) -> QuantizedLayer:
    storage = found.weight
    bias = max(found.bias, key=stored.size).name if found.bias else layer.bias
    work = replace(layer, name=found.name, op_type=found.op_type, bias=bias)
    if isinstance(layer.geometry, ActivationProduct) or storage is None:
        return QuantizedLayer(
            layer=work,
            weight_bits=found.right.bits,
            weight_format=found.right.format,
            granularity=None,
            activation_bits=found.left.bits,
            activation_format=found.left.format,
            output_bits=found.output.bits,
            stored_bytes=0,
            reason=found.reason,
        )
    size = sum(stored.size(value) for value in storage.stored if value not in counted)
    counted.update(storage.stored)
    return QuantizedLayer(
        layer=replace(work, weight=storage.codes.name or ""),
        weight_bits=storage.bits,
        weight_format=storage.format,
        granularity=storage.granularity,
        activation_bits=found.left.bits,
        activation_format=found.left.format,
        output_bits=found.output.bits,
        stored_bytes=size,
        reason=found.reason,
    )
