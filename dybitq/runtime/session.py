"""A session of onnxruntime on the CPU, silent, with its failures turned into one-line errors."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dybitq.errors import ModelError
from dybitq.records.layers import TensorInfo
from dybitq.records.models import ModelInMemory, ModelSource

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
} | {f"tensor({u}int{b})": f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)}

_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


class Session:
    """One model, ready to run.

    Args:
        model: serialised model, model in memory, or file (needed where weights live in external data).
        threads: threads that one run may use; None leaves the choice to onnxruntime.
        optimization: ``none``, ``basic``, ``extended`` or ``all`` (onnxruntime's default).
        optimized_model_path: where to write the graph that onnxruntime really runs.
        name: how messages call the model; by default its path, or "the model".
        exact_products: multiply uint8 by int8 exactly on processors where the usual kernels saturate
            (see :mod:`dybitq.runtime.host`), which takes longer there.

    Raises:
        ModelError: onnxruntime cannot load the model.
    """

    def __init__(
        self,
        model: bytes | ModelSource,
        threads: int | None = None,
        *,
        optimization: str = "all",
        optimized_model_path: Path | None = None,
        name: str | None = None,
        exact_products: bool = False,
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[optimization])
        if exact_products:
            options.add_session_config_entry("session.x64quantprecision", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        if optimized_model_path is not None:
            options.optimized_model_filepath = str(optimized_model_path)
        self.name = name or ("the model" if isinstance(model, bytes) else str(model))
        onnxruntime.set_default_logger_severity(4)
        content = model.content if isinstance(model, ModelInMemory) else model
        source = str(content) if isinstance(content, Path) else content
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            raise ModelError(f"{self.name}: onnxruntime cannot load it: {first_line(error)}") from error
        self.inputs = tuple(_describe(i) for i in self._session.get_inputs())
        self.outputs = tuple(_describe(o) for o in self._session.get_outputs())

    def run(
        self, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Run once; return the outputs called ``names`` (all of them if None), by name.

        Raises:
            ModelError: onnxruntime refused the inputs or failed on the way.
        """
        wanted = [o.name for o in self.outputs] if names is None else list(names)
        if not wanted:  # onnxruntime reads an empty list as all of them
            return {}
        try:
            values = self._session.run(wanted, dict(feeds))
        except Exception as error:
            raise ModelError(f"{self.name}: onnxruntime cannot run it: {first_line(error)}") from error
        return dict(zip(wanted, values, strict=True))


def first_line(error: BaseException) -> str:
    """Shorten the message of an exception of onnxruntime: no code prefix, source position or newlines."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"(/\S+/)?\S+\.(cc|h):\d+ \S+( \[with .*?\]|\(.*?\))?\s*", "", text)
    return text if len(text) <= 400 else text[:397] + "..."


def _describe(value: object) -> TensorInfo:
    shape = tuple(d if isinstance(d, int) and d >= 0 else None for d in (value.shape or ()))  # type: ignore[attr-defined]
    return TensorInfo(
        name=value.name,  # type: ignore[attr-defined]
        shape=shape,
        dtype=_DTYPES.get(value.type, ""),  # type: ignore[attr-defined]
    )
