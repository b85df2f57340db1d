"""What is read back from a file is the integer network that was written into it, in both flavours."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from dybitq.graph.stored.plain import read_plain
from dybitq.records.arithmetic import INTEGER_EXPLICIT, IntegerOptions
from dybitq.records.formats import NumberFormat
from dybitq.records.integer_network import Other, Requantize, outputs_of
from dybitq.verification.read.network import read_network
from tests.verify.kit import FLAVOURS, quantize_net
from tests.verify.networks import NETWORKS

_FREE = {"name", "input_rank", "reason", "attributes", "op_type"}  # names may differ, meaning may not


def same(a: object, b: object) -> bool:
    """Whether two operations, or parts of them, compute the same."""
    if isinstance(a, np.ndarray | np.generic) or isinstance(b, np.ndarray | np.generic):
        return np.array_equal(np.asarray(a), np.asarray(b))
    if isinstance(a, NumberFormat) and isinstance(b, NumberFormat):
        return np.array_equal(a.table, b.table)
    if isinstance(a, Requantize) and isinstance(b, Requantize):
        rest = dataclasses.replace(a, multiplier=b.multiplier, shift=b.shift)
        return _factors(a) == _factors(b) and dataclasses.astuple(rest)[2:] == dataclasses.astuple(b)[2:]
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        fields = [f.name for f in dataclasses.fields(a) if f.name not in _FREE]
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in fields)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _factors(target: Requantize) -> set[tuple[int, Fraction]]:
    values = [Fraction(int(b), 1 << int(c)) for b, c in zip(target.multiplier, target.shift, strict=True)]
    return set(values) if len(set(values)) == 1 else set(enumerate(values))


def check(path, made) -> None:
    """The file holds the operations of the network, and no others that compute."""
    written = {outputs_of(o): o for o in made.network.operations if not isinstance(o, Other)}
    read = {outputs_of(o): o for o in read_network(read_plain(path)).operations}
    missing = [k for k, o in written.items() if k not in read or not same(o, read[k])]
    assert not missing, [(written[k], read.get(k)) for k in missing[:1]]


@pytest.mark.parametrize("arithmetic", FLAVOURS)
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_integer_networks_survive_the_file(name, arithmetic, tmp_path):
    """Operation by operation, number by number."""
    check(*quantize_net(NETWORKS[name], tmp_path, arithmetic))


@pytest.mark.parametrize(
    "options",
    [
        IntegerOptions(residual_bits=16, rounding="half-up"),
        IntegerOptions(residual_rounding="branch", scales="pow2"),
        IntegerOptions(multiplier_bits=16, residual_bits=16, residual_rounding="branch"),
    ],
    ids=["wide", "branch", "both"],
)
def test_options_survive_the_file(options, tmp_path):
    """Wide sums, roundings by branch and wide multipliers are read back."""
    check(*quantize_net(NETWORKS["residual"], tmp_path, INTEGER_EXPLICIT, options, weights="dybit7"))
