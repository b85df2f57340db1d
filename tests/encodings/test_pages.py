"""The pages of the formats: examples give what they print, every format is on one, pictures are current."""

import doctest
from pathlib import Path
from types import ModuleType

import pytest

from dybitq.encodings import formats, sparq
from dybitq.encodings.families import lloyd

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "packing.md", *sorted((DOCS / "formats").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page: Path) -> None:
    """Every interpreter session on the page gives the output that stands there."""
    assert doctest.testfile(str(page), module_relative=False).failed == 0


def test_every_family_has_a_page_with_a_picture() -> None:
    """A family without page, plot or entry in the index fails."""
    index = (DOCS / "formats" / "README.md").read_text(encoding="utf-8")
    pages = {"normal": "lloyd", "laplace": "lloyd"}
    for name in (*formats.names(), *formats.names(signed=False)):
        family = formats.get(name).family
        page = pages.get(family, family)
        text = (DOCS / "formats" / f"{page}.md").read_text(encoding="utf-8")
        assert f"]({page}.md)" in index and f"]({page}.svg)" in text


def test_pictures_are_current(format_plots: ModuleType) -> None:
    """Drawing them again gives the committed bytes."""
    for page, names in format_plots.PAGES.items():
        committed = (DOCS / "formats" / f"{page}.svg").read_text(encoding="utf-8")
        assert format_plots.picture(names) == committed


def test_tables_on_the_pages() -> None:
    """The Lloyd levels and the names of the re-codings stand there as they are in the code."""
    text = (DOCS / "formats" / "lloyd.md").read_text(encoding="utf-8")
    for stem, tables in (("normal", lloyd.NORMAL), ("laplace", lloyd.LAPLACE)):
        for bits, integers in tables.items():
            assert f"| `{stem}{bits}` | {', '.join(map(str, integers))} |" in text
    text = (DOCS / "formats" / "sparq.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in sparq.WINDOWS)
