"""Models as workloads for the simulator: products, vector operators, and the width of every tensor.

Every kind of ONNX model is read: float (all tensors 32 bits), QDQ, QLinear or packed by any tool, and
    dybitq's
files. The widths of products come from ``graph.stored.quantized``. Quantizers, casts and reshapes move no
data and are left out; concatenation and slicing are views on one storage; re-codings run at the edge of the
array.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from dybitq.encodings.widths import known_widths
from dybitq.errors import ModelError
from dybitq.graph import keys
from dybitq.graph.passes import normalise
from dybitq.graph.read import read
from dybitq.graph.stored.quantized import quantized_survey
from dybitq.graph.values import has_subgraph, int_attribute, shape_of
from dybitq.graph.work.products import PRODUCTS, ProductShape, product
from dybitq.graph.work.recoding import clamped_code_bits, find_recodings
from dybitq.graph.work.shapes import Shape, bind_shapes, shaped
from dybitq.graph.work.vector import DROPPED, MERGING, PASSES, RENAMING, passes
from dybitq.records.layers import QuantizedLayer
from dybitq.records.models import ModelSource
from dybitq.records.workload import OpWork, Skipped, TensorWork, Workload

_INDEX_TYPES = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


@dataclass(slots=True)
class _Tensor:
    """A tensor under construction; other names of it may narrow it.

    ``needs``: widths at which its readers take it, if all of them state one.
    """

    name: str
    elements: int
    bits: int
    format: str
    constant: bool
    needs: list[int] = field(default_factory=list)


def read_workload(source: ModelSource, shapes: Mapping[str, Shape] | None = None) -> Workload:
    """Load a model and list its work in execution order.

    Args:
        source: ONNX file, or a model in memory.
        shapes: of graph inputs; extents that stay open become 1 (batch), 128 (sequences) or 224
            (images), and a note says so.

    Raises:
        ModelError: the file cannot be read, or the shape of a product's operand stays unknown.
        UnsupportedError: an opset or construct that cannot be handled.
        ConfigError: ``shapes`` names no input or contradicts the model.
    """
    name = source.stem if isinstance(source, Path) else str(source)
    return workload_of_model(read(source)[0], name=name, shapes=shapes)


def workload_of_model(model: ir.Model, *, name: str, shapes: Mapping[str, Shape] | None = None) -> Workload:
    """Convert a model to a workload, see :func:`read_workload`; it is normalised in place."""
    bound, notes = bind_shapes(model, shapes or {})
    stored = {layer.layer.name: layer for layer in quantized_survey(model)}
    for value in model.graph.inputs:
        if value.name in bound:  # with fixed shapes, arithmetic on shapes folds away
            value.shape = ir.Shape(bound[value.name])
    normalise(model, name)
    builder = _Builder(model, shaped(model, bound), bound, stored)
    for node in model.graph:
        builder.add(node)
    return Workload(
        name=name,
        tensors=builder.finished(),
        ops=tuple(builder.ops),
        outputs=tuple(dict.fromkeys(builder.index(value) for value in model.graph.outputs)),
        skipped=tuple(builder.skipped),
        notes=tuple(notes),
    )


def _values(model: ir.Model | None) -> dict[str, ir.Value]:
    if model is None:
        return {}
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values.extend(value for node in model.graph for value in node.outputs)
    return {value.name or "": value for value in values}


def _dtype_width(dtype: ir.DataType | None) -> tuple[int, str]:
    if dtype is None:
        return 32, "float32"
    return round(dtype.itemsize * 8), str(dtype.name).lower()


class _Builder:
    """Collects tensors and operators, node by node."""

    def __init__(
        self,
        model: ir.Model,
        copy: ir.Model | None,
        bound: Mapping[str, Shape],
        stored: Mapping[str, QuantizedLayer],
    ) -> None:
        self.tensors: list[_Tensor] = []
        self.ops: list[OpWork] = []
        self.skipped: list[Skipped] = []
        self._index: dict[str, int] = {}
        self._shaped, self._own = _values(copy), _values(model)
        self._bound, self._stored = bound, stored
        self._constant = {
            name for name, value in model.graph.initializers.items() if not value.is_graph_input()
        }
        self._find_constants(model)
        self._recodings = find_recodings(model, self._constant)

    def _find_constants(self, model: ir.Model) -> None:
        for node in model.graph:
            known = [value is None or (value.name or "") in self._constant for value in node.inputs]
            if node.inputs and all(known) and not has_subgraph(node):
                self._constant.update(value.name or "" for value in node.outputs)

    def finished(self) -> tuple[TensorWork, ...]:
        """Return the tensors; one that all its readers take narrower is written narrower."""
        return tuple(
            TensorWork(
                name=t.name,
                elements=t.elements,
                bits=min([t.bits, max(t.needs)]) if t.needs else t.bits,
                format=t.format,
                constant=t.constant,
            )
            for t in self.tensors
        )

    def shape(self, value: ir.Value | None) -> Shape | None:
        """Return the extents of a value; None where any of them is unknown."""
        if value is None:
            return None
        name = value.name or ""
        if name in self._bound:
            return self._bound[name]
        for candidate in (self._shaped.get(name), self._own.get(name)):
            shape = shape_of(candidate)
            if shape is not None and None not in shape:
                return tuple(extent or 0 for extent in shape)
        return None

    def index(self, value: ir.Value) -> int:
        """Index the tensor of a value; for graph inputs and constants it is made on first use."""
        name = value.name or ""
        if name not in self._index:
            self._new(value, math.prod(self.shape(value) or (0,)), constant=name in self._constant)
        return self._index[name]

    def _new(self, value: ir.Value, elements: int, *, constant: bool = False) -> int:
        bits, number_format = _dtype_width(value.dtype)
        self._index[value.name or ""] = len(self.tensors)
        self.tensors.append(_Tensor(value.name or "", elements, bits, number_format, constant))
        return self._index[value.name or ""]

    def add(self, node: ir.Node) -> None:
        """Account for one node."""
        if not node.outputs or node.outputs[0].name in (None, ""):
            return
        if node in self._recodings.nodes:
            for value in node.outputs:
                source = self._recodings.source.get(value.name or "")
                if source is not None:
                    self._index[value.name or ""] = self.index(source)
        elif (node.outputs[0].name or "") in self._constant:
            if node.op_type in RENAMING and node.inputs[0] is not None:
                self._alias(node)
        elif has_subgraph(node):
            self._skip(node, "control flow is not priced")
        elif node.op_type in PRODUCTS:
            self._add_product(node)
        elif node.op_type in RENAMING:
            self._alias(node)
        elif clamped_code_bits(node) is not None:
            self._alias(node)  # the end of a requantization to fewer bits than a byte
            tensor = self.tensors[self.index(node.outputs[0])]
            tensor.bits = min(tensor.bits, clamped_code_bits(node) or tensor.bits)
        elif node.op_type in ("Gather", "GatherElements") and self._is_constant(node.inputs[0]):
            self._add_lookup(node)
        elif node.op_type in DROPPED or self._is_bookkeeping(node):
            return
        elif node.op_type in PASSES or node.op_type in MERGING:
            self._add_vector(node)
        else:
            self._skip(node, "operator not known to the simulator")

    def _is_constant(self, value: ir.Value | None) -> bool:
        return value is not None and (value.name or "") in self._constant

    def _is_bookkeeping(self, node: ir.Node) -> bool:
        """Tell if a node computes indices, or single numbers such as scales."""
        single = all(
            value is None or self.shape(value) in ((), (1,)) for value in (*node.inputs, node.outputs[0])
        )
        return node.outputs[0].dtype in _INDEX_TYPES or single

    def _skip(self, node: ir.Node, reason: str) -> None:
        shapes = [self.shape(value) for value in node.inputs]
        macs = _recurrent_macs(node, shapes)
        self.skipped.append(Skipped(name=node.name or "", op_type=node.op_type, reason=reason, macs=macs))

    def _alias(self, node: ir.Node) -> None:
        """Make outputs other names of the first input; a quantizer narrows that tensor."""
        source = node.inputs[0]
        if source is None:
            return
        index = self.index(source)
        tensor = self.tensors[index]
        for value in node.outputs:
            self._index[value.name or ""] = index
            bits, number_format = _dtype_width(value.dtype)
            if bits < tensor.bits and node.op_type != "Cast":
                tensor.bits, tensor.format = bits, number_format

    # ------------------------------------------------------------------ vector operators

    def _data_inputs(self, node: ir.Node) -> tuple[int, ...]:
        """List tensors that are really moved, activations first; constants of one element are no traffic."""
        streams: list[int] = []
        constants: list[int] = []
        for value in node.inputs:
            if value is None or value.dtype in (ir.DataType.INT64, ir.DataType.BOOL):
                continue
            index = self.index(value)
            if not self.tensors[index].constant and index not in streams:
                streams.append(index)
            elif self.tensors[index].constant and self.tensors[index].elements > 1:
                constants.append(index)
        return (*streams, *dict.fromkeys(constants))

    def _add_vector(self, node: ir.Node) -> None:
        shapes = [self.shape(value) for value in node.inputs]
        out = self.shape(node.outputs[0])
        unknown = [v is not None and shape is None for v, shape in zip(node.inputs, shapes)]
        if out is None or any(unknown):
            self._skip(node, "unknown shape")
            return
        read = self._data_inputs(node)
        for index in read:
            self.tensors[index].needs.append(32)
        bits = self.tensors[read[0]].bits if read else 8
        if node.op_type in MERGING:
            self._add_views(node, read, bits)
            return
        for value in node.outputs[1:]:
            self._new(value, math.prod(self.shape(value) or ()))
        work = passes(node, [shape or () for shape in shapes], out)
        self._vector_op(node, read, self._new(node.outputs[0], math.prod(out)), bits, work)

    def _vector_op(
        self,
        node: ir.Node,
        read: tuple[int, ...],
        output: int,
        bits: int,
        work: int,
        *,
        in_place: bool = False,
    ) -> None:
        here = in_place or (node.op_type in PASSES and PASSES[node.op_type].in_place)
        self.ops.append(
            OpWork(
                name=node.name or "",
                op_type=node.op_type,
                inputs=read,
                output=output,
                a_bits=bits,
                vector_ops=work,
                in_place=here,
            )
        )

    def _add_views(self, node: ir.Node, read: tuple[int, ...], bits: int) -> None:
        """Join the inputs and outputs of a concatenation or split to one storage."""
        for place, value in enumerate(node.outputs):
            output = self._new(value, math.prod(self.shape(value) or ()))
            self.tensors[output].bits = min(self.tensors[output].bits, bits)
            name = (node.name or "") + (f":{place}" if place else "")
            self.ops.append(
                OpWork(name=name, op_type=node.op_type, inputs=read, output=output, a_bits=bits, view=True)
            )

    def _add_lookup(self, node: ir.Node) -> None:
        """Add rows of an embedding table (only the picked rows move), or a table applied to every code."""
        out = self.shape(node.outputs[0])
        table, indices = node.inputs[0], node.inputs[1]
        if out is None or table is None or indices is None:
            self._skip(node, "unknown shape")
            return
        size = math.prod(out)
        if node.op_type == "GatherElements" or len(self.shape(table) or ()) == 1:
            source = self.index(indices)
            bits = self.tensors[source].bits
            self._vector_op(node, (source,), self._new(node.outputs[0], size), bits, size, in_place=True)
            return
        layer = self._stored.get(node.name or "")
        bits, number_format = (layer.weight_bits, layer.weight_format) if layer else _dtype_width(table.dtype)
        rows = len(self.tensors)
        self.tensors.append(_Tensor(f"{node.name}.rows", size, bits, number_format, True))
        self._vector_op(node, (rows,), self._new(node.outputs[0], size), bits, size)

    # ------------------------------------------------------------------ products

    def _add_product(self, node: ir.Node) -> None:
        roles = PRODUCTS[node.op_type]
        left, right = node.inputs[roles.left], node.inputs[roles.right]
        shapes = self.shape(left), self.shape(right), self.shape(node.outputs[0])
        if left is None or right is None or shapes[0] is None or shapes[1] is None or shapes[2] is None:
            raise ModelError(
                f"layer {node.name!r} ({node.op_type}): the shape of an operand is unknown; fix the input "
                "shapes with --shape NAME=D,D,..."
            )
        constant = self._is_constant(left), self._is_constant(right)
        work = product(
            node, (shapes[0], shapes[1], shapes[2]), weight_on_left=constant[0] and not constant[1]
        )
        if work is None:
            self._skip(node, "its extents do not fit together")
            return
        if work.swapped:
            left, right = right, left
        self._finish_product(node, self.index(left), self.index(right), work, weighted=any(constant))

    def _finish_product(
        self, node: ir.Node, activation: int, weight: int, work: ProductShape, *, weighted: bool
    ) -> None:
        a, w = self.tensors[activation], self.tensors[weight]
        layer = self._stored.get(node.name or "")
        recode = node.metadata_props.get(keys.RECODE, "none")
        if layer is not None:
            w.bits, w.format = (layer.weight_bits, layer.weight_format) if weighted else (w.bits, w.format)
            # A re-coding's result is narrower than the tensor in memory.
            a.bits = min(a.bits, layer.activation_bits) if recode == "none" else a.bits
        w.constant = w.constant or weighted
        recoding, own_w, own_a = known_widths(recode), known_widths(w.format), known_widths(a.format)
        own_a = recoding or own_a
        windowed = own_a is not None and own_a.windowed
        a_bits = a.bits if recoding is None else recoding.multiplied
        # A window needs all 8 bits in memory; any other re-coding can be done before writing.
        a.needs.append(a.bits if windowed else a_bits)
        if not weighted:
            w.needs.append(w.bits)
        self.ops.append(
            OpWork(
                name=node.name or "",
                op_type=node.op_type,
                groups=work.groups,
                m=work.m,
                k=work.k,
                n=work.n,
                conv=work.conv,
                inputs=(activation, weight),
                output=self._new(node.outputs[0], math.prod(self.shape(node.outputs[0]) or ())),
                w_bits=w.bits,
                a_bits=a_bits,
                w_family="" if own_w is None else own_w.family,
                a_family="" if own_a is None else own_a.family,
                w_integer_bits=0 if own_w is None else own_w.integer,
                a_integer_bits=0 if own_a is None else own_a.integer,
                a_windowed=windowed,
            )
        )


def _recurrent_macs(node: ir.Node, shapes: Sequence[Shape | None]) -> int:
    """Count MACs of an LSTM, GRU or RNN, to report its share; 0 for other operators."""
    if node.op_type not in ("LSTM", "GRU", "RNN") or len(shapes) < 3 or None in shapes[:3]:
        return 0
    steps, batch, _ = shapes[0] or (0, 0, 0)
    directions, rows, features = shapes[1] or (0, 0, 0)
    return steps * batch * directions * rows * (features + int_attribute(node, "hidden_size", 0))
