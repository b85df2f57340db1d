"""The shapes of recipe and plan files; see ``schema.py`` for how they are checked."""

from typing import Literal

from pydantic import Field

from dybitq.schema import Strict


class SettingsShape(Strict):
    """Settings of a recipe: all optional."""

    weights: str | None = None
    activations: str | None = None
    granularity: Literal["channel", "tensor"] | None = None
    scale: str | None = None
    rounding: str | None = None
    range: str | None = None


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


class LayerPlanShape(Strict):
    """One layer of a plan file."""

    layer: str
    weights: str
    granularity: Literal["channel", "tensor"] = "channel"
    scale: str = "mse"
    rounding: str = "compensated"
    activations: Literal["static", "dynamic", "float"] = "static"
    recode: str = "none"
    reason: str = ""


class EdgePlanShape(Strict):
    """One coded activation tensor of a plan file."""

    tensor: str
    format: str = "int8"
    range: str = "mse"
    reason: str = ""


class PlanShape(Strict):
    """A plan file."""

    schema_version: Literal[1]
    model_sha256: str
    bias_correction: bool = True
    arithmetic: str = "float-rescale"
    layers: list[LayerPlanShape]
    edges: list[EdgePlanShape]
