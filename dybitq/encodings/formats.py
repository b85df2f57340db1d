"""Number formats by name; each is a table of integers, which a scale turns into real values.

A family is one file in ``encodings/families/`` that returns its table for a width::

    @family("dybit", bits=range(2, 9), signs=BOTH)
    def dybit(bits: int, signed: bool) -> np.ndarray: ...

Signed formats are called ``dybit4``, unsigned ones ``udybit4``; both spellings of the second,
``get("dybit4", signed=False)`` and ``get("udybit4")``, give the same record.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np

from dybitq.errors import ConfigError
from dybitq.records.formats import NumberFormat
from dybitq.registry import Registry

SIGNED = (True,)
BOTH = (True, False)

Table = np.ndarray | tuple[np.ndarray, tuple[int, ...]]
"""Result of a family: the int64 table, with its reserved codes where it has any."""

FORMATS: Registry[Callable[[], NumberFormat]] = Registry("number format", "dybitq.encodings.families")


def get(name: str, signed: bool = True) -> NumberFormat:
    """Return the number format called ``name``.

    Args:
        name: a registered name such as ``dybit4``, ``int3``, ``uint8``, ``e2m1``, ``pot4`` or ``ternary``.
        signed: False asks for the unsigned member of the family; a name that begins with ``u`` is unsigned
            in any case.

    Returns:
        The record, the same object on every call; its table is read-only.

    Raises:
        ConfigError: no such format, or it has no unsigned form.
    """
    if signed or name.startswith("u"):
        return FORMATS.get(name)()
    FORMATS.get(name)  # a misspelt name is reported as written
    if f"u{name}" not in set(FORMATS):
        raise ConfigError(
            f"number format {name!r} has no unsigned form. Formats that have one: "
            f"{', '.join(n[1:] for n in names(signed=False))}."
        )
    return FORMATS.get(f"u{name}")()


@functools.cache
def within(format: NumberFormat, largest: int) -> NumberFormat:
    """Keep the codes of a format, but never emit those that stand for integers beyond ``largest``.

    Returns:
        ``format`` itself if there are none; the same object on every call.
    """
    beyond = np.abs(format.table) > largest
    if not beyond.any():
        return format
    left = format.table[~beyond]
    table = np.clip(format.table, left.min(), left.max())
    table.flags.writeable = False
    reserved = sorted({*format.reserved, *np.flatnonzero(beyond).tolist()})
    return dataclasses.replace(format, table=table, reserved=tuple(reserved))


def names(signed: bool = True) -> tuple[str, ...]:
    """Names of the signed (or of the unsigned) formats, sorted."""
    return tuple(name for name in FORMATS if name.startswith("u") is not signed)


def family(
    stem: str, *, bits: Iterable[int], signs: Iterable[bool], name: str | None = None
) -> Callable[[Callable[[int, bool], Table]], Callable[[int, bool], Table]]:
    """Register the decorated ``function(bits, signed)`` for every width and sign.

    Args:
        stem: name of the family, also the format's name without its width.
        bits: widths of a code that exist.
        signs: True for signed tables, False for unsigned ones.
        name: the whole name, for families whose name is not stem and width (``e2m1``).
    """

    def register(function: Callable[[int, bool], Table]) -> Callable[[int, bool], Table]:
        for width in bits:
            for signed in signs:
                full = ("" if signed else "u") + (name or f"{stem}{width}")
                build = functools.partial(_build, function, full, stem, width, signed)
                FORMATS.register(full)(functools.cache(build))
        return function

    return register


def sign_magnitude(magnitudes: np.ndarray) -> np.ndarray:
    """Add a sign bit (the most significant one) to a table of magnitude codes.

    Code ``1 0...0`` is a negative zero: it decodes to 0 and is reserved.
    """
    return np.concatenate([magnitudes, -magnitudes])


def _build(
    function: Callable[[int, bool], Table], name: str, stem: str, bits: int, signed: bool
) -> NumberFormat:
    made = function(bits, signed)
    table, reserved = made if isinstance(made, tuple) else (made, ())
    table = np.ascontiguousarray(table, np.int64)
    table.flags.writeable = False
    return NumberFormat(name=name, family=stem, bits=bits, signed=signed, table=table, reserved=reserved)
