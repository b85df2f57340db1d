"""ONNX model to onnx-ir model, exactly as stored: existence, integrity, versions, external data, hash."""

import hashlib
import io
from pathlib import Path

import onnx
import onnx_ir as ir

from dybitq.errors import ModelError, UnsupportedError
from dybitq.graph.integrity import all_tensors, check_nodes, check_tensors, check_text, check_values
from dybitq.records.models import ModelSource, size_bytes

MINIMUM_OPSET = 11


def read(source: ModelSource) -> tuple[ir.Model, str]:
    """Read a model without changing anything in it; external tensors stay on disk.

    Returns:
        The model and its hash (see :func:`sha256_of`).

    Raises:
        ModelError: no such file, a folder, empty, truncated, not ONNX, damaged, or external data missing.
        UnsupportedError: opset below 11 or newer than the installed onnx; sparse initializers.
    """
    proto = _parse(source)
    _check_versions(proto, source)
    _check_supported(proto, source)
    try:
        check_text(proto)
        check_nodes(proto)
        model = _deserialize(proto)
        check_tensors(model)
        check_values(model)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    if isinstance(source, Path):
        ir.external_data.set_base_dir(model.graph, source.parent)
    _drop_constant_inputs(model)
    files = external_files(model, source)
    if not isinstance(source, Path):
        return model, hashlib.sha256(source.content).hexdigest()
    return model, sha256_of(source, files)


def _parse(source: ModelSource) -> onnx.ModelProto:
    if isinstance(source, Path) and source.is_dir():
        raise ModelError(f"{source}: is a folder; expected an ONNX file")
    try:
        size = size_bytes(source)
        if size == 0:
            raise ModelError(f"{source}: is empty; expected an ONNX model")
        file = source if isinstance(source, Path) else io.BytesIO(source.content)
        proto = onnx.load_model(file, load_external_data=False)
    except FileNotFoundError:
        raise ModelError(f"{source}: no such file; expected an ONNX model") from None
    except OSError as error:
        raise ModelError(f"{source}: cannot be read: {error.strerror or error}") from error
    except ModelError:
        raise
    except Exception as error:  # protobuf's DecodeError, or the text parser's own
        raise ModelError(f"{source}: is not an ONNX model, or is truncated ({size} bytes)") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(f"{source}: is not an ONNX model, or is truncated ({size} bytes)")
    return proto


def _deserialize(proto: onnx.ModelProto) -> ir.Model:
    try:
        return ir.serde.deserialize_model(proto)
    except Exception as error:  # onnx-ir wraps any failure in an error of its own
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ModelError(f"the model is damaged: {reason}") from error


def _check_versions(proto: onnx.ModelProto, source: ModelSource) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < MINIMUM_OPSET:
        raise UnsupportedError(
            f"{source}: ONNX opset {opset} is too old; expected {MINIMUM_OPSET} to {newest}. "
            "Export the model again with a newer opset, or convert it with onnx.version_converter."
        )
    if opset is not None and opset > newest:
        raise UnsupportedError(
            f"{source}: ONNX opset {opset} is newer than the installed onnx {onnx.__version__} knows "
            f"({MINIMUM_OPSET} to {newest}). Upgrade onnx and onnxruntime, or export with an older opset."
        )
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{source}: ONNX IR version {proto.ir_version} is newer than the installed onnx "
            f"{onnx.__version__} knows (up to {onnx.IR_VERSION}). Upgrade onnx and onnxruntime."
        )


def _check_supported(proto: onnx.ModelProto, source: ModelSource) -> None:
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise UnsupportedError(f"{source}: initializer {name!r} is sparse; expected dense initializers only")
    if not proto.graph.output:
        raise ModelError(f"{source}: the graph has no outputs; expected at least one")


def _drop_constant_inputs(model: ir.Model) -> None:
    """Drop inputs that are initializers: below IR version 4 all are listed, but none can be overridden."""
    if model.ir_version < 4:
        inputs = model.graph.inputs
        kept = [value for value in inputs if value.const_value is None]
        inputs.clear()
        inputs.extend(kept)


def external_files(model: ir.Model, source: ModelSource) -> tuple[Path, ...]:
    """List files that hold external tensors, sorted by their stored location.

    Raises:
        ModelError: one is missing or truncated, or the model is in memory, so that none can be found.
    """
    files: dict[str, Path] = {}
    for name, tensor in all_tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            if not isinstance(source, Path):
                raise ModelError(
                    f"{source}: tensor {name!r} lies in the external file {str(tensor.location)!r}; load the "
                    "model with its external data, or give the path of its file"
                )
            location = str(tensor.location)
            _check_external(tensor, name, source, first=location not in files)
            files[location] = Path(tensor.path)
    return tuple(files[location] for location in sorted(files))


def _check_external(tensor: ir.ExternalTensor, name: str, path: Path, *, first: bool) -> None:
    file = Path(tensor.path)
    if not file.is_file():
        raise ModelError(
            f"{path}: tensor {name!r} is stored in {str(tensor.location)!r}, which is missing next to the "
            "model; copy the external data file there"
        )
    end = (tensor.offset or 0) + tensor.nbytes
    if file.stat().st_size < end:
        raise ModelError(
            f"{path}: tensor {name!r} ends at byte {end} of {str(tensor.location)!r}, which holds only "
            f"{file.stat().st_size} bytes; the external data file is truncated or of another model"
        )
    if first:
        try:
            tensor.numpy()  # maps the file; onnx-ir refuses paths and links that leave the folder
        except ValueError as error:
            raise ModelError(
                f"{path}: tensor {name!r} cannot be read: {error} Copy the data file itself beside the model."
            ) from error


def sha256_of(path: Path, external: tuple[Path, ...] = ()) -> str:
    """Compute the hex SHA-256 of a model.

    For a model in one file it is the hash of that file. With external data it is the hash of the hex
    hashes of the model file and of every data file in turn.
    """
    digests = []
    for file in (path, *external):
        with file.open("rb") as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
