"""Records of a plan: every decision about a network, and no array."""

from dataclasses import dataclass, field
from enum import StrEnum

from dybitq.records.arithmetic import DEFAULT_OPTIONS, FLOAT_RESCALE, IntegerOptions

DEFAULT_TARGET = "onnxruntime"
FLOAT = "float"
"""Weights of a layer that is left as it is."""
ACTIVATION = "activation"
"""Weights of a layer that multiplies two activations."""
NO_RECODING = "none"
"""Re-coding of a layer that takes its input codes as they are stored."""


def is_coded(weights: str) -> bool:
    """Tell whether the weights of a plan or a setting are a number format, so that there are codes to fit."""
    return weights not in (FLOAT, ACTIVATION)


class ActivationMode(StrEnum):
    """Form in which the activations of a layer reach its multiplier."""

    STATIC = "static"  # ranges fixed by calibration
    DYNAMIC = "dynamic"  # 8-bit ranges found at every run (MatMul)
    FLOAT = "float"  # weight-only


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """Decisions for one weighted layer.

    ``weights`` is a format name, or ``float`` to leave the layer alone. ``recode`` names what the
    layer does to its input codes on the way in (``none`` or a registered re-coding such as
    ``sparq4-5opt``).
    """

    layer: str
    weights: str
    granularity: str = "channel"  # channel | tensor
    scale: str = "mse"  # registered scale method: mse | max | pow2
    rounding: str = "compensated"  # registered rounding: nearest | compensated
    activations: ActivationMode = ActivationMode.STATIC
    recode: str = NO_RECODING
    reduce_range: bool = True  # weights so small that no kernel saturates, see fit/weights/kernel_range.py
    reason: str = ""
    snap: float = 0.0  # integer-only, as carried out: largest relative move of a scale onto the dyadic grid

    @property
    def has_coded_weights(self) -> bool:
        """Return whether the layer has weights to fit: not left in float, and no product of activations."""
        return is_coded(self.weights)

    @property
    def in_float(self) -> bool:
        """Return whether the layer is left as it is."""
        return self.weights == FLOAT

    @property
    def recodes(self) -> bool:
        """Return whether the layer re-codes its input."""
        return self.recode != NO_RECODING


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePlan:
    """Decisions for one quantized activation tensor (all tensors that share its codes follow)."""

    tensor: str
    format: str = "int8"
    range: str = "mse"  # registered range method: minmax | percentile | mse | entropy | ...
    reason: str = ""
    snap: float = 0.0  # integer-only, as carried out: relative error of the factors that write the tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every decision, no array: read, diff and edit it as YAML, and feed it back."""

    model_sha256: str
    layers: tuple[LayerPlan, ...]
    edges: tuple[EdgePlan, ...]
    bias_correction: bool = True
    arithmetic: str = FLOAT_RESCALE
    integer: IntegerOptions = DEFAULT_OPTIONS
    target: str = DEFAULT_TARGET  # registered target that the network is written for
    source: str = field(default="plan", compare=False)  # the file it stands in, for messages
