"""Widths of number formats and re-codings: the one place that turns a name into bits."""

import functools

from dybitq.encodings import formats, sparq
from dybitq.errors import ConfigError
from dybitq.records.formats import FormatWidths


@functools.cache
def widths(name: str) -> FormatWidths:
    """Widths of a number format, or of a SPARQ re-coding by its whole name or its window (``sparq4``).

    Raises:
        ConfigError: no such format or re-coding.
    """
    window = sparq.window_bits(name)
    if window is not None:
        return FormatWidths(name=name, family="sparq", stored=8, multiplied=window, windowed=True)
    known = formats.get(name)
    integer = 0 if known.family == "int" else known.max_integer.bit_length() + known.signed
    return FormatWidths(
        name=name, family=known.family, stored=known.bits, multiplied=known.bits, integer=integer
    )


def known_widths(name: str) -> FormatWidths | None:
    """:func:`widths`, and None for any other name, such as that of an element type."""
    try:
        return widths(name)
    except ConfigError:
        return None


def is_uniform(name: str) -> bool:
    """Return whether the codes of a format are integers themselves, as those of ``int4`` are."""
    known = known_widths(name)
    return known is not None and known.family == "int"
