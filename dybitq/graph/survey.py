"""Survey of the layers of a normalised graph: one LayerWork for each."""

from collections.abc import Mapping

import onnx_ir as ir

from dybitq.errors import ConfigError
from dybitq.graph.layers import Sizes, known_shapes, layer_of
from dybitq.graph.load import Network
from dybitq.graph.shapes import inferred
from dybitq.graph.values import shape_of
from dybitq.records.layers import LayerWork, Shape


def survey(network: Network, shapes: Mapping[str, tuple[int, ...]] | None = None) -> tuple[LayerWork, ...]:
    """List every layer of the main graph that multiplies weights or two activations, in topological order.

    Args:
        network: as :func:`dybitq.graph.load.load` returns it.
        shapes: binds dynamic extents of graph inputs, ``{"input": (1, 3, 224, 224)}``.

    Returns:
        Layers whose weight is computed at run time or can be overridden are left out (except a MatMul
        of two activations), as are the bodies of If, Loop and Scan. Shapes hold None for extents that
        stay dynamic, and are ``()`` where the rank is unknown. MACs are counted with the leading
        extent of every graph input at 1 where it is dynamic or bound; see docs/models.md.

    Raises:
        ConfigError: ``shapes`` names no graph input, or contradicts what the model declares.
    """
    return survey_model(network.model, shapes)


def survey_model(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[LayerWork, ...]:
    """Survey a model in normal form, see :func:`survey`."""
    sizes = _sizes(model, shapes or {})
    layers = (layer_of(node, sizes) for node in model.graph)
    return tuple(layer for layer in layers if layer is not None)


# --------------------------------------------------------------------------- shapes


def _sizes(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    bound = _bindings(model, shapes)
    shown = _refined(known_shapes(model), inferred(model, bound))
    single = _refined(shown, inferred(model, _single_batch(model, bound)))
    return Sizes(shown=shown, single=single)


def _refined(known: Mapping[str, Shape], copy: ir.Model | None) -> dict[str, Shape]:
    """Fill extents of ``known`` from those of ``copy``."""
    refined = dict(known)
    for name, found in known_shapes(copy).items():
        old = known.get(name, found)
        same_rank = len(old) == len(found)
        pairs = zip(found, old, strict=True) if same_rank else ()
        refined[name] = tuple(b if a is None else a for a, b in pairs) if same_rank else found
    return refined


def _bindings(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, ir.Shape]:
    inputs = {value.name or "": value for value in model.graph.inputs}
    bound = {}
    for name, shape in shapes.items():
        if name not in inputs:
            known = ", ".join(inputs)
            raise ConfigError(f"--shape names {name!r}, but the model has no such input; inputs: {known}")
        declared = shape_of(inputs[name])
        if declared is not None:
            agrees = len(declared) == len(shape) and all(
                old in (None, new) for old, new in zip(declared, shape, strict=True)
            )
            if not agrees:
                raise ConfigError(
                    f"--shape gives {name!r} {list(shape)}, but the model declares {list(declared)}"
                )
        bound[name] = ir.Shape(shape)
    return bound


def _single_batch(model: ir.Model, bound: Mapping[str, ir.Shape]) -> dict[str, ir.Shape]:
    """Set every dynamic leading extent of the inputs, and the extents of the same name, to 1."""
    declared = {v.name or "": v.shape for v in model.graph.inputs if v.shape is not None}
    batches = {_symbol(shape[0]) for shape in declared.values() if len(shape) >= 2} - {None}
    single = dict(bound)
    for name, shape in declared.items():
        extents = list(bound.get(name, shape))
        for axis, extent in enumerate(shape):
            leading = axis == 0 and len(shape) >= 2 and not isinstance(extent, int)
            if leading or _symbol(extent) in batches:
                extents[axis] = 1
        single[name] = ir.Shape(extents)
    return single


def _symbol(extent: int | ir.SymbolicDim) -> str | None:
    return extent.value if isinstance(extent, ir.SymbolicDim) else None
