"""Networks of random architecture on the whole integer-only road: proven and equal in both flavours."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions
from tests.emit.toolkit import run
from tests.verify.kit import Net, outputs, prove, quantize_net

SEEDS = range(8)


@dataclass
class _Draft:
    """ONNX text under construction; every block reads and writes ``[N, channels, h, w]``."""

    rng: np.random.Generator
    lines: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, text: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        fan = max(1, int(np.prod(shape[1:])))
        self.weights[name] = (self.rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        return name

    def convolution(self, x: str, inner: int, out: int, options: str, kernel: int = 3, group: int = 1) -> str:
        """A convolution whose channels differ in size; one is dead, and one only has a bias."""
        w, b = self.weight(out, inner // group, kernel, kernel), self.weight(out)
        self.weights[w] *= np.exp(self.rng.normal(0, 1, (out, 1, 1, 1))).astype(np.float32)
        self.weights[w][0] = 0
        self.weights[b][0] = self.rng.choice([0.0, 0.7])
        self.weights[w][-1] *= 1e-6
        return self.add(f"Conv <group = {group}, {options}> ({x}, {w}, {b})")


def _grouped(d: _Draft, x: str, c: int) -> tuple[str, int]:
    group = c if c % 2 else 2
    return d.convolution(x, c, 2 * c, "pads = [1,1,1,1]", group=group), 2 * c


def _dilated(d: _Draft, x: str, c: int) -> tuple[str, int]:
    return d.add(f"Relu ({d.convolution(x, c, c, 'dilations = [2,2], pads = [2,2,2,2]')})"), c


def _lopsided(d: _Draft, x: str, c: int) -> tuple[str, int]:
    return d.convolution(x, c, c + 2, "pads = [0,2,2,0]"), c + 2


def _residual(d: _Draft, x: str, c: int) -> tuple[str, int]:
    inner = d.add(f"Relu ({d.convolution(x, c, c, 'pads = [1,1,1,1]')})")
    outer = d.convolution(inner, c, c, "pads = [1,1,1,1]")
    scaled = d.add(f"Mul ({outer}, {_scalar(d, float(10 ** d.rng.uniform(-2, 1)))})")
    total = d.add(f"Add ({scaled}, {x})")
    return d.add(f"Relu ({total})") if d.rng.random() < 0.5 else total, c


def _joined(d: _Draft, x: str, c: int) -> tuple[str, int]:
    wide = d.add(f"Mul ({d.convolution(x, c, 3, 'pads = [1,1,1,1]')}, {_scalar(d, 20.0)})")
    pooled = d.add(f"AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> ({x})")
    return d.add(f"Concat <axis = 1> ({wide}, {pooled}, {x})"), 3 + 2 * c


def _gated(d: _Draft, x: str, c: int) -> tuple[str, int]:
    mean = d.add(f"GlobalAveragePool ({x})")
    gate = d.add(f"HardSigmoid ({d.convolution(mean, c, c, 'pads = [0,0,0,0]', kernel=1)})")
    return d.add(f"Mul ({x}, {gate})"), c


def _halved(d: _Draft, x: str, c: int) -> tuple[str, int]:
    small = d.add(f"MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> ({x})")
    return d.add(f"LeakyRelu <alpha = 0.2> ({d.convolution(small, c, c, 'pads = [1,1,1,1]')})"), c


def _doubled(d: _Draft, x: str, c: int) -> tuple[str, int]:
    w = d.weight(c, c, 2, 2)
    return d.add(f"ConvTranspose <strides = [2,2]> ({x}, {w})"), c


def _scalar(d: _Draft, value: float) -> str:
    name = f"w{len(d.weights)}"
    d.weights[name] = np.array(value, np.float32)
    return name


_BLOCKS: tuple[Callable[[_Draft, str, int], tuple[str, int]], ...] = (
    _grouped,
    _dilated,
    _lopsided,
    _residual,
    _joined,
    _gated,
    _halved,
    _doubled,
)


def network(seed: int) -> Net:
    """Four random blocks between a first convolution and a last one; every kind of block comes up."""
    rng = np.random.default_rng(seed)
    draft = _Draft(rng)
    x, channels = draft.add(f"Relu ({draft.convolution('x', 4, 6, 'strides = [1,1], pads = [1,1,1,1]')})"), 6
    kinds = [seed % len(_BLOCKS), *rng.integers(0, len(_BLOCKS), 3)]
    for kind in kinds:
        x, channels = _BLOCKS[kind](draft, x, channels)
    last = draft.convolution(x, channels, 4, "pads = [1,1,1,1]")
    body = "\n".join([*draft.lines[:-1], draft.lines[-1].replace(f"{last} =", "y =", 1)])
    return Net(body=body, weights=draft.weights, batch=3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scales", ["free", "pow2"])
def test_random_networks_are_proven_and_equal_in_both_flavours(seed, scales, tmp_path):
    """Whatever is put together: strict, no finding, no mismatch, same outputs, near the float network."""
    net = network(seed)
    found = []
    for arithmetic in (INTEGER_FAST, INTEGER_EXPLICIT):
        path, made = quantize_net(net, tmp_path, arithmetic, IntegerOptions(scales=scales))
        assert not made.float_operators
        result = prove(path, net)
        assert result.passed, (result.findings, result.comparison and result.comparison.mismatches)
        found.append(outputs(path, net))
    for fast, explicit in zip(*found, strict=True):
        np.testing.assert_array_equal(fast, explicit)
    (expected,) = run(net.proto().SerializeToString(), net.data(9)).values()
    noise = np.sum((expected - found[0][0]) ** 2) / np.sum(expected**2)
    assert noise < 10 ** (-1.2), f"{-10 * np.log10(noise):.1f} dB"
