"""The benchmark scripts of the formats, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """A script of the benchmarks folder as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def format_errors() -> ModuleType:
    """Exact error of a format on normal and Laplace sources."""
    return load("format_errors")


@pytest.fixture(scope="session")
def format_plots(format_errors: ModuleType) -> ModuleType:
    """The script that draws the pages' plots."""
    return load("format_plots")
