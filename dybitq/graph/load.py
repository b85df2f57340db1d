"""Loading of ONNX files as normalised networks."""

from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.passes import normalise
from dybitq.graph.read import read
from dybitq.records.models import ModelSource


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A model in normal form (see docs/models.md).

    Attributes:
        model: opset 13 or newer; every node and value of the main graph has a unique name; weights are
            float32 initializers. Copy it (``model.clone()``) before changing it.
        source: where it came from, which is never written to.
        sha256: hash of that and of its external data.
        notes: operators that stay in float, with the reason, and changes while reading; one sentence each.
    """

    model: ir.Model
    source: ModelSource
    sha256: str
    notes: tuple[str, ...]


def load(source: ModelSource) -> Network:
    """Read a model and bring it into normal form.

    Raises:
        ModelError: the file is missing, damaged or not ONNX, or a weight holds NaN or infinity.
        UnsupportedError: an opset, IR version or construct that cannot be handled, by name.
    """
    model, sha256 = read(source)
    notes = normalise(model, str(source))
    return Network(model=model, source=source, sha256=sha256, notes=notes)
