"""The registry of the functions that write one operation of an integer network, in each flavour."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.registry import Registry

Write = Callable[[IntegerGraph, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """Both flavours of one operation.

    Attributes:
        fast: with the quantized operators of the runtime.
        explicit: with integer operators of ONNX.
    """

    fast: Write
    explicit: Write


operations: Registry[Writers] = Registry("integer operation", "dybitq.emit.integer.operations")
"""Writers by the ``kind`` of the record."""
