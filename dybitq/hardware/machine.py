"""Machines as YAML: presets of the package, the user's files, ``extends``, and settings on top."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dybitq.errors import ConfigError, did_you_mean
from dybitq.schema.base import parse_yaml
from dybitq.schema.machine import Machine, validate

# Sections that each timing model cannot do without.
NEEDED: dict[str, tuple[str, ...]] = {
    "systolic": ("array", "buffers", "dram"),
    "scalesim": ("array", "buffers"),
    "bitfusion": ("array", "buffers", "dram"),
    "ant": ("array", "buffers", "dram"),
    "dpu": ("dpu", "dram"),
    "roofline": ("roofline",),
    "table": ("table",),
}


def preset_names() -> tuple[str, ...]:
    """Names of the machines inside the package, sorted."""
    folder = resources.files("dybitq.hardware") / "presets"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml")))


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        data = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: a machine is a mapping of fields, found {type(data).__name__}")
    return data


@lru_cache(maxsize=64)
def _preset_text(name: str) -> str:
    return (resources.files("dybitq.hardware") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def _read(name: str, folder: Path | None) -> tuple[dict[str, Any], str, Path | None]:
    """Read the mapping of a preset or file; also return its name in messages, and its folder."""
    path = Path(name) if folder is None else folder / name
    if name.endswith((".yaml", ".yml")) or "/" in name:
        try:
            return _parse(path.read_text(encoding="utf-8"), str(path)), str(path), path.parent
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the machine: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not a text file; expected a machine in YAML") from error
    known = preset_names()
    if name not in known:
        raise ConfigError(
            f"unknown machine {name!r}.{did_you_mean(name, known)} Name a preset ({', '.join(known)}) or a "
            ".yaml file."
        )
    return _parse(_preset_text(name), f"preset {name}"), f"preset {name}", None


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``top`` over ``base``, section by section; a precision unit of another mode replaces the old one."""
    result = dict(base)
    for key, value in top.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            another = key == "precision" and value.get("mode", old.get("mode")) != old.get("mode")
            result[key] = value if another else _merged(old, value)
        else:
            result[key] = value
    return result


def _resolved(name: str, folder: Path | None, seen: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    data, source, here = _read(name, folder)
    if source in seen:
        raise ConfigError(f"{source}: extends itself through {' -> '.join((*seen, source))}")
    base_name = data.pop("extends", None)
    if base_name is None:
        return data, source
    if not isinstance(base_name, str):
        raise ConfigError(f"{source}: extends: expected the name of a preset or file, found {base_name!r}")
    base, _ = _resolved(base_name, here, (*seen, source))
    data.setdefault("name", Path(name).stem)
    return _merged(base, data), source


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """``array.rows=16`` lines as a mapping of dotted names to values (numbers, booleans or text).

    Raises:
        ConfigError: a line without ``=``.
    """
    result: dict[str, Any] = {}
    for line in settings:
        name, equals, text = line.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set {line!r}: expected FIELD=VALUE, for example array.rows=16")
        try:
            result[name.strip()] = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {line!r}: the value is not valid YAML") from error
    return result


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for dotted, value in settings.items():
        section = result
        *path, last = dotted.split(".")
        for part in path:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {dotted}: {part} is set to a value and used as a section too")
        section[last] = value
    return result


def machine_source(name: str) -> tuple[dict[str, Any], str]:
    """Resolve ``extends`` of a preset or file; return the mapping, not validated, and its name in messages.

    Raises:
        ConfigError: unknown name, unreadable file, not a YAML mapping, or a circle of ``extends``.
    """
    data, source = _resolved(name, None)
    data.setdefault("name", Path(name).stem)
    return data, source


def with_settings(data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Change dotted fields of the mapping."""
    return _merged(data, _nested(settings)) if settings else dict(data)


def machine_from(data: Mapping[str, Any], source: str) -> Machine:
    """Validate a mapping.

    Raises:
        ConfigError: mistakes in it, all listed at once.
    """
    return validate(data, source=source, needed=NEEDED)


def load_machine(name: str, settings: Mapping[str, Any] | None = None) -> Machine:
    """Read a preset or a YAML file.

    Args:
        name: of a preset, or path of a ``.yaml`` file.
        settings: dotted field names and the values that replace those of the description.

    Raises:
        ConfigError: unknown name, unreadable file, or mistakes in it (all listed at once).
    """
    data, source = machine_source(name)
    return machine_from(with_settings(data, settings or {}), source)
