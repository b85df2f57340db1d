"""The shapes of recipe and plan files against the records that they are read into."""

import dataclasses

import pytest

from dybitq.plan.recipe import Recipe, Settings
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.plan import EdgePlan, LayerPlan, Plan
from dybitq.schema.base import Strict
from dybitq.schema.plan import (
    EdgePlanShape,
    IntegerShape,
    LayerPlanShape,
    PlanShape,
    RecipeShape,
    SettingsShape,
)

FILE_ONLY = {"schema_version"}  # not a decision
RECORD_ONLY = {"source"}  # the file itself
PAIRS = [
    (SettingsShape, Settings),
    (IntegerShape, IntegerOptions),
    (LayerPlanShape, LayerPlan),
    (EdgePlanShape, EdgePlan),
    (PlanShape, Plan),
    (RecipeShape, Recipe),
]


@pytest.mark.parametrize(("shape", "record"), PAIRS, ids=lambda item: item.__name__)
def test_a_file_has_the_fields_and_defaults_of_its_record(shape: type[Strict], record: type):
    """A field or default that is changed in one of the two is changed in the other."""
    fields = {field.name: field for field in dataclasses.fields(record) if field.name not in RECORD_ONLY}
    assert set(shape.model_fields) - FILE_ONLY == set(fields)
    for name, field in fields.items():
        told = shape.model_fields[name]
        assert told.is_required() == (field.default is dataclasses.MISSING), name
        if isinstance(field.default, str | bool | int | float | None):
            assert told.default == field.default, name
