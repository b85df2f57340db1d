"""Prices of plans: exact, one at a time, and as sums over the layers, for all choices around a plan.

The price of a layer depends on its own widths, and a little on its neighbours': it writes its output as
narrow as its readers take it, and a machine with room keeps on chip what fits. A table around a plan
prices every layer at every choice while all others stay unchanged; the saving of a narrower tensor in the
launches that write it counts for the layers that read it. The table is exact for the plan itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.allocation.memory import Occupancy
from dybitq.allocation.space import Assignment, LayerChoices, Space, bits_of
from dybitq.errors import ConfigError
from dybitq.graph.tensors import Tensors
from dybitq.hardware.costs import Array, Widths
from dybitq.hardware.engine import Prepared
from dybitq.hardware.price import Priced, prepare, price_arrays, stored_widths, workload_widths
from dybitq.hardware.widths import int8
from dybitq.plan.priced import PlanPricing
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan
from dybitq.records.workload import Workload
from dybitq.schema.machine import Machine

PRICED = ("latency", "cycles", "energy", "dram")
"""Costs that come from the machine: us, array cycles, pJ and bytes; ``size`` (bytes), ``bops`` and ``memory``
(bytes) come from the network alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceTable:
    """Costs of all choices around one assignment.

    Attributes:
        layers: by layer float64 ``[costs, weights, activations]``, at least 0, in the order of ``names`` and
            of the layer's choices.
        fixed: by cost the amount to add to the sum over the layers; may be negative.
        names: of the costs.
    """

    layers: Mapping[str, Array]
    fixed: Mapping[str, float]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plane:
    """Widths under the plan that gives every layer one weight (or activation) setting, where it has it."""

    w: Array  # [launches], at the multiplier
    a: Array
    bits: Array  # [tensors], stored


class Prices:
    """Prices of plans for one network on one machine.

    Args:
        workload: of the float network.
        machine: where it runs.
        space: choices of the layers.
    """

    def __init__(self, workload: Workload, machine: Machine, space: Space) -> None:
        self.space, self.machine = space, machine
        self._pricing = PlanPricing(workload, space.network, space.layers)
        base = self._pricing.workload_of(space.base)
        self._prepared = prepare(base, machine.fusion)
        launches = self._prepared.launches
        heads = {base.ops[index].name: place for place, index in enumerate(launches.heads)}
        self.places = {name: heads[name] for name in space.layers if name in heads}
        self._macs = {op.name: op.macs for op in base.ops}
        self._planes: dict[tuple[str, str], _Plane] = {}
        self._classes = self._tensors_of_roots(base)
        self._occupancy = Occupancy(base, self._prepared)
        self.baseline = self._of_workload(int8(base)) | self._counted({}, eight=True)

    # ------------------------------------------------------------------ one plan

    def exact(self, plan: Plan, assignment: Assignment) -> dict[str, float]:
        """Compute every cost of a plan, equal to those of ``simulate``.

        Returns:
            ``latency`` (us), ``cycles``, ``energy`` (pJ), ``dram``, ``size``, ``memory`` (bytes), ``bops``.
        """
        return self._of_workload(self._pricing.workload_of(plan)) | self._counted(assignment)

    def _of_workload(self, workload: Workload) -> dict[str, float]:
        ready = _with(self._prepared, workload)
        time = self._launches(price_arrays(self.machine, ready, workload_widths(self.machine, ready)))
        costs = {name: float(values.sum()) for name, values in time.items()}
        costs["latency"] += self.machine.overhead.fixed_ms * 1e3
        return costs | {"memory": float(self._occupancy.steps(ready.bits).max(initial=0.0))}

    def _counted(self, assignment: Assignment, *, eight: bool = False) -> dict[str, float]:
        """Compute size and BOPS, which do not depend on the machine."""
        size = bops = 0.0
        counted: set[str] = set()
        for choice in self.space.choices:
            layer = self.space.layers[choice.layer]
            pair = ("int8", "int8") if eight else assignment[choice.layer]
            bops += self.bops(layer, *pair)
            if layer.weight not in counted:
                counted.add(layer.weight)
                size += weight_bytes(layer, pair[0])
        return {"size": size, "bops": bops}

    def bops(self, layer: LayerWork, weights: str, activations: str) -> float:
        """MACs x weight bits x activation bits."""
        return float(self._macs.get(layer.name, 0)) * bits_of(weights) * bits_of(activations)

    def _launches(self, priced: Priced) -> dict[str, Array]:
        costs, energy = priced.costs, priced.energy
        return {
            "latency": costs.total / self.machine.clock_mhz + costs.overhead_us,
            "cycles": costs.total,
            "energy": energy.mac + energy.buffer + energy.dram + energy.leakage,
            "dram": costs.dram.total,
        }

    # ------------------------------------------------------------------ all choices

    def runs_as_is(self) -> dict[str, Array]:
        """Mark pairs that the machine does not run wider, by layer bool ``[weights, activations]``.

        A layer's widest choices always count as run.
        """
        weights, activations = self._settings()
        widths = self._own_widths(self._current(self.space.base), weights, activations)
        costs = price_arrays(self.machine, self._prepared, widths).costs
        asked_w = np.array([bits_of(name) for name in weights])[:, None]
        asked_a = np.array([bits_of(name) for name in activations])[None, :]
        as_is = {}
        for choice in self.space.choices:
            kept = np.ones((len(choice.weights), len(choice.activations)), dtype=bool)
            place = self.places.get(choice.layer)
            if place is not None:
                index = _index(choice, weights, activations)
                run_w = (costs.w_run[place].reshape(len(weights), -1) <= asked_w)[index]
                run_a = (costs.a_run[place].reshape(len(weights), -1) <= asked_a)[index]
                run_w[0, :] = run_a[:, 0] = True
                kept = run_w & run_a
            as_is[choice.layer] = kept
        return as_is

    def _settings(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """All settings of weights and of activations that some layer may take."""
        weights = dict.fromkeys(name for c in self.space.choices for name in c.weights)
        return tuple(weights), tuple(dict.fromkeys(n for c in self.space.choices for n in c.activations))

    def table(self, plan: Plan, assignment: Assignment, budgeted: Sequence[str]) -> PriceTable:
        """Price every choice while all others are those of ``plan``.

        Args:
            plan: of ``assignment``.
            assignment: the choices to price around.
            budgeted: names of the costs; ``memory`` becomes one cost for each launch, ``memory@3``.
        """
        current = self._current(plan)
        rows: dict[str, list[Array]] = {choice.layer: [] for choice in self.space.choices}
        exact = self.exact(plan, assignment)
        fixed: dict[str, float] = {}
        priced = [name for name in PRICED if name in budgeted]
        own, shared = ({}, {}) if not priced else (self._own(current), self._shared(current))
        for name in priced:
            self._add_priced(rows, own[name], shared[name])
        for name in ("size", "bops"):
            if name in budgeted:
                self._add_counted(rows, name)
        names = [*priced, *(name for name in ("size", "bops") if name in budgeted)]
        if "memory" in budgeted:
            steps = self._memory_rows(rows, current)
            names += steps
            alive = self._occupancy.steps(current.bits)[:, 0]
            exact |= {name: float(alive[int(name.partition("@")[2])]) for name in steps}
        layers = {name: np.stack(found) if found else np.zeros((0, 1, 1)) for name, found in rows.items()}
        for index, name in enumerate(names):
            chosen = [layers[c.layer][(index, *_places(c, assignment))] for c in self.space.choices]
            fixed[name] = exact[name] - float(np.sum(chosen))
        return PriceTable(layers=layers, fixed=fixed, names=tuple(names))

    def _add_priced(
        self, rows: dict[str, list[Array]], own: Mapping[str, Array], shared: Mapping[str, Array]
    ) -> None:
        booked: set[str] = set()
        for choice in self.space.choices:
            cost = own.get(choice.layer, np.zeros((len(choice.weights), len(choice.activations))))
            if choice.root is not None and choice.root not in booked:
                booked.add(choice.root)
                others = shared.get(choice.root)
                cost = cost if others is None else cost + (others - others.min())[None, :]
            rows[choice.layer].append(cost)

    def _add_counted(self, rows: dict[str, list[Array]], name: str) -> None:
        counted: set[str] = set()
        for choice in self.space.choices:
            layer = self.space.layers[choice.layer]
            cost = np.zeros((len(choice.weights), len(choice.activations)))
            if name == "bops":
                cost = np.array(
                    [[self.bops(layer, w, a) for a in choice.activations] for w in choice.weights]
                )
            elif layer.weight not in counted:
                counted.add(layer.weight)
                cost = cost + np.array([weight_bytes(layer, w) for w in choice.weights])[:, None]
            rows[choice.layer].append(cost)

    def _current(self, plan: Plan) -> _Plane:
        ready = _with(self._prepared, self._pricing.workload_of(plan))
        widths = workload_widths(self.machine, ready)
        return _Plane(w=widths.w[:, 0], a=widths.a[:, 0], bits=ready.bits)

    def _plane(self, part: str, setting: str) -> _Plane:
        """Compute widths where every layer that may take ``setting`` does so."""
        if (part, setting) not in self._planes:
            assignment = self.space.widest()
            for choice in self.space.choices:
                weights, activations = assignment[choice.layer]
                if part == "weights" and setting in choice.weights:
                    assignment[choice.layer] = (setting, activations)
                elif part == "activations" and setting in choice.activations:
                    assignment[choice.layer] = (weights, setting)
            self._planes[part, setting] = self._current(self.space.plan(assignment))
        return self._planes[part, setting]

    def _own_widths(self, current: _Plane, weights: Sequence[str], activations: Sequence[str]) -> Widths:
        """Widths of all launches at all pairs of settings ``[L, weights * activations]``; outputs as are."""
        launches, most = self._prepared.launches, self.machine.precision.max_bits
        base = stored_widths(
            self.machine, self._prepared, current.w[:, None], current.a[:, None], current.bits
        )
        by_w = [self._plane("weights", name) for name in weights]
        by_a = [self._plane("activations", name) for name in activations]
        count = len(by_w), len(by_a)
        w = np.repeat(np.stack([plane.w for plane in by_w], axis=1), count[1], axis=1)
        a = np.tile(np.stack([plane.a for plane in by_a], axis=1), (1, count[0]))
        weight = np.stack([np.minimum(p.bits[launches.weight, 0], most) for p in by_w], axis=1)
        source = np.stack([np.minimum(p.bits[launches.input, 0], most) for p in by_a], axis=1)
        weight, source = np.repeat(weight, count[1], axis=1), np.tile(source, (1, count[0]))
        wide = {
            name: np.broadcast_to(getattr(base, name), w.shape)
            for name in ("output", "output_stored", "extra_bits", "extra_words")
        }
        return Widths(
            w=w,
            a=a,
            weight=np.where(base.weight > 0, weight, 0),
            input=np.where(base.input > 0, source, 0),
            input_stored=np.maximum(source, 1),
            table=count,
            **wide,
        )

    def _own(self, current: _Plane) -> dict[str, dict[str, Array]]:
        """By cost and layer ``[weights, activations]``: the layer's own launch."""
        weights, activations = self._settings()
        costs = self._launches(
            price_arrays(self.machine, self._prepared, self._own_widths(current, weights, activations))
        )
        result: dict[str, dict[str, Array]] = {name: {} for name in costs}
        for choice in self.space.choices:
            place = self.places.get(choice.layer)
            if place is None:
                continue
            index = _index(choice, weights, activations)
            for name, values in costs.items():
                result[name][choice.layer] = values[place].reshape(len(weights), len(activations))[index]
        return result

    def _shared(self, current: _Plane) -> dict[str, dict[str, Array]]:
        """By cost and root ``[activations]``: all launches but those of the readers, at each width of it."""
        columns = [(root, name) for root, names in self._widths_of_roots().items() for name in names]
        if not columns:
            return {name: {} for name in PRICED}
        bits = self._bits(current, columns)
        pairs = np.broadcast_to(current.w[:, None], (len(current.w), len(columns)))
        a = np.broadcast_to(current.a[:, None], pairs.shape)
        widths = stored_widths(self.machine, self._prepared, pairs, a, bits)
        costs = self._launches(price_arrays(self.machine, self._prepared, widths))
        readers = self._readers()
        mask = np.ones(pairs.shape)
        for column, (root, _) in enumerate(columns):
            mask[readers[root], column] = 0
        result: dict[str, dict[str, Array]] = {}
        for name, values in costs.items():
            sums = (values * mask).sum(axis=0)
            result[name] = {
                root: np.array([sums[i] for i, column in enumerate(columns) if column[0] == root])
                for root in readers
            }
        return result

    def _widths_of_roots(self) -> dict[str, tuple[str, ...]]:
        return {c.root: c.activations for c in self.space.choices if c.root is not None}

    def _readers(self) -> dict[str, list[int]]:
        readers: dict[str, list[int]] = {}
        for choice in self.space.choices:
            if choice.root is not None:
                readers.setdefault(choice.root, [])
                if choice.layer in self.places:
                    readers[choice.root].append(self.places[choice.layer])
        return readers

    def _bits(self, current: _Plane, columns: Sequence[tuple[str, str]]) -> Array:
        """Return stored widths ``[T, columns]`` with the tensors of one root changed in each column."""
        bits = np.repeat(current.bits, len(columns), axis=1)
        for column, (root, name) in enumerate(columns):
            tensors = self._classes[root]
            bits[tensors, column] = self._plane("activations", name).bits[tensors, 0]
        return bits

    def _tensors_of_roots(self, base: Workload) -> dict[str, Array]:
        """Tensors of the workload that carry the codes of each root, parts of concatenations included."""
        tensors = Tensors(self.space.network)
        roots = {c.root for c in self.space.choices if c.root is not None}
        wholes = {part: root for root in roots for part in tensors.concatenated(root)}
        carried = self._pricing.roots(self.space.base)
        carriers: dict[str, list[int]] = {root: [] for root in roots}
        for index, tensor in enumerate(base.tensors):
            root = None if tensor.constant else carried.get(tensor.name)
            if root is not None and root not in roots:
                root = wholes.get(root)
            if root is not None and root in carriers:
                carriers[root].append(index)
        return {root: np.array(indices, dtype=np.int64) for root, indices in carriers.items()}

    def _memory_rows(self, rows: dict[str, list[Array]], current: _Plane) -> list[str]:
        """One cost for each launch: bytes of the activations alive there, by the root that decides them."""
        columns = [(root, name) for root, names in self._widths_of_roots().items() for name in names]
        now = self._occupancy.steps(current.bits)
        change = (
            self._occupancy.steps(self._bits(current, columns)) - now if columns else np.zeros((len(now), 0))
        )
        steps = self._occupancy.maximal()
        booked: set[str] = set()
        for choice in self.space.choices:
            first = choice.root is not None and choice.root not in booked
            booked.add(choice.root or "")
            mine = [i for i, column in enumerate(columns) if first and column[0] == choice.root]
            for step in steps:
                cost = np.zeros((len(choice.weights), len(choice.activations)))
                if mine:
                    cost = cost + (change[step, mine] - change[step, mine].min())[None, :]
                rows[choice.layer].append(cost)
        return [f"memory@{step}" for step in steps]


def weight_bytes(layer: LayerWork, weights: str) -> float:
    """Bytes of a layer's packed codes, rounded up; four bytes a weight where they stay in float."""
    return float(-(-layer.weight_count * bits_of(weights) // 8))


def _places(choice: LayerChoices, assignment: Assignment) -> tuple[int, int]:
    weights, activations = assignment[choice.layer]
    return choice.weights.index(weights), choice.activations.index(activations)


def _index(choice: LayerChoices, weights: Sequence[str], activations: Sequence[str]) -> tuple[Array, ...]:
    """Index a layer's choices among all settings."""
    return np.ix_(
        [weights.index(name) for name in choice.weights],
        [activations.index(name) for name in choice.activations],
    )


def _with(prepared: Prepared, workload: Workload) -> Prepared:
    """Keep the launches and take the widths of another workload."""
    if len(workload.ops) != len(prepared.workload.ops):
        raise ConfigError("the plan quantizes other layers than the plan that the search started from")
    bits = np.array([tensor.bits for tensor in workload.tensors], dtype=np.int64)[:, None]
    return replace(prepared, workload=workload, bits=bits)
