"""The shapes of the YAML files that users write, checked with paths and suggestions by pydantic."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dybitq.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of all shapes: unknown fields are errors, no text is taken for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)


def read_document(path: Path) -> Any:
    """Parse a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is not YAML; the message gives the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return parse_yaml(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{where}: is not valid YAML: {problem}") from error


def validate(shape: type[M], document: Any, *, source: str) -> M:
    """``document`` as a ``shape``.

    Raises:
        ConfigError: one line for each mistake, with its path inside the document, and for an unknown
            field the nearest known one.
    """
    if not isinstance(document, Mapping):
        raise ConfigError(f"{source}: expected a mapping of fields at the top, found {_kind(document)}")
    try:
        return shape.model_validate(dict(document))
    except ValidationError as error:
        lines = [_sentence(shape, item) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


class Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error, and ``4:1`` is text, not base 60."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Return an integer; text where YAML 1.1 would take ``4:1`` for 241."""
        return node.value if ":" in node.value else super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """Return a number; text where YAML 1.1 would take ``4:1.5`` for 241.5."""
        return node.value if ":" in node.value else super().construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            ConstructorError: a key is given twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else str(key))
        return super().construct_mapping(node, deep)


for _tag, _construct in (("int", Loader.construct_yaml_int), ("float", Loader.construct_yaml_float)):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)


def parse_yaml(text: str | IO[str]) -> Any:
    """Return the one YAML document in ``text``, by :class:`Loader`.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, Loader=Loader)  # noqa: S506 - Loader is a SafeLoader


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), f"the number {value}" if isinstance(value, int | float) else repr(value))


def _sentence(shape: type[BaseModel], item: Any) -> str:
    """One mistake that pydantic found, as `path: what is wrong`."""
    path = ".".join(str(part) for part in item["loc"]) or "the document"
    if item["type"] == "extra_forbidden":
        known = _fields_at(shape, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known fields: {', '.join(known)}"
        return f"{path}: unknown field{hint}"
    if item["type"] == "missing":
        return f"{path}: is missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{path}: {message}, found {_kind(item['input'])}"


def _fields_at(shape: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the record that lies at ``path`` inside ``shape``."""
    current: Any = shape
    for part in path:
        fields = getattr(current, "model_fields", {})
        named = {(field.alias or name): field.annotation for name, field in fields.items()}
        # A list or a mapping has one annotation for all of its items, so their keys change nothing.
        current = _record_in(named[str(part)]) if str(part) in named else current
    return [field.alias or name for name, field in getattr(current, "model_fields", {}).items()]


def _record_in(annotation: Any) -> Any:
    """Return the record class inside an annotation such as ``dict[str, Split] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_record_in(argument) for argument in getattr(annotation, "__args__", ())]
    return next((item for item in found if item is not None), None)


# --------------------------------------------------------------------------- data specs


class SplitShape(Strict):
    """One split of a data spec; which of the fields apply depends on the reader."""

    path: str
    labels: str | None = None
    arrays: dict[str, str] | None = None
    function: str | None = None
    class_: str | None = Field(default=None, alias="class")
    args: dict[str, Any] | None = None


class DataShape(Strict):
    """A data spec."""

    reader: str
    input: str | None = None
    splits: dict[str, SplitShape] = Field(min_length=1)
    transform: list[str | dict[str, Any]] | None = None
    task: str | None = None
    label_offset: int = Field(default=0, ge=0)
