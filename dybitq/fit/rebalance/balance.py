"""Everything that moves factors between the layers of the float network before anything is fitted."""

from collections.abc import Mapping
from dataclasses import dataclass

from dybitq.fit.rebalance.channel_ranges import give_channel_ranges
from dybitq.fit.rebalance.equalize import equalize
from dybitq.fit.rebalance.smoothing import smooth
from dybitq.graph.load import Network
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan
from dybitq.records.statistics import Statistics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balanced:
    """A network that computes the same, and all that belongs to it.

    Attributes:
        network: with other parameters, and perhaps a few more operators in front of layers.
        layers: its survey.
        plan: for its tensors.
        statistics: of its tensors and channels.
        rescaled: names of the tensors whose channels have other factors.
        notes: what was found, one sentence for each method.
    """

    network: Network
    layers: Mapping[str, LayerWork]
    plan: Plan
    statistics: Statistics
    rescaled: tuple[str, ...]
    notes: tuple[str, ...]


def balance(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> Balanced:
    """Equalization; unless everything is integer, also channel ranges around functions, and smoothing."""
    equal = equalize(network, layers, plan, statistics)
    if plan.arithmetic != FLOAT_RESCALE:
        return Balanced(
            network=equal.network,
            layers=layers,
            plan=plan,
            statistics=equal.statistics,
            rescaled=equal.rescaled,
            notes=equal.notes,
        )
    ranged = give_channel_ranges(equal.network, layers, plan, equal.statistics)
    smoothed = smooth(ranged.network, layers, ranged.plan, ranged.statistics)
    return Balanced(
        network=smoothed.network,
        layers=smoothed.layers,
        plan=ranged.plan,
        statistics=smoothed.statistics,
        rescaled=(*equal.rescaled, *ranged.rescaled, *smoothed.rescaled),
        notes=(*equal.notes, *ranged.notes, *smoothed.notes),
    )
