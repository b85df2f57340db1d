"""Schema of a machine description: fields, units, limits. ``hardware.machine`` reads the YAML.

Every field that has a unit carries it in its name. ``kb`` is 1024 bytes, ``gb_per_s`` 10^9 bytes per second.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dybitq.errors import ConfigError, counted

Count = Annotated[int, Field(gt=0, strict=True)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bits = Annotated[int, Field(ge=1, le=32, strict=True)]

_closed = ConfigDict(extra="forbid", protected_namespaces=())


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Array:
    """A grid of multiply-accumulate units.

    ``overlap_folds``: the next fold's stationary operand shifts in behind the running one. ``pack_groups``:
    several groups of a grouped convolution share the array block-diagonally.
    """

    rows: Count
    cols: Count
    dataflow: Literal["os", "ws", "is"] = "ws"
    overlap_folds: bool = False
    pack_groups: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class FixedUnit:
    """One product a cycle at ``max_bits``, whatever narrower widths come in."""

    mode: Literal["fixed"] = "fixed"
    max_bits: Bits = 8


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class FusedUnit:
    """A multiplier that splits: ``floor(max/max(a,min)) * floor(max/max(w,min))`` products a cycle.

    ``axis`` says where the extra products go: along the reduction, or rows by activations and columns by
    weights. A decoder in front takes codes of the families in ``decodes`` as they are and adds
    ``decoder_latency_cycles`` per fold; other formats arrive as the integers they stand for.
    """

    mode: Literal["fused"]
    max_bits: Bits = 8
    min_bits: Bits = 2
    axis: Literal["reduction", "rows_cols"] = "reduction"
    decodes: tuple[str, ...] = ()
    decoder_latency_cycles: Annotated[int, Field(ge=0)] = 0
    decoder_pj: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class SparqUnit:
    """Two multipliers of 4 x 8 bits: one 8-bit activation a cycle, or two of at most ``window_bits``."""

    mode: Literal["sparq"]
    max_bits: Bits = 8
    window_bits: Bits = 4


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class SerialActivationUnit:
    """Activations one bit a cycle, ``lanes`` positions at once: time ``a / lanes`` (Stripes)."""

    mode: Literal["bit_serial_a"]
    max_bits: Bits = 16
    lanes: Count = 16


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class SerialBothUnit:
    """Both operands bit by bit (Loom): convolutions take ``w a / lanes^2``, dense layers ``w / lanes``."""

    mode: Literal["bit_serial_wa"]
    max_bits: Bits = 16
    lanes: Count = 16


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class PlanesUnit:
    """AND and popcount on words: ``w * a`` plane pairs, ``word_bits`` products of one bit a cycle."""

    mode: Literal["planes"]
    max_bits: Bits = 8
    word_bits: Count = 64


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class LutUnit:
    """Products read from a table indexed by a slice of each operand, ``lookups`` a cycle."""

    mode: Literal["lut"]
    max_bits: Bits = 8
    slice_bits: Bits = 2
    lookups: Count = 32


Precision = Annotated[
    FixedUnit | FusedUnit | SparqUnit | SerialActivationUnit | SerialBothUnit | PlanesUnit | LutUnit,
    Field(discriminator="mode"),
]


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Buffers:
    """On-chip memory. With ``double_buffer`` a tile may use half of each buffer.

    ``resident_kb``: room in which whole activation tensors may stay between layers.
    """

    act_kb: Size
    wgt_kb: Size
    out_kb: Size
    acc_bits: Bits = 32
    double_buffer: bool = True
    packing: Literal["dense", "word32", "pow2"] = "dense"
    resident_kb: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Dram:
    """One port to main memory, shared by loads and stores."""

    gb_per_s: Size
    burst_bytes: Count = 64


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Vector:
    """The unit beside the array for everything that is not a product: elementary operations a cycle."""

    ops_per_cycle: Count


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Fusion:
    """Operators that may be fused into their producer, on its output tiles, instead of going through DRAM.

    ``elementwise``: of one activation; ``residual``: of several, the others being streamed in beside.
    """

    elementwise: bool = True
    residual: bool = True
    pooling: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Overhead:
    """Fixed time per launch (an operator and what is fused into it), and per inference."""

    per_layer_us: Amount = 0.0
    fixed_ms: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Energy:
    """A named table of constants, and what this machine says otherwise.

    ``mac_pj``: pJ of one multiply-accumulate by ``WxA`` widths run (``"4x8"``), before the table's rule.
    """

    table: str = "horowitz45"
    mac_pj: Mapping[str, Amount] = dataclasses.field(default_factory=dict)
    act_pj_per_bit: Amount | None = None
    wgt_pj_per_bit: Amount | None = None
    out_pj_per_bit: Amount | None = None
    dram_pj_per_bit: Amount | None = None
    leakage_mw: Amount | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Dpu:
    """A convolution engine that works on blocks of pixels x input channels x output channels a cycle.

    ``augment_channels``: where a layer has fewer input channels than a block, neighbouring columns of the
    kernel fill it. ``efficiency``: share of the cycles in which the engine really multiplies.
    """

    pixels: Count
    in_channels: Count
    out_channels: Count
    depthwise_pixels: Count
    augment_channels: bool = False
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class RooflinePoint:
    """Sustained rates at operand widths up to ``w_bits`` and ``a_bits``."""

    w_bits: Bits
    a_bits: Bits
    tera_macs_per_s: Size
    gb_per_s: Size
    fixed_us: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Roofline:
    """Time from rates alone: the larger of computing and moving, or with ``add`` their sum."""

    points: tuple[RooflinePoint, ...] = Field(min_length=1)
    combine: Literal["max", "add"] = "max"
    out_bits: Bits | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class TableRow:
    """A measured latency: of the layer called ``layer``, or of any with this ``[groups, m, k, n]`` shape."""

    w_bits: Bits
    a_bits: Bits
    latency_us: Size
    layer: str | None = None
    shape: tuple[Count, Count, Count, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_closed)
class Machine:
    """One accelerator. Which sections it needs depends on its ``engine`` (the timing model).

    ``status`` is honest about the numbers: ``exact`` (equals a published simulator), ``calibrated`` (fitted
    to measurements), ``published`` (taken from papers), ``rule`` (a published rule on an assumed machine) or
    ``assumed``. ``sources`` gives the origin of each constant by its dotted name or a prefix of it.
    """

    name: str
    description: str = ""
    status: Literal["exact", "calibrated", "published", "rule", "assumed"] = "assumed"
    engine: str = "systolic"
    clock_mhz: Size
    array: Array | None = None
    precision: Precision = FixedUnit()
    buffers: Buffers | None = None
    dram: Dram | None = None
    vector: Vector | None = None
    fusion: Fusion = Fusion()
    overhead: Overhead = Overhead()
    energy: Energy = Energy()
    dpu: Dpu | None = None
    roofline: Roofline | None = None
    table: tuple[TableRow, ...] = ()
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)


@lru_cache(maxsize=1)
def _adapter() -> "pydantic.TypeAdapter[Machine]":
    return pydantic.TypeAdapter(Machine)


_SECTIONS: dict[str, type] = {
    "array": Array,
    "buffers": Buffers,
    "dram": Dram,
    "vector": Vector,
    "fusion": Fusion,
    "overhead": Overhead,
    "energy": Energy,
    "dpu": Dpu,
    "roofline": Roofline,
    "": Machine,
    "precision.fixed": FixedUnit,
    "precision.fused": FusedUnit,
    "precision.sparq": SparqUnit,
    "precision.bit_serial_a": SerialActivationUnit,
    "precision.bit_serial_wa": SerialBothUnit,
    "precision.planes": PlanesUnit,
    "precision.lut": LutUnit,
}


def _known_fields(section: str) -> list[str]:
    kind = _SECTIONS.get(section)
    names = [field.name for field in dataclasses.fields(kind)] if kind else []
    return [*names, "extends"] if section == "" else names


def _problem(error: Mapping[str, Any]) -> str:
    """One line for one of pydantic's complaints: where, what was expected, what was found."""
    location = [str(part) for part in error["loc"]]
    where = ".".join(location)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        section, name = ".".join(location[:-1]), location[-1]
        known = _known_fields(section)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{where}: unknown field{hint} (known here: {', '.join(known)})"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}: missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{where}: {message} (found {error['input']!r})"


def validate(
    data: Mapping[str, Any], *, source: str, needed: Mapping[str, tuple[str, ...]] | None = None
) -> Machine:
    """Turn a mapping read from YAML into a machine.

    Args:
        data: the mapping, after ``extends`` and command-line settings.
        source: file or preset, for messages.
        needed: sections each engine cannot do without.

    Raises:
        ConfigError: lists every mistake at once.
    """
    problems = []
    engine = data.get("engine", "systolic")
    if needed is not None:
        if engine not in needed:
            close = difflib.get_close_matches(str(engine), needed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(
                f"engine: unknown timing model {engine!r}{hint} (known: {', '.join(sorted(needed))})"
            )
        else:
            problems += [
                f"{section}: missing; the timing model {engine!r} needs it"
                for section in needed[engine]
                if not data.get(section)
            ]
    machine = None
    try:
        machine = _adapter().validate_python(dict(data))
    except pydantic.ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_url=False)] + problems
    if problems or machine is None:
        listing = "\n".join(f"  {line}" for line in problems)
        count = counted(len(problems), "mistake")
        raise ConfigError(f"{source}: not a machine description; {count}:\n{listing}")
    return machine
