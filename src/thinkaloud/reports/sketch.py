"""Small curves as inline SVG, drawn by hand: light enough to be drawn anew every few seconds.

Knows points, ticks and the page's colours; does not know what is drawn, nor matplotlib.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
"Room around the curves, for what the axes say."
MOST_POINTS = 150
"Points of a curve; more are averaged, neighbours together."


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points, each the mean of neighbours."""
    size = max(1, math.ceil(len(points) / most))
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def round_top(value: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below `value`; 1 for nothing, or next to it."""
    if not value >= sys.float_info.min:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value * (1 - 1e-9))


def sketch(curves: Mapping[str, Points], colours: Mapping[str, str], name: str, *, share: bool) -> str:
    """Curves over the share of a stage's budget, each in its colour variable; "" where there is no point.

    `share` says that values are shares, shown in percent from 0 to 100.
    """
    kept = {label: thinned(points) for label, points in curves.items() if points}
    if not kept:
        return ""
    top = 1.0 if share else round_top(max(y for points in kept.values() for _, y in points))
    inner, depth = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + inner * min(1.0, max(0.0, x)):.1f},{TOP + depth * (1 - min(1.0, max(0.0, y / top))):.1f}"

    parts = []
    for tick in range(5):
        height = TOP + depth * (1 - tick / 4)
        words = f"{25 * tick} %" if share else f"{top * tick / 4:.3g}"
        parts.append(f'<path d="M{LEFT},{height:.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>')
        parts.append(_text(LEFT - 6, height + 4, words, "end"))
    for tick in (0, 50, 100):
        anchor = {0: "start", 50: "middle", 100: "end"}[tick]
        parts.append(_text(LEFT + inner * tick / 100, HEIGHT - 6, f"{tick} %", anchor))
    for label, points in kept.items():
        colour = f"var(--{colours[label]})"
        if len(points) <= 12:
            dots = (place(*point).split(",") for point in points)
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in dots]
        line = " ".join(place(*point) for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    style = f'font-size="11" fill="var(--muted)" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
