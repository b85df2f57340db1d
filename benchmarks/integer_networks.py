"""Integer-only models of the benchmark networks, made once and kept with the others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import prepared

from dybitq.api.quantize import quantize
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions

ARITHMETICS = {"fast": INTEGER_FAST, "explicit": INTEGER_EXPLICIT}


def integer_model(
    bench: prepared.Bench, name: str, flavour: str = "fast", weights: str = "int8", **options: Any
) -> Path:
    """Quantize to a strict integer-only model at default settings."""
    parts = [f"{key}={value}" for key, value in sorted(options.items())]
    path = bench.work / f"{name}.integer.{flavour}.{'.'.join([weights, *parts])}.onnx"
    if not path.exists():
        recipe = replace(
            prepared.recipe_of(weights=weights),
            arithmetic=ARITHMETICS[flavour],
            integer=IntegerOptions(**options),
        )
        quantize(bench.model(name), bench.statistics(name), path, recipe=recipe)
    return path
