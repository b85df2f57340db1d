"""The shapes of recipe and plan files; see ``base.py`` for how they are checked."""

from typing import Literal

from pydantic import Field

from dybitq.records.plan import DEFAULT_TARGET
from dybitq.schema.base import Strict


class SettingsShape(Strict):
    """Settings of a recipe: all optional."""

    weights: str | None = None
    activations: str | None = None
    granularity: Literal["channel", "tensor"] | None = None
    scale: str | None = None
    rounding: str | None = None
    range: str | None = None
    reduce_range: bool | None = None


class IntegerShape(Strict):
    """Options of integer-only arithmetic."""

    only: Literal["strict", "report"] = "strict"
    rounding: Literal["half-even", "half-up"] = "half-even"
    scales: Literal["free", "pow2"] = "free"
    multiplier_bits: int = 0
    residual_bits: Literal[8, 16] = 8
    residual_rounding: Literal["sum", "branch"] = "sum"


class RuleShape(SettingsShape):
    """A rule: what it matches, then settings."""

    op_type: str | None = None
    name: str | None = None


class RecipeShape(Strict):
    """A recipe file."""

    defaults: SettingsShape = Field(default_factory=SettingsShape)
    rules: list[RuleShape] = Field(default_factory=list)
    first_last: str | None = "int8"
    bias_correction: bool = True
    arithmetic: Literal["float-rescale", "integer-fast", "integer-explicit"] = "float-rescale"
    integer: IntegerShape = Field(default_factory=IntegerShape)
    target: str = DEFAULT_TARGET


class OptionsShape(SettingsShape):
    """Settings in place of those of a recipe, as the command line calls them."""

    first_last: str | None = None
    bias_correction: bool | None = None
    integer_only: Literal["strict", "report"] | None = None
    flavour: Literal["fast", "explicit"] | None = None
    rounding_rule: Literal["half-even", "half-up"] | None = None
    scales: Literal["free", "pow2"] | None = None
    multiplier_bits: int | None = Field(default=None, ge=8, le=31)
    residual_bits: Literal[8, 16] | None = None
    residual_rounding: Literal["sum", "branch"] | None = None
    target: str | None = None


class LayerPlanShape(Strict):
    """One layer of a plan file."""

    layer: str
    weights: str
    granularity: Literal["channel", "tensor"] = "channel"
    scale: str = "mse"
    rounding: str = "compensated"
    activations: Literal["static", "dynamic", "float"] = "static"
    recode: str = "none"
    reduce_range: bool = True
    reason: str = ""
    snap: float = 0.0


class EdgePlanShape(Strict):
    """One coded activation tensor of a plan file."""

    tensor: str
    format: str = "int8"
    range: str = "mse"
    reason: str = ""
    snap: float = 0.0


class PlanShape(Strict):
    """A plan file."""

    schema_version: Literal[1]
    model_sha256: str
    bias_correction: bool = True
    arithmetic: Literal["float-rescale", "integer-fast", "integer-explicit"] = "float-rescale"
    integer: IntegerShape = Field(default_factory=IntegerShape)
    target: str = DEFAULT_TARGET
    layers: list[LayerPlanShape]
    edges: list[EdgePlanShape]
