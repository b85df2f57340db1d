"""Results as pages of lines and tables, which print as text and show as HTML in a notebook."""

import html
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells of text under a header.

    Attributes:
        header: one cell for each column.
        rows: as wide as the header.
        left: columns that are flush left, counted from the first; the others are flush right.
        right_text: whether the last column holds prose and is flush left too.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int = 2
    right_text: bool = False

    def text(self) -> str:
        """Columns padded to their widest cell, two spaces apart."""
        widths = [max(len(row[index]) for row in (self.header, *self.rows)) for index in range(self._width)]

        def line(row: tuple[str, ...]) -> str:
            cells = [
                cell.ljust(width) if self._flush_left(index) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths))
            ]
            return "  ".join(cells).rstrip()

        return "\n".join([line(self.header), *(line(row) for row in self.rows)])

    def html(self) -> str:
        """Return the same as an HTML table."""
        head = self._html_row(self.header, "th")
        body = "\n".join(self._html_row(row, "td") for row in self.rows)
        return f"<table>\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    @property
    def _width(self) -> int:
        return len(self.header)

    def _flush_left(self, index: int) -> bool:
        return index < self.left or (self.right_text and index == self._width - 1)

    def _html_row(self, row: tuple[str, ...], tag: str) -> str:
        cells = [
            f'<{tag} style="text-align: {"left" if self._flush_left(index) else "right"}">'
            f"{html.escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"


Page: TypeAlias = Sequence[str | Table]
"""Lines of text, empty ones included, and tables between them."""


def as_text(page: Page) -> str:
    """One line after the other."""
    return "\n".join(part if isinstance(part, str) else part.text() for part in page)


def as_html(page: Page) -> str:
    """Tables as such, and the lines between two of them as preformatted text."""
    parts = []
    for is_text, group in groupby(page, lambda part: isinstance(part, str)):
        if is_text:
            parts.append(_preformatted(part for part in group if isinstance(part, str)))
        else:
            parts += [part.html() for part in group if isinstance(part, Table)]
    return "\n".join(part for part in parts if part)


def _preformatted(lines: Iterable[str]) -> str:
    text = "\n".join(lines).strip("\n")
    return f"<pre>{html.escape(text)}</pre>" if text else ""


def spaced(blocks: Iterable[Page]) -> Page:
    """Pages that are not empty, one after the other with an empty line between two."""
    page: list[str | Table] = []
    for block in blocks:
        if any(block):
            page += ["", *block] if page else block
    return page


class Shown(ABC):
    """Base of results: ``str()`` is what the command prints, and a notebook shows the same with tables."""

    __slots__ = ()

    @abstractmethod
    def page(self) -> Page:
        """Return the result as lines and tables."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """Return the result as plain data: what ``--json`` prints."""

    def __str__(self) -> str:
        return as_text(self.page())

    def _repr_html_(self) -> str:
        return as_html(self.page())
