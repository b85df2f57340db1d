"""PROBLEM.json: what is accepted, and every mistake at once."""

import json
from pathlib import Path

import pytest

from dybitq.errors import ConfigError
from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie, mistakes
from dybitq.schema.problem import parse_problem, read_problem

CHOICE = {"label": "4", "objective": 0.46, "costs": {"latency": 0.21}}


def document(**changes: object) -> dict[str, object]:
    """A sound document, some of its keys replaced."""
    groups = [{"name": name, "choices": [CHOICE, {**CHOICE, "label": "8"}]} for name in ("conv1", "down1")]
    return {"groups": groups, "ties": [["conv1", "down1"]], "budgets": {"latency": 4.2}, **changes}


def complaints(**changes: object) -> str:
    """The message for a changed document."""
    with pytest.raises(ConfigError) as caught:
        parse_problem(document(**changes), source="p.json")
    return str(caught.value)


def test_a_sound_document():
    """Numbers, ties on labels and on parts, maxima and minima become records."""
    parts = {"weights": "4", "inputs": "8"}
    groups = [{"name": name, "choices": [{**CHOICE, "objective": -1, "parts": parts}]} for name in "ab"]
    ties = [["a", "b"], {"groups": ["a", "b"], "part": "inputs"}]
    budgets = {"latency": {"min": 0.1, "max": 3}}
    problem = parse_problem(
        {"groups": groups, "ties": ties, "budgets": budgets, "note": "x"}, source="p.json"
    )
    choice = Choice(label="4", objective=-1.0, costs={"latency": 0.21}, parts=parts)
    assert problem == Problem(
        groups=(ChoiceGroup(name="a", choices=(choice,)), ChoiceGroup(name="b", choices=(choice,))),
        ties=(Tie(groups=("a", "b")), Tie(groups=("a", "b"), part="inputs")),
        budgets=(Budget(cost="latency", minimum=0.1, maximum=3.0),),
    )


def test_all_mistakes_at_once():
    """Each mistake is one line with its place; none hides another."""
    message = complaints(
        groups=[
            {"name": "a", "choices": [{"label": "4", "objective": float("nan"), "costs": {"latency": -1}}]},
            {"name": "b", "choices": []},
            {"name": "c", "choices": [{"label": 8, "objective": "1", "cost": {}}]},
            3,
            {"name": "d", "choices": [{**CHOICE, "costs": {}}]},
            {"name": "e", "choices": [CHOICE]},
        ],
        ties=[["a", "nobody"], ["d"], ["e", "ee"], 7],
        budgets={"latency": 1, "size": True},
        bugdets={},
    )
    assert message.splitlines()[1:] == [
        "  bugdets: unknown key. Did you mean 'budgets'? Known: groups, ties, budgets, schema_version, note",
        "  groups[0] (a).choices[0].objective: found NaN, expected a finite number",
        "  groups[0] (a).choices[0].costs.latency: found -1, expected a number of at least 0",
        "  groups[1] (b).choices: found an empty list, expected at least one entry",
        "  groups[2] (c).choices[0].label: found 8, expected a string",
        '  groups[2] (c).choices[0].objective: found "1", expected a number',
        (
            "  groups[2] (c).choices[0].cost: unknown key. Did you mean 'costs'? "
            "Known: label, objective, costs, parts"
        ),
        "  groups[3]: found 3, expected an object",
        "  ties[3]: found 7, expected a list",
        "  budgets.size: found true, expected a number",
        "  group 'd': no cost 'latency', which has a budget, for '4'",
        "  tie [a, nobody]: there is no group 'nobody'.",
        "  tie [d]: expected at least two different groups",
        "  tie [e, ee]: there is no group 'ee'. Did you mean 'e'?",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": []}, "groups: found an empty list, expected at least one entry"),
        ({"groups": document()["groups"] * 2}, "group 'conv1' is listed twice"),
        ({"groups": [{"name": "a", "choices": [CHOICE, CHOICE]}], "ties": []}, "two choices labelled '4'"),
        ({"budgets": {"size": 1}}, "budget 'size': no choice has a cost of that name"),
        ({"budgets": {"latency": {"min": 2, "max": 1}}}, "minimum 2 is above maximum 1"),
        ({"budgets": {"latency": {}}}, "neither minimum nor maximum"),
        ({"budgets": {"latency": -1}}, "found -1, expected a number of at least 0"),
        ({"ties": [["conv1", "conv1"]]}, "expected at least two different groups"),
        ({"ties": [{"groups": ["conv1", "down1"], "part": "inputs"}]}, "have no part 'inputs'"),
    ],
)
def test_mistake(changes, expected):
    """Further mistakes, one by one."""
    assert expected in complaints(**changes)


def test_ties_of_unequal_labels():
    """Tied groups have to have the same labels, made of the same parts."""
    one = ChoiceGroup(name="a", choices=(Choice(label="4", objective=0, costs={}),))
    two = ChoiceGroup(name="b", choices=(Choice(label="5", objective=0, costs={}),))
    same = ChoiceGroup(name="c", choices=(Choice(label="4", objective=0, costs={}, parts={"w": "4"}),))
    tie = (Tie(groups=("a", "b")), Tie(groups=("a", "c")))
    assert mistakes(Problem(groups=(one, two, same), ties=tie)) == [
        "tie [a, b]: 'a' and 'b' differ in their labels ('4', '5' in one only)",
        "tie [a, c]: 'a' and 'c' have equal labels made of different parts",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not a JSON document"),
        ("", "is not a JSON document"),
        ('{"groups": [], "groups": []}', "the key 'groups' appears twice"),
        ("[1]", "found a list, expected an object"),
        ("[" * 100_000, "is not a JSON document"),
        (json.dumps(document(schema_version=2)), "schema_version"),
        (json.dumps(document()).replace("0.46", "1e999"), "found Infinity, expected a finite number"),
        (json.dumps(document()).replace("0.46", "9" * 400), "objective"),
        (json.dumps(document()).replace("0.46", "1e300"), "too much to compute with"),
    ],
)
def test_files_that_are_no_problem(tmp_path: Path, text: str, expected: str):
    """Truncated, repeated, nested, of another version, out of range: one message each."""
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_problem(path)
    assert expected in str(caught.value) and str(path) in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path):
    """A binary file is called what it is."""
    path = tmp_path / "p.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_problem(path)
