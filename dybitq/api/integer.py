"""The part of ``dybitq quantize`` that is integer-only: plan, fit, proof of the accumulators, emission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dybitq.emit.integer.emission import emit_integer
from dybitq.fit.auto import resolve_auto
from dybitq.graph.load import Network
from dybitq.graph.source import Graph
from dybitq.integer.fit import fit_integer
from dybitq.integer.recognise import IntegerSteps
from dybitq.plan.integer import check_integer_plan, make_integer_plan, steps_of_plan
from dybitq.plan.recipe import Recipe, check_recipe, make_plan
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.fitted import Fitted
from dybitq.records.integer_network import IntegerNetwork
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics
from dybitq.report.quantize import FloatOperator
from dybitq.verification.bounds import check_registers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerQuantization:
    """Result of :func:`quantize_to_integers`.

    Attributes:
        model: the graph to write.
        network: the same as records of its operations.
        plan: as it was carried out, with the relative snap of every scale.
        fitted: weights and encodings.
        float_operators: what is no integer arithmetic, with the reason.
    """

    model: Graph
    network: IntegerNetwork
    plan: Plan
    fitted: Fitted
    float_operators: tuple[FloatOperator, ...]


def plan_of(network: Network, layers: Sequence[LayerWork], recipe: Recipe) -> Plan:
    """Return the plan that a recipe asks for, in its arithmetic.

    Raises:
        ConfigError: the recipe has names that nothing has, or contradicts the model.
    """
    check_recipe(recipe)
    if recipe.arithmetic == FLOAT_RESCALE:
        return make_plan(network, layers, recipe)
    return make_integer_plan(network, layers, recipe)


def quantize_to_integers(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    progress: Progress | None = None,
) -> IntegerQuantization:
    """Carry out an integer-only plan.

    Raises:
        ConfigError: the plan contradicts integer-only arithmetic.
        UnsupportedError: an operator has no integer form (``strict``), a factor cannot be represented, or an
            accumulator needs more than 32 bits; the message names the operator or layer.
    """
    steps = steps_of_plan(network, layers, plan)
    check_integer_plan(steps, plan)
    plan = resolve_auto(network, layers, plan, statistics)
    fitted = fit_integer(network, layers, plan, statistics, steps, progress)
    check_registers(fitted.network)
    return IntegerQuantization(
        model=emit_integer(network, fitted.network, plan.arithmetic),
        network=fitted.network,
        plan=fitted.plan,
        fitted=fitted.fitted,
        float_operators=_float_operators(steps),
    )


def _float_operators(steps: IntegerSteps) -> tuple[FloatOperator, ...]:
    return tuple(
        FloatOperator(name=step.name, op_type=step.op_type, reason=step.reason) for step in steps.float_steps
    )
