"""A program of a user, for type checkers: it is not run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

import dybitq


class Reader:
    """A reader as those of onnxruntime's quantizer."""

    def __init__(self, batches: Iterator[npt.NDArray[np.float32]]) -> None:
        self._batches = batches

    def get_next(self) -> Mapping[str, npt.NDArray[np.float32]] | None:
        """Return the next feeds, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"x": batch}


def narrow(model: onnx.ModelProto, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64]) -> onnx.ModelProto:
    """Quantize a model to 4 bits, unless that loses a point."""
    statistics: dybitq.CalibrateResult = dybitq.calibrate(model, {"x": x}, moments="block")
    small = dybitq.quantize(model, statistics, weights="dybit4", reduce_range=False)
    measured = dybitq.evaluate(small.model, {"x": x}, labels=y, reference=model, max_drop=1.0)
    if measured.missed:
        small = dybitq.quantize(model, statistics.statistics, recipe={"defaults": {"weights": "int8"}})
    print(small, measured.metrics[0].drop)
    return small.model


def mixed(path: Path, batches: Iterator[npt.NDArray[np.float32]]) -> dybitq.Plan:
    """Search for a plan, carry it out, and price it."""
    statistics = dybitq.calibrate(path, Reader(batches), "model.stats", force=True)
    found = dybitq.search(path, statistics, "dybit_zcu102_like", budgets={"latency": 0.6}, first_last="same")
    done = dybitq.quantize(path, "model.stats", "small.onnx", plan=found.plan)
    speed: float = dybitq.simulate("small.onnx", "dybit_zcu102_like").comparisons[0].speedup
    print(speed, dybitq.inspect(done.model).coverage.bits_per_weight)
    return done.plan


def integers(path: str) -> bool:
    """Prove a model to be integer-only and export it."""
    try:
        proof: dybitq.VerifyResult = dybitq.verify(path, integer_only="strict")
        dybitq.export(path, "folder", all_tensors=True)
    except dybitq.DybitqError as error:
        print(error)
        return False
    return proof.passed
