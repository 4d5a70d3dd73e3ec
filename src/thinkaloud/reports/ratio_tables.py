"""The tables and sentences of a study of arms and sizes.

Knows how its numbers are written and when a sentence may be said; does not know how they come about, nor pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from thinkaloud.base.statistics import Estimate
from thinkaloud.reports.compact import COSTS, START
from thinkaloud.reports.findings import Finding, listed, tone_of
from thinkaloud.reports.html import COUNTERS as LEDGER
from thinkaloud.reports.ratios import FEWEST_SEEDS, OVERALL, Analysis, Ratio
from thinkaloud.reports.tables import interval, points, quantity, signed

GOAL_NAMES = {
    "problems": "unique problems to the target, ratio",
    "rollouts": "rollouts to the target, ratio",
    "accuracy": "accuracy at equal rollouts, points",
}
COST_NAMES = dict(zip(COSTS, ("rollouts", "generated tokens", "trained tokens", "seconds"), strict=True))
COUNTERS = {
    **LEDGER,
    "variants": "variants",
    "line_verdicts": "lines judged",
    "hint_tokens": "tokens of hints",
    "steered": "steered rollouts",
    "replayed": "replayed",
    "teacher_tokens": "teacher's tokens",
}
"Counters of the ledger that are shown where any stage has them."
SHARES = (0.8, 0.9, 0.95)
"Shares of the baseline's gain at which the target is also tried: a reader sees what hangs on the declared one."


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table."""

    title: str
    "What it shows."
    rows: Sequence[Sequence[str]]
    "The heading, then the rows; cells are plain text."
    note: str = ""
    "How to read it."


def number(value: float) -> str:
    """A ratio or a need to three digits; 'never' where it is infinite, '-' where it is unknown."""
    if value != value:
        return "-"
    return "never" if value == float("inf") else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio_text(one: Estimate) -> str:
    """'0.12 (0.1 to 0.2)'."""
    return f"{number(one.mean)} ({number(one.low)} to {number(one.high)})"


def _told(ratio: Ratio | None) -> str:
    return "-" if ratio is None else ("at most " if ratio.at_most else "") + ratio_text(ratio.estimate)


def _points(one: Estimate | None) -> str:
    ends = f" ({signed(100 * one.low)} to {signed(100 * one.high)})" if one and isfinite(one.high - one.low) else ""
    return "-" if one is None else signed(100 * one.mean) + ends


def _share(one: Estimate | None) -> str:
    """Too few seeds for an interval: the mean alone."""
    ends = f" ({interval(one)})" if one and isfinite(one.high - one.low) else ""
    return "-" if one is None else f"{100 * one.mean:.1f}{ends}"


def _named(arm: str, size: int) -> str:
    return f"{arm}, {size:,}" if size else arm


def tables(analysis: Analysis) -> list[Table]:
    """All tables, in the order in which they are read; those without rows are left out."""
    found = [_goals(analysis), *(_problems(analysis, baseline) for baseline in analysis.baselines), _shares(analysis)]
    found += [make(analysis, baseline) for make in (_costs, _equal) for baseline in analysis.baselines]
    found += [_parts(analysis), *(_accuracies(analysis, column) for column in analysis.columns())]
    return [one for one in (*found, _beyond(analysis), _scores(analysis), _ledger(analysis)) if len(one.rows) > 1]


def _goals(analysis: Analysis) -> Table:
    rows = [["what", "against", "required", "stretch", "measured (95 %)", "verdict"]]
    for goal in analysis.goals():
        if goal.what == "accuracy":
            bounds, measured = [f"\u2265 {signed(100 * goal.required, 0)}", "-"], _points(goal.measured)
        else:
            required = "< 1" if goal.required == 1 else f"\u2264 {number(goal.required)}"
            bounds, measured = [required, f"\u2264 {number(goal.stretch or 0)}"], ratio_text(goal.measured)
        rows.append([GOAL_NAMES[goal.what], goal.baseline, *bounds, measured, goal.verdict])
    note = "Declared beforehand. Of a ratio the upper end of the interval counts, of a difference the lower end."
    return Table(title="What was to be shown", rows=rows, note=note)


def _problems(analysis: Analysis, baseline: str) -> Table:
    target = analysis.target(baseline)
    rows = [["arm", "family", "target %", "fewest problems", "between sizes", f"over {baseline}'s", "between sizes"]]
    for arm in analysis.arms:
        if arm != baseline and len(analysis.sizes(arm)) > 1:
            between = analysis.problems_ratio(arm, baseline, between=True)
            for column, ratio in analysis.problems_ratio(arm, baseline).items():
                both = (ratio, between[column])
                needs = [f"{number(one.ours)} : {number(one.theirs)}" for one in both]
                rows.append([arm, column, _share(target.get(column)), *needs, *map(_told, both)])
    return Table(
        title=f"Unique problems to the target of {baseline}",
        rows=rows,
        note=f"The target: the start's accuracy and {analysis.plan.target_share:g} of what {baseline} gains on "
        f"{analysis.top:,} problems; on sealed problems, mean over seeds. Fewest: the first size whose mean over seeds "
        f"reaches it, the arm's : {baseline}'s. Between sizes: straight in the logarithm of the size. Overall: "
        "geometric means.",
    )


def _shares(analysis: Analysis) -> Table:
    ours, rows = analysis.plan.ours, [["target", *(f"over {baseline}'s" for baseline in analysis.baselines)]]
    for share in SHARES if analysis.baselines else ():
        found = [analysis.problems_ratio(ours, one, between=True, share=share) for one in analysis.baselines]
        mark = " (declared)" if share == analysis.plan.target_share else ""
        rows.append([f"{share:g} of the gain{mark}", *(_told(one.get(OVERALL)) for one in found)])
    note = f"Unique problems that {ours} needs, between sizes, overall."
    return Table(title="Had the target been another", rows=rows, note=note)


def _costs(analysis: Analysis, baseline: str) -> Table:
    rows = [["arm", "family", "rollouts", "seeds there", *(f"{name}, ratio" for name in COST_NAMES.values())]]
    for arm in (baseline, *(arm for arm in analysis.arms if arm != baseline)):
        ratios = {cost: analysis.costs(arm, baseline, cost) for cost in COSTS}
        for column, ratio in ratios["rollouts"].items():
            missed, seeds = analysis.censored(arm, baseline, column) if column != OVERALL else ([], 0)
            there = f"{seeds - len(missed)} of {seeds}" + (f" (not {', '.join(missed)})" if missed else "")
            told = ["1" if arm == baseline else _told(ratios[cost].get(column)) for cost in COSTS]
            rows.append([arm, column, number(ratio.ours), there if seeds else "", *told])
    return Table(
        title=f"What it costs to reach the target of {baseline}, on {analysis.top:,} problems",
        rows=rows,
        note="All rollouts that were generated, discarded ones too, when the running mean of three points of the curve "
        "on dev problems first reaches the target: the median over seeds, a seed that never does counting as infinite "
        f"and named. Dev problems lie {signed(100 * analysis.dev_offset())} points from the sealed ones (all stages).",
    )


def _equal(analysis: Analysis, baseline: str) -> Table:
    ours, top = analysis.plan.ours, analysis.top
    rows = [["problems", *analysis.columns(), "rollouts, ratio", "", f"minus {baseline} with {top:,}", "at least", ""]]
    for size in analysis.sizes(ours):
        equal, all_of_them = (analysis.difference((ours, size), (baseline, one)) for one in (size, top))
        spent = [analysis.spent((arm, size), "rollouts") for arm in (ours, baseline)]
        lower, holds = analysis.not_worse((ours, size), (baseline, top))
        cells = [_points(equal.get(column)) for column in analysis.columns()]
        cells += [number(spent[0] / spent[1]) if spent[1] > 0 else "-", _word(analysis, baseline, size, size)]
        cells += [_points(all_of_them.get(OVERALL)), signed(100 * lower) if lower == lower else "-"]
        rows.append([f"{size:,}", *cells, "not worse" if holds else "not shown"])
    return Table(
        title=f"{ours} minus {baseline}",
        rows=rows,
        note="Points on the sealed test at the end of training, paired by seed and problem: first on equally many "
        f"problems, then, overall, {ours} on its own against {baseline} on all. Better: the interval is above zero. "
        f"Not worse: above \u2212{100 * analysis.plan.margin:g} with 95 % confidence, one-sided.",
    )


def _word(analysis: Analysis, baseline: str, size: int, other: int) -> str:
    after, before = (analysis.plan.ours, size), (baseline, other)
    change = analysis.difference(after, before).get(OVERALL)
    if change is None or len(analysis.runs) < FEWEST_SEEDS:
        return "-" if change is None else "too few seeds"
    words = {1: "better", -1: "worse", 0: "not shown"}
    return "not worse" if not change.direction and analysis.not_worse(after, before)[1] else words[change.direction]


def _parts(analysis: Analysis) -> Table:
    ours, rows = analysis.plan.ours, [["arm", "problems", *analysis.columns()]]
    for arm in analysis.others:
        for size in analysis.sizes(arm):
            found = analysis.difference((arm, size), (ours, size))
            if found:
                rows.append([arm, f"{size:,}", *(_points(found.get(column)) for column in analysis.columns())])
    return Table(
        title=f"Parts left out, and controls, minus {ours}",
        rows=rows,
        note=f"Points on the sealed test, paired by seed and problem; below zero: worse than {ours}. The intervals are "
        "not widened for their number: of twenty, one misses.",
    )


def _accuracies(analysis: Analysis, column: str) -> Table:
    rows = [["problems", *analysis.arms]]
    for size in sorted({size for arm in analysis.arms for size in analysis.sizes(arm)}):
        found = [analysis.accuracy((arm, size)).get(column) for arm in analysis.arms]
        rows += [[f"{size:,}", *map(_share, found)]] if any(found) else []
    start = analysis.accuracy((START, 0)).get(column)
    note = f"In % on the sealed test; the start has {_share(start)}." if start else "In % on the sealed test."
    return Table(title=f"Accuracy, {column}", rows=rows, note=note)


def _largest(analysis: Analysis) -> list[tuple[str, int]]:
    return [(START, 0), *((arm, max(analysis.sizes(arm))) for arm in analysis.arms)]


def _beyond(analysis: Analysis) -> Table:
    ours, top, columns = analysis.plan.ours, analysis.top, analysis.columns()
    lines = {_named(*cell): (analysis.accuracy(cell, beyond=True), _share) for cell in _largest(analysis)}
    for baseline in analysis.baselines:
        found = analysis.difference((ours, top), (baseline, top), beyond=True)
        lines[f"{ours} \u2212 {baseline}, points"] = (found, _points)
    rows = [[name, *(write(one.get(column)) for column in columns)] for name, (one, write) in lines.items() if one]
    note = "Accuracy in %, each arm at its largest size."
    return Table(title="Out of range: longer, larger", rows=[["arm", *columns], *rows], note=note)


def _scores(analysis: Analysis) -> Table:
    scores = sorted(analysis.scores().items(), key=lambda row: -row[1][OVERALL])
    rows = [[arm, *(f"{100 * row[column]:.1f}" for column in analysis.columns())] for arm, row in scores]
    return Table(
        title=f"Learning curves, {analysis.top:,} problems",
        rows=[["arm", *analysis.columns()], *rows],
        note="Mean over the points of the curve on dev problems, in %: early and high both count. Settings go by it.",
    )


def _ledger(analysis: Analysis) -> Table:
    spent = {cell: {name: analysis.spent(cell, name) for name in COUNTERS} for cell in _largest(analysis)}
    known = [name for name in COUNTERS if any(row[name] > 0 for row in spent.values())]
    rows = [[_named(*cell), *(_quantity(row[name]) for name in known)] for cell, row in spent.items()] if known else []
    return Table(
        title="What was spent",
        rows=[["stage", *(COUNTERS[name] for name in known)], *rows],
        note="Mean of one stage over seeds and families, each arm at its largest size; the start is spent once for all "
        "arms. Unique problems count dev problems too.",
    )


def _quantity(value: float) -> str:
    return quantity(value) if value == value else "-"


def findings(analysis: Analysis) -> list[Finding]:
    """The sentences that the intervals support; none with too few seeds."""
    if len(analysis.runs) < FEWEST_SEEDS:
        return []
    found = [
        one for baseline in analysis.baselines for one in (*_needs(analysis, baseline), *_ends(analysis, baseline))
    ]
    return found + _paid(analysis)


def _needs(analysis: Analysis, baseline: str) -> list[Finding]:
    ours, found = analysis.plan.ours, []
    for what, ratios in (
        ("unique problems", analysis.problems_ratio(ours, baseline)),
        ("rollouts", analysis.costs(ours, baseline, "rollouts")),
    ):
        ratio = ratios.get(OVERALL)
        sign = int(ratio.estimate.high < 1) - int(ratio.estimate.low > 1) if ratio else 0
        if ratio and sign:
            one, most = ratio.estimate, "at most " if ratio.at_most else ""
            words = f"{ours} reaches the target of {baseline} with {most}{number(one.mean)} times its {what}"
            if one.mean == float("inf"):
                words = f"{ours} does not reach the target of {baseline} in every family ({what})"
            span = f" (95 % interval {number(one.low)} to {number(one.high)})."
            details = tuple(f"{family}: {_told(part)}." for family, part in ratios.items() if family != OVERALL)
            found.append(Finding(topic=what, tone=tone_of(sign), headline=words + span, details=details))
    return found


def _ends(analysis: Analysis, baseline: str) -> list[Finding]:
    ours, top, found = analysis.plan.ours, analysis.top, []
    change = analysis.difference((ours, top), (baseline, top)).get(OVERALL)
    if change and change.direction:
        verb = "more" if change.direction > 0 else "less"
        words = f"On {top:,} problems {ours} ends {verb} accurate than {baseline}: {points(change)}."
        found.append(Finding(topic="accuracy", tone=tone_of(change.direction), headline=words))
    few = [size for size in analysis.sizes(ours) if size < top and analysis.not_worse((ours, size), (baseline, top))[1]]
    if few:
        words = (
            f"{ours} with {few[0]:,} problems is not worse than {baseline} with {top:,}, to within "
            f"{100 * analysis.plan.margin:g} point: "
            f"{points(analysis.difference((ours, few[0]), (baseline, top))[OVERALL])}."
        )
        found.append(Finding(topic="same", tone="yes", headline=words))
    return found


def compared_with_ours(analysis: Analysis) -> dict[str, tuple[int, Estimate]]:
    """Every other arm minus ours, overall, at the largest size that both have."""
    ours, found = analysis.plan.ours, {}
    for arm in analysis.others:
        for size in (size for size in analysis.sizes(arm) if size in analysis.sizes(ours)):
            one = analysis.difference((arm, size), (ours, size)).get(OVERALL)
            if one:
                found[arm] = (size, one)
    return found


def _paid(analysis: Analysis) -> list[Finding]:
    """Which of the other arms differ from ours."""
    found, arms = [], compared_with_ours(analysis)
    for sign, words in ((-1, "Worse"), (1, "Better")):
        rows = {arm: row for arm, row in arms.items() if row[1].direction == sign}
        if rows:
            details = tuple(f"{arm} on {size:,} problems: {points(one)}." for arm, (size, one) in rows.items())
            headline = f"{words} than {analysis.plan.ours}: {listed(list(rows))}."
            found.append(Finding(topic="parts", tone=tone_of(-sign), headline=headline, details=details))
    return found
