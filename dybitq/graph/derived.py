"""Activations whose statistics are derived from another's, so that onnxruntime need not return them.

Relu and Clip map every histogram bin into one bin, and operators that only move values keep the
histogram. About half of the tensors of a convolutional network remain to be fetched, and fetching takes
most of the time of a calibration.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.graph.load import Network
from dybitq.graph.operators import Movement, moving
from dybitq.graph.values import constant, is_op

Function = Callable[[np.ndarray], np.ndarray]

_MOVES = moving(Movement.SHAPE, Movement.ORDER)  # with every value once, a histogram stays what it is


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Derived:
    """A tensor that is ``function`` of the values of the tensor ``source``, perhaps in another order.

    ``moved`` is True where shape or order differ from those of the source.
    """

    source: str
    function: Function
    moved: bool


def derived_tensors(network: Network, names: frozenset[str]) -> dict[str, Derived]:
    """Find those of ``names`` whose statistics are derived from another one, which itself is not derived.

    In topological order.
    """
    derived: dict[str, Derived] = {}
    for node in network.model.graph:
        if not node.inputs or len(node.outputs) != 1 or node.inputs[0] is None:
            continue
        source, target = node.inputs[0].name, node.outputs[0].name
        if source not in names or target not in names:
            continue
        function = _function(node)
        if function is None:
            continue
        moved = is_op(node, *_MOVES)
        before = derived.get(source)
        if before is None:
            derived[target] = Derived(source=source, function=function, moved=moved)
        else:
            chained = _chain(before.function, function)
            derived[target] = Derived(source=before.source, function=chained, moved=before.moved or moved)
    return derived


def _function(node: object) -> Function | None:
    if is_op(node, "Relu"):  # type: ignore[arg-type]
        return lambda x: np.maximum(x, np.float32(0))
    if is_op(node, "Clip"):  # type: ignore[arg-type]
        return _clip(node)
    if is_op(node, *_MOVES):  # type: ignore[arg-type]
        return _same
    return None


def _clip(node: object) -> Function | None:
    bounds = [np.float32(-np.inf), np.float32(np.inf)]
    for index, value in enumerate(node.inputs[1:3]):  # type: ignore[attr-defined]
        if value is None:
            continue
        array = constant(value)
        if array is None:
            return None
        bounds[index] = np.float32(array)
    low, high = bounds
    return lambda x: np.minimum(np.maximum(x, low), high)


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _chain(first: Function, second: Function) -> Function:
    return lambda x: second(first(x))
