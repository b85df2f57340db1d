"""Errors of the formats at their best scales: targets, a second method, and the documented table."""

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dybitq.encodings import codec, formats
from dybitq.encodings.families import lloyd

README = Path(__file__).parents[2] / "docs" / "formats" / "README.md"

TARGETS = [  # source, bits, DyBit scale (of real values) and nRMSE, integer scale and nRMSE
    ("normal", 2, 1.22400, 0.43609, 1.22400, 0.43609),
    ("normal", 3, 1.03627, 0.21808, 0.65077, 0.21647),
    ("normal", 4, 1.25054, 0.12227, 0.35341, 0.11353),
    ("normal", 5, 1.38127, 0.06512, 0.19324, 0.06077),
    ("normal", 6, 1.42778, 0.03341, 0.10549, 0.03270),
    ("normal", 8, 1.44258, 0.00843, 0.03087, 0.00940),
    ("Laplace", 2, 1.41421, 0.51404, 1.41421, 0.51404),
    ("Laplace", 3, 1.38288, 0.26586, 0.82174, 0.28825),
    ("Laplace", 4, 1.45690, 0.14850, 0.48688, 0.16552),
    ("Laplace", 5, 1.57517, 0.07937, 0.28746, 0.09532),
    ("Laplace", 6, 1.64809, 0.04081, 0.16785, 0.05458),
    ("Laplace", 8, 1.69064, 0.01035, 0.05502, 0.01742),
]


@pytest.mark.parametrize(("source", "bits", "dybit_scale", "dybit_error", "int_scale", "int_error"), TARGETS)
def test_best_scales_of_unit_sources(
    format_errors: ModuleType,
    source: str,
    bits: int,
    dybit_scale: float,
    dybit_error: float,
    int_scale: float,
    int_error: float,
) -> None:
    """Scales within 1 % and errors within 0.5 % of the targets computed by exact integration."""
    scale, error = format_errors.best_scale(formats.get(f"dybit{bits}"), source)
    assert scale * 2 ** (bits - 2) == pytest.approx(dybit_scale, rel=0.01)
    assert error == pytest.approx(dybit_error, rel=0.005)
    scale, error = format_errors.best_scale(formats.get(f"int{bits}"), source)
    assert scale == pytest.approx(int_scale, rel=0.01)
    assert error == pytest.approx(int_error, rel=0.005)


@pytest.mark.parametrize("name", ["dybit4", "int3", "odd2", "e2m1", "normal4", "dybit8", "udybit4"])
def test_integration_agrees_with_encoding(format_errors: ModuleType, name: str) -> None:
    """The exact error equals that of encoding dense quantiles of a Laplace source."""
    format = formats.get(name)
    scale, error = format_errors.best_scale(format, "Laplace")
    p = (np.arange(200_000) + 0.5) / 200_000
    values = -np.log(1 - p) / math.sqrt(2)
    if format.signed:
        values = np.concatenate([-values, values])
    rest = values - codec.quantize(values, scale, format)
    assert math.sqrt(float((rest**2).mean())) == pytest.approx(error, rel=0.002)


@pytest.mark.parametrize(("source", "tables"), [("normal", lloyd.NORMAL), ("Laplace", lloyd.LAPLACE)])
def test_lloyd_tables_are_derived(
    format_errors: ModuleType, source: str, tables: dict[int, tuple[int, ...]]
) -> None:
    """Each table is the fixed point of Lloyd's iteration, scaled to its largest integer and rounded."""
    for bits, integers in tables.items():
        centres = np.linspace(0.1, 2.5, 2 ** (bits - 1))
        for _ in range(4000):
            edges = np.concatenate([[0.0], (centres[:-1] + centres[1:]) / 2, [np.inf]])
            mass, first, _second = (np.diff(m) for m in format_errors.SOURCES[source](edges))
            centres = first / mass
        np.testing.assert_array_equal(np.rint(centres / centres[-1] * integers[-1]), integers)


def test_documented_table_is_the_computed_one(format_errors: ModuleType) -> None:
    """Every line of the formats page equals what the benchmark computes."""
    text = README.read_text(encoding="utf-8")
    for signed in (True, False):
        for line in format_errors.table(signed):
            assert line in text
