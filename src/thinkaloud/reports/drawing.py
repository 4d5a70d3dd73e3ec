"""How plots look and become inline SVG: one style, colours that are the page's CSS variables and follow light and dark.

Knows axes, lines and colours; does not know what is plotted. matplotlib is imported when the first plot is drawn.
"""

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from thinkaloud.base.statistics import Estimate
from thinkaloud.reports.page import COLOURS, MODEL_COLOURS
from thinkaloud.reports.tables import AFTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

# matplotlib wants a colour where we want a variable: each name gets a hex code of its own that is replaced in the SVG.
CODES = {name: f"#{0x010100 + index:06x}" for index, name in enumerate(COLOURS)}

WIDTH, HEIGHT = 5.0, 3.1

RC: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": CODES["ink"],
    "axes.edgecolor": CODES["line"],
    "axes.labelcolor": CODES["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": CODES["line"],
    "grid.linewidth": 0.8,
    "xtick.color": CODES["line"],
    "ytick.color": CODES["line"],
    "xtick.labelcolor": CODES["muted"],
    "ytick.labelcolor": CODES["muted"],
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": CODES["ink"],
    "lines.solid_capstyle": "round",
}


def colour_name(model: str) -> str:
    """Name of the model's colour variable; a model that the page doesn't know gets one of the spare colours."""
    return model if model in MODEL_COLOURS else f"extra_{1 + sum(model.encode()) % 2}"


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """The colour variable of each: models keep their own, the others take those that are left, in turn."""
    taken = [name for name in names if name in MODEL_COLOURS]
    free = [colour for colour in MODEL_COLOURS if colour not in taken] or list(MODEL_COLOURS)
    others = [name for name in names if name not in MODEL_COLOURS]
    return {name: name for name in taken} | {name: free[-1 - index % len(free)] for index, name in enumerate(others)}


def way_order(ways: Iterable[str]) -> list[str]:
    """Ways of working as bars and legends show them: careful first, other last."""
    names = list(dict.fromkeys(ways))
    return sorted(names, key=lambda way: (way == "other", way != "careful", names.index(way)))


def way_code(way: str, order: Sequence[str]) -> str:
    return CODES["way_other" if way == "other" else f"way_{1 + order.index(way) % 5}"]


def styled(draw: Callable[Arguments, str | None]) -> Callable[Arguments, str | None]:
    """A plot function that runs under our style (ticks are made late and read the style then)."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str | None:
        if sys.prefix != sys.base_prefix:  # keep matplotlib's font cache inside the virtual environment
            os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix) / ".cache" / "matplotlib"))
        import matplotlib

        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float = HEIGHT, rows: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure with `rows` axes, one below the other, that share their x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, [row[0] for row in axes]


def to_svg(figure: "Figure", name: str) -> str:
    """The figure as SVG for inlining: no prologue, no fixed size, colours as variables, ids that no other plot has."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)
    names = {code: colour for colour, code in CODES.items()}
    return re.sub(r"#0101[0-9a-f]{2}", lambda found: f"var(--{names[found.group()]})", text)


def standalone(svg: str) -> str:
    """The same plot as a file of its own: on a card, in the colours that the page would have given."""
    day, night = ("".join(f"--{name}:{pair[index]};" for name, pair in COLOURS.items()) for index in (0, 1))
    style = (
        f"<style>:root{{{day}}}@media (prefers-color-scheme:dark){{:root{{{night}}}}}"
        "text{font-family:system-ui,sans-serif!important}</style>"
        '<rect width="100%" height="100%" fill="var(--card)"/>'
    )
    head, rest = svg.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def line_style(model: str) -> dict[str, Any]:
    style: dict[str, Any] = {"color": CODES[colour_name(model)], "linewidth": 1.6, "label": model}
    if model.startswith("direct"):
        style["linestyle"] = (0, (4, 2))
    if model == AFTER:
        style.update(linewidth=2.6, zorder=5)
    return style


def percent_axis(axes: "Axes", *, x: bool = False, top: float = 1.0) -> None:
    from matplotlib.ticker import PercentFormatter

    axis = axes.xaxis if x else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    (axes.set_xlim if x else axes.set_ylim)(0, top)


def add_legend(figure: "Figure", axes: "Axes", columns: int = 4) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=columns,
            fontsize=8.5,
            handlelength=1.8,
            columnspacing=1.4,
            labelcolor=CODES["ink"],
            frameon=False,
        )


def with_intervals(axes: "Axes", positions: Sequence[float], grades: Sequence[Estimate], style: dict[str, Any]) -> None:
    means = [grade.mean for grade in grades]
    # Wilson's interval need not be symmetric; at 0 and 1 rounding may put an end a hair inside the mean.
    below = [max(0.0, grade.mean - grade.low) for grade in grades]
    above = [max(0.0, grade.high - grade.mean) for grade in grades]
    axes.errorbar(positions, means, yerr=[below, above], fmt="none", ecolor=style["color"], elinewidth=1, alpha=0.45)
    axes.plot(positions, means, marker="o", markersize=3.4, **style)
