"""What a search is asked for: the request, what of it contradicts itself, and the goal that it amounts to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dybitq.errors import ConfigError, did_you_mean
from dybitq.plan.recipe import DEFAULTS
from dybitq.search.budgets import COSTS, Limit, error_limit
from dybitq.search.formulation import ERROR, Goal
from dybitq.search.prices import Prices
from dybitq.search.sensitivity import Scores
from dybitq.search.space import ACTIVATIONS, WEIGHTS
from dybitq.search.strategies import STRATEGIES, StrategySettings

SEARCHED = replace(DEFAULTS, weights=WEIGHTS, activations=ACTIVATIONS)
"""Defaults of a recipe in a search: everything may be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to search for.

    Attributes:
        budgets: as written, see :mod:`dybitq.search.budgets`.
        minimise: cost to minimise where the accuracy is bounded; None for the error, or for latency where a
            budget bounds the accuracy.
        pareto: number of plans of a front; None for one plan.
        sensitivity: registered name; None for ``gain`` where there are data, else ``output-error``.
        strategy: registered name.
        settings: of the strategies.
        stored: also take widths that the machine only stores, and runs as wider ones.
        reasons: say, layer by layer, what other choices would change.
        machine_settings: dotted machine fields to change.
        shapes: of graph inputs whose extents the model leaves open, for the prices.
        samples: samples for sensitivities that run the network; None: 32, or all if there are fewer.
        split: split of the data for those sensitivities.
        drop_split: split to measure a drop on; that of ``evaluate`` is left for the final figure.
    """

    budgets: Sequence[str] = ()
    minimise: str | None = None
    pareto: int | None = None
    sensitivity: str | None = None
    strategy: str = "ilp"
    settings: StrategySettings = field(default_factory=StrategySettings)
    stored: bool = False
    reasons: bool = False
    machine_settings: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    samples: int | None = None
    split: str = "calib"
    drop_split: str = "calib"


def default_sensitivity(data: Path | None) -> str:
    """The best sensitivity that there are data for."""
    return "output-error" if data is None else "gain"


def check_request(request: Request, limits: Sequence[Limit], data: Path | None) -> None:
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
    if "drop" in names and data is None:
        raise ConfigError("--budget drop is measured: give samples with labels with --data")
    if request.strategy not in set(STRATEGIES):
        STRATEGIES.get(request.strategy)


def goal_of(limits: Sequence[Limit], request: Request, prices: Prices, scores: Scores) -> Goal:
    """What to minimise, and all limits in the units of the costs."""
    found = {limit.cost: limit.absolute(prices.baseline) for limit in limits if limit.name in COSTS}
    for limit in limits:
        if limit.name == "sqnr":
            found[ERROR] = error_limit(limit.value)
    bounded = any(limit.name in ("sqnr", "drop") for limit in limits)
    return Goal(minimise=(request.minimise or "latency") if bounded else ERROR, limits=found)


def output_paths(output: Path, pareto: int | None) -> tuple[Path, ...]:
    """The plan to write, or those of a front: ``NAME-01.yaml`` and so on."""
    if pareto is None:
        return (output,)
    digits = max(2, len(str(pareto)))
    return tuple(
        output.with_name(f"{output.stem}-{number:0{digits}d}{output.suffix}")
        for number in range(1, pareto + 1)
    )


def data_key(data: Path | None, request: Request) -> str:
    """What tells one set of samples from another: the spec's text, or size and time of other files."""
    if data is None:
        return ""
    if data.suffix in (".yaml", ".yml"):
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
    else:
        facts = data.stat()
        digest = f"{facts.st_size} {facts.st_mtime_ns}"
    return f"{data.resolve()} {digest} {request.split} {request.samples}"
