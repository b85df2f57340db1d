"""Steps of a network in integers: one operator each, in the names of the float network.

A step is a small record that a file of ``dybitq/integer/operators`` defines, next to the function that
recognises it. It says which encodings it reads and writes, how it ties scales together, and what operations
of the integer network it becomes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dybitq.graph.pointwise import Response
from dybitq.records.integer_network import Operation

if TYPE_CHECKING:
    from dybitq.integer.assembly import Assembly


class Encoding(StrEnum):
    """Scale and zero point of the codes that a step writes."""

    OWN = "own"  # an encoding of its own
    CARRIED = "carried"  # that of its first input
    NONE = "none"  # it writes no codes


@dataclass(frozen=True, slots=True)
class EqualScales:
    """Scales of the inputs and of the result lie powers of two apart, whatever else gives way."""


@dataclass(frozen=True, slots=True)
class MeanScale:
    """The scale of the result is that of the input divided by ``count``, up to a power of two."""

    count: int


@dataclass(frozen=True, slots=True)
class ProductScale:
    """The scale of the result is the product of those of two inputs, up to a power of two."""


ScaleTie = EqualScales | MeanScale | ProductScale


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerStep(ABC):
    """One operator, in the names of the float network; the base of all steps.

    Class facts:
        encoding: of the codes that it writes.
        joins: whether a branch that only this step reads takes the encoding of the step's result.
        recodable: whether the result, as such a branch, may take another encoding.
        any_width: whether activations that only such steps read may have fewer than 8 bits.

    Attributes:
        name: of the operator (of the first one, where several become one step).
        op_type: of that operator.
        inputs: activations that it reads, by name, and constants that have to be coded.
        outputs: tensors that it produces.
        constants: float32 values of the constants among the inputs, by name.
        bounds: of the Relu or Clip that the step takes in.
    """

    encoding: ClassVar[Encoding] = Encoding.OWN
    joins: ClassVar[bool] = False
    recodable: ClassVar[bool] = True
    any_width: ClassVar[bool] = False

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None

    @abstractmethod
    def assemble(self, assembly: "Assembly") -> list[Operation]:
        """Return the operations of the integer network that the step becomes.

        Raises:
            UnsupportedError: a factor cannot be represented; the message names the operator.
        """

    @property
    def tie(self) -> ScaleTie | None:
        """Relation between scales without which a factor would be no power of two, or None."""
        return None

    @property
    def response(self) -> Response | None:
        """Function of its input that the step computes, None where it is no function of one value."""
        return None

    def joined(self, roots: Mapping[str, str]) -> "IntegerStep":
        """Return the step once encodings are shared as ``roots`` says, simpler where that allows it."""
        return self

    def as_sum(self) -> "IntegerStep | None":
        """Return the step that hands out its int32 sum as it is; None where it has no such sum."""
        return None

    def sum_unit(self, assembly: "Assembly") -> np.ndarray:
        """Value of one unit of the sum of :meth:`as_sum`, float64 ``[1]`` or ``[channels]``."""
        raise TypeError(f"{self.op_type} {self.name!r} hands out no sum")
