"""Operators that move values: those that are frequent, or that the ONNX reference cannot do at size."""

import numpy as np

from dybitq.graph.stored.plain import PlainNode
from dybitq.verification.interpreter import operators

Inputs = list[np.ndarray | None]


@operators.register("GatherElements")
def gather_elements(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Elements picked along an axis: the look-up in a table."""
    data, index = _array(inputs, 0), _array(inputs, 1)
    axis = int(node.attributes.get("axis", 0))
    wrapped = np.where(index < 0, index + data.shape[axis], index)
    if data.ndim == 1:
        return [data[wrapped]]
    return [np.take_along_axis(data, wrapped, axis)]


@operators.register("Concat")
def concat(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Operands side by side."""
    return [np.concatenate([a for a in inputs if a is not None], axis=int(node.attributes["axis"]))]


@operators.register("Transpose")
def transpose(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Axes in another order, reversed if none is given."""
    value = _array(inputs, 0)
    return [np.ascontiguousarray(value.transpose(node.attributes.get("perm")))]


@operators.register("Reshape")
def reshape(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Another shape; 0 copies an extent, unless ``allowzero`` is set, and -1 takes what is left."""
    value, shape = _array(inputs, 0), [int(d) for d in _array(inputs, 1)]
    if not node.attributes.get("allowzero", 0):
        shape = [value.shape[axis] if d == 0 else d for axis, d in enumerate(shape)]
    return [value.reshape(shape)]


@operators.register("Shape")
def shape_of(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Extents, int64."""
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return [np.array(_array(inputs, 0).shape[start:end], np.int64)]


def _array(inputs: Inputs, index: int) -> np.ndarray:
    found = inputs[index]
    assert found is not None
    return found
