"""From everything that Python calls a model to a place that one can be read from."""

import os
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir

from dybitq.errors import ConfigError, UnsupportedError
from dybitq.records.models import ModelInMemory, ModelSource

ModelLike: TypeAlias = str | os.PathLike[str] | onnx.ModelProto | ir.Model | ModelInMemory
"""Path of an ONNX file, or a model in memory; external data of the latter must have been loaded."""


ModelProto: TypeAlias = onnx.ModelProto
"""A model as the package ``onnx`` has it, for signatures outside this folder."""

Graph: TypeAlias = ir.Model
"""A model that is being built, for signatures outside this folder."""


def model_source(model: ModelLike) -> ModelSource:
    """Path of a file, or the bytes that ``onnx.save`` would write.

    Raises:
        ConfigError: ``model`` is neither a path nor a model.
        UnsupportedError: the model is too large to be serialised.
    """
    if isinstance(model, ModelInMemory):
        return model
    if isinstance(model, str | os.PathLike):
        return Path(model)
    proto = ir.serde.serialize_model(model) if isinstance(model, ir.Model) else model
    if not isinstance(proto, onnx.ModelProto):
        raise ConfigError(
            f"the model is of the type {type(model).__name__}; expected the path of an ONNX file or an "
            "onnx.ModelProto"
        )
    try:
        return ModelInMemory(content=proto.SerializeToString())
    except Exception as error:  # protobuf's implementations raise different errors above 2 GiB
        raise UnsupportedError(
            "the model in memory is larger than the 2 GiB that one ONNX message can hold; save it with "
            "external data and give the path"
        ) from error


def model_proto(content: bytes) -> ModelProto:
    """Return a serialised model as ONNX's own message."""
    return onnx.load_model_from_string(content)
