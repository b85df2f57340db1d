"""The documentation cannot rot: commands exist, links lead somewhere, runnable pages run.

Every ``$ dybitq ...`` in a ``console`` block of README.md and docs/ has to name a verb and options that
exist, and the runnable pages have to print what they show; see tools/run_docs.py and tools/listings.py.
"""

import contextlib
import os
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from listings import agree
from run_docs import MARK, commands, play, run

from dybitq.cli.main import group

DEMO = "dybitq demo -q -o digits"
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
CONTEXT = click.Context(group)
VERBS = group.list_commands(CONTEXT)
RUNNABLE = [page for page in PAGES if MARK in page.read_text()]


def page_name(page: Path) -> str:
    """Name of a page in the names of tests."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page(verb):
    """docs/VERB.md exists, shows the command, and speaks of each of its options."""
    page = (DOCS / f"{verb}.md").read_text()
    assert f"$ dybitq {verb}" in page
    for parameter in group.get_command(CONTEXT, verb).params:
        if isinstance(parameter, click.Option) and parameter.expose_value and not parameter.hidden:
            names = [name for name in parameter.opts if name.startswith("--")]
            assert any(name in page for name in names), f"docs/{verb}.md does not mention {names}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_and_options_exist(page):
    """Every ``$ dybitq`` command of a page names a verb and options that exist."""
    for command in commands(page.read_text()):
        words = shlex.split(re.split(r"[|;&>]", command.text)[0])
        if words[:1] != ["dybitq"] or words[1].startswith("-"):
            continue
        verb = group.get_command(CONTEXT, words[1])
        assert verb is not None, command.text
        known = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, command.text


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    """Every relative link of a page leads to a file of the repository."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page_name(page)}: broken link {target}"


@pytest.mark.parametrize("page", PAGES[1:], ids=page_name)
def test_every_page_is_in_an_index(page):
    """Each page of docs/ is listed in the README.md of its own folder, or of docs/."""
    index = page.parent / "README.md"
    if not index.exists() or page == index:
        index = DOCS / "README.md"
    assert page == index or f"({os.path.relpath(page, index.parent)}" in index.read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that nearly every page starts with, made once, and what the command printed."""
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder):
        return folder / "digits", run(DEMO)


@pytest.mark.parametrize("page", RUNNABLE, ids=page_name)
def test_runnable_pages_run(page, demo, tmp_path, monkeypatch):
    """The commands of a runnable page succeed one after the other and print what the page shows."""

    def run_or_copy(command):
        if command != DEMO:
            return run(command)
        shutil.copytree(demo[0], "digits")
        return demo[1]

    monkeypatch.chdir(tmp_path)
    for command, printed in play(page.read_text(), run_or_copy):
        assert agree(command.shown, printed), (
            f"$ {command.text}\nprints:\n"
            + "\n".join(printed)
            + "\n\nthe page shows:\n"
            + "\n".join(command.shown)
        )
