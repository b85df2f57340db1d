"""The house rules that a linter does not know: sizes, first lines, and no path of anyone's machine."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    [*(ROOT / "dybitq").rglob("*.py"), *(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
)
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "dybitq")]
FOLDERS = sorted(
    folder
    for root in ("dybitq", "tests")
    for folder in (ROOT / root, *(ROOT / root).rglob("*/"))
    if folder.name != "__pycache__"
)

LONG_CLASSES = {
    "graph/steps/recognise.py _Walk": "recognises every step; goes apart into one file for each",
    "graph/work/workload.py _Builder": "one handler for each sort of node, all on the same tables",
    "allocation/prices.py Prices": "prices of one space on one machine, which share what has been priced",
    "allocation/sensitivity/noise.py LayerNoise": "errors of one network, which share edges and Hessians",
}
"""Classes of more than 200 lines, each with the reason."""

OPTIONAL_FIELDS = {
    "plan/recipe.py Settings": "what a rule leaves unsaid is None, and any rule may leave anything unsaid",
    "schema/machine.py Machine": "a machine file has the sections that its timing model needs",
}
"""Records with more than 5 fields that may be None, each with the reason."""

SAME_NAME: dict[str, str] = {}
"""Public classes of one name in several files, each with the reason."""


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


def classes(path: Path) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class of a file, with the name that exceptions are listed under."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            yield f"{path.relative_to(ROOT / 'dybitq')} {node.name}", node


def optional_fields(node: ast.ClassDef) -> int:
    """How many fields of a record may be None; 0 for a class that is no record."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return 0
    fields = [item.annotation for item in node.body if isinstance(item, ast.AnnAssign)]
    return sum("None" in ast.unparse(annotation).split(" | ") for annotation in fields)


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_folder_fits_on_a_screen(folder):
    """At most 20 files of its own, and no three that a common first word would make a folder of."""
    stems = [path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "conftest")]
    assert len(stems) <= 20
    words = Counter(stem.removeprefix("test_").lstrip("_").partition("_")[::2] for stem in stems)
    shared = Counter(first for first, rest in words if rest)
    assert not [first for first, count in shared.items() if count >= 3]


def test_classes_and_records_stay_small():
    """At most 200 lines a class and 5 optional fields a record; the lists of exceptions hold no others."""
    found = [entry for path in PACKAGE for entry in classes(path)]
    long = {key for key, node in found if (node.end_lineno or node.lineno) - node.lineno + 1 > 200}
    assert long == set(LONG_CLASSES)
    assert {key for key, node in found if optional_fields(node) > 5} == set(OPTIONAL_FIELDS)


def test_a_public_class_has_a_name_of_its_own():
    """Outside of ``api``, whose modules are read one at a time, a class is known by its name alone."""
    files = [path for path in PACKAGE if "api" not in path.relative_to(ROOT).parts]
    found = Counter(
        node.name
        for path in files
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {key for key, count in found.items() if count > 1} == set(SAME_NAME)


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_metadata_is_named_on_one_page(path):
    """A string that begins with ``dybitq.`` is the name of a module, except in ``graph/keys.py``."""
    if path == ROOT / "dybitq" / "graph" / "keys.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith("dybitq.")
        ):
            module = ROOT.joinpath(*node.value.rstrip(".").split("."))
            assert module.is_dir() or module.with_suffix(".py").is_file(), node.value


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings_open_with_what_the_thing_does(path):
    """The first word is no question word: ``Return ...``, or a noun, and not ``What ...``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first, *_ = (ast.get_docstring(node) or "-").split()
            if first.rstrip(",:;") in ("What", "Whether", "Which", "How", "Where"):
                found.append(f"line {getattr(node, 'lineno', 1)}: {first}")
    assert not found
