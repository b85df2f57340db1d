"""ONNX files as plain records without graph objects, for verification and export.

A file is read in two forms. The *outer* one has the nodes as they are stored, calls of model-local functions
included. In the *inner* one functions are inlined, so that every node is a standard or a runtime operator.
In both, values that depend on constants alone are constants, computed by the ONNX reference operators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from dybitq.errors import ModelError
from dybitq.graph.export import to_bytes
from dybitq.graph.passes.constants import lift_constants
from dybitq.graph.passes.functions import inline_functions
from dybitq.graph.passes.names import unique_names
from dybitq.graph.read import read
from dybitq.graph.stored.checksum import Change, changes
from dybitq.graph.values import constant, values_by_name
from dybitq.records.layers import TensorInfo
from dybitq.records.models import ModelSource

_INT64 = 7  # element type of ONNX
_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlainNode:
    """One node.

    Attributes:
        inputs: names, empty where one is left out.
        attributes: numbers, strings, tuples of them, arrays; graphs are left out.
        metadata: the node's own properties.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlainGraph:
    """A graph in topological order.

    Attributes:
        nodes: those that compute something at run time.
        constants: initializers, and values computed from them alone, by name.
        inputs: values that a caller has to provide.
        outputs: names.
        opset: of the default domain.
        metadata: properties of the model.
    """

    nodes: tuple[PlainNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]
    opset: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredModel:
    """A file in both forms.

    Attributes:
        source: where it was read from.
        sha256: its hash.
        outer: nodes as stored.
        inner: with functions inlined.
        model: the inlined model.
        changes: differences from the checksum that dybitq wrote into the file.
    """

    source: ModelSource
    sha256: str
    outer: PlainGraph
    inner: PlainGraph
    model: ir.Model
    changes: tuple[Change, ...] = ()

    def observed(self, names: Sequence[str]) -> bytes:
        """Serialise the inlined model with the tensors ``names`` as additional outputs."""
        copy = self.model.clone()
        values = values_by_name(copy)
        present = {value.name for value in copy.graph.outputs}
        for name in names:
            if name not in present:
                copy.graph.outputs.append(values[name])
        return to_bytes(copy)

    def segment(self, inputs: Mapping[str, str], outputs: Sequence[str]) -> bytes:
        """Serialise the part of the inlined model that computes ``outputs`` from ``inputs`` (with types)."""
        graph = ir.convenience.extract(self.model.graph, list(inputs), list(outputs))
        for value in graph.inputs:
            value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(inputs[str(value.name)])))
            value.shape = None
        return to_bytes(ir.Model(graph, ir_version=self.model.ir_version))


def read_plain(source: ModelSource) -> StoredModel:
    """Read ``source`` in both forms.

    Raises:
        ModelError: the file is missing, damaged or not ONNX.
        UnsupportedError: as :func:`dybitq.graph.read.read`.
    """
    model, sha256 = read(source)
    edits = changes(model)
    outer = model.clone()
    inline_functions(model)
    for form in (model, outer):
        unique_names(form)
        lift_constants(form)
    inner = _plain(model, source, {})
    return StoredModel(
        source=source,
        sha256=sha256,
        outer=_plain(outer, source, inner.constants),
        inner=inner,
        model=model,
        changes=edits,
    )


def _plain(model: ir.Model, source: ModelSource, known: Mapping[str, np.ndarray]) -> PlainGraph:
    """Make records of one form; ``known`` are constants that the other form has computed."""
    graph = model.graph
    opset = graph.opset_imports.get("", 0)
    initializers = {name: constant(value) for name, value in graph.initializers.items()}
    constants = {name: array for name, array in initializers.items() if array is not None}
    nodes = []
    for node in graph:
        plain = _node(node)
        if any(name in known for name in plain.outputs):
            constants.update({name: known[name] for name in plain.outputs})
        elif _is_constant(plain, constants):
            values = [constants[name] if name else None for name in plain.inputs]
            constants.update(zip(plain.outputs, evaluate(plain, values, opset), strict=True))
        else:
            nodes.append(plain)
    inputs = tuple(_info(value) for value in graph.inputs if value.const_value is None)
    if any(not info.dtype for info in inputs):
        raise ModelError(f"{source}: an input is not a tensor of numbers, which dybitq does not support")
    return PlainGraph(
        nodes=tuple(nodes),
        constants=constants,
        inputs=inputs,
        outputs=tuple(str(value.name) for value in graph.outputs),
        opset=opset,
        metadata=dict(model.metadata_props),
    )


def _is_constant(node: PlainNode, constants: Mapping[str, np.ndarray]) -> bool:
    if node.domain != "" or node.op_type in _KEPT or not all(n in constants for n in node.inputs if n):
        return False
    # codes of a constant operand on their way into integer arithmetic are an operand, not a parameter
    widened = node.op_type == "Cast" and node.attributes.get("to") == _INT64
    return not (widened and constants[node.inputs[0]].dtype == np.uint8)


def _node(node: ir.Node) -> PlainNode:
    return PlainNode(
        name=node.name or "",
        op_type=node.op_type,
        domain="" if node.domain == "ai.onnx" else node.domain,
        inputs=tuple("" if value is None else str(value.name) for value in node.inputs),
        outputs=tuple(value.name or "" for value in node.outputs),
        attributes={name: _attribute(attribute) for name, attribute in node.attributes.items()},
        metadata=dict(node.metadata_props),
    )


def _attribute(attribute: ir.Attr) -> Any:
    if attribute.type is ir.AttributeType.TENSOR:
        return attribute.as_tensor().numpy()
    value = attribute.value
    return tuple(value) if isinstance(value, list | tuple) else value


def _info(value: ir.Value) -> TensorInfo:
    shape = () if value.shape is None else tuple(d if isinstance(d, int) else None for d in value.shape)
    return TensorInfo(
        name=str(value.name), shape=shape, dtype="" if value.dtype is None else _numpy_name(value.dtype)
    )


def _numpy_name(dtype: ir.DataType) -> str:
    try:
        return str(dtype.numpy())
    except TypeError:
        return ""


def evaluate(node: PlainNode, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Evaluate one node of the default domain by the ONNX reference operators.

    Raises:
        ModelError: the reference cannot compute it.
    """
    names = [f"i{k}" if array is not None else "" for k, array in enumerate(inputs)]
    outputs = [f"o{k}" if name else "" for k, name in enumerate(node.outputs)]
    attributes = {
        name: onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    proto = onnx.helper.make_node(node.op_type, names, outputs, **attributes)
    graph = onnx.helper.make_graph(
        [proto],
        "one",
        [onnx.helper.make_empty_tensor_value_info(name) for name in names if name],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs if name],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:
        raise ModelError(
            f"{node.op_type} {node.name!r}: the ONNX reference cannot compute it: {error}"
        ) from error
    return [np.asarray(result) for result in results]
