"""Draws where the levels of each format lie on a normal tensor: docs/formats/<page>.svg.

``python benchmarks/format_plots.py`` writes the pictures again; the same tables give the same bytes. Each
strip shows the levels of one format at the scale of least squared error for a normal tensor, in standard
deviations, and that error, under the normal and the Laplace density.
"""

import math
from pathlib import Path

import numpy as np
from format_errors import best_scale

from dybitq.encodings import codec, formats

FOLDER = Path(__file__).parents[1] / "docs" / "formats"

PAGES = {
    "int": ("int2", "int3", "int4", "int5", "int6"),
    "dybit": ("dybit2", "dybit3", "dybit4", "dybit5", "dybit6"),
    "minifloat": ("e2m1", "e2m2", "e3m1", "e2m3", "e3m2"),
    "pot": ("pot3", "pot4", "pot5"),
    "ternary": ("ternary",),
    "odd": ("odd1", "odd2", "odd3", "odd4", "odd5"),
    "lloyd": ("normal2", "laplace2", "normal3", "laplace3", "normal4", "laplace4", "normal5", "laplace5"),
}

WIDTH, LEFT, RIGHT = 800, 96, 124
CURVE, STRIP, GAP = 92, 26, 12
REACH = 4.0  # standard deviations shown on either side
INK, FAINT, ACCENT = "#24292f", "#8c959f", "#0969da"


def x_of(sigma: float) -> float:
    """Horizontal position of a value given in standard deviations."""
    return LEFT + (sigma + REACH) / (2 * REACH) * (WIDTH - LEFT - RIGHT)


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK, size: int = 12) -> str:
    """One line of text."""
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{words}</text>'
    )


def curve() -> list[str]:
    """Draw the densities over the strips, and the axis."""
    values = np.linspace(-REACH, REACH, 161)
    normal = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
    laplace = np.exp(-math.sqrt(2) * np.abs(values)) / math.sqrt(2)
    lines = []
    for density, colour, dash in ((normal, ACCENT, ""), (laplace, FAINT, ' stroke-dasharray="4 3"')):
        points = " ".join(
            f"{x_of(v):.1f},{8 + CURVE * (1 - d / 0.75):.1f}" for v, d in zip(values, density, strict=True)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
    lines.append(text(x_of(0.4), 30, "Laplace", colour=FAINT))
    lines.append(text(x_of(1.3), 72, "normal", colour=ACCENT))
    return lines


def strip(name: str, top: float) -> list[str]:
    """Draw the levels of one format as ticks, with its name and error."""
    format = formats.get(name)
    scale, error = best_scale(format, "normal")
    integers, _ = codec.levels(format)
    positions = integers * scale
    outside = int((np.abs(positions) > REACH).sum())
    base, name_end = top + STRIP, LEFT - 10
    lines = [
        f'<path d="M{x_of(-REACH):.1f} {base}H{x_of(REACH):.1f}" stroke="{FAINT}" stroke-width="0.5"/>',
        text(name_end, top + 12, name, anchor="end"),
        text(name_end, top + 25, f"{error:.4f}", anchor="end", colour=FAINT, size=10),
    ]
    ticks = "".join(f"M{x_of(v):.1f} {top}v{STRIP}" for v in positions if abs(v) <= REACH)
    lines.append(f'<path d="{ticks}" stroke="{INK}" stroke-width="1"/>')
    if outside:
        note = f"{outside} more, to &#177;{positions.max():.3g} &#963;"
        lines.append(text(x_of(REACH) + 8, top + 25, note, colour=ACCENT, size=10))
    return lines


def picture(names: tuple[str, ...]) -> str:
    """Draw the whole SVG of one page."""
    height = 8 + CURVE + GAP + len(names) * (STRIP + GAP) + 24
    body = curve()
    for i, name in enumerate(names):
        body += strip(name, 8 + CURVE + GAP + i * (STRIP + GAP))
    for sigma in range(-4, 5):
        body.append(text(x_of(sigma), height - 8, f"{sigma} &#963;", anchor="middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">\n'
        f"<title>Levels of {', '.join(names)} at the best scale for a normal tensor</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def main() -> None:
    """Write every picture."""
    for page, names in PAGES.items():
        path = FOLDER / f"{page}.svg"
        path.write_text(picture(names), encoding="utf-8")
        print(path.relative_to(FOLDER.parents[1]))


if __name__ == "__main__":
    main()
