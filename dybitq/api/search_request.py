"""Request of a search: its checks, and the goal that follows from it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from dybitq.allocation.budgets import COSTS, Limit, error_limit
from dybitq.allocation.formulation import ERROR, Goal
from dybitq.allocation.prices import Prices
from dybitq.allocation.sensitivity import Scores
from dybitq.allocation.space import ACTIVATIONS, WEIGHTS
from dybitq.allocation.strategies import STRATEGIES, StrategySettings
from dybitq.api.recipe import RecipeOptions
from dybitq.errors import ConfigError, did_you_mean
from dybitq.plan.recipe import DEFAULTS

SEARCHED = replace(DEFAULTS, weights=WEIGHTS, activations=ACTIVATIONS)
"""Defaults of a recipe in a search: everything may be chosen."""


class SearchOptions(RecipeOptions, total=False):
    """Keywords of a search, named as the command line names them; those of a recipe are lists with commas.

    Attributes:
        minimise: cost to minimise where the accuracy is bounded; ``latency`` if nothing is said.
        pareto: number of plans of a front; None for one plan.
        sensitivity: predictor of the error; None for ``gain`` where there are data, else ``output-error``.
        strategy: how to search; ``ilp`` if nothing is said.
        stored: also take widths that the machine only stores, and runs as wider ones.
        explain: say, layer by layer, what other choices would change.
        settings: dotted machine fields to change, such as ``{"array.rows": 16}``.
        shapes: of model inputs whose extents the model leaves open, for the prices.
        samples: samples for sensitivities that run the network; None for 32, or all if there are fewer.
        split: split of the data spec for those sensitivities.
        drop_split: split to measure a drop on; ``evaluate`` reports on another one, ``val``.
    """

    minimise: str | None
    pareto: int | None
    sensitivity: str | None
    strategy: str
    stored: bool
    explain: bool
    settings: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    samples: int | None
    split: str
    drop_split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Budgets, and the method to search with.

    Attributes:
        budgets: as written, see :mod:`dybitq.allocation.budgets`.
        solver: settings of the strategies.
        minimise, pareto, sensitivity, strategy, stored, explain: see :class:`SearchOptions`.
        settings, shapes, samples, split, drop_split: see there.
    """

    budgets: Sequence[str] = ()
    minimise: str | None = None
    pareto: int | None = None
    sensitivity: str | None = None
    strategy: str = "ilp"
    solver: StrategySettings = field(default_factory=StrategySettings)
    stored: bool = False
    explain: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    samples: int | None = None
    split: str = "calib"
    drop_split: str = "calib"


def request_of(budgets: Sequence[str] | Mapping[str, float | str], options: SearchOptions) -> Request:
    """Return the request that keywords amount to; those of the recipe are left out."""
    fields = Request.__dataclass_fields__
    given: Any = {name: value for name, value in options.items() if name in fields}
    return Request(budgets=budget_lines(budgets), **given)


def recipe_options_of(options: SearchOptions) -> RecipeOptions:
    """Return the keywords that are no part of the request: those of the recipe, and unknown ones."""
    fields = Request.__dataclass_fields__
    return cast(RecipeOptions, {name: value for name, value in options.items() if name not in fields})


def budget_lines(budgets: Sequence[str] | Mapping[str, float | str]) -> tuple[str, ...]:
    """Budgets as the command line writes them."""
    if isinstance(budgets, str):
        return (budgets,)
    if isinstance(budgets, Mapping):
        return tuple(f"{name}={value}" for name, value in budgets.items())
    return tuple(budgets)


def default_sensitivity(with_data: bool) -> str:
    """Return the best sensitivity, with or without data."""
    return "gain" if with_data else "output-error"


def check_request(request: Request, limits: Sequence[Limit], *, with_data: bool) -> None:
    """Refuse options that contradict each other.

    Raises:
        ConfigError: the first contradiction.
    """
    names = {limit.name for limit in limits}
    accuracy = sorted(names & {"sqnr", "drop"})
    if not limits and request.pareto is None:
        raise ConfigError(
            "nothing bounds the search: give a --budget such as latency=0.6, or --pareto N for a front"
        )
    if len(accuracy) > 1:
        raise ConfigError("--budget sqnr and --budget drop both bound the accuracy; give one of them")
    if request.minimise is not None and request.minimise not in COSTS:
        raise ConfigError(
            f"--minimise {request.minimise!r}: unknown cost.{did_you_mean(request.minimise, COSTS)} Known: "
            f"{', '.join(COSTS)}"
        )
    if request.minimise is not None and not accuracy and request.pareto is None:
        raise ConfigError(
            "--minimise is for searches that bound the accuracy: add --budget sqnr=20dB or drop=0.5"
        )
    if request.minimise in names:
        raise ConfigError(
            f"--minimise {request.minimise} and --budget {request.minimise} contradict each other"
        )
    if request.pareto is not None and accuracy:
        raise ConfigError("--pareto gives plans of every accuracy; it cannot be combined with sqnr or drop")
    if "drop" in names and not with_data:
        raise ConfigError("--budget drop is measured: give samples with labels with --data")
    if request.strategy not in set(STRATEGIES):
        STRATEGIES.get(request.strategy)


def goal_of(limits: Sequence[Limit], request: Request, prices: Prices, scores: Scores) -> Goal:
    """Return the cost to minimise, and all limits in the units of the costs."""
    found = {limit.cost: limit.absolute(prices.baseline) for limit in limits if limit.name in COSTS}
    for limit in limits:
        if limit.name == "sqnr":
            found[ERROR] = error_limit(limit.value)
    bounded = any(limit.name in ("sqnr", "drop") for limit in limits)
    return Goal(minimise=(request.minimise or "latency") if bounded else ERROR, limits=found)


def output_paths(output: Path | None, pareto: int | None) -> tuple[Path, ...]:
    """Return the plan to write, or those of a front, ``NAME-01.yaml`` and so on; none without an output."""
    if output is None:
        return ()
    if pareto is None:
        return (output,)
    digits = max(2, len(str(pareto)))
    return tuple(
        output.with_name(f"{output.stem}-{number:0{digits}d}{output.suffix}")
        for number in range(1, pareto + 1)
    )


def data_key(data: Path | None, request: Request) -> str:
    """Identify a set of samples: by the text of its spec, or by size and time of other files."""
    if data is None:
        return ""
    if data.suffix in (".yaml", ".yml"):
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
    else:
        facts = data.stat()
        digest = f"{facts.st_size} {facts.st_mtime_ns}"
    return f"{data.resolve()} {digest} {request.split} {request.samples}"
