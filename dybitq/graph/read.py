"""Reading of ONNX files exactly as stored: checks of integrity, versions and external data, and a hash."""

import hashlib
from pathlib import Path

import onnx
import onnx_ir as ir

from dybitq.errors import ModelError, UnsupportedError
from dybitq.graph.integrity import all_tensors, check_nodes, check_tensors, check_text, check_values

MINIMUM_OPSET = 11


def read(path: Path) -> tuple[ir.Model, str]:
    """Read a model without changing anything in it; external tensors stay on disk.

    Returns:
        The model and its hash (see :func:`sha256_of`).

    Raises:
        ModelError: no such file, a folder, empty, truncated, not ONNX, damaged, or external data missing.
        UnsupportedError: opset below 11 or newer than the installed onnx; sparse initializers.
    """
    path = Path(path)
    proto = _parse(path)
    _check_versions(proto, path)
    _check_supported(proto, path)
    try:
        check_text(proto)
        check_nodes(proto)
        model = _deserialize(proto)
        check_tensors(model)
        check_values(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    _drop_constant_inputs(model)
    files = external_files(model, path)
    return model, sha256_of(path, files)


def _parse(path: Path) -> onnx.ModelProto:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; expected an ONNX file")
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"{path}: is empty; expected an ONNX file")
        proto = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; expected an ONNX model") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelError:
        raise
    except Exception as error:  # protobuf's DecodeError, or the text parser's own
        raise ModelError(f"{path}: is not an ONNX model, or is truncated ({size} bytes)") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(f"{path}: is not an ONNX model, or is truncated ({size} bytes)")
    return proto


def _deserialize(proto: onnx.ModelProto) -> ir.Model:
    try:
        return ir.serde.deserialize_model(proto)
    except Exception as error:  # onnx-ir wraps any failure in an error of its own
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ModelError(f"the model is damaged: {reason}") from error


def _check_versions(proto: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < MINIMUM_OPSET:
        raise UnsupportedError(
            f"{path}: ONNX opset {opset} is too old; expected {MINIMUM_OPSET} to {newest}. "
            "Export the model again with a newer opset, or convert it with onnx.version_converter."
        )
    if opset is not None and opset > newest:
        raise UnsupportedError(
            f"{path}: ONNX opset {opset} is newer than the installed onnx {onnx.__version__} knows "
            f"({MINIMUM_OPSET} to {newest}). Upgrade onnx and onnxruntime, or export with an older opset."
        )
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{path}: ONNX IR version {proto.ir_version} is newer than the installed onnx "
            f"{onnx.__version__} knows (up to {onnx.IR_VERSION}). Upgrade onnx and onnxruntime."
        )


def _check_supported(proto: onnx.ModelProto, path: Path) -> None:
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise UnsupportedError(f"{path}: initializer {name!r} is sparse; expected dense initializers only")
    if not proto.graph.output:
        raise ModelError(f"{path}: the graph has no outputs; expected at least one")


def _drop_constant_inputs(model: ir.Model) -> None:
    """Drop inputs that are initializers: below IR version 4 all are listed, but none can be overridden."""
    if model.ir_version < 4:
        inputs = model.graph.inputs
        kept = [value for value in inputs if value.const_value is None]
        inputs.clear()
        inputs.extend(kept)


def external_files(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """List files that hold external tensors, sorted by their stored location."""
    files: dict[str, Path] = {}
    for name, tensor in all_tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            location = str(tensor.location)
            _check_external(tensor, name, path, first=location not in files)
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
