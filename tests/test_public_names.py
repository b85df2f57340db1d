"""The Python interface: names, lazy imports, keywords as the command line has them, and its page."""

import ast
import doctest
import inspect
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import click
import pytest

import dybitq
from dybitq.api.demo import SHIPPED
from dybitq.api.recipe import RecipeOptions
from dybitq.api.search_request import Request, SearchOptions
from dybitq.cli.main import group
from dybitq.schema.plan import OptionsShape

ROOT = Path(__file__).parent.parent
VERBS = ("calibrate", "quantize", "evaluate", "inspect", "simulate", "search", "verify", "export")

PRINTING = {"as_json", "as_csv", "plot", "tensors", "help"}
"""Options about what is printed: a result has str(), document() and _repr_html_() instead."""
ELSEWHERE = {
    "calibrate": {"files", "merging"},  # MODEL, and dybitq.merge
    "simulate": {
        "sweep",
        "workers",
        "force",
        "max_latency",
    },  # dybitq.sweep; of --plot; a gate of the command
}


def options_of(verb: str) -> dict[str, click.Parameter]:
    """Parameters of a command by the name of their value."""
    command = group.get_command(click.Context(group), verb)
    return {str(p.name): p for p in command.params if p.expose_value}


def keywords_of(verb: str) -> dict[str, Any]:
    """Defaults of a function by keyword, settings of a recipe included."""
    found = {}
    for name, parameter in inspect.signature(getattr(dybitq, verb)).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            options = SearchOptions if verb == "search" else RecipeOptions
            found |= {key: getattr(Request(), key, None) for key in options.__annotations__}
        else:
            found[name] = parameter.default
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_keywords_are_those_of_the_command_line(verb):
    """Every option has a keyword of its name with its default, and no keyword goes beyond them."""
    options, keywords = options_of(verb), keywords_of(verb)
    options = {n: o for n, o in options.items() if n not in PRINTING | ELSEWHERE.get(verb, set())}
    assert options.keys() <= keywords.keys()
    assert keywords.keys() - options.keys() <= {"model", "labels", "progress", "target"}
    for name, option in options.items():
        if isinstance(option, click.Option) and not option.required and not option.multiple:
            default = option.get_default(click.Context(click.Command("x")))
            given = None if default is None or "Sentinel" in type(default).__name__ else default
            needed = inspect.Parameter.empty if (verb, name) == ("calibrate", "data") else given  # or --merge
            assert keywords[name] == needed, name


def test_settings_are_checked_against_all_that_can_be_said():
    """The keywords that an editor offers are the fields that are accepted, and the others the request's."""
    fields = SearchOptions.__annotations__.keys() - RecipeOptions.__annotations__.keys()
    assert fields == Request.__dataclass_fields__.keys() - {"budgets", "solver"}
    assert RecipeOptions.__annotations__.keys() == OptionsShape.model_fields.keys()


def test_public_names():
    """All of them exist, have a docstring, and are the ones that type checkers are told."""
    for name in dybitq.__all__:
        assert getattr(dybitq, name).__doc__, name
        assert name in dir(dybitq)
    tree = ast.parse(Path(dybitq.__file__).read_text())
    told = {
        (node.module, alias.asname)
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {(dybitq._MODULE_OF[name], name) for name in dybitq.__all__}
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        dybitq.quantise  # noqa: B018


def test_names_are_not_hidden_by_folders():
    """Whatever is imported first, a verb stays a function."""
    code = (
        "import pkgutil, importlib, dybitq\n"
        "for module in pkgutil.iter_modules(dybitq.__path__):\n"
        "    if module.name != '__main__':\n"
        "        importlib.import_module('dybitq.' + module.name)\n"
        "assert all(callable(getattr(dybitq, name)) for name in dybitq.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_import_is_light():
    """``import dybitq`` loads none of the libraries."""
    code = "import sys, dybitq; print(sorted({'numpy', 'onnx', 'onnxruntime', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_page(tmp_path, monkeypatch):
    """The examples of docs/python.md do what the page shows."""
    for name in SHIPPED:
        shutil.copy(str(resources.files("dybitq.demo") / name), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(
        str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert failed == 0
    assert tried > 20


def test_user_code_is_typed():
    """A program that uses everything passes mypy --strict."""
    program = ROOT / "tests" / "typing" / "program.py"
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        "/dev/null",
        "--follow-imports",
        "silent",
    ]
    done = subprocess.run(
        [*mypy, "--config-file", "/dev/null", str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
