"""dybitq: post-training quantization of ONNX networks to 2- to 8-bit packed weights."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_MODULES = {
    "dybitq.api.calibrate": ("calibrate", "merge"),
    "dybitq.api.evaluate": ("evaluate",),
    "dybitq.api.export": ("export",),
    "dybitq.api.inspect": ("inspect",),
    "dybitq.api.quantize": ("quantize",),
    "dybitq.api.recipe": ("load_plan", "load_recipe"),
    "dybitq.api.search": ("search",),
    "dybitq.api.simulate": ("simulate", "sweep"),
    "dybitq.api.verify": ("verify",),
    "dybitq.allocation.feasibility": ("InfeasibleError",),
    "dybitq.errors": (
        *("ConfigError", "DataError", "DybitqError", "ModelError"),
        *("OutputError", "StatisticsError", "UnsupportedError"),
    ),
    "dybitq.plan.recipe": ("Recipe",),
    "dybitq.records.plan": ("Plan",),
    "dybitq.records.statistics": ("Statistics",),
    "dybitq.report.calibrate": ("CalibrateResult",),
    "dybitq.report.evaluate": ("EvaluateResult",),
    "dybitq.report.export": ("ExportResult",),
    "dybitq.report.inspect": ("InspectResult",),
    "dybitq.report.quantize": ("QuantizeResult",),
    "dybitq.report.search": ("SearchResult",),
    "dybitq.report.simulate": ("SimulateResult", "SweepResult"),
    "dybitq.report.verify": ("VerifyResult",),
}
"""Modules of the public names; each is imported when one of its names is used for the first time."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if TYPE_CHECKING:
    from dybitq.allocation.feasibility import InfeasibleError as InfeasibleError
    from dybitq.api.calibrate import calibrate as calibrate
    from dybitq.api.calibrate import merge as merge
    from dybitq.api.evaluate import evaluate as evaluate
    from dybitq.api.export import export as export
    from dybitq.api.inspect import inspect as inspect
    from dybitq.api.quantize import quantize as quantize
    from dybitq.api.recipe import load_plan as load_plan
    from dybitq.api.recipe import load_recipe as load_recipe
    from dybitq.api.search import search as search
    from dybitq.api.simulate import simulate as simulate
    from dybitq.api.simulate import sweep as sweep
    from dybitq.api.verify import verify as verify
    from dybitq.errors import ConfigError as ConfigError
    from dybitq.errors import DataError as DataError
    from dybitq.errors import DybitqError as DybitqError
    from dybitq.errors import ModelError as ModelError
    from dybitq.errors import OutputError as OutputError
    from dybitq.errors import StatisticsError as StatisticsError
    from dybitq.errors import UnsupportedError as UnsupportedError
    from dybitq.plan.recipe import Recipe as Recipe
    from dybitq.records.plan import Plan as Plan
    from dybitq.records.statistics import Statistics as Statistics
    from dybitq.report.calibrate import CalibrateResult as CalibrateResult
    from dybitq.report.evaluate import EvaluateResult as EvaluateResult
    from dybitq.report.export import ExportResult as ExportResult
    from dybitq.report.inspect import InspectResult as InspectResult
    from dybitq.report.quantize import QuantizeResult as QuantizeResult
    from dybitq.report.search import SearchResult as SearchResult
    from dybitq.report.simulate import SimulateResult as SimulateResult
    from dybitq.report.simulate import SweepResult as SweepResult
    from dybitq.report.verify import VerifyResult as VerifyResult
else:
    __all__ = sorted(_MODULE_OF)  # noqa: PLE0605

    def __getattr__(name: str) -> object:
        """Import the module of a public name."""
        from importlib import import_module

        if name not in _MODULE_OF:
            raise AttributeError(f"module 'dybitq' has no attribute {name!r}")
        globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULE_OF})
