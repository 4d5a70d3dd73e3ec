"""A calibration as tables and a plot: accuracy against the thinking budget, what efforts and early exits gave.

Knows the values of calibration.json; does not know models, nor how they were measured.
"""

from typing import Any

from thinkaloud.base.statistics import Estimate
from thinkaloud.reports.drawing import (
    CODES,
    add_legend,
    new_figure,
    percent_axis,
    standalone,
    styled,
    to_svg,
    with_intervals,
)

COLOURS = ("think_rl", "think", "direct", "direct_rl", "think_sft", "think_rft")


def effort_table(calibration: dict[str, Any]) -> list[list[str]]:
    """Efforts by kind: the budget, and what it gave on sealed problems."""
    rows = [["kind", "effort", "budget", "accuracy % (95 %)", "thinking tokens"]]
    for name, kind in calibration["kinds"].items():
        for effort, gave in kind["sealed"].items():
            budget = "none" if gave["budget"] is None else str(gave["budget"])
            interval = f"({100 * gave['low']:.1f} to {100 * gave['high']:.1f})"
            accuracy = f"{100 * gave['accuracy']:.1f} {interval}"
            rows.append([name, effort, budget, accuracy, f"{gave['thinking_tokens']:.1f}"])
    return rows


def exit_table(calibration: dict[str, Any]) -> list[list[str]]:
    """Early exits by kind and risk: the rule, and what it lost and saved on sealed problems."""
    rows = [["kind", "risk %", "rule", "lost % (95 %)", "saved %"]]
    for name, kind in calibration["kinds"].items():
        for rule, gave in zip(kind["exits"], kind["held"], strict=False):
            lost = f"{100 * gave['lost']:.2f} ({100 * gave['low']:.2f} to {100 * gave['high']:.2f})"
            rows.append([name, f"{100 * rule['risk']:g}", rule_words(rule), lost, f"{100 * gave['saved']:.1f}"])
    return rows


def rule_words(rule: dict[str, Any]) -> str:
    """'2 equal at 0.95, every 12 tokens from 24'."""
    if rule["confidence"] is None:
        return "never"
    return f"{rule['run']} equal at {rule['confidence']:g}, every {rule['gap']} tokens from {rule['skip']}"


@styled
def _plot(calibration: dict[str, Any]) -> str | None:
    kinds = {name: kind for name, kind in calibration["kinds"].items() if name != "pooled"}
    if not kinds:
        return None
    figure, (axes,) = new_figure()
    for (name, kind), colour in zip(kinds.items(), COLOURS, strict=False):
        points = [one for one in kind["curve"] if one["budget"] is not None]
        grades = [
            Estimate(mean=one["accuracy"], low=one["low"], high=one["high"], count=kind["problems"]) for one in points
        ]
        style = {"color": CODES[colour], "label": name, "linewidth": 1.8}
        with_intervals(axes, [one["budget"] for one in points], grades, style)
        for budget in kind["budgets"].values():
            if budget is not None:
                axes.axvline(budget, color=CODES[colour], linewidth=0.8, linestyle=(0, (2, 3)))
    percent_axis(axes, top=1.02)
    axes.set_xlabel("thinking budget, tokens (dotted: low, medium, high)")
    add_legend(figure, axes)
    return to_svg(figure, "calibration")


def budget_plot(calibration: dict[str, Any]) -> str | None:
    """Accuracy on dev problems against the budget, a curve a kind, as an SVG file; None where nothing was measured."""
    svg = _plot(calibration)
    return None if svg is None else standalone(svg)
