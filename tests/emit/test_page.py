"""docs/emitted-model.md says what the code does."""

import doctest
import re
from pathlib import Path

import numpy as np

from dybitq.emit.unpack import GROUP, codes_stored_together, stored_form
from tests.emit.cases import TABLES

PAGE = Path(__file__).parent.parent.parent / "docs" / "emitted-model.md"


def test_examples_run():
    """The example in Python gives what it shows."""
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0


def test_stored_forms():
    """The table of stored forms: type, shape, and codes in an element or row."""
    rows = re.findall(
        r"^\| ([\d, ]+) \| (uint8|uint16) `\[(n|n, 3|n, b)\]` \| (\d) codes?", PAGE.read_text(), re.M
    )
    found = {}
    for widths, kind, shape, codes in rows:
        for width in map(int, widths.split(",")):
            found[width] = (kind, shape.count(",") + 1, int(codes))
    assert sorted(found) == [2, 3, 4, 5, 6, 7, 8]
    for bits, (kind, rank, codes) in found.items():
        stored = stored_form(np.zeros(16, np.uint8), bits)
        assert (str(stored.dtype), stored.ndim, codes_stored_together(bits)) == (kind, rank, codes)


def test_groups():
    """Codes in one index, as the page has them."""
    text = PAGE.read_text()
    four, two, one = re.findall(r"((?:`Rows\d`(?:, )?)+)[^`]*?have? g = (\d)|(`Rows8`)", text)[:3]
    assert [GROUP[int(b)] for b in re.findall(r"\d", four[0])] == [4, 4, 4]
    assert [GROUP[int(b)] for b in re.findall(r"\d", two[0])] == [2, 2, 2]
    assert one[2] == "`Rows8`" and GROUP[8] == 1


def test_operators_with_tables_are_listed():
    """Every operator that becomes a table stands on the page."""
    line = next(line for line in PAGE.read_text().splitlines() if "a table of 256 codes" in line)
    assert sorted(line.split("|")[1].strip().split(", ")) == sorted(TABLES)
