"""Inputs and results of timing models: arrays over launches and width pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray

# What sets the time of a launch; index into this tuple in ``Costs.bound``.
BOUNDS = ("compute", "dram", "fill", "vector", "overhead", "table")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Widths:
    """Widths in bits, int64 ``[L, P]`` (``P`` pairs of widths priced at once).

    Attributes:
        w, a: widths that reach the multiplier; ``w_run``, ``a_run``: widths that it runs.
        weight, input, output: width of one stored element; 0 where the tensor never leaves the chip.
        input_stored, output_stored: width of one stored element even then.
        extra_bits, extra_words: bits and elements of the further activations that riders read from DRAM.
        table: ``(rows, columns)`` when the pairs are the cells of a table of widths, row after row.
    """

    w: Array
    a: Array
    weight: Array
    input: Array
    output: Array
    input_stored: Array
    output_stored: Array
    extra_bits: Array
    extra_words: Array
    table: tuple[int, int] | None = None

    def at(self, index: Any) -> "Widths":
        """Select some launches (and pairs)."""
        arrays = {name: getattr(self, name)[index] for name in self.__slots__ if name != "table"}
        return Widths(**arrays, table=self.table)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operands:
    """One count for each operand, float64 ``[L, P]``."""

    input: Array
    weight: Array
    output: Array

    @property
    def total(self) -> Array:
        """Sum over the operands."""
        return self.input + self.weight + self.output

    def at(self, index: Any) -> "Operands":
        """Select some launches."""
        return Operands(input=self.input[index], weight=self.weight[index], output=self.output[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """Costs of launches, float64 ``[L, P]`` unless said otherwise; see ``LayerCost`` for the meanings.

    ``extra`` holds numbers that only one timing model has.
    """

    w_run: Array
    a_run: Array
    folds: Array
    cycles: Array
    fill: Array
    stall: Array
    total: Array
    overhead_us: Array
    utilisation: Array
    mapping: Array
    end_to_end: Array
    sram_reads: Operands
    sram_writes: Operands
    dram: Operands
    distinct: Operands
    bound: Array
    extra: Mapping[str, Array] = field(default_factory=dict)

    def at(self, index: Any) -> "Costs":
        """Select some launches."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "extra"}
        taken: dict[str, Any] = {
            name: value.at(index) if isinstance(value, Operands) else value[index]
            for name, value in fields.items()
        }
        return Costs(**taken, extra={name: value[index] for name, value in self.extra.items()})

    def replaced(self, places: Array, other: "Costs") -> "Costs":
        """Replace the rows ``places`` by those of ``other``, which has only those."""
        result = self.at(np.arange(len(self.total)))
        for name in self.__slots__:
            mine, theirs = getattr(result, name), getattr(other, name)
            if isinstance(mine, Operands):
                for part in mine.__slots__:
                    getattr(mine, part)[places] = getattr(theirs, part)
            elif name != "extra":
                mine[places] = theirs
        return result
