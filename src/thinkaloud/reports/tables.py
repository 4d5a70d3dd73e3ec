"""Numbers of a run: accuracy with intervals, paired differences, shares of ways, and the tables made of them.

Knows what the models of a run are called and how numbers are written; does not know HTML, plots or verdicts in words.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkaloud.base.statistics import (
    Estimate,
    average_at_k,
    bootstrap_mean,
    paired_bootstrap,
    pass_at_k,
    wilson_estimate,
)
from thinkaloud.reports.load import Evaluation, Graded, Run, load_run, majority_right, mean_thinking, share_right

LABELS = {
    "direct": "answers at once",
    "direct_rl": "answers at once, then RL",
    "think": "thinks aloud (cold start)",
    "think_sft": "thinks, longer fine-tuning",
    "think_rft": "thinks, rejection sampling",
    "think_rft4": "thinks, rejection sampling in rounds",
    "think_careful": "thinks, careful demonstrations only",
    "think_careful_long": "thinks, careful demonstrations only, long replies",
    "think_short": "thinks, short demonstrations only",
    "think_lucky": "thinks, then the shortest demonstrations",
    "think_grpo": "thinks, then RL by the R1 recipe",
    "think_rl": "thinks, then RL",
}
"What each model of the demo is, in the order in which tables list them; models that are not listed follow."

BEFORE, AFTER = "think", "think_rl"
"The model before and after reinforcement learning."
PLAIN = "think_grpo"
"The model after plain GRPO, the R1 recipe."


def ordered(models: Iterable[str]) -> list[str]:
    """The models in the order of LABELS, strangers last by name."""
    known = list(LABELS)
    return sorted(models, key=lambda name: (known.index(name) if name in known else len(known), name))


def controls(models: Iterable[str]) -> list[str]:
    """The thinking models that reinforcement learning is compared with: all but the cold start and RL itself."""
    return [name for name in ordered(models) if name.startswith("think") and name not in (BEFORE, AFTER)]


def percent(share: float) -> str:
    """0.6123 -> '61.2 %'."""
    return f"{100 * share:.1f} %"


def interval(estimate: Estimate) -> str:
    """'59.1 to 63.3', in percent."""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def signed(value: float, digits: int = 1) -> str:
    """+3.1, -0.4 (with a real minus sign), 0.0."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "\u2212") + text


def points(estimate: Estimate) -> str:
    """'+12.3 points (95 % interval +9.8 to +14.9)': a difference of shares."""
    low, high = signed(100 * estimate.low), signed(100 * estimate.high)
    return f"{signed(100 * estimate.mean)} points (95 % interval {low} to {high})"


def quantity(value: float) -> str:
    """1234567 -> '1.23 M': at most four digits and a unit."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def estimate_of(values: Sequence[float], *, binary: bool) -> Estimate | None:
    """Mean with interval over problems: Wilson's for 0/1 grades, the bootstrap otherwise; None if empty."""
    if not values:
        return None
    return wilson_estimate(round(sum(values)), len(values)) if binary else bootstrap_mean(values)


def accuracy(evaluation: Evaluation, family: str | None = None) -> Estimate | None:
    """Mean share right over problems with a 95 % interval; ungradable samples are left out."""
    values = evaluation.values(family, share_right)
    return estimate_of(list(values.values()), binary=set(values.values()) <= {0.0, 1.0})


def difference(after: Evaluation, before: Evaluation, family: str | None = None) -> Estimate | None:
    """Accuracy of `after` minus `before`, paired by problem; None if they share no problem."""
    return paired(after.values(family, share_right), before.values(family, share_right))


def paired(after: Mapping[str, float], before: Mapping[str, float]) -> Estimate | None:
    """Paired difference of two measures held by problem id; None if they share no problem."""
    return paired_bootstrap(after, before) if after.keys() & before.keys() else None


def length_difference(after: Evaluation, before: Evaluation, family: str | None = None) -> Estimate | None:
    """Thinking tokens of `after` minus `before`, paired by problem."""
    return paired(after.values(family, mean_thinking), before.values(family, mean_thinking))


def mean_length(evaluation: Evaluation, family: str | None = None) -> float:
    """Mean thinking tokens over all samples; NaN if none were recorded."""
    lengths = [count for problem in evaluation.of(family) for count in problem.thinking_tokens]
    return float(np.mean(lengths)) if lengths else float("nan")


def way_shares(evaluation: Evaluation, family: str | None) -> dict[str, float]:
    """Share of the samples by way of working, in order of first appearance; empty if ways were not recorded."""
    ways = [way for problem in evaluation.of(family) for way in problem.ways]
    return {way: ways.count(way) / len(ways) for way in dict.fromkeys(ways)}


def way_share(problem: Graded, way: str) -> float | None:
    """Share of one problem's samples that work in that way."""
    return problem.ways.count(way) / len(problem.ways) if problem.ways else None


def way_length(problem: Graded, way: str) -> float | None:
    """Mean thinking tokens of the samples that work in that way; None if no sample does."""
    if len(problem.thinking_tokens) != len(problem.ways):
        return None
    lengths = [count for count, one in zip(problem.thinking_tokens, problem.ways, strict=True) if one == way]
    return sum(lengths) / len(lengths) if lengths else None


def vote_scores(vote: Evaluation, family: str | None = None) -> dict[str, Estimate]:
    """`avg`, `majority` and `pass` at the evaluation's samples a problem (pass@k: only problems with all k graded)."""
    scores = {
        "avg": estimate_of(list(vote.values(family, share_right).values()), binary=False),
        "majority": estimate_of(list(vote.values(family, majority_right).values()), binary=True),
    }
    full = [problem for problem in vote.of(family) if len(problem.kept()) >= vote.samples]
    correct = [sum(problem.right[index] for index in problem.kept()) for problem in full]
    passed = pass_at_k([len(problem.kept()) for problem in full], correct, vote.samples)
    scores["pass"] = estimate_of(passed.tolist(), binary=all(len(one.kept()) == vote.samples for one in full))
    return {name: score for name, score in scores.items() if score is not None}


def _summary_of(evaluation: Evaluation, family: str | None) -> dict[str, Any]:
    problems = evaluation.of(family)
    grade = accuracy(evaluation, family)
    graded = [[problem.right[index] for index in problem.kept()] for problem in problems]
    width = max(map(len, graded), default=0) or 1
    right = [row + [0] * (width - len(row)) for row in graded]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in graded]
    mean = average_at_k(right, mask) if graded else float("nan")
    length = mean_length(evaluation, family)
    return {
        "accuracy": None if grade is None else round(mean, 6),
        "ci95": None if grade is None else [round(grade.low, 6), round(grade.high, 6)],
        "n": 0 if grade is None else grade.count,
        "thinking_tokens": None if np.isnan(length) else round(length, 3),
        "ungradable": sum(len(problem.right) - len(problem.kept()) for problem in problems),
    }


def summarise(run: Path | Run) -> dict[str, Any]:
    """Content of summary.json: every model's accuracy, interval, problems and monologue length, overall and by family.

    Ungradable samples are left out of the mean and counted. `seconds` is the ledger's total.
    """
    run = run if isinstance(run, Run) else load_run(run)
    models: dict[str, Any] = {}
    for name in ordered(run.evaluations):
        evaluation = run.evaluations[name]
        families = {family: _summary_of(evaluation, family) for family in evaluation.families()}
        models[name] = {"overall": _summary_of(evaluation, None), "families": families}
    seconds = run.ledger.get("total", {}).get("seconds")
    return {"models": models, "seconds": seconds, "machine": run.environment.get("machine")}


def _cell(summary: Mapping[str, Any] | None) -> str:
    if summary is None or summary["accuracy"] is None:
        return "-"
    low, high = summary["ci95"]
    return f"{100 * summary['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def summary_table(run: Path | Run) -> list[list[str]]:
    """Rows for the terminal, the heading first: model, accuracy in percent with 95 % interval, thinking tokens."""
    run = run if isinstance(run, Run) else load_run(run)
    families = run.families()
    rows = [["model", "overall %", *(f"{family} %" for family in families), "thinking tokens", "problems"]]
    for name, summary in summarise(run)["models"].items():
        overall, by_family = summary["overall"], summary["families"]
        tokens = overall["thinking_tokens"]
        cells = [_cell(overall), *(_cell(by_family.get(family)) for family in families)]
        rows.append([name, *cells, "-" if tokens is None else f"{tokens:.1f}", f"{overall['n']:,}"])
    return rows
