"""Accuracy of the demo network against the size of its file: docs/images/demo.svg.

``python benchmarks/demo_picture.py`` quantizes the network to every width of the integers and of DyBit that
runs on int8 kernels, measures each file on the writers that the network has never seen, prints the figures
as the Markdown table of docs/demo.md, and draws them.
"""

import tempfile
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from dybitq.api.calibrate import calibrate
from dybitq.api.demo import DATA, MODEL, SHIPPED, STATISTICS
from dybitq.api.evaluate import evaluate
from dybitq.api.quantize import quantize
from dybitq.plan.recipe import DEFAULTS, Recipe

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "demo.svg"
SERIES = {"int": range(2, 9), "dybit": range(2, 6)}

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 800, 340, 70, 130, 24, 52
BYTES, PERCENT = (20_000, 60_000), (94, 99)
INK, FAINT = "#24292f", "#8c959f"
COLOURS = {"int": "#0969da", "dybit": "#bc4c00"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One quantized file: its format, size in bytes, top-1 in percent, drop and its standard error."""

    family: str
    bits: int
    size_bytes: int
    top1: float
    drop: float
    error: float
    sqnr_db: float


def measure(folder: Path) -> tuple[float, list[Point]]:
    """Top-1 of the float32 network, and every point."""
    for name in SHIPPED:
        (folder / name).write_bytes(resources.files("dybitq.demo").joinpath(name).read_bytes())
    model, data, statistics = folder / MODEL, folder / DATA, folder / STATISTICS
    calibrate(model, data, statistics)
    points = []
    reference = 0.0
    for family, widths in SERIES.items():
        for bits in widths:
            output = folder / f"{family}{bits}.onnx"
            recipe = Recipe(defaults=replace(DEFAULTS, weights=output.stem))
            size = quantize(model, statistics, output, recipe=recipe).coverage.file_bytes
            result = evaluate(output, data, reference=model)
            metric = result.metrics[0]
            reference = metric.reference or 0.0
            points.append(
                Point(
                    family=family,
                    bits=bits,
                    size_bytes=size,
                    top1=metric.value,
                    drop=metric.drop or 0.0,
                    error=metric.drop_error or 0.0,
                    sqnr_db=result.outputs[0].sqnr_db,
                )
            )
    return reference, points


def x_of(size_bytes: float) -> float:
    """Horizontal position of a file size."""
    return LEFT + (size_bytes - BYTES[0]) / (BYTES[1] - BYTES[0]) * (WIDTH - LEFT - RIGHT)


def y_of(percent: float) -> float:
    """Vertical position of a top-1."""
    return HEIGHT - BOTTOM - (percent - PERCENT[0]) / (PERCENT[1] - PERCENT[0]) * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK) -> str:
    """One line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def axes(reference: float) -> list[str]:
    """Grid, labels, and the float32 network as a dashed line."""
    lines = []
    for percent in range(PERCENT[0], PERCENT[1] + 1):
        y = y_of(percent)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}" stroke-width="0.4"/>')
        lines.append(text(LEFT - 8, y + 4, f"{percent} %", "end"))
    base = HEIGHT - BOTTOM + 20
    lines += [
        text(x_of(size), base, f"{size // 1000} kB", "middle")
        for size in range(BYTES[0], BYTES[1] + 1, 10_000)
    ]
    y = y_of(reference)
    lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="4 3"/>')
    lines.append(text(WIDTH - RIGHT + 8, y - 4, f"float32 {reference:.2f} %"))
    lines.append(text(WIDTH - RIGHT + 8, y + 12, "194 kB", colour=FAINT))
    lines.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "size of the ONNX file", "middle", FAINT))
    return lines


def series(family: str, points: list[Point]) -> list[str]:
    """One line through the widths of a family; bars are one standard error of the paired drop."""
    colour = COLOURS[family]
    path = " ".join(f"{x_of(p.size_bytes):.1f},{y_of(p.top1):.1f}" for p in points)
    lines = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    for p in points:
        x, y = x_of(p.size_bytes), y_of(p.top1)
        low, high = y_of(p.top1 - p.error), y_of(p.top1 + p.error)
        lines.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>')
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        side = -10 if family == "int" else 18
        lines.append(text(x + 6, y + side, f"{family}{p.bits}", colour=colour))
    return lines


def draw(reference: float, points: list[Point]) -> str:
    """Draw the whole SVG."""
    body = axes(reference)
    for family in SERIES:
        body += series(family, [p for p in points if p.family == family])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12">\n'
        "<title>Top-1 of the demo network against the size of its file, by weight format</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def main() -> None:
    """Measure, print the table, write the picture."""
    with tempfile.TemporaryDirectory() as name:
        reference, points = measure(Path(name))
    print("| weights | bytes | top-1 % | drop | SQNR dB |\n|---|---|---|---|---|")
    for p in points:
        drop = f"{p.drop:.2f} ± {p.error:.2f}"
        print(f"| {p.family}{p.bits} | {p.size_bytes:,} | {p.top1:.2f} | {drop} | {p.sqnr_db:.1f} |")
    PICTURE.write_text(draw(reference, points), encoding="utf-8")


if __name__ == "__main__":
    main()
