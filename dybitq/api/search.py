"""``dybitq search`` as a function: from budgets to a plan, or to a front of plans."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Unpack

from dybitq.allocation.budgets import COSTS, Limit, parse_budgets, sqnr_of
from dybitq.allocation.explain import explain
from dybitq.allocation.feasibility import InfeasibleError
from dybitq.allocation.formulation import ERROR, Goal, check_ties
from dybitq.allocation.front import front
from dybitq.allocation.iterate import FoundPlan, Searcher
from dybitq.allocation.modes import allowed_pairs, reduced_to_modes
from dybitq.allocation.prices import Prices
from dybitq.allocation.sensitivity import SAMPLES, SENSITIVITIES, Scores
from dybitq.allocation.sensitivity import Subject as SensitivitySubject
from dybitq.allocation.sensitivity.cache import scores_of
from dybitq.allocation.space import open_space
from dybitq.api.measured import DropWalk
from dybitq.api.opened import StatisticsLike, opened, statistics_file
from dybitq.api.recipe import RecipeLike, files_of, recipe_of
from dybitq.api.search_request import (
    SEARCHED,
    Request,
    SearchOptions,
    check_request,
    data_key,
    default_sensitivity,
    goal_of,
    output_paths,
    recipe_options_of,
    request_of,
)
from dybitq.data.memory import Data, DataLike, Samples, data_of
from dybitq.data.source import DataSource
from dybitq.data.spec import load_data
from dybitq.emit.target import check_target
from dybitq.errors import ConfigError, UnsupportedError
from dybitq.files import atomic_output, check_output, path_of
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.plan.recipe import FIRST_OR_LAST, Recipe
from dybitq.plan.store import plan_text
from dybitq.records.models import ModelSource, file_of
from dybitq.records.plan import is_coded
from dybitq.records.progress import Progress
from dybitq.report.search import Measured, PlanFound, SearchResult
from dybitq.runtime.session import Session
from dybitq.schema.machine import Machine

_BATCH = 16


def search(
    model: ModelLike,
    statistics: StatisticsLike,
    hardware: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    budgets: Sequence[str] | Mapping[str, float | str] = (),
    recipe: RecipeLike | None = None,
    data: DataLike | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Find formats for every layer and activation within budgets, as a plan for ``quantize``.

    Args:
        model: float32 network; never changed.
        statistics: of the same network, as ``calibrate`` returns or writes them.
        hardware: preset or machine file.
        output: plan to write, of a front ``NAME-01.yaml`` and so on; None keeps the plans in memory.
        budgets: such as ``{"latency": 0.6, "sqnr": "20dB"}`` or ``["latency=3ms"]``; a plain number is a
            ratio to the same network at uniform int8.
        recipe: what may be chosen: lists of formats in defaults and rules; everything if None.
        data: samples, for sensitivities that run the network and for a measured drop.
        force: replace existing outputs.
        progress: called with stage, done, total.
        **options: see :class:`dybitq.api.search_request.SearchOptions`.

    Raises:
        InfeasibleError: no plan keeps the budgets.
        ConfigError: budgets, recipe, machine or options that contradict each other.
        StatisticsError: statistics of another model.
        OutputError: an output exists or cannot be written.
    """
    chosen = recipe_of(recipe, recipe_options_of(options), SEARCHED)
    request = request_of(budgets, options)
    request = replace(request, sensitivity=request.sensitivity or default_sensitivity(data is not None))
    limits = parse_budgets(request.budgets)
    check_request(request, limits, with_data=data is not None)
    subject = _Subject(
        model=model_source(model),
        statistics=statistics,
        hardware=str(hardware),
        data=None if data is None else data_of(data),
        progress=progress,
    )
    paths = output_paths(path_of(output), request.pareto)
    for path in paths:
        check_output(path, force=force, inputs=(*subject.files, *files_of(recipe)))
    result = _searched(subject, request, limits, chosen, paths)
    _write(result, force=force)
    return result


def _searched(
    subject: "_Subject", request: Request, limits: Sequence[Limit], recipe: Recipe, paths: tuple[Path, ...]
) -> SearchResult:
    """Return the plans, which are to be written to ``paths``, if there are any.

    Raises:
        InfeasibleError: no plan keeps the budgets; with advice.
    """
    ready = _prepared(subject, request, limits, recipe)
    goal = goal_of(limits, request, ready.searcher.prices, ready.searcher.scores)
    try:
        found = _found(ready.searcher, goal, limits, request, subject)
    except InfeasibleError as error:
        raise InfeasibleError(error.reaches, _advice(limits, ready, error)) from None
    plans = tuple(
        PlanFound(
            path=path,
            found=_with_reasons(one, ready.searcher),
            reasons=explain(one.problem, one.solution) if request.explain else (),
            measured=measured,
        )
        for path, (one, measured) in zip_longest(paths[: len(found)], found)
    )
    return _result(ready, request, limits, goal, plans)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Subject:
    """A network, its statistics and the machine to search for, as they were given."""

    model: ModelSource
    statistics: StatisticsLike
    hardware: str
    data: Data | None
    progress: Progress | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that no output may replace."""
        data = (self.data,) if isinstance(self.data, Path) else ()
        return (*file_of(self.model), *statistics_file(self.statistics), *data, Path(self.hardware))


def _result(
    ready: "_Ready", request: Request, limits: Sequence[Limit], goal: Goal, plans: tuple[PlanFound, ...]
) -> SearchResult:
    return SearchResult(
        hardware=ready.machine.name,
        sensitivity=request.sensitivity or "",
        strategy=request.strategy,
        pareto=request.pareto,
        minimise=request.minimise,
        limits=tuple(limits),
        baseline=ready.searcher.prices.baseline,
        relative_error=ready.searcher.scores.relative_error,
        minimised=goal.minimise,
        plans=plans,
    )


def _with_reasons(found: FoundPlan, searcher: Searcher) -> FoundPlan:
    """Return the plan with each layer's share of the predicted error beside it."""
    space, scores = searcher.prices.space, searcher.scores
    total = found.error or 1.0
    reasons = {}
    for choice in space.choices:
        weights, activations = found.assignment[choice.layer]
        own, read = scores.weights[choice.layer][weights], scores.activations[choice.layer][activations]
        searched = len(choice.weights) > 1 or len(choice.activations) > 1
        shares = f"{own / total:.1%} of the error by weights, {read / total:.1%} by activations"
        reasons[choice.layer] = f"{'searched' if searched else choice.reason}: {shares}"
    return replace(found, plan=space.plan(found.assignment, reasons))


def _advice(limits: Sequence[Limit], ready: "_Ready", error: InfeasibleError) -> str:
    """Say in which units infeasible budgets are, and which options allow more."""
    baseline = ready.searcher.prices.baseline
    parts = [
        f"an error of {reach.alone:.6g} is an SQNR of {sqnr_of(reach.alone):.1f} dB"
        for reach in error.reaches
        if reach.row.cost == ERROR
    ]
    parts += [
        f"{limit.cost} {limit.value:g} of uniform int8 is {limit.absolute(baseline):.6g} {_UNIT[limit.cost]}"
        if limit.ratio
        else f"{limit.cost} is in {_UNIT[limit.cost]}"
        for limit in limits
        if limit.cost in _UNIT
    ]
    if ready.reduced:
        parts.append(
            f"only widths that {ready.machine.name} runs were tried; --stored adds those that it only stores"
        )
    fixed = [choice for choice in ready.searcher.prices.space.choices if choice.reason == FIRST_OR_LAST]
    if fixed and any(reach.row.cost == "size" and reach.binds for reach in error.reaches):
        parts.append(
            f"first and last layers stay at {fixed[0].weights[0]}; --first-last same lets them take less"
        )
    return "; ".join(parts)


_UNIT = {"latency": "us", "cycles": "cycles", "energy": "pJ", "bops": "bit operations"} | dict.fromkeys(
    ("size", "memory", "dram"), "bytes"
)


# --------------------------------------------------------------------------- preparation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    machine: Machine
    searcher: Searcher
    reduced: bool  # whether formats were left out that the machine has no mode for


def _prepared(subject: _Subject, request: Request, limits: Sequence[Limit], recipe: Recipe) -> _Ready:
    """Prices of all choices and scores of all that may be taken."""
    machine = load_machine(subject.hardware, request.settings)
    network, layers, seen = opened(subject.model, subject.statistics)
    space = open_space(network, layers, recipe)
    check_target(space.base, layers)
    if not any(is_coded(choice.weights[0]) for choice in space.choices):
        raise UnsupportedError(
            f"{subject.model}: nothing would be quantized: it has no layer with weights to code"
        )
    everything, workload = space, read_workload(subject.model, request.shapes)
    prices = Prices(workload, machine, space)
    if not request.stored:
        space = reduced_to_modes(prices)
        prices = Prices(workload, machine, space)
    allowed = allowed_pairs(prices, stored=request.stored)
    check_ties(space, allowed)
    judged = SensitivitySubject(
        space=space,
        statistics=seen,
        source=None if subject.data is None else _source(network, subject.data, request),
        samples=request.samples or SAMPLES,
        progress=subject.progress,
    )
    sensitivity = str(request.sensitivity)
    scores = _scores(sensitivity, judged, subject, request)
    if any(limit.name == "sqnr" for limit in limits) and not scores.relative_error:
        raise ConfigError(
            f"--budget sqnr: the sensitivity {sensitivity!r} does not predict the error of the "
            "output; use output-error, compensated or gain"
        )
    searcher = Searcher(
        prices=prices, scores=scores, allowed=allowed, strategy=request.strategy, settings=request.solver
    )
    return _Ready(machine=machine, searcher=searcher, reduced=space.choices != everything.choices)


def _scores(sensitivity: str, judged: SensitivitySubject, subject: _Subject, request: Request) -> Scores:
    """Scores from the folder beside the statistics; computed where samples or statistics have no file."""
    files = statistics_file(subject.statistics)
    if not files or isinstance(subject.data, Samples):
        return SENSITIVITIES.get(sensitivity)(judged)
    return scores_of(sensitivity, judged, files[0], data_key=data_key(subject.data, request))


def _source(network: Network, data: Data, request: Request) -> Callable[[], DataSource]:
    def opened() -> DataSource:
        inputs = Session(to_bytes(network.model), name=str(network.source)).inputs
        source = load_data(
            data,
            inputs=inputs,
            split=request.split,
            batch_size=_BATCH,
            samples=request.samples,
        )
        if request.samples is not None:
            return source
        return replace(source, limit=min(SAMPLES, source.samples or SAMPLES))

    return opened


# --------------------------------------------------------------------------- request


def _found(
    searcher: Searcher,
    goal: Goal,
    limits: Sequence[Limit],
    request: Request,
    subject: _Subject,
) -> list[tuple[FoundPlan, Measured | None]]:
    drop = next((limit.value for limit in limits if limit.name == "drop"), None)
    if drop is not None and subject.data is not None:
        walk = DropWalk(
            subject.model,
            subject.statistics,
            subject.data,
            split=request.drop_split,
            progress=subject.progress,
        )
        return [walk.search(searcher, goal, drop)]
    if request.pareto is None:
        return [(searcher.search(goal), None)]
    cost = request.minimise or next((limit.cost for limit in limits), "latency")
    return [(found, None) for found in front(searcher, goal, cost, request.pareto, subject.progress)]


# --------------------------------------------------------------------------- output


def _write(result: SearchResult, *, force: bool) -> None:
    """All plans get their names at the very end, or none does."""
    with ExitStack() as stack:
        for one in result.plans:
            if one.path is None:
                continue
            temporary = stack.enter_context(atomic_output(one.path, force=force))
            head = "".join(f"# {line}\n" for line in certificate_lines(one, result))
            temporary.write_text(head + plan_text(one.found.plan), encoding="utf-8")


def certificate_lines(one: PlanFound, result: SearchResult) -> list[str]:
    """List the proven facts about a plan, as comments for its file."""
    solution, found = one.found.solution, one.found
    lines = [f"found by dybitq search on {result.hardware}, {result.sensitivity}, {solution.strategy}"]
    if result.relative_error:
        lines.append(f"predicted SQNR {sqnr_of(found.error):.2f} dB")
    lines += [
        f"{limit.cost} {found.costs[limit.cost]:.6g} of at most {limit.absolute(result.baseline):.6g}"
        for limit in result.limits
        if limit.name in COSTS
    ]
    lines.append(
        f"{solution.status}: objective {solution.objective:.6g}, bound {solution.bound:.6g}, "
        f"gap {solution.gap:.3g}"
    )
    return lines
