"""Parsing of budgets: ``latency=0.6``, ``latency=3.2ms``, ``size=40kB``, ``sqnr=20dB``."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dybitq.data.fidelity import sqnr_db
from dybitq.errors import ConfigError, did_you_mean

_TIME = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}
_ENERGY = {"pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "mJ": 1e9, "J": 1e12}
_COUNT = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

UNITS: Mapping[str, Mapping[str, float]] = {
    "latency": _TIME,
    "energy": _ENERGY,
    "size": _BYTES,
    "memory": _BYTES,
    "dram": _BYTES,
    "bops": _COUNT,
    "sqnr": {"dB": 1.0},
    "drop": {"points": 1.0, "%": 1.0},
}
"""By budget its units, in the unit that costs have: us, pJ, bytes, bit operations."""

COSTS = ("latency", "energy", "size", "memory", "dram", "bops")
"""Budgets on what a plan costs; a plain number is a ratio to the same network at uniform int8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One budget.

    Attributes:
        name: as written: one of :data:`UNITS`.
        cost: name of the cost that it bounds: ``cycles`` for a latency in cycles, else ``name``.
        value: in the unit of the cost, or a ratio.
        ratio: True where ``value`` is a share of uniform int8.
    """

    name: str
    cost: str
    value: float
    ratio: bool

    def absolute(self, baseline: Mapping[str, float]) -> float:
        """Return the limit in the unit of the cost."""
        return self.value * baseline[self.cost] if self.ratio else self.value


def parse_budgets(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Read ``NAME=VALUE`` texts.

    Raises:
        ConfigError: unknown name or unit, no number, or a name given twice.
    """
    limits = [_parse(text) for text in texts]
    names = [limit.name for limit in limits]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"--budget {sorted(twice)[0]} is given twice; give each budget once")
    return tuple(limits)


def _parse(text: str) -> Limit:
    name, equals, value = (part.strip() for part in text.partition("="))
    if name not in UNITS:
        raise ConfigError(
            f"--budget {text!r}: there is no budget {name!r}.{did_you_mean(name, UNITS)} Known: "
            f"{', '.join(UNITS)}."
        )
    match = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)", value)
    number = _number(match.group(1)) if match else None
    if not equals or match is None or number is None:
        raise ConfigError(
            f"--budget {text!r}: expected {name}=NUMBER{_units(name)}, for example {_EXAMPLES[name]}"
        )
    unit = match.group(2)
    if not number > 0 and name not in ("sqnr", "drop"):
        raise ConfigError(f"--budget {text!r}: expected a limit above 0")
    if name == "drop" and number < 0:
        raise ConfigError(f"--budget {text!r}: expected a drop of at least 0 points")
    if name == "latency" and unit in ("cycles", "cycle"):
        return Limit(name=name, cost="cycles", value=number, ratio=False)
    if unit and unit not in UNITS[name]:
        raise ConfigError(f"--budget {text!r}: unknown unit {unit!r}; expected one of{_units(name)}")
    ratio = not unit and name in COSTS
    return Limit(name=name, cost=name, value=number * UNITS[name].get(unit, 1.0), ratio=ratio)


_EXAMPLES = {
    "latency": "latency=0.6 (of uniform int8), latency=3.2ms or latency=120000cycles",
    "energy": "energy=0.5 (of uniform int8) or energy=2mJ",
    "size": "size=0.4 (of uniform int8) or size=40kB",
    "memory": "memory=0.5 (of uniform int8) or memory=256KiB",
    "dram": "dram=0.5 (of uniform int8) or dram=2MB",
    "bops": "bops=0.3 (of uniform int8) or bops=50G",
    "sqnr": "sqnr=20dB",
    "drop": "drop=0.5",
}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _units(name: str) -> str:
    units = [*UNITS[name], *(["cycles"] if name == "latency" else [])]
    return f" [{'|'.join(units)}]"


def error_limit(sqnr_db: float) -> float:
    """Convert an SQNR in dB to energy of the error over energy of the output."""
    return float(10 ** (-sqnr_db / 10))


def sqnr_of(error: float) -> float:
    """Convert a relative error to an SQNR in dB, the reverse of :func:`error_limit`."""
    return sqnr_db(1.0, error)
