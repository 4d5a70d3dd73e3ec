"""What a study of arms and sizes shows: needs to reach a target, their ratios, differences, which goals are met.

Knows what was declared (`Plan`) and which numbers answer it; does not know files, tables or words. Every interval comes
from the same draws of seeds and problems, so that arms, sizes and families stay paired; a family weighs the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from thinkaloud.base.ratios import (
    DRAWS,
    drawn_seeds,
    estimate,
    fewest,
    first_reached,
    geometric_mean,
    lower_bound,
    median_over_seeds,
    need_ratio,
    over_seeds,
    resampled_cells,
    running_mean,
)
from thinkaloud.base.statistics import Estimate, Floats
from thinkaloud.reports.compact import COSTS, START, Data, Key, Trained

OVERALL = "overall"
FEWEST_SEEDS = 5
"With fewer seeds nothing is claimed, whatever the intervals."
EQUAL_ROLLOUTS = 1.02
"Ours may have generated this many times the baseline's rollouts and still count as given equal ones."

GOALS: Mapping[str, Mapping[str, tuple[float, float | None]]] = {
    "b0": {"problems": (1 / 3, 1 / 10), "rollouts": (2 / 3, 1 / 3), "accuracy": (0.05, None)},
    "b1": {"problems": (1.0, 1 / 5), "rollouts": (1.0, 1 / 2), "accuracy": (0.02, None)},
}
"""Declared before the study: required and stretch. Of a ratio the upper end of the 95 % interval counts, and 1 means
less than 1; of the difference in accuracy the lower end."""

Cell = tuple[str, int]
"An arm and a size."


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """What an arm needs to reach the target over what the baseline needs."""

    estimate: Estimate
    "The ratio; infinite where the arm doesn't reach the target."
    ours: float
    "The arm's need."
    theirs: float
    "The baseline's; infinite where it is censored."
    at_most: bool
    "Whether the ratio is an upper bound: the smallest size is enough for the arm, or the baseline never got there."


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One number that was to be shown."""

    what: str
    "problems, rollouts or accuracy."
    baseline: str
    "Against which arm."
    required: float
    "What the end of the interval must keep."
    stretch: float | None
    "What would be better still."
    measured: Estimate
    "Overall."
    verdict: str
    "stretch met, met, not met, or why nothing is said."


class Analysis:
    """The draws of a study, and what is asked of them. An answer's columns are the families and OVERALL."""

    def __init__(self, data: Data, *, draws: int = DRAWS) -> None:
        self.data, self.plan = data, data.plan
        self.runs = list(data.seeds.values())
        self.keys = {key for run in self.runs for key in run}
        self.families = [one for one in self.plan.families if any(key[0] == one for key in self.keys)]
        arms = dict.fromkeys((*self.plan.arms, *sorted({arm for _, arm, _ in self.keys})))
        self.arms = [arm for arm in arms if arm != START and self.sizes(arm)]
        self.others = [arm for arm in self.arms if arm not in (self.plan.ours, *self.plan.baselines)]
        self.baselines = [arm for arm in self.plan.baselines if arm in self.arms and self.plan.ours in self.arms]
        self.top = max(self.plan.sizes, default=0)
        self.chosen_DS = drawn_seeds(len(self.runs), draws=draws)
        self._test = self._resampled(lambda one: one.test)
        self._beyond = self._resampled(lambda one: one.beyond)

    def sizes(self, arm: str) -> list[int]:
        """The sizes that the arm was trained on, growing."""
        return sorted({size for _, name, size in self.keys if name == arm})

    def columns(self) -> list[str]:
        """The families and OVERALL."""
        return [*self.families, OVERALL]

    def problems(self, column: str = OVERALL) -> int:
        """Sealed problems of a family, or of all."""
        of_each = {key[0]: len(one.test) for run in self.runs for key, one in run.items()}
        return sum(of_each.values()) if column == OVERALL else of_each[column]

    def _resampled(self, part: Callable[[Trained], Floats | None]) -> dict[Key, Floats]:
        """Accuracy of every cell in every place of every draw, (D, S)."""
        found: dict[Key, Floats] = {}
        for number, family in enumerate(self.families):
            held = [{key: part(one) for key, one in run.items() if key[0] == family} for run in self.runs]
            known = [{key: value for key, value in one.items() if value is not None} for one in held]
            keys = sorted({key for one in known for key in one})
            length = max((len(value) for one in known for value in one.values()), default=0)
            nothing_P = np.full(length, np.nan)
            if keys:
                shares_SPC = np.stack([np.stack([one.get(key, nothing_P) for key in keys], axis=1) for one in known])
                means_DSC = resampled_cells(shares_SPC, self.chosen_DS, seed=number)
                found |= {key: means_DSC[:, :, cell] for cell, key in enumerate(keys)}
        return found

    def _means(self, measure: Callable[[str], Floats | None]) -> dict[str, tuple[Floats, int]]:
        """Mean over seeds, (D,), and how many they are, by family, and overall where no family lacks it."""
        values = {family: value for family in self.families if (value := measure(family)) is not None}
        known = {family: (over_seeds(one), int((~np.isnan(one[0])).sum())) for family, one in values.items()}
        if known and len(known) == len(self.families):
            mean_D = np.mean([one for one, _ in known.values()], axis=0)
            known[OVERALL] = (mean_D, min(seeds for _, seeds in known.values()))
        return known

    def _estimates(self, measure: Callable[[str], Floats | None]) -> dict[str, Estimate]:
        found = self._means(measure).items()
        return {name: estimate(mean_D, seeds, seeds * self.problems(name)) for name, (mean_D, seeds) in found}

    def accuracy(self, cell: Cell, *, beyond: bool = False) -> dict[str, Estimate]:
        """Accuracy on the sealed test, or out of range, by column."""
        held = self._beyond if beyond else self._test
        return self._estimates(lambda family: held.get((family, *cell)))

    def difference(self, after: Cell, before: Cell, *, beyond: bool = False) -> dict[str, Estimate]:
        """Accuracy of one cell minus another's, paired by seed and problem, by column."""
        return self._estimates(lambda family: self._difference(after, before, family, beyond=beyond))

    def _difference(self, after: Cell, before: Cell, family: str, *, beyond: bool = False) -> Floats | None:
        held = self._beyond if beyond else self._test
        new, old = held.get((family, *after)), held.get((family, *before))
        return None if new is None or old is None or np.isnan((new - old)[0]).all() else new - old

    def by_seed(self, after: Cell, before: Cell) -> list[float]:
        """The observed difference of each seed, mean over families."""
        parts = [one[0] for family in self.families if (one := self._difference(after, before, family)) is not None]
        return [float(value) for value in (np.mean(parts, axis=0) if parts else ()) if not np.isnan(value)]

    def not_worse(self, after: Cell, before: Cell) -> tuple[float, bool]:
        """Non-inferiority, overall: the one-sided 95 % lower bound of the difference; whether the margin holds."""
        found = self._means(lambda family: self._difference(after, before, family))
        if OVERALL not in found:
            return float("nan"), False
        mean_D, seeds = found[OVERALL]
        lower = lower_bound(mean_D, seeds)
        return lower, lower > -self.plan.margin and seeds >= FEWEST_SEEDS

    def _targets(self, baseline: str, family: str, share: float | None = None) -> Floats | None:
        """The target in every draw, (D,): the start's accuracy and a share of the baseline's gain at the top size."""
        start, plateau = self._test.get((family, START, 0)), self._test.get((family, baseline, self.top))
        if start is None or plateau is None:
            return None
        share = self.plan.target_share if share is None else share
        return np.asarray(over_seeds(start) + share * (over_seeds(plateau) - over_seeds(start)))

    def _dev_targets(self, baseline: str, family: str) -> Floats | None:
        """The same target on dev problems, (D,), which the curves are on: the two sets are not equally hard."""
        curves = [_curve(run, (family, baseline, self.top), COSTS[0]) for run in self.runs]
        if all(curve is None for curve in curves):
            return None
        ends_SE = np.array([(np.nan, np.nan) if curve is None else curve[1][[0, -1]] for curve in curves])
        start_D, end_D = (over_seeds(ends_SE[self.chosen_DS, end]) for end in (0, 1))
        return np.asarray(start_D + self.plan.target_share * (end_D - start_D))

    def target(self, baseline: str) -> dict[str, Estimate]:
        """The declared target by family, and its mean."""

        def measure(family: str) -> Floats | None:
            targets_D = self._targets(baseline, family)
            return None if targets_D is None else np.broadcast_to(targets_D[:, None], self.chosen_DS.shape)

        return self._estimates(measure)

    def problems_ratio(
        self, arm: str, baseline: str, *, between: bool = False, share: float | None = None
    ) -> dict[str, Ratio]:
        """Fewest unique problems to the target (mean over seeds), over the baseline's, by column."""

        def need(name: str, family: str) -> Floats | None:
            targets_D = self._targets(baseline, family, share)
            sizes = [size for size in self.sizes(name) if (family, name, size) in self._test]
            if targets_D is None or not sizes:
                return None
            accuracy_DN = np.stack([over_seeds(self._test[family, name, size]) for size in sizes], axis=1)
            return fewest(accuracy_DN, np.array(sizes, dtype=np.float64), targets_D, between=between)

        pairs = {family: (need(arm, family), need(baseline, family)) for family in self.families}
        return self._ratios(pairs, dict.fromkeys(pairs, float(self.top)), least=float(min(self.sizes(arm))))

    def costs(self, arm: str, baseline: str, cost: str) -> dict[str, Ratio]:
        """Median over seeds of what the arm had cost when its curve reached the target, over the baseline's."""

        def need(name: str, family: str) -> Floats | None:
            reached_DS = self._reached(name, baseline, family, cost)
            return None if reached_DS is None else median_over_seeds(reached_DS)

        def most(family: str) -> float:
            curves = [_curve(run, (family, baseline, self.top), cost) for run in self.runs]
            return max((float(curve[0][-1]) for curve in curves if curve is not None), default=float("nan"))

        pairs = {family: (need(arm, family), need(baseline, family)) for family in self.families}
        return self._ratios(pairs, {family: most(family) for family in pairs}, least=0.0)

    def _reached(self, arm: str, baseline: str, family: str, cost: str) -> Floats | None:
        """The cost at which each seed's curve at the top size reaches the target, (D, S); infinite if it doesn't."""
        targets_D = self._dev_targets(baseline, family)
        curves = [_curve(run, (family, arm, self.top), cost) for run in self.runs]
        if targets_D is None or all(curve is None for curve in curves):
            return None
        nothing_D = np.full(len(targets_D), np.nan)
        needs_SD = np.stack([nothing_D if one is None else first_reached(*one, targets_D) for one in curves])
        return np.asarray(needs_SD[self.chosen_DS, np.arange(len(targets_D))[:, None]])

    def censored(self, arm: str, baseline: str, family: str) -> tuple[list[str], int]:
        """Seeds whose curve never reaches the target, and how many seeds there are."""
        reached_DS = self._reached(arm, baseline, family, COSTS[0])
        if reached_DS is None:
            return [], 0
        names = [name for name, value in zip(self.data.seeds, reached_DS[0], strict=True) if np.isinf(value)]
        return names, int((~np.isnan(reached_DS[0])).sum())

    def scores(self) -> dict[str, dict[str, float]]:
        """Mean of the learning curves at the top size, by arm and column: what a trial of settings counts."""
        found: dict[str, dict[str, float]] = {}
        for arm in self.arms:
            keys = {family: (family, arm, self.top) for family in self.families}
            curves = {family: [run[key].curve for run in self.runs if key in run] for family, key in keys.items()}
            if all(curves.values()):
                means = {one: float(np.mean([curve[:, -1].mean() for curve in many])) for one, many in curves.items()}
                found[arm] = means | {OVERALL: float(np.mean(list(means.values())))}
        return found

    def dev_offset(self) -> float:
        """Accuracy on dev problems at the last point of the curve minus that on sealed ones, mean over all stages."""
        stages = [one for run in self.runs for one in run.values() if len(one.curve)]
        return float(np.mean([one.curve[-1, -1] - one.test.mean() for one in stages])) if stages else float("nan")

    def _ratios(
        self, pairs: Mapping[str, tuple[Floats | None, Floats | None]], most: Mapping[str, float], *, least: float
    ) -> dict[str, Ratio]:
        """Ratios by column; overall the geometric mean where no family lacks one."""
        needs = {family: (*pair, most[family]) for family, pair in pairs.items()}
        known = {
            family: (a, b, need_ratio(a, b, c))
            for family, (a, b, c) in needs.items()
            if a is not None and b is not None
        }
        if known and len(known) == len(self.families):
            ours, theirs, ratios = (geometric_mean(list(part)) for part in zip(*known.values(), strict=True))
            known[OVERALL] = (ours, theirs, ratios)
        bounds = {name: a[0] <= least or np.isinf(b[0]) for name, (a, b, _) in known.items()}
        bounds[OVERALL] = any(bounds.values())
        return {
            name: Ratio(
                estimate=estimate(ratios, len(self.runs), len(self.runs) * self.problems(name)),
                ours=float(ours[0]),
                theirs=float(theirs[0]),
                at_most=bool(bounds[name] and np.isfinite(ratios[0])),
            )
            for name, (ours, theirs, ratios) in known.items()
        }

    def spent(self, cell: Cell, counter: str) -> float:
        """Mean of a ledger's counter over seeds and families; NaN where none has it."""
        stages = (run[family, *cell].ledger for run in self.runs for family in self.families if (family, *cell) in run)
        found = [ledger[counter] for ledger in stages if counter in ledger]
        return float(np.mean(found)) if found else float("nan")

    def goals(self) -> list[Goal]:
        """What was to be shown, and whether it was; what was not measured is left out."""
        ours, found = self.plan.ours, []
        for baseline in self.baselines:
            problems, rollouts = self.problems_ratio(ours, baseline), self.costs(ours, baseline, "rollouts")
            measured = {
                "problems": problems[OVERALL].estimate if OVERALL in problems else None,
                "rollouts": rollouts[OVERALL].estimate if OVERALL in rollouts else None,
                "accuracy": self.difference((ours, self.top), (baseline, self.top)).get(OVERALL),
            }
            for what, (required, stretch) in GOALS.get(baseline, {}).items():
                one = measured[what]
                if one is not None:
                    verdict = self._verdict(what, baseline, one, required, stretch)
                    parts = {"what": what, "baseline": baseline, "verdict": verdict}
                    found.append(Goal(**parts, required=required, stretch=stretch, measured=one))
        return found

    def _verdict(self, what: str, baseline: str, one: Estimate, required: float, stretch: float | None) -> str:
        if len(self.runs) < FEWEST_SEEDS:
            return f"not told: {len(self.runs)} seeds, fewer than {FEWEST_SEEDS}"
        if what == "accuracy":
            rollouts = [self.spent((arm, self.top), "rollouts") for arm in (self.plan.ours, baseline)]
            if not rollouts[0] <= EQUAL_ROLLOUTS * rollouts[1]:
                return "not told: ours had more rollouts"
            return "met" if one.low >= required else "not met"
        if stretch is not None and one.high <= stretch:
            return "stretch met"
        return "met" if one.high < 1 and one.high <= required else "not met"


def _curve(run: Mapping[Key, Trained], key: Key, cost: str) -> tuple[Floats, Floats] | None:
    """Costs and accuracy on dev problems of one stage, (N,) each; None where it has no curve or cost nothing.

    The accuracy is the running mean of three points; in front stands the start, at cost 0.
    """
    trained, start, column = run.get(key), run.get((key[0], START, 0)), COSTS.index(cost)
    if trained is None or not len(trained.curve) or not trained.curve[-1, column] > 0:
        return None
    first = start.curve[-1, -1] if start is not None and len(start.curve) else trained.curve[0, -1]
    costs_N, accuracy_N = trained.curve[:, column], running_mean(trained.curve[:, -1])
    return np.concatenate([[0.0], costs_N]), np.concatenate([[first], accuracy_N])
