"""Error of every number format on normal and Laplace tensors, by exact integration, at the best scale.

``python benchmarks/format_errors.py`` prints the Markdown tables of docs/formats/README.md. The error is the
root mean squared error over the standard deviation, ``sqrt(E (x - s Q(x/s))^2)`` for a source of unit
variance; unsigned formats are measured on the magnitude of the source, over its root mean square.

``python benchmarks/format_errors.py MODEL.onnx ...`` measures the convolution weights of models instead, with
the best scale for every output channel, and prints the last table of that page.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dybitq.encodings import codec, formats
from dybitq.records.formats import NumberFormat

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


def normal_moments(x: np.ndarray) -> Moments:
    """Integrals of ``p``, ``x p`` and ``x^2 p`` from 0 to x >= 0, for the normal density."""
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    mass = np.array([math.erf(v / math.sqrt(2)) / 2 for v in x])
    edge = np.where(np.isfinite(x), x, 0) * density
    return mass, 1 / math.sqrt(2 * math.pi) - density, mass - edge


def laplace_moments(x: np.ndarray) -> Moments:
    """Compute these integrals for the Laplace density of unit variance, ``exp(-sqrt(2) |x|) / sqrt(2)``."""
    r = math.sqrt(2)
    tail = np.exp(-r * x) / 2
    y = np.where(np.isfinite(x), x, 0)
    return 0.5 - tail, 1 / (2 * r) - tail * (y + 1 / r), 0.5 - tail * (y**2 + r * y + 1)


SOURCES: dict[str, Callable[[np.ndarray], Moments]] = {"normal": normal_moments, "Laplace": laplace_moments}


def nrmse(format: NumberFormat, scale: float, source: str) -> float:
    """Exact nRMSE of a symmetric (or unsigned) table at ``scale``, which multiplies the integers."""
    integers, _ = codec.levels(format)
    centres = integers[integers >= 0] * scale
    middles = (centres[:-1] + centres[1:]) / 2
    mass, first, second = (np.diff(m) for m in SOURCES[source](np.concatenate([[0.0], middles, [np.inf]])))
    return math.sqrt(2 * float((second - 2 * centres * first + centres**2 * mass).sum()))


def best_scale(format: NumberFormat, source: str) -> tuple[float, float]:
    """Find the scale of least nRMSE, and that nRMSE: a logarithmic grid, then golden-section search."""
    grid = np.geomspace(0.1 / format.max_integer, 200 / format.max_integer, 400)
    errors = [nrmse(format, float(s), source) for s in grid]
    i = int(np.argmin(errors))
    low, high = math.log(grid[max(i - 1, 0)]), math.log(grid[min(i + 1, 399)])
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if nrmse(format, math.exp(a), source) < nrmse(format, math.exp(b), source):
            high = b
        else:
            low = a
    scale = math.exp((low + high) / 2)
    return scale, nrmse(format, scale, source)


def row(name: str) -> str:
    """One line of the table."""
    format = formats.get(name)
    distinct = codec.levels(format)[0].size
    kernel = "int8" if format.fits_int8 else "float"
    errors = " | ".join(f"{best_scale(format, source)[1]:.4f}" for source in SOURCES)
    return f"| `{name}` | {format.bits} | {distinct} | {format.max_integer} | {kernel} | {errors} |"


def table(signed: bool) -> list[str]:
    """Make the Markdown table of all signed or all unsigned formats, by width."""
    names = sorted(formats.names(signed), key=lambda name: (formats.get(name).bits, name))
    head = "| format | bits | levels | largest integer | kernel | normal | Laplace |"
    return [head, "|---|---|---|---|---|---|---|", *(row(name) for name in names)]


def convolution_rows(path: Path) -> list[np.ndarray]:
    """Weights of the dense convolutions of a model, ``[out, in * kh * kw]`` each."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    initializers = {i.name: i for i in graph.initializer}
    used = [n.input[1] for n in graph.node if n.op_type == "Conv"]
    weights = [numpy_helper.to_array(initializers[name]) for name in used if name in initializers]
    rows = [w.reshape(w.shape[0], -1).astype(np.float32) for w in weights]
    return [r for r in rows if r.shape[1] >= 64]


def measured(rows: list[np.ndarray], format: NumberFormat) -> float:
    """Root of the mean over all channels of the least squared error over the channel's mean square."""
    least = []
    for row in rows:
        unit = row / np.sqrt(np.maximum((row**2).mean(axis=1, keepdims=True), 1e-30))
        errors = np.full(len(row), np.inf)
        for scale in np.geomspace(0.15 / format.max_integer, 40 / format.max_integer, 90):
            errors = np.minimum(errors, ((unit - codec.quantize(unit, scale, format)) ** 2).mean(axis=1))
        least.append(errors)
    return math.sqrt(float(np.concatenate(least).mean()))


def measured_table(paths: list[Path]) -> list[str]:
    """Markdown table: formats of 2 to 6 bits down, models across."""
    models = [convolution_rows(path) for path in paths]
    lines = [
        "| format | " + " | ".join(path.stem for path in paths) + " |",
        "|---|" + "---|" * len(paths),
    ]
    for bits in range(2, 7):
        aliases = ("ternary", f"pot{bits}", "dybit2")
        for name in (n for n in formats.names() if formats.get(n).bits == bits and n not in aliases):
            errors = " | ".join(f"{measured(rows, formats.get(name)):.4f}" for rows in models)
            lines.append(f"| `{name}` | {errors} |")
    return lines


def main() -> None:
    """Print the tables for ideal sources, or the one for the models named."""
    if sys.argv[1:]:
        print("\n".join(measured_table([Path(name) for name in sys.argv[1:]])))
        return
    for signed in (True, False):
        print("\n".join(table(signed)), end="\n\n")


if __name__ == "__main__":
    main()
