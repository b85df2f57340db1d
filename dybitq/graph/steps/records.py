"""The record of one integer operation in the names of the float network; see ``recognise.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import onnx_ir as ir

from dybitq.graph.pointwise import Response
from dybitq.graph.steps.channels import Gains
from dybitq.graph.steps.regions import Segment
from dybitq.graph.values import constant, is_constant
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import AttributeValue


class StepKind(StrEnum):
    """What an operator becomes."""

    LAYER = "layer"  # weights times codes
    PRODUCT = "product"  # codes times codes
    ADD = "add"
    MULTIPLY = "multiply"
    CONCAT = "concat"
    MEAN = "mean"  # over all of space
    WINDOW_MEAN = "window mean"
    REGION_MEANS = "region means"  # WINDOW_MEAN without padding
    AFFINE = "affine"  # a gain and a shift for each channel
    SLOPES = "slopes"  # PRelu with a slope for each channel
    INTERPOLATE = "interpolate"  # linear Resize by a whole factor
    LOOKUP = "lookup"
    MOVE = "move"
    CLAMP = "clamp"
    QUANTIZE = "quantize"  # float to codes
    SHAPE = "shape"  # arithmetic on shapes: no activation value enters it
    TAIL = "tail"  # moves values behind the output's dequantizer
    FLOAT = "float"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One operation, in the names of the float network.

    Attributes:
        kind: what it becomes.
        name: of the operator (of the first one, where several become one step).
        op_type: of that operator.
        inputs: activations it reads, by name; of an ADD, MULTIPLY or CONCAT also constants.
        outputs: tensors it produces.
        operands: of a MOVE: names, constants and None in ONNX order.
        attributes: of a MOVE.
        constants: float32 constant operands, by name.
        bounds: of the Relu or Clip that the step takes in (for CLAMP: of itself).
        window: of a WINDOW_MEAN.
        factor: whole factor of an INTERPOLATE, the same for rows and columns.
        half_pixel: whether an INTERPOLATE aligns pixel centres (otherwise the first pixels).
        channels: channels of a WINDOW_MEAN or INTERPOLATE.
        segments: of a REGION_MEANS, along every spatial axis.
        gains: gain and shift of every channel of an AFFINE, slopes and zeros of a SLOPES.
        rank: of the input of an AFFINE or SLOPES.
        count: how many values a MEAN averages.
        axes: over which it does.
        axis: of a CONCAT.
        function: of a LOOKUP.
        wide: whether the result stays an int32 accumulator: last matrix products and means.
        reason: why it stays in float.
    """

    kind: StepKind
    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operands: tuple[str | np.ndarray | None, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    window: Window | None = None
    factor: int = 1
    half_pixel: bool = False
    channels: int = 0
    segments: tuple[tuple[Segment, ...], ...] = ()
    gains: Gains | None = None
    rank: int = 0
    count: int = 0
    axes: tuple[int, ...] = ()
    axis: int = 0
    function: Response | None = None
    wide: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerSteps:
    """A network as steps.

    Attributes:
        steps: in topological order.
        roots: every coded tensor to the tensor whose encoding it has (itself, where it has its own).
        accumulators: tensors that stay int32 up to the output, to the tensor that the sum wrote.
        bounds: real-valued bounds of coded tensors that a Relu or Clip wrote.
        responses: what the only reader of a tensor makes of its values, where that is a LOOKUP.
        outputs: names of the graph outputs.
    """

    steps: tuple[Step, ...]
    roots: Mapping[str, str]
    accumulators: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]
    responses: Mapping[str, Response]
    outputs: tuple[str, ...]

    @property
    def encodings(self) -> tuple[str, ...]:
        """Tensors with an encoding of their own, in topological order."""
        return tuple(name for name, root in self.roots.items() if name == root)

    @property
    def float_steps(self) -> tuple[Step, ...]:
        """What is not integer arithmetic."""
        return tuple(step for step in self.steps if step.kind is StepKind.FLOAT)


def make_step(
    node: ir.Node,
    kind: StepKind,
    inputs: Sequence[ir.Value],
    outputs: tuple[str, ...] | None = None,
    **details: Any,
) -> Step:
    """A step for ``node``; constants among ``inputs`` come with their values."""
    return Step(
        kind=kind,
        name=str(node.name),
        op_type=node.op_type,
        inputs=tuple(str(v.name) for v in inputs),
        outputs=outputs if outputs is not None else tuple(str(v.name) for v in node.outputs if v.name),
        constants={str(v.name): np.asarray(constant(v)) for v in inputs if is_constant(v)},
        **details,
    )


def operand(value: ir.Value | None) -> str | np.ndarray | None:
    """An input of a MOVE: its name, its value if constant, None where it is left out."""
    if value is None:
        return None
    array = constant(value)
    return str(value.name) if array is None else array


def plain_attributes(node: ir.Node) -> dict[str, AttributeValue]:
    """The numbers, strings and lists among the attributes of a node."""
    found: dict[str, AttributeValue] = {}
    for name, attribute in node.attributes.items():
        value = attribute.value
        if isinstance(value, int | float | str):
            found[name] = value
        elif isinstance(value, list | tuple):
            found[name] = tuple(value)
    return found
