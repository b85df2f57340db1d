"""A model as a workload for the simulator: products, vector operators, and the width of every tensor.

Any ONNX goes: float (every tensor 32 bits), QDQ or QLinear of any tool, and our own files, whose layers
say their formats in their metadata. Quantizers, casts and reshapes move nothing and vanish; concatenation
and slicing are views on one storage.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from dybitq.errors import ConfigError, ModelError
from dybitq.graph.load import load
from dybitq.graph.shapes import inferred
from dybitq.graph.values import has_subgraph, int_attribute, shape_of
from dybitq.graph.work_products import PRODUCTS, Product, product
from dybitq.graph.work_vector import DROPPED, MERGING, PASSES, RENAMING, passes
from dybitq.workload import OpWork, Skipped, TensorWork, Workload

DEFAULT_SEQUENCE, DEFAULT_EXTENT = 128, 224
Shape = tuple[int, ...]


@dataclass(slots=True)
class _Tensor:
    """A tensor under construction; aliases share it and may narrow it."""

    name: str
    elements: int
    bits: int
    format: str
    constant: bool


def read_workload(path: Path, shapes: Mapping[str, Shape] | None = None) -> Workload:
    """Load a model and list its work in execution order.

    Args:
        path: ONNX file.
        shapes: of graph inputs; extents that stay open become 1 (batch), 128 (sequences) or 224
            (images), and a note says so.

    Raises:
        ModelError: the file cannot be read, or the shape of a product's operand stays unknown.
        ConfigError: ``shapes`` names no input or contradicts the model.
    """
    network = load(path)
    return workload_of_model(network.model, name=Path(path).stem, shapes=shapes)


def workload_of_model(model: ir.Model, *, name: str, shapes: Mapping[str, Shape] | None = None) -> Workload:
    """:func:`read_workload` of a model in normal form."""
    bound, notes = bind_shapes(model, shapes or {})
    copy = inferred(model, {key: ir.Shape(shape) for key, shape in bound.items()})
    builder = _Builder(model, copy, bound)
    for node in model.graph:
        builder.add(node)
    return Workload(
        name=name,
        tensors=tuple(
            TensorWork(name=t.name, elements=t.elements, bits=t.bits, format=t.format, constant=t.constant)
            for t in builder.tensors
        ),
        ops=tuple(builder.ops),
        outputs=tuple(dict.fromkeys(builder.index(value) for value in model.graph.outputs)),
        skipped=tuple(builder.skipped),
        notes=(*notes, *builder.notes()),
    )


# --------------------------------------------------------------------------- shapes


def bind_shapes(model: ir.Model, shapes: Mapping[str, Shape]) -> tuple[dict[str, Shape], list[str]]:
    """A fixed shape for every graph input, and notes on the extents that were assumed.

    Raises:
        ConfigError: ``shapes`` names no input or contradicts the model.
        ModelError: an input has not even a rank.
    """
    inputs = {value.name or "": value for value in model.graph.inputs if value.const_value is None}
    for name in shapes:
        if name not in inputs:
            raise ConfigError(f"--shape {name}: the model has no such input (it has {', '.join(inputs)})")
    known = _symbols(inputs, shapes)
    bound, assumed = {}, []
    for name, value in inputs.items():
        if value.shape is None and name not in shapes:
            raise ModelError(f"input {name!r} has no shape; give it with --shape {name}=1,3,224,224")
        if name in shapes:
            bound[name] = tuple(shapes[name])
            continue
        extents = [
            _extent(dim, axis, len(value.shape or ()), known) for axis, dim in enumerate(value.shape or ())
        ]
        bound[name] = tuple(extents)
        open_axes = [
            axis for axis, dim in enumerate(value.shape or ())
            if axis > 0 and not isinstance(dim, int) and (dim.value is None or dim.value not in known)
        ]  # fmt: skip
        if open_axes:
            assumed.append(
                f"input {name!r} has open extents; priced at {list(extents)} (change it with --shape)"
            )
    return bound, assumed


def _symbols(inputs: Mapping[str, ir.Value], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """What the given shapes say about named extents."""
    known: dict[str, int] = {}
    for name, shape in shapes.items():
        declared = inputs[name].shape
        if declared is None:
            continue
        shown = [dim if isinstance(dim, int) else str(dim.value or "?") for dim in declared]
        fits = len(declared) == len(shape) and all(
            not isinstance(dim, int) or dim == extent for dim, extent in zip(declared, shape)
        )
        if not fits:
            raise ConfigError(f"--shape {name}={','.join(map(str, shape))}: the model declares {shown}")
        for dim, extent in zip(declared, shape):
            if not isinstance(dim, int) and dim.value is not None:
                known[dim.value] = extent
    return known


def _extent(dim: int | ir.SymbolicDim, axis: int, rank: int, known: Mapping[str, int]) -> int:
    if isinstance(dim, int) and dim > 0:
        return dim
    if not isinstance(dim, int) and dim.value is not None and dim.value in known:
        return known[dim.value]
    if axis == 0:
        return 1
    return DEFAULT_SEQUENCE if rank <= 3 else DEFAULT_EXTENT


# --------------------------------------------------------------------------- operators


def _all_values(model: ir.Model) -> dict[str, ir.Value]:
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values.extend(value for node in model.graph for value in node.outputs)
    return {value.name or "": value for value in values}


class _Builder:
    """Walks the nodes in order and collects tensors and operators."""

    def __init__(self, model: ir.Model, copy: ir.Model | None, bound: Mapping[str, Shape]) -> None:
        self.tensors: list[_Tensor] = []
        self.ops: list[OpWork] = []
        self.skipped: list[Skipped] = []
        self._index: dict[str, int] = {}
        self._shaped = _all_values(copy) if copy is not None else {}
        self._own = _all_values(model)
        self._bound = bound
        self._constant = {
            name for name, value in model.graph.initializers.items() if not value.is_graph_input()
        }
        self._float_layers = 0
        plan = json.loads(model.metadata_props.get("dybitq.plan", "{}"))
        self._edges = {edge["tensor"]: str(edge.get("format", "int8")) for edge in _listed(plan, "edges")}
        self._recode = {layer["layer"]: str(layer.get("recode", "none")) for layer in _listed(plan, "layers")}

    def notes(self) -> list[str]:
        """What a reader has to know about the widths."""
        if not self._float_layers:
            return []
        some = (
            "the network is"
            if self._float_layers == sum(op.macs > 0 for op in self.ops)
            else "some layers are"
        )
        return [f"{some} in float32; a machine prices float operands at the widest integers it multiplies"]

    def shape(self, value: ir.Value | None) -> Shape | None:
        """Extents of a value, None where any of them is unknown."""
        if value is None:
            return None
        name = value.name or ""
        if name in self._bound:
            return self._bound[name]
        for candidate in (self._shaped.get(name), self._own.get(name)):
            found = shape_of(candidate)
            if found is not None and None not in found:
                return tuple(extent or 0 for extent in found)
        return None

    def index(self, value: ir.Value) -> int:
        """The tensor behind a value; made on first sight for graph inputs and constants."""
        name = value.name or ""
        if name not in self._index:
            shape = self.shape(value)
            self._new(value, 0 if shape is None else math.prod(shape), constant=name in self._constant)
        return self._index[name]

    def _new(self, value: ir.Value, elements: int, *, constant: bool = False) -> int:
        name = value.name or ""
        bits, number_format = _dtype_width(value.dtype)
        if name in self._edges:
            number_format = self._edges[name]
            bits = _digits(number_format, bits)
        self._index[name] = len(self.tensors)
        self.tensors.append(_Tensor(name, elements, bits, number_format, constant))
        return self._index[name]

    def add(self, node: ir.Node) -> None:
        """Account for one node."""
        if not node.outputs or node.outputs[0].name is None:
            return
        if (
            all(value is None or (value.name or "") in self._constant for value in node.inputs)
            and node.inputs
        ):
            self._constant.update(value.name or "" for value in node.outputs)
            if node.op_type in RENAMING and node.inputs[0] is not None:
                self._alias(node)
        elif has_subgraph(node):
            self._skip(node, "control flow is not priced")
        elif node.op_type in PRODUCTS:
            self._add_product(node)
        elif node.op_type in RENAMING:
            self._alias(node)
        elif (
            node.op_type == "Gather"
            and node.inputs[0] is not None
            and (node.inputs[0].name or "") in self._constant
        ):
            self._add_embedding(node)
        elif node.op_type in DROPPED or self._is_bookkeeping(node):
            return
        elif node.op_type in PASSES or node.op_type in MERGING:
            self._add_vector(node)
        else:
            self._skip(node, "operator not known to the simulator")

    def _is_bookkeeping(self, node: ir.Node) -> bool:
        """Arithmetic on shapes and indices: whole numbers, no data."""
        return node.outputs[0].dtype in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)

    def _skip(self, node: ir.Node, reason: str) -> None:
        shapes = [self.shape(value) for value in node.inputs]
        macs = _recurrent_macs(node, shapes)
        self.skipped.append(Skipped(name=node.name or "", op_type=node.op_type, reason=reason, macs=macs))

    def _alias(self, node: ir.Node) -> None:
        """Outputs are another name of the first input; a quantizer narrows the tensor behind it."""
        source = node.inputs[0]
        if source is None:
            return
        index = self.index(source)
        tensor = self.tensors[index]
        for value in node.outputs:
            self._index[value.name or ""] = index
            bits, number_format = _dtype_width(value.dtype)
            name = value.name or ""
            if name in self._edges:
                number_format = self._edges[name]
                bits = _digits(number_format, bits)
            if bits < tensor.bits and node.op_type != "Cast":
                tensor.bits, tensor.format = bits, number_format

    def _data_inputs(self, node: ir.Node) -> list[int]:
        """Tensors that really flow: activations, and constants of more than one element."""
        found: list[int] = []
        for value in node.inputs:
            if value is None or value.dtype in (ir.DataType.INT64, ir.DataType.BOOL):
                continue
            index = self.index(value)
            if (not self.tensors[index].constant or self.tensors[index].elements > 1) and index not in found:
                found.append(index)
        return found

    def _add_vector(self, node: ir.Node) -> None:
        shapes = [self.shape(value) for value in node.inputs]
        out = self.shape(node.outputs[0])
        inputs = self._data_inputs(node)
        if out is None or any(
            value is not None and shape is None for value, shape in zip(node.inputs, shapes)
        ):
            self._skip(node, "unknown shape")
            return
        streams = [index for index in inputs if not self.tensors[index].constant]
        read = tuple(streams + [index for index in inputs if index not in streams])
        bits = self.tensors[streams[0]].bits if streams else 8
        name = node.name or ""
        if node.op_type in MERGING:
            for place, value in enumerate(node.outputs):
                output = self._new(value, math.prod(self.shape(value) or ()))
                part = name if place == 0 else f"{name}:{place}"
                self.ops.append(
                    OpWork(
                        name=part, op_type=node.op_type, inputs=read, output=output, a_bits=bits, view=True
                    )
                )
            return
        for value in node.outputs[1:]:
            self._new(value, math.prod(self.shape(value) or ()))
        self.ops.append(
            OpWork(
                name=name,
                op_type=node.op_type,
                inputs=read,
                output=self._new(node.outputs[0], math.prod(out)),
                a_bits=bits,
                vector_ops=passes(node, [shape or () for shape in shapes], out),
                in_place=PASSES[node.op_type].in_place,
            )
        )

    def _add_embedding(self, node: ir.Node) -> None:
        """Rows picked from a constant table: only what is picked moves."""
        out = self.shape(node.outputs[0])
        if out is None:
            self._skip(node, "unknown shape")
            return
        table = self.tensors[self.index(node.inputs[0])] if node.inputs[0] is not None else None
        rows = len(self.tensors)
        bits, number_format = (table.bits, table.format) if table else (32, "float32")
        if "dybitq.weights" in node.metadata_props:
            number_format = node.metadata_props["dybitq.weights"]
            bits = _digits(number_format, bits)
        self.tensors.append(_Tensor(f"{node.name}.rows", math.prod(out), bits, number_format, True))
        output = self._new(node.outputs[0], math.prod(out))
        self.ops.append(
            OpWork(
                name=node.name or "",
                op_type=node.op_type,
                inputs=(rows,),
                output=output,
                a_bits=bits,
                vector_ops=math.prod(out),
            )
        )

    def _add_product(self, node: ir.Node) -> None:
        roles = PRODUCTS[node.op_type]
        left, right = node.inputs[roles.left], node.inputs[roles.right]
        shapes = self.shape(left), self.shape(right), self.shape(node.outputs[0])
        constant = [value is not None and (value.name or "") in self._constant for value in (left, right)]
        if left is None or right is None or shapes[0] is None or shapes[1] is None or shapes[2] is None:
            raise ModelError(
                f"layer {node.name!r} ({node.op_type}): the shape of an operand is unknown; fix the input "
                "shapes with --shape NAME=D,D,..."
            )
        work = product(
            node, (shapes[0], shapes[1], shapes[2]), weight_on_left=constant[0] and not constant[1]
        )
        if work is None:
            self._skip(node, "its extents do not fit together")
            return
        if work.swapped:
            left, right = right, left
        self._finish_product(node, left, right, work, weighted=any(constant))

    def _finish_product(
        self, node: ir.Node, left: ir.Value, right: ir.Value, work: Product, *, weighted: bool
    ) -> None:
        activation, weight = self.index(left), self.index(right)
        if weighted:
            weight = self._own_weight(node, weight)
        w, a = self.tensors[weight], self.tensors[activation]
        recode = self._recode.get(node.name or "", "none")
        a_bits = a.bits if recode == "none" else _digits(recode.split("-")[0], a.bits)
        self._float_layers += a.bits >= 16
        output = self._new(node.outputs[0], math.prod(self.shape(node.outputs[0]) or ()))
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
                output=output,
                w_bits=w.bits,
                a_bits=a_bits,
                w_format=w.format,
                a_format=a.format if recode == "none" else recode,
            )
        )

    def _own_weight(self, node: ir.Node, index: int) -> int:
        """The weight's tensor; where the node's metadata knows better, one with the width it says."""
        number_format = node.metadata_props.get("dybitq.weights")
        tensor = self.tensors[index]
        tensor.constant = True
        if number_format is None or number_format == "float":
            return index
        tensor.bits, tensor.format = _digits(number_format, tensor.bits), number_format
        return index


def _listed(plan: Mapping[str, object], key: str) -> Sequence[Mapping[str, str]]:
    """Entries of a list in the plan stored with a model; nothing where it has another layout."""
    entries = plan.get(key, ())
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _digits(number_format: str, default: int) -> int:
    """Width in a format's name, ``dybit4`` -> 4."""
    digits = "".join(char for char in number_format if char.isdigit())
    return int(digits) if digits else default


def _dtype_width(dtype: ir.DataType | None) -> tuple[int, str]:
    if dtype is None:
        return 32, "float32"
    return round(dtype.itemsize * 8), str(dtype.name).lower()


def _recurrent_macs(node: ir.Node, shapes: Sequence[Shape | None]) -> int:
    """MACs of an LSTM, GRU or RNN, so that its share can be told; 0 for anything else."""
    if node.op_type not in ("LSTM", "GRU", "RNN") or len(shapes) < 3 or None in shapes[:3]:
        return 0
    steps, batch, _ = shapes[0] or (0, 0, 0)
    directions, rows, features = shapes[1] or (0, 0, 0)
    return steps * batch * directions * rows * (features + int_attribute(node, "hidden_size", 0))
