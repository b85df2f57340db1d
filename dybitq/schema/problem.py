"""PROBLEM.json into an allocation problem: every mistake of the file reported at once.

This file and its siblings ``schema*.py`` are the only ones that use pydantic.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dybitq.errors import ConfigError, counted
from dybitq.records import allocation

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Amount = Annotated[float, Field(allow_inf_nan=False, strict=True, ge=0)]
Name = Annotated[str, Field(min_length=1, strict=True)]

T = TypeVar("T")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Choice(_Strict):
    label: Name
    objective: Number
    costs: dict[Name, Amount] = {}
    parts: dict[Name, Name] = {}


class _Group(_Strict):
    name: Name
    choices: Annotated[list[_Choice], Field(min_length=1)]


class _PartTie(_Strict):
    groups: list[Name]
    part: Name


class _Bounds(_Strict):
    min: Amount | None = None
    max: Amount | None = None


class _Document(_Strict):
    """The outermost level; what is inside is checked piece by piece, so that no mistake hides another."""

    groups: Annotated[list[Any], Field(min_length=1)]
    ties: list[Any] = []
    budgets: dict[str, Any] = {}
    schema_version: Annotated[int, Field(ge=1, le=1)] = 1
    note: str = ""


def read_problem(path: Path) -> allocation.Problem:
    """Read and check a problem file.

    Raises:
        ConfigError: the file is not JSON, or not a sound problem; the message lists every mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; expected a JSON document") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not a JSON document: {error}") from error
    return parse_problem(document, source=str(path))


def parse_problem(document: object, *, source: str) -> allocation.Problem:
    """Check a parsed problem document and turn it into records.

    Raises:
        ConfigError: the message lists every mistake, each with its place in the document.
    """
    found: list[str] = []
    whole = _validate(TypeAdapter(_Document), document, "", found)
    if whole is None:
        # What can be read of a document with a misspelt key is still checked.
        raw = document if isinstance(document, dict) else {}
        whole = _Document.model_construct(
            groups=raw["groups"] if isinstance(raw.get("groups"), list) else [],
            ties=raw["ties"] if isinstance(raw.get("ties"), list) else [],
            budgets=raw["budgets"] if isinstance(raw.get("budgets"), dict) else {},
        )
    groups, unread = _groups(whole.groups, found)
    ties = _ties(whole.ties, found)
    budgets = _budgets(whole.budgets, found)
    problem = allocation.Problem(groups=groups, ties=ties, budgets=budgets)
    found.extend(allocation.mistakes(problem, unread if whole.groups else [""]))
    if found:
        title = f"{source}: not a sound problem, {counted(len(found), 'mistake')}:"
        raise ConfigError("\n  ".join([title, *(line.removeprefix(": ") for line in found)]))
    return problem


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} appears twice in one object")
    return dict(pairs)


def _groups(raw: list[Any], found: list[str]) -> tuple[tuple[allocation.ChoiceGroup, ...], list[str]]:
    """Return sound groups, and the names of the others (empty where even a name is unsound)."""
    groups, unread = [], []
    for index, item in enumerate(raw):
        name = item.get("name") if isinstance(item, dict) else None
        name = name if isinstance(name, str) else ""
        where = f"groups[{index}]" + (f" ({name})" if name else "")
        group = _validate(TypeAdapter(_Group), item, where, found)
        if group is None:
            unread.append(name)
        else:
            choices = tuple(allocation.Choice(**choice.model_dump()) for choice in group.choices)
            groups.append(allocation.ChoiceGroup(name=group.name, choices=choices))
    return tuple(groups), unread


def _ties(raw: list[Any], found: list[str]) -> tuple[allocation.Tie, ...]:
    ties = []
    for index, item in enumerate(raw):
        where = f"ties[{index}]"
        if isinstance(item, dict):
            on_part = _validate(TypeAdapter(_PartTie), item, where, found)
            if on_part is not None:
                ties.append(allocation.Tie(groups=tuple(on_part.groups), part=on_part.part))
        else:
            names = _validate(TypeAdapter(list[Name]), item, where, found)
            if names is not None:
                ties.append(allocation.Tie(groups=tuple(names)))
    return tuple(ties)


def _budgets(raw: dict[str, Any], found: list[str]) -> tuple[allocation.Budget, ...]:
    budgets = []
    for name, item in raw.items():
        where = f"budgets.{name}"
        if isinstance(item, dict):
            bounds = _validate(TypeAdapter(_Bounds), item, where, found)
            if bounds is not None:
                budgets.append(allocation.Budget(cost=name, maximum=bounds.max, minimum=bounds.min))
        else:
            maximum = _validate(TypeAdapter(Amount), item, where, found)
            if maximum is not None:
                budgets.append(allocation.Budget(cost=name, maximum=maximum))
    return tuple(budgets)


def _validate(adapter: TypeAdapter[T], value: object, where: str, found: list[str]) -> T | None:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        found.extend(_sentence(where, detail) for detail in error.errors(include_url=False))
        return None


def _sentence(where: str, detail: Any) -> str:
    """``groups[0] (conv1).choices[2].objective: found NaN, expected a finite number``."""
    place = where
    for step in detail["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        fields = _fields_at(where, inner=len(detail["loc"]) > 1)
        hint = allocation.did_you_mean(str(detail["loc"][-1]), fields)
        return f"{place}: unknown key.{hint} Known: {', '.join(fields)}"
    if kind == "missing":
        return f"{place}: is missing"
    return f"{place}: found {_short(value)}, expected {_EXPECTED.get(kind, detail['msg'])}"


_EXPECTED = {
    "finite_number": "a finite number",
    "float_type": "a number",
    "string_type": "a string",
    "string_too_short": "a name, not an empty string",
    "greater_than_equal": "a number of at least 0",
    "too_short": "at least one entry",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def _fields_at(where: str, *, inner: bool) -> Iterable[str]:
    """Keys allowed at a place; ``inner`` is inside a choice of a group."""
    if not where:
        return _Document.model_fields
    if where.startswith("groups"):
        return (_Choice if inner else _Group).model_fields
    return (_PartTie if where.startswith("ties") else _Bounds).model_fields


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
