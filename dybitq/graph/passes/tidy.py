"""Dead nodes and unused initializers go, nodes are sorted, shapes and types are filled in."""

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from dybitq.errors import ModelError
from dybitq.graph.shapes import infer


def sort_nodes(model: ir.Model) -> tuple[str, ...]:
    """Sort the nodes topologically; those that are in order stay where they are.

    Raises:
        ModelError: the graph contains a cycle.
    """
    try:
        model.graph.sort()
    except ValueError as error:
        raise ModelError(f"the graph is damaged: {error}") from error
    return ()


def remove_unused(model: ir.Model) -> tuple[str, ...]:
    """Remove nodes and initializers that no output depends on; graph inputs stay."""
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    return ()


def infer_types(model: ir.Model) -> tuple[str, ...]:
    """Infer types of all values of the main graph, and the shapes that come with them."""
    infer(model, values=False)
    return ()


def infer_everything(model: ir.Model) -> tuple[str, ...]:
    """Infer shapes and types of all values of the main graph; unknown ones stay unknown."""
    infer(model)
    return ()
