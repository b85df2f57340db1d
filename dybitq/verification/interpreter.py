"""The integer reference: a stored model run operator by operator in numpy, without onnxruntime.

Operators register themselves under their name; what is not registered and touches no float value (moves of
codes, arithmetic on shapes) is left to the ONNX reference operators.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.graph.stored.plain import PlainGraph, PlainNode, evaluate
from dybitq.registry import Registry

# (node, its inputs with None where one is left out) -> results
Operator = Callable[[PlainNode, list[np.ndarray | None]], list[np.ndarray]]
operators: Registry[Operator] = Registry("reference operator", "dybitq.verification.operators")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed:
    """Results of the reference for one node."""

    node: PlainNode
    outputs: Mapping[str, np.ndarray]


def interpret(
    graph: PlainGraph,
    feeds: Mapping[str, np.ndarray],
    floats: Callable[[PlainNode], Mapping[str, np.ndarray]] | None = None,
) -> Iterator[Computed]:
    """Run ``graph`` on ``feeds``; results come node by node, and are forgotten once nobody needs them.

    Args:
        graph: inner form of a stored model.
        feeds: by input.
        floats: provides the results of operators that compute in float, which the reference does not have.

    Raises:
        UnsupportedError: an operator computes in float, and ``floats`` is not given.
    """
    values: dict[str, np.ndarray] = dict(feeds)
    uses = Counter(name for node in graph.nodes for name in node.inputs if name)
    uses.update(graph.outputs)
    known = frozenset(operators)
    for node in graph.nodes:
        inputs = [_value(name, values, graph.constants) for name in node.inputs]
        in_float = any(values[name].dtype.kind == "f" for name in node.inputs if name in values)
        results = _results(node, inputs, graph.opset, known, in_float, floats)
        outputs = dict(zip(node.outputs, results, strict=True))
        values.update((name, array) for name, array in outputs.items() if name)
        for name in node.inputs:
            uses[name] -= 1
            if name and not uses[name]:
                values.pop(name, None)
        yield Computed(node=node, outputs=outputs)


def _value(
    name: str, values: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    if not name:
        return None
    return values[name] if name in values else constants[name]


def _results(
    node: PlainNode,
    inputs: list[np.ndarray | None],
    opset: int,
    known: frozenset[str],
    in_float: bool,
    floats: Callable[[PlainNode], Mapping[str, np.ndarray]] | None,
) -> list[np.ndarray]:
    in_float = in_float or (node.op_type == "Cast" and node.attributes.get("to") in _FLOAT_TYPES)
    if node.op_type in known and (not in_float or node.op_type in _EXACT):
        return operators.get(node.op_type)(node, inputs)
    if not in_float or node.op_type in TAIL_OPERATORS:
        return evaluate(node, inputs, opset)
    if floats is None:
        raise UnsupportedError(
            f"{node.op_type} {node.name!r} computes in float: there is no integer reference for it"
        )
    found = floats(node)
    return [found[name] for name in node.outputs]


_FLOAT_TYPES = (1, 10, 11, 16)  # element types of ONNX
_EXACT = frozenset({"QuantizeLinear"})  # reads a float tensor and is computed by the reference all the same
TAIL_OPERATORS = frozenset(
    {"Concat", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather"}
    | {"DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Identity"}
)
"""Operators that only move values, by which outputs may be arranged after the last dequantizers."""
