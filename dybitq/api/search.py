"""``dybitq search`` as a function: from budgets to a plan, or to a front of plans."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from dybitq.api.measured import DropWalk, Measured
from dybitq.api.opened import opened
from dybitq.api.search_request import (
    SEARCHED,
    Request,
    check_request,
    data_key,
    default_sensitivity,
    goal_of,
    output_paths,
)
from dybitq.data.source import DataSource
from dybitq.data.spec import load_data
from dybitq.emit.target import check_target
from dybitq.errors import ConfigError, UnsupportedError
from dybitq.files import atomic_output, check_output
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.plan.recipe import FIRST_OR_LAST, Recipe
from dybitq.plan.store import plan_text
from dybitq.records.plan import is_coded
from dybitq.records.progress import Progress
from dybitq.runtime.session import Session
from dybitq.schema.machine import Machine
from dybitq.search.budgets import COSTS, Limit, parse_budgets, sqnr_of
from dybitq.search.explain import Reason, explain
from dybitq.search.feasibility import InfeasibleError
from dybitq.search.formulation import ERROR, Goal, check_ties
from dybitq.search.front import front
from dybitq.search.iterate import FoundPlan, Searcher
from dybitq.search.modes import allowed_pairs, reduced_to_modes
from dybitq.search.prices import Prices
from dybitq.search.sensitivity import SAMPLES, Subject
from dybitq.search.sensitivity.cache import scores_of
from dybitq.search.space import open_space

__all__ = ["SEARCHED", "PlanFound", "Request", "SearchResult", "search"]

_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanFound:
    """One plan, the file it was written to, and what was found out about it."""

    path: Path
    found: FoundPlan
    reasons: tuple[Reason, ...] = ()
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchResult:
    """What ``search`` found.

    Attributes:
        hardware: the machine's name.
        request: what was asked for.
        limits: the budgets.
        baseline: costs of the network at uniform int8, by name.
        relative_error: whether the predicted error is that of the output, so that it has an SQNR.
        minimised: ``error`` or the name of a cost.
        plans: the plan, or the front from cheap to accurate.
    """

    hardware: str
    request: Request
    limits: tuple[Limit, ...]
    baseline: Mapping[str, float]
    relative_error: bool
    minimised: str
    plans: tuple[PlanFound, ...]


def search(
    model: Path,
    statistics: Path,
    hardware: str,
    output: Path,
    request: Request,
    *,
    recipe: Recipe | None = None,
    data: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SearchResult:
    """Find formats for every layer and activation within budgets, and write them as a plan.

    Args:
        model: float32 ONNX file.
        statistics: of this model.
        hardware: preset or machine file.
        output: plan to write; of a front ``NAME-01.yaml`` and so on.
        request: budgets and how to search.
        recipe: what may be chosen: lists of formats in defaults and rules; everything if None.
        data: samples, for sensitivities that run the network and for a measured drop.
        force: replace existing outputs.
        progress: called with stage, done, total.

    Raises:
        InfeasibleError: no plan keeps the budgets.
        ConfigError: budgets, recipe, machine or options that contradict each other.
        StatisticsError: statistics of another model.
        OutputError: an output exists or cannot be written.
    """
    request = replace(request, sensitivity=request.sensitivity or default_sensitivity(data))
    limits = parse_budgets(request.budgets)
    check_request(request, limits, data)
    paths = output_paths(output, request.pareto)
    for path in paths:
        check_output(path, force=force, inputs=(model, statistics))
    ready = _prepared(model, statistics, hardware, request, limits, recipe, data, progress)
    goal = goal_of(limits, request, ready.searcher.prices, ready.searcher.scores)
    try:
        found = _found(ready.searcher, goal, limits, request, (model, statistics, data), progress)
    except InfeasibleError as error:
        raise InfeasibleError(error.reaches, _advice(limits, ready, error)) from None
    plans = tuple(
        PlanFound(
            path=path,
            found=_with_reasons(one, ready.searcher),
            reasons=explain(one.problem, one.solution) if request.reasons else (),
            measured=measured,
        )
        for path, (one, measured) in zip(paths, found)
    )
    result = _result(ready, request, limits, goal, plans)
    _write(result, force=force)
    return result


def _result(
    ready: "_Ready", request: Request, limits: Sequence[Limit], goal: Goal, plans: tuple[PlanFound, ...]
) -> SearchResult:
    return SearchResult(
        hardware=ready.machine.name,
        request=request,
        limits=tuple(limits),
        baseline=ready.searcher.prices.baseline,
        relative_error=ready.searcher.scores.relative_error,
        minimised=goal.minimise,
        plans=plans,
    )


def _with_reasons(found: FoundPlan, searcher: Searcher) -> FoundPlan:
    """The plan with each layer's share of the predicted error beside it."""
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
    """What the numbers of an infeasible budget are in, and what could be allowed besides."""
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


def _prepared(
    model: Path,
    statistics: Path,
    hardware: str,
    request: Request,
    limits: Sequence[Limit],
    recipe: Recipe | None,
    data: Path | None,
    progress: Progress | None,
) -> _Ready:
    """Prices of all choices and scores of all that may be taken."""
    machine = load_machine(hardware, request.machine_settings)
    network, layers, seen = opened(model, statistics)
    space = open_space(network, layers, recipe or Recipe(defaults=SEARCHED))
    check_target(space.base, layers)
    if not any(is_coded(choice.weights[0]) for choice in space.choices):
        raise UnsupportedError(f"{model}: nothing would be quantized: it has no layer with weights to code")
    everything, workload = space, read_workload(model, request.shapes)
    prices = Prices(workload, machine, space)
    if not request.stored:
        space = reduced_to_modes(prices)
        prices = Prices(workload, machine, space)
    allowed = allowed_pairs(prices, stored=request.stored)
    check_ties(space, allowed)
    subject = Subject(
        space=space,
        statistics=seen,
        source=None if data is None else _source(network, data, request),
        samples=request.samples or SAMPLES,
        progress=progress,
    )
    sensitivity = request.sensitivity or default_sensitivity(data)
    scores = scores_of(sensitivity, subject, statistics, data_key=data_key(data, request))
    if any(limit.name == "sqnr" for limit in limits) and not scores.relative_error:
        raise ConfigError(
            f"--budget sqnr: the sensitivity {sensitivity!r} does not predict the error of the "
            "output; use output-error, compensated or gain"
        )
    searcher = Searcher(
        prices=prices, scores=scores, allowed=allowed, strategy=request.strategy, settings=request.settings
    )
    return _Ready(machine=machine, searcher=searcher, reduced=space.choices != everything.choices)


def _source(network: Network, data: Path, request: Request) -> Callable[[], DataSource]:
    def opened() -> DataSource:
        inputs = Session(to_bytes(network.model), name=str(network.path)).inputs
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
    files: tuple[Path, Path, Path | None],
    progress: Progress | None,
) -> list[tuple[FoundPlan, Measured | None]]:
    model, statistics, data = files
    drop = next((limit.value for limit in limits if limit.name == "drop"), None)
    if drop is not None and data is not None:
        walk = DropWalk(model, statistics, data, split=request.drop_split, progress=progress)
        return [walk.search(searcher, goal, drop)]
    if request.pareto is None:
        return [(searcher.search(goal), None)]
    cost = request.minimise or next((limit.cost for limit in limits), "latency")
    return [(found, None) for found in front(searcher, goal, cost, request.pareto, progress)]


# --------------------------------------------------------------------------- output


def _write(result: SearchResult, *, force: bool) -> None:
    """All plans get their names at the very end, or none does."""
    with ExitStack() as stack:
        for one in result.plans:
            temporary = stack.enter_context(atomic_output(one.path, force=force))
            head = "".join(f"# {line}\n" for line in certificate_lines(one, result))
            temporary.write_text(head + plan_text(one.found.plan), encoding="utf-8")


def certificate_lines(one: PlanFound, result: SearchResult) -> list[str]:
    """What is proven about a plan, for people who open its file."""
    solution, found = one.found.solution, one.found
    lines = [
        f"found by dybitq search on {result.hardware}, {result.request.sensitivity}, {solution.strategy}"
    ]
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
