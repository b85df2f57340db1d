"""Widths of the integers that codes of a format stand for."""

from dybitq.encodings import formats
from dybitq.errors import ConfigError


def format_integer_bits(name: str) -> int:
    """Return the bits of a table's widest integer, sign included; 0 where the codes are integers.

    SPARQ windows select bits of integers.

    Raises:
        ConfigError: no such format.
    """
    if name.startswith("sparq"):
        return 0
    table = formats.get(name)
    if table.family in ("int", "uint"):
        return 0
    return table.max_integer.bit_length() + table.signed


def known_integer_bits(name: str) -> int:
    """Return :func:`format_integer_bits`, and 0 for element types that are no registered format."""
    try:
        return format_integer_bits(name)
    except ConfigError:
        return 0
