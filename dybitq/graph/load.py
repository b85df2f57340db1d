"""Loading of ONNX files as normalised networks."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from dybitq.graph.passes import normalise
from dybitq.graph.read import read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A model in normal form (see docs/models.md).

    Attributes:
        model: opset 13 or newer; every node and value of the main graph has a unique name; weights are
            float32 initializers. Copy it (``model.clone()``) before changing it.
        path: the file that it was read from, which is never written to.
        sha256: hash of that file and of its external data.
        notes: operators that stay in float, with the reason, and changes while reading; one sentence each.
    """

    model: ir.Model
    path: Path
    sha256: str
    notes: tuple[str, ...]


def load(path: Path | str) -> Network:
    """Read an ONNX file and bring it into normal form.

    Raises:
        ModelError: the file is missing, damaged or not ONNX, or a weight holds NaN or infinity.
        UnsupportedError: an opset, IR version or construct that cannot be handled, by name.
    """
    path = Path(path)
    model, sha256 = read(path)
    notes = normalise(model, path)
    return Network(model=model, path=path, sha256=sha256, notes=notes)
