"""The ONNX checker on what was emitted."""

from collections.abc import Callable

import onnx

from dybitq.errors import ModelError


def checker_problem(model: bytes) -> str | None:
    """What the ONNX checker has against a serialised model, in one line; None if nothing."""
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        return " ".join(str(error).split())[:400]
    return None


def check_valid(emitted: bytes, original: Callable[[], bytes]) -> str | None:
    """Make sure that a valid model has become a valid model.

    Args:
        emitted: the quantized model.
        original: gives the float model in normal form, serialised.

    Returns:
        What the checker has against the emitted model, if it has something against the original as well
        (operators outside ONNX's own domain are none of that); None otherwise.

    Raises:
        ModelError: the emitted model is invalid although the original is not.
    """
    problem = checker_problem(emitted)
    if problem is None:
        return None
    if checker_problem(original()) is None:
        raise ModelError(f"the quantized model does not pass the ONNX checker, please report this: {problem}")
    return problem
