"""The ONNX checker on emitted models."""

from collections.abc import Callable

import onnx

from dybitq.errors import ModelError


def checker_problem(model: bytes) -> str | None:
    """Return the ONNX checker's complaint about a serialised model, in one line; None if it passes."""
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
        The checker's complaint about the emitted model, where the original does not pass either; None where
        the emitted model passes. Operators outside ONNX's own domain are no ground for a complaint.

    Raises:
        ModelError: the emitted model is invalid although the original is not.
    """
    problem = checker_problem(emitted)
    if problem is None:
        return None
    if checker_problem(original()) is None:
        raise ModelError(f"the quantized model does not pass the ONNX checker, please report this: {problem}")
    return problem
