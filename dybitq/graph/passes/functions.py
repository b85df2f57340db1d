"""Model-local functions are inlined, so that every layer is a node of the main graph."""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedFunctionsPass

from dybitq.errors import UnsupportedError


def inline_functions(model: ir.Model) -> tuple[str, ...]:
    """Inline all functions, nested ones included.

    Raises:
        UnsupportedError: functions that call each other in a circle, take graphs as attributes, or use
            another opset than the model.
    """
    if not model.functions:
        return ()
    count = len(model.functions)
    try:
        InlinePass()(model)
        RemoveUnusedFunctionsPass()(model)
    except Exception as error:  # InlinePass raises ValueError, PreconditionError and wrappers of them
        cause = error.__cause__ or error
        raise UnsupportedError(f"model-local functions cannot be inlined: {cause}") from error
    return (f"{count} model-local functions inlined",)
