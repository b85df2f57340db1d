"""The seam between emission and what a quantized network is written for.

A target says how an activation tensor (an edge) and a weighted layer are written, and what of a plan it
cannot carry. :mod:`dybitq.emit.emit` goes through the graph once and decides what each node is; everything
that depends on the runtime that will read the file is asked of the target. A target is one file in
``emit/targets/``, which registers it under the name of the file, and variants of it, if there are any, under
that name, a hyphen and a word of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from dybitq.emit.layers import Layer
from dybitq.errors import ConfigError, naming
from dybitq.records.fitted import FittedEdge
from dybitq.records.formats import NumberFormat
from dybitq.records.layers import LayerWork
from dybitq.records.plan import EdgePlan, LayerPlan, Plan
from dybitq.registry import Registry


class EdgeWriter(Protocol):
    """Writes the activation tensors of one graph."""

    def has_codes(self, value: ir.Value | None) -> bool:
        """Tell whether ``value`` has been quantized, or carries the codes of a tensor that has been."""
        ...

    def quantize_input(
        self, value: ir.Value, edge: FittedEdge, readers: Sequence[tuple[ir.Node, int]]
    ) -> None:
        """Quantize an input of the graph for ``readers``; others read it as it comes."""
        ...

    def quantize(self, value: ir.Value, edge: FittedEdge) -> None:
        """Quantize the output of an operator for everything that reads it."""
        ...

    def pass_on(self, node: ir.Node) -> None:
        """Write an operator that only moves or compares values: its outputs carry its input's codes."""
        ...

    def clamp(self, node: ir.Node) -> None:
        """Write a Relu or Clip of a tensor with codes; its output carries them."""
        ...

    def function(self, node: ir.Node, edge: FittedEdge) -> None:
        """Write an elementwise function of a tensor with codes, and quantize its output as ``edge``."""
        ...

    def operands(self, node: ir.Node) -> None:
        """Write the constant operands of an operator with quantized activations and a quantized output."""
        ...


class GraphWriter(Protocol):
    """Writes one graph; told of the nodes in topological order."""

    @property
    def edges(self) -> EdgeWriter:
        """The half that writes activation tensors."""
        ...

    def layer(self, layer: Layer, *, output_coded: bool) -> ir.Value:
        """Write a weighted layer.

        Args:
            layer: the node, its plan and its fitted arrays.
            output_coded: whether its output, or the clamp that alone reads it, will be quantized.

        Returns:
            The value that now has the layer's output, under the old name.
        """
        ...

    def float_layer(self, node: ir.Node, work: LayerWork, *, output_coded: bool) -> None:
        """Write a weighted layer, or product of two activations, that has no fitted weights."""
        ...

    def finish(self) -> None:
        """Add what the whole file needs, such as its IR version; called once, after the last node."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A decision of a plan that a target cannot carry.

    Attributes:
        decision: the layer, tensor or whole plan that has it.
        field: the field of ``decision``.
        why: what is in the way, as the end of "cannot write it: ...".
        nearest: the value of the field that comes nearest and can be carried.
    """

    decision: Plan | LayerPlan | EdgePlan
    field: str
    why: str
    nearest: str

    def __str__(self) -> str:
        """One clause: what was found, why it is refused, and the nearest value."""
        match self.decision:
            case LayerPlan(layer=name):
                where = f"layer {name!r} has "
            case EdgePlan(tensor=name):
                where = f"tensor {name!r} has "
            case Plan():
                where = "the plan has "
        found = getattr(self.decision, self.field)
        return f"{where}{self.field}: {found} ({self.why}); the nearest that it can write is {self.nearest}"


class Target(Protocol):
    """A runtime that quantized networks can be written for."""

    def carries(self, fmt: NumberFormat) -> bool:
        """Tell whether weights in the format ``fmt`` can be written; ``auto`` formats choose among these."""
        ...

    def refusals(self, plan: Plan, layers: Mapping[str, LayerWork]) -> Sequence[Refusal]:
        """List everything in ``plan`` that cannot be written.

        Args:
            plan: the decisions; ``auto`` formats are not chosen yet.
            layers: survey by node name.
        """
        ...

    def open(self, model: ir.Model, plan: Plan) -> GraphWriter:
        """Return a writer that turns ``model``, a copy of the float network, into the quantized one."""
        ...


targets: Registry[Target] = Registry("target", "dybitq.emit.targets")


def target_of(plan: Plan) -> Target:
    """Return the target that ``plan`` names.

    Raises:
        ConfigError: there is none of that name; the message has the nearest one and lists all.
    """
    with naming(plan.source):
        return targets.get(plan.target)


def check_target(plan: Plan, layers: Mapping[str, LayerWork]) -> None:
    """Refuse a plan that its target cannot write, before anything is fitted.

    Raises:
        ConfigError: no such target; or the first decision that it cannot carry, and how many more there are.
    """
    refused = target_of(plan).refusals(plan, layers)
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise ConfigError(f"{plan.source}: target {plan.target!r} cannot write the plan: {refused[0]}{more}")
