"""Compares what a page shows with what a command prints, number by number, and updates what is shown.

Text and whole numbers (bytes, cycles, MACs, counts) have to be equal. A number with a fraction may differ by
one in its last digit or by 0.1 %, because float32 sums end in other bits on other processors. ``LOOSE`` names
what depends on the processor more than that, and what is not compared at all: seconds, the largest of all
differences, the hash of statistics. Times that ``simulate`` prints are computed, and compared.

A line ``...`` of a listing stands for any number of lines.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

ANY_LINES = "..."
NUMBER = re.compile(r"(?:(?<![\w.)\]])[-+])?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
HASH = re.compile(r"(statistics_sha256\W+)\w+")

# What a number may differ by, absolute and as a share of it; the first pattern decides that is found in
# "HEADING OF THE COLUMN|TEXT BEFORE#TEXT AFTER".
LOOSE = (
    (re.compile(r"\bin # s\b|seconds\W*#|largest.difference\W*#|^largest difference\|"), inf, 0.0),
    (re.compile(r"# dB\b|sqnr_db\W*#|^SQNR dB\|"), 0.2, 0.0),
    # Points of a metric: two of the demo's 597 samples.
    (
        re.compile(
            r"^(top-1 %|drop)\||\|\W*(top-\d|agreement|measured drop|gate --max-drop|value|reference|drop)"
        ),
        0.35,
        0.0,
    ),
    (re.compile(r"\.stats: # B"), 0.0, 1e-3),  # compressed, so every bit counts
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a line: as it is written, its value, and how far another may be from it."""

    text: str
    value: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its text with ``#`` for every number, and the numbers."""

    text: str
    numbers: tuple[Number, ...]

    def agrees(self, other: "Line") -> bool:
        """Return whether another line has the same text and numbers near enough to this one's."""
        return self.text == other.text and all(
            ours.text == theirs.text or abs(ours.value - theirs.value) <= ours.tolerance * (1 + 1e-9)
            for ours, theirs in zip(self.numbers, other.numbers, strict=True)
        )


def parse(lines: Iterable[str]) -> list[Line]:
    """Lines of one listing cut into text and numbers; a table's heading says what its numbers are."""
    parsed, heading = [], ""
    for line in lines:
        line = HASH.sub(r"\1(hash)", line)
        cells = re.split(r" {2,}", line.strip())
        if not line.strip():
            heading = ""
        elif len(cells) > 2 and not any(NUMBER.fullmatch(cell) for cell in cells):
            heading = heading or line
        numbers = tuple(
            _number(line, found, _column(heading, line, found)) for found in NUMBER.finditer(line)
        )
        text = re.sub(r"[ -]+", " ", NUMBER.sub("#", line)).strip()
        parsed.append(Line(text, numbers))
    return parsed


def _column(heading: str, line: str, number: re.Match[str]) -> str:
    """Return the heading above the cell of a number; cells are apart by two spaces or more."""
    for cell in re.finditer(r"\S+(?: \S+)*", line):
        if cell.start() <= number.start() < cell.end():
            for title in re.finditer(r"\S+(?: \S+)*", heading):
                if title.start() < cell.end() and cell.start() < title.end():
                    return title.group()
    return ""


def _number(line: str, found: re.Match[str], column: str) -> Number:
    text = found.group()
    value = float(text.replace(",", ""))
    context = f"{column}|{line[: found.start()]}#{line[found.end() :]}"
    for pattern, absolute, share in LOOSE:
        if pattern.search(context):
            return Number(text, value, max(absolute, share * abs(value)))
    mantissa, _, exponent = text.partition("e")
    if not exponent and "." not in mantissa:
        return Number(text, value, 0.0)
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return Number(text, value, max(last_digit, 1e-3 * abs(value)))


def agree(shown: list[str], printed: list[str]) -> bool:
    """Return whether a page shows what a command prints, apart from what ``...`` stands for."""
    return _placed(shown, printed, numbers=True) is not None


def updated(shown: list[str], printed: list[str]) -> list[str]:
    """Return the lines that a page has to show of a command's output: those shown now, as printed today.

    A listing that agrees stays as it is, so that nothing changes but what has to.

    Raises:
        ValueError: the lines around ``...`` are not among the printed ones, even apart from numbers.
    """
    if agree(shown, printed):
        return shown
    if ANY_LINES not in shown:
        return printed
    places = _placed(shown, printed, numbers=False)
    if places is None:
        raise ValueError("\n".join(["cannot place these lines:", *shown, "among those printed:", *printed]))
    return [ANY_LINES if place is None else printed[place] for place in places]


def _placed(shown: list[str], printed: list[str], *, numbers: bool) -> list[int | None] | None:
    """For each shown line the printed line that it stands for, None for ``...``; None if they disagree."""
    ours = [None if line == ANY_LINES else page for line, page in zip(shown, parse(shown), strict=True)]
    theirs = parse(printed)
    while ours and ours[-1] is not None and not ours[-1].text:
        ours.pop()
    # reach[i][j]: shown lines from i on can stand for printed lines from j on
    reach = [[False] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    reach[-1][-1] = True
    for i in reversed(range(len(ours))):
        for j in reversed(range(len(theirs) + 1)):
            line = ours[i]
            if line is None:
                reach[i][j] = reach[i + 1][j] or (j < len(theirs) and reach[i][j + 1])
            elif j < len(theirs) and reach[i + 1][j + 1]:
                reach[i][j] = theirs[j].agrees(line) if numbers else theirs[j].text == line.text
    if not reach[0][0]:
        return None
    places: list[int | None] = []
    j = 0
    for i, line in enumerate(ours):
        while not reach[i + 1][j + (line is not None)]:
            j += 1
        places.append(None if line is None else j)
        j += line is not None
    return places
