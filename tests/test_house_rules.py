"""The house rules that a linter does not know: sizes, first lines, and no path of anyone's machine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    [*(ROOT / "dybitq").rglob("*.py"), *(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
)
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    """Path from the root of the repository."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_can_be_read_at_a_sitting(path):
    """A file has at most 400 lines, a function at most 60, and the first line says what the file is."""
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=name)
def test_no_path_of_a_machine(path):
    """Code and pages name no folder that exists on one machine only."""
    text = path.read_text()
    assert not [word for word in ("/home/", "/root/", "/work/", "/tmp/", "/Users/") if word in text]
