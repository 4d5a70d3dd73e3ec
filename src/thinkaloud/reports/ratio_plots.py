"""Plots of a study of arms and sizes: accuracy against problems and rollouts, and forests of ratios and differences.

Knows which numbers go into which plot; does not know how plots look. A plot without numbers is None.
"""

import math
from typing import Any

import numpy as np

from thinkaloud.base.ratios import estimate, over_seeds, running_mean
from thinkaloud.base.statistics import Floats
from thinkaloud.reports import plots
from thinkaloud.reports.compact import COSTS, START
from thinkaloud.reports.drawing import (
    CODES,
    add_legend,
    new_figure,
    percent_axis,
    styled,
    to_svg,
    with_intervals,
)
from thinkaloud.reports.ratio_tables import COST_NAMES, compared_with_ours
from thinkaloud.reports.ratios import GOALS, OVERALL, Analysis

WIDEST = 1e4
"Ratios are drawn between 1 over this and this."


def _colour(analysis: Analysis, arm: str) -> str:
    """Name of an arm's colour: the strongest for ours, then the page's colours in turn."""
    if arm == analysis.plan.ours:
        return "think_rl"
    spare = ["think", "think_rft", "think_sft", "think_rft4", "think_careful", "extra_1", "extra_2", "direct_rl"]
    names = [*analysis.plan.baselines, *analysis.others]
    return spare[names.index(arm) % len(spare)]


def _style(analysis: Analysis, arm: str) -> dict[str, Any]:
    ours = arm == analysis.plan.ours
    return {
        "color": CODES[_colour(analysis, arm)],
        "label": arm,
        "linewidth": 2.6 if ours else 1.6,
        "zorder": 5 if ours else 3,
    }


@styled
def by_problems(analysis: Analysis, column: str) -> str | None:
    """Accuracy on the sealed test against unique problems, with 95 % intervals; dotted: the baselines' targets."""
    arms = [arm for arm in analysis.arms if len(analysis.sizes(arm)) > 1]
    if not arms:
        return None
    figure, (axes,) = new_figure()
    sizes = sorted({size for arm in arms for size in analysis.sizes(arm)})
    for arm in arms:
        grades = {size: analysis.accuracy((arm, size)).get(column) for size in analysis.sizes(arm)}
        known = {size: grade for size, grade in grades.items() if grade is not None}
        with_intervals(axes, [math.log2(size) for size in known], list(known.values()), _style(analysis, arm))
    start = analysis.accuracy((START, 0)).get(column)
    if start is not None:
        axes.axhline(start.mean, color=CODES["muted"], linewidth=1)
    for baseline in analysis.plan.baselines:
        target = analysis.target(baseline).get(column)
        if target is not None:
            axes.axhline(target.mean, color=CODES[_colour(analysis, baseline)], linewidth=1, linestyle=(0, (1, 2)))
    percent_axis(axes, top=1.02)
    axes.set_xticks([math.log2(size) for size in sizes], [f"{size:,}" for size in sizes])
    axes.set_xlabel("unique problems")
    add_legend(figure, axes)
    return to_svg(figure, f"problems-{column}")


@styled
def by_rollouts(analysis: Analysis, family: str) -> str | None:
    """Accuracy on dev problems against rollouts at the largest size: mean over seeds, smoothed, with 95 % bands."""
    figure, (axes,) = new_figure()
    drawn = False
    for arm in (*analysis.plan.baselines, analysis.plan.ours):
        found = _mean_curve(analysis, family, arm)
        if found is None:
            continue
        drawn = True
        rollouts, mean, low, high = found
        style = _style(analysis, arm)
        axes.fill_between(rollouts, low, high, color=style["color"], alpha=0.16, linewidth=0)
        axes.plot(rollouts, mean, **style)
        target = analysis.target(arm).get(family) if arm in analysis.plan.baselines else None
        if target is not None:
            axes.axhline(target.mean, color=style["color"], linewidth=1, linestyle=(0, (1, 2)))
    percent_axis(axes, top=1.02)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("rollouts, all that were generated")
    add_legend(figure, axes)
    return to_svg(figure, f"rollouts-{family}") if drawn else None


def _mean_curve(analysis: Analysis, family: str, arm: str) -> tuple[Floats, Floats, Floats, Floats] | None:
    key = (family, arm, analysis.top)
    curves = [run[key].curve if key in run and len(run[key].curve) else None for run in analysis.runs]
    ends = [curve[-1, 0] for curve in curves if curve is not None]
    if not ends or not min(ends) > 0:
        return None
    rollouts = np.linspace(max(curve[0, 0] for curve in curves if curve is not None), min(ends), 40)
    nothing = np.full(len(rollouts), np.nan)
    values_SN = np.stack(
        [nothing if one is None else np.interp(rollouts, one[:, 0], running_mean(one[:, -1])) for one in curves]
    )
    seeds = len(ends)
    bands = [estimate(over_seeds(values_N[analysis.chosen_DS]), seeds, seeds) for values_N in values_SN.T]
    mean, low, high = (np.array([getattr(band, name) for band in bands]) for name in ("mean", "low", "high"))
    return rollouts, mean, low, high


@styled
def ratio_forest(analysis: Analysis) -> str | None:
    """Ours over each baseline, logarithmic: needs to reach the target; ticks: what was required and the stretch."""
    ours, rows = analysis.plan.ours, []
    for baseline in analysis.baselines:
        goals = GOALS.get(baseline, {})
        parts = {"problems": (analysis.problems_ratio(ours, baseline), goals.get("problems", ()))}
        parts["problems, between sizes"] = (analysis.problems_ratio(ours, baseline, between=True), ())
        for cost in COSTS:
            bounds = goals.get(cost, ())
            parts[COST_NAMES[cost]] = (analysis.costs(ours, baseline, cost), bounds)
        for name, (found, bounds) in parts.items():
            if OVERALL in found:
                rows.append((f"{name}, over {baseline}", found[OVERALL], bounds, CODES[_colour(analysis, baseline)]))
    if not rows:
        return None
    figure, (axes,) = new_figure(0.8 + 0.32 * len(rows))
    for place, (_, ratio, bounds, colour) in enumerate(reversed(rows)):
        one = ratio.estimate
        low, mean, high = np.clip([one.low, one.mean, one.high], 1 / WIDEST, WIDEST)
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4)
        marker = ">" if math.isinf(one.mean) else "<" if ratio.at_most else "o"
        axes.plot(mean, place, marker, color=colour, markersize=6.5, markeredgecolor=CODES["card"])
        for bound in filter(None, bounds):
            axes.plot([bound] * 2, [place - 0.3, place + 0.3], color=CODES["ink"], linewidth=1)
    axes.set_xscale("log")
    axes.axvline(1, color=CODES["muted"], linewidth=1)
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("ratio")
    return to_svg(figure, "ratios")


def parts_forest(analysis: Analysis) -> str | None:
    """Parts left out and controls minus ours, in points, at the largest size that both have."""
    rows = []
    for arm, (size, one) in compared_with_ours(analysis).items():
        dots = analysis.by_seed((arm, size), (analysis.plan.ours, size))
        rows.append((f"{arm}, {size:,}", one, dots, _colour(analysis, arm)))
    return plots.forest(rows, "parts")
