"""Fixed shapes for the inputs of a model that is to be priced."""

from collections.abc import Mapping

import onnx_ir as ir

from dybitq.errors import ConfigError, ModelError
from dybitq.graph.shapes import inferred
from dybitq.graph.stored.skeleton import packed_matmul_shape, placeholder, to_float_operators
from dybitq.graph.values import all_value_names, unique

BATCH, SEQUENCE, EXTENT = 1, 128, 224
"""Assumed extents: of the batch, of inputs of up to three axes, and of images."""

Shape = tuple[int, ...]


def bind_shapes(model: ir.Model, shapes: Mapping[str, Shape]) -> tuple[dict[str, Shape], list[str]]:
    """Fix the shape of every graph input; also return notes on the extents that were assumed.

    Raises:
        ConfigError: ``shapes`` names no input or contradicts the model.
        ModelError: an input has no rank.
    """
    inputs = {value.name or "": value for value in model.graph.inputs if value.const_value is None}
    for name in shapes:
        if name not in inputs:
            raise ConfigError(f"--shape {name}: the model has no such input (it has {', '.join(inputs)})")
    known = _symbols(inputs, shapes)
    bound: dict[str, Shape] = {}
    assumed = []
    for name, value in inputs.items():
        if name in shapes:
            bound[name] = tuple(shapes[name])
            continue
        if value.shape is None:
            raise ModelError(f"input {name!r} has no shape; give it with --shape {name}=1,3,224,224")
        rank = len(value.shape)
        bound[name] = tuple(_extent(dim, axis, rank, known) for axis, dim in enumerate(value.shape))
        if any(axis > 0 and _is_open(dim, known) for axis, dim in enumerate(value.shape)):
            assumed.append(
                f"input {name!r} has open extents; priced at {list(bound[name])} (change it with --shape)"
            )
    return bound, assumed


def _is_open(dim: int | ir.SymbolicDim, known: Mapping[str, int]) -> bool:
    return not isinstance(dim, int) and (dim.value is None or dim.value not in known)


def _symbols(inputs: Mapping[str, ir.Value], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Read named extents from the given shapes."""
    known: dict[str, int] = {}
    for name, shape in shapes.items():
        declared = inputs[name].shape
        if declared is None:
            continue
        fits = len(declared) == len(shape) and all(
            not isinstance(dim, int) or dim == extent for dim, extent in zip(declared, shape)
        )
        if not fits:
            shown = [dim if isinstance(dim, int) else str(dim.value or "?") for dim in declared]
            given = ",".join(map(str, shape))
            raise ConfigError(f"--shape {name}={given}: the model declares {shown}")
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
        return BATCH
    return SEQUENCE if rank <= 3 else EXTENT


def shaped(model: ir.Model, bound: Mapping[str, Shape]) -> ir.Model | None:
    """Copy a model with shapes on its values; operators unknown to inference are replaced by float ones.

    Returns:
        None where inference fails.
    """
    copy = model.clone()
    names = all_value_names(copy)
    for node in copy.graph:
        if node.op_type == "MatMulNBits":
            extents = packed_matmul_shape(node)
            node.replace_input_with(1, placeholder(copy, unique(f"{node.name}_shape", names), extents))
    to_float_operators(copy)
    return inferred(copy, {name: ir.Shape(shape) for name, shape in bound.items()})
