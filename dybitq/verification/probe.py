"""The emitted model against the float model, both in onnxruntime at default settings.

The inputs are drawn from the calibrated distribution of each input value by value (integer inputs are
ones), so the figure shows that the model works; the accuracy on real samples is what ``evaluate`` measures.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.data.fidelity import sqnr_db
from dybitq.fit.activations.ranges import bins
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.records.layers import TensorInfo
from dybitq.records.statistics import Statistics
from dybitq.runtime.session import Session

_FREE_EXTENT = 16  # for dynamic extents other than the batch, where nothing says what they should be
_BATCH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Outcome of :func:`probe`.

    Attributes:
        finite: whether every output is finite where the float model's is.
        sqnr_db: signal to quantization noise of all float outputs together, dB.
    """

    finite: bool
    sqnr_db: float


def probe(model: bytes, network: Network, statistics: Statistics) -> ProbeResult:
    """Load and run a serialised quantized model and its float original on the same inputs.

    Raises:
        ModelError: onnxruntime cannot load or run the model.
    """
    quantized = Session(model, threads=2, name="the quantized model")
    reference = Session(to_bytes(network.model), threads=2, name=str(network.source))
    generator = np.random.default_rng(0)
    feeds = {info.name: _draw(info, statistics, generator) for info in reference.inputs}
    wanted, found = reference.run(feeds), quantized.run(feeds)
    signal = noise = 0.0
    finite = True
    for name, value in wanted.items():
        if value.dtype != np.float32:
            continue
        sound = np.isfinite(value)
        finite = finite and bool(np.isfinite(found[name][sound]).all())
        signal += float(np.sum(value[sound].astype(np.float64) ** 2))
        noise += float(np.sum((value[sound].astype(np.float64) - found[name][sound]) ** 2))
    return ProbeResult(finite=finite, sqnr_db=sqnr_db(signal, noise))


def _draw(info: TensorInfo, statistics: Statistics, generator: np.random.Generator) -> np.ndarray:
    shape = tuple(
        extent if extent is not None else (_BATCH if axis == 0 else _FREE_EXTENT)
        for axis, extent in enumerate(info.shape)
    )
    tensor = statistics.tensors.get(info.name)
    if tensor is None or not np.issubdtype(np.dtype(info.dtype), np.floating):
        return np.ones(shape, info.dtype)
    centres, counts = bins(tensor)
    return generator.choice(centres, size=shape, p=counts / counts.sum()).astype(info.dtype)
