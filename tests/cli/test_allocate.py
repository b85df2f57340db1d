"""``dybitq allocate`` from the command line: the answer byte for byte, exit codes, files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dybitq.cli.main import group

PROBLEM = {
    "groups": [
        {
            "name": name,
            "choices": [
                {"label": "4", "objective": low, "costs": {"latency": fast}},
                {"label": "8", "objective": 0.0, "costs": {"latency": slow}},
            ],
        }
        for name, low, fast, slow in (
            ("conv1", 0.5, 1.0, 2.0),
            ("conv2", 0.25, 1.0, 2.0),
            ("down1", 0.125, 0.5, 1.0),
        )
    ],
    "ties": [["conv1", "down1"]],
    "budgets": {"latency": 4.25},
}

TEXT = """\
optimal: objective 0.25 by ilp

budget   used    limit  of limit  objective per unit
latency     4  <= 4.25     94.1%                0.25

group  choice  objective  latency
conv1  8               0        2
conv2  4            0.25        1
down1  8               0        1
total               0.25        4

conv1, down1: 8; 4 raises the objective by 0.625 for latency -1.5 (-0.375 at the shadow prices)
conv2: 4; 8 lowers the objective by 0.25 for latency +1 (+0.25 at the shadow prices), which does not fit
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a problem, as the current one."""
    monkeypatch.chdir(tmp_path)
    Path("p.json").write_text(json.dumps(PROBLEM))
    return tmp_path


def run(*arguments: str) -> Result:
    """The command, stdout and stderr apart."""
    return CliRunner().invoke(group, ["allocate", *arguments])


def test_text():
    """Status, budgets, groups, reasons; nothing on stderr."""
    result = run("p.json", "--explain")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == TEXT


def test_json_and_file():
    """One document on stdout; the same bytes in the file of -o."""
    result = run("p.json", "--json", "-o", "a.json")
    assert result.exit_code == 0 and result.stdout == Path("a.json").read_text()
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1 and document["status"] == "optimal"
    assert document["choices"] == {"conv1": "8", "conv2": "4", "down1": "8"}
    assert (document["objective"], document["costs"], document["gap"]) == (0.25, {"latency": 4.0}, 0.0)


@pytest.mark.parametrize("strategy", ["ilp", "lagrangian", "ebs", "greedy-speedup", "greedy-error"])
def test_strategies(strategy: str):
    """Every strategy solves this one, twice the same way."""
    first, second = (run("p.json", "--json", "--strategy", strategy).stdout for _ in range(2))
    assert first == second and json.loads(first)["objective"] == 0.25


def test_infeasible():
    """Exit code 2, the reachable value on stderr; with --json also as a document on stdout."""
    Path("p.json").write_text(json.dumps({**PROBLEM, "budgets": {"latency": 2}}))
    result = run("p.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: no plan can keep the budget latency <= 2, even without other budgets\n"
        "  latency <= 2: the least reachable is 2.5 (binds)\n"
    )
    document = json.loads(run("p.json", "--json").stdout)
    assert document["status"] == "infeasible"
    assert document["budgets"][0]["closest"] == 2.5


def test_bad_input():
    """A misspelt strategy, an unsound problem, an existing output: exit codes of the contract."""
    misspelt = run("p.json", "--strategy", "ipl")
    assert misspelt.exit_code == 2 and "Did you mean 'ilp'?" in misspelt.stderr
    Path("bad.json").write_text('{"groups": 3}')
    assert run("bad.json").exit_code == 2
    assert run("nowhere.json").exit_code == 2
    Path("a.json").write_text("kept")
    existing = run("p.json", "-o", "a.json")
    assert existing.exit_code == 1 and "--force" in existing.stderr
    assert Path("a.json").read_text() == "kept"
    assert run("p.json", "-o", "a.json", "--force").exit_code == 0
    assert run("p.json", "-o", "p.json", "--force").exit_code == 1
