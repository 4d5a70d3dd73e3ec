"""What a study of arms and sizes shows: needs to reach a target, their ratios, differences at equal size, the goals met.

Knows what was declared (`Plan`) and which numbers answer it; does not know files, tables or words. Every interval comes
from the same draws of seeds and problems, so that arms, sizes and families stay paired; a family weighs the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkaloud.base.ratios import (
    Integers,
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

GOALS = {
    "b0": {"problems": (1 / 3, 1 / 10), "rollouts": (2 / 3, 1 / 3), "accuracy": (0.05, None)},
    "b1": {"problems": (1.0, 1 / 5), "rollouts": (1.0, 1 / 2), "accuracy": (0.02, None)},
}
"""Declared before the study: required and stretch. For the ratios the upper end of the 95 % interval counts, and 1 means
less than 1; for the difference in accuracy the lower end."""


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
    "Whether the ratio is an upper bound: ours needs no more than the smallest size, or the baseline never got there."


@dataclass(frozen=True, kw_only=True)
class Same:
    """Whether an arm is as accurate as the baseline, to within the margin."""

    difference: Estimate
    "Arm minus baseline, as a share."
    lower: float
    "The true difference lies above this with 95 % confidence, one-sided."
    holds: bool
    "Whether that is above minus the margin, on seeds enough."


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One cell of what was to be shown."""

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
    """The draws of a study, and what is asked of them. Columns of an answer are the families and OVERALL."""

    def __init__(self, data: Data, *, draws: int = 4000) -> None:
        self.data, self.plan = data, data.plan
        self.runs = list(data.seeds.values())
        self.keys = {key for run in self.runs for key in run}
        self.families = [one for one in self.plan.families if any(key[0] == one for key in self.keys)]
        arms = dict.fromkeys((*self.plan.arms, *sorted({arm for _, arm, _ in self.keys})))
        self.arms = [arm for arm in arms if arm != START and self.sizes(arm)]
        self.top = max((size for _, _, size in self.keys), default=0)
        self.chosen_DS: Integers = drawn_seeds(len(self.runs), draws=draws)
        self._test = self._resampled(lambda one: one.test)
        self._beyond = self._resampled(lambda one: one.beyond)

    def sizes(self, arm: str) -> list[int]:
        """The sizes that the arm was trained on, growing."""
        return sorted({size for _, name, size in self.keys if name == arm})

    def _resampled(self, part: Callable[[Trained], Floats | None]) -> dict[Key, Floats]:
        """Accuracy of every cell, (D, S)."""
        found: dict[Key, Floats] = {}
        for number, family in enumerate(self.families):
            held = [{key: part(one) for key, one in run.items() if key[0] == family} for run in self.runs]
            keys = sorted({key for one in held for key, value in one.items() if value is not None})
            length = max((len(value) for one in held for value in one.values() if value is not None), default=0)
            shares_SPC = np.full((len(held), length, len(keys)), np.nan)
            for shares_PC, one in zip(shares_SPC, held, strict=True):
                for cell, key in enumerate(keys):
                    if one.get(key) is not None:
                        shares_PC[:, cell] = one[key]
            if keys:
                means_DSC = resampled_cells(shares_SPC, self.chosen_DS, seed=number)
                found |= {key: means_DSC[:, :, cell] for cell, key in enumerate(keys)}
        return found

    def _columns(self, measure: Callable[[str], Floats | None]) -> dict[str, tuple[Floats, int]]:
        """Mean over seeds by family, and overall where no family lacks it, each with its number of seeds."""
        values = {family: value for family in self.families if (value := measure(family)) is not None}
        known = {family: (over_seeds(one), int((~np.isnan(one[0])).sum())) for family, one in values.items()}
        if known and len(known) == len(self.families):
            mean_D = np.mean([one for one, _ in known.values()], axis=0)
            known[OVERALL] = (mean_D, min(seeds for _, seeds in known.values()))
        return known

    def _estimates(self, measure: Callable[[str], Floats | None]) -> dict[str, Estimate]:
        return {
            name: estimate(values_D, seeds, seeds * self.problems(name))
            for name, (values_D, seeds) in self._columns(measure).items()
        }

    def problems(self, column: str) -> int:
        """Sealed problems of a family, or of all."""
        of_each = {key[0]: len(one.test) for run in self.runs for key, one in run.items()}
        return sum(of_each.values()) if column == OVERALL else of_each[column]

    def accuracy(self, arm: str, size: int, *, beyond: bool = False) -> dict[str, Estimate]:
        """Accuracy on the sealed test by column."""
        held = self._beyond if beyond else self._test
        return self._estimates(lambda family: held.get((family, arm, size)))

    def difference(
        self, after: tuple[str, int], before: tuple[str, int], *, beyond: bool = False
    ) -> dict[str, Estimate]:
        """Accuracy of one (arm, size) minus another's, paired by seed and problem, by column."""
        return self._estimates(self._difference(after, before, beyond=beyond))

    def _difference(
        self, after: tuple[str, int], before: tuple[str, int], *, beyond: bool = False
    ) -> Callable[[str], Floats | None]:
        held = self._beyond if beyond else self._test

        def measure(family: str) -> Floats | None:
            new, old = held.get((family, *after)), held.get((family, *before))
            return None if new is None or old is None or np.isnan((new - old)[0]).all() else new - old

        return measure

    def same(self, after: tuple[str, int], before: tuple[str, int]) -> dict[str, Same]:
        """Non-inferiority of one (arm, size) to another, by column."""
        found = {}
        for name, (values_D, seeds) in self._columns(self._difference(after, before)).items():
            lower = lower_bound(values_D, seeds)
            found[name] = Same(
                difference=estimate(values_D, seeds, seeds * self.problems(name)),
                lower=lower,
                holds=lower > -self.plan.margin and seeds >= FEWEST_SEEDS,
            )
        return found

    def targets(self, baseline: str, family: str, *, share: float | None = None) -> Floats | None:
        """The declared target in every draw, (D,): the start's accuracy and a share of the baseline's gain."""
        start, plateau = self._test.get((family, START, 0)), self._test.get((family, baseline, self.top))
        if start is None or plateau is None:
            return None
        share = self.plan.target_share if share is None else share
        return over_seeds(start) + share * (over_seeds(plateau) - over_seeds(start))

    def target(self, baseline: str) -> dict[str, Estimate]:
        """The target by family."""
        known = {family: self.targets(baseline, family) for family in self.families}
        seeds = len(self.runs)
        return {
            family: estimate(one, seeds, seeds * self.problems(family)) for family, one in known.items() if one is not None
        }

    def problems_ratio(
        self, arm: str, baseline: str, *, between: bool = False, share: float | None = None
    ) -> dict[str, Ratio]:
        """Fewest unique problems to the target (mean over seeds), over the baseline's, by column."""

        def need(name: str, family: str) -> Floats | None:
            targets_D = self.targets(baseline, family, share=share)
            sizes = [size for size in self.sizes(name) if (family, name, size) in self._test]
            if targets_D is None or not sizes:
                return None
            accuracy_DN = np.stack([over_seeds(self._test[family, name, size]) for size in sizes], axis=1)
            return fewest(accuracy_DN, np.array(sizes, dtype=np.float64), targets_D, between=between)

        least = {name: float(min(self.sizes(name))) for name in (arm, baseline)}
        pairs = {family: (need(arm, family), need(baseline, family)) for family in self.families}
        return self._ratios(pairs, {family: float(self.top) for family in pairs}, least[arm])

    def costs(self, arm: str, baseline: str, cost: str) -> dict[str, Ratio]:
        """Median over seeds of what the arm had cost when its curve reached the target, over the baseline's."""
        pairs = {
            family: tuple(
                None if (reached := self.reached(name, baseline, family, cost)) is None else median_over_seeds(reached)
                for name in (arm, baseline)
            )
            for family in self.families
        }
        most = {family: self._given(baseline, family, cost) for family in self.families}
        return self._ratios({family: (pair[0], pair[1]) for family, pair in pairs.items()}, most, 0.0)

    def reached(self, arm: str, baseline: str, family: str, cost: str) -> Floats | None:
        """The cost at which each seed's curve at the largest size reaches the target, (D, S); infinite if it doesn't.

        The curve is the running mean of three points of accuracy on dev problems, its start that of the cold start.
        """
        targets_D, key = self.targets(baseline, family), (family, arm, self.top)
        column = COSTS.index(cost)
        curves = [_curve(run, key, column) for run in self.runs]
        if targets_D is None or all(curve is None for curve in curves):
            return None
        nothing_D = np.full(len(targets_D), np.nan)
        needs_SD = np.stack([nothing_D if one is None else first_reached(*one, targets_D) for one in curves])
        return np.asarray(needs_SD[self.chosen_DS, np.arange(len(targets_D))[:, None]])

    def _given(self, arm: str, family: str, cost: str) -> float:
        """The most that a seed of the arm had at the largest size."""
        curves = [_curve(run, (family, arm, self.top), COSTS.index(cost)) for run in self.runs]
        return max((float(curve[0][-1]) for curve in curves if curve is not None), default=np.nan)

    def censored(self, arm: str, baseline: str, family: str) -> tuple[list[str], int]:
        """Seeds whose curve never reaches the target, and how many seeds there are."""
        reached = self.reached(arm, baseline, family, "rollouts")
        if reached is None:
            return [], 0
        names = [name for name, value in zip(self.data.seeds, reached[0], strict=True) if np.isinf(value)]
        return names, int((~np.isnan(reached[0])).sum())

    def _ratios(
        self, pairs: Mapping[str, tuple[Floats | None, Floats | None]], most: Mapping[str, float], least: float
    ) -> dict[str, Ratio]:
        seeds, found, values = len(self.runs), {}, []
        for family, (ours, theirs) in pairs.items():
            if ours is None or theirs is None:
                continue
            values.append(need_ratio(ours, theirs, most[family]))
            found[family] = Ratio(
                estimate=estimate(values[-1], seeds, seeds * self.problems(family)),
                ours=float(ours[0]),
                theirs=float(theirs[0]),
                at_most=bool(ours[0] <= least or np.isinf(theirs[0])) and bool(np.isfinite(ours[0])),
            )
        if found and len(found) == len(self.families):
            parts = list(found.values())
            found[OVERALL] = Ratio(
                estimate=estimate(geometric_mean(values), seeds, seeds * self.problems(OVERALL)),
                ours=float(geometric_mean([np.array([part.ours]) for part in parts])[0]),
                theirs=float(geometric_mean([np.array([part.theirs]) for part in parts])[0]),
                at_most=any(part.at_most for part in parts) and np.isfinite(parts[-1].ours),
            )
        return found

    def spent(self, arm: str, size: int, counter: str, families: Iterable[str] | None = None) -> float:
        """Mean of a ledger's counter over seeds and families; NaN where none has it."""
        keys = [(family, arm, size) for family in (self.families if families is None else families)]
        found = [run[key].ledger[counter] for run in self.runs for key in keys if key in run and counter in run[key].ledger]
        return float(np.mean(found)) if found else float("nan")

    def goals(self) -> list[Goal]:
        """What was to be shown, and whether it was."""
        ours, found = self.plan.ours, []
        for baseline in self.plan.baselines:
            equal = self.spent(ours, self.top, "rollouts") <= EQUAL_ROLLOUTS * self.spent(baseline, self.top, "rollouts")
            measured = {
                "problems": _overall(self.problems_ratio(ours, baseline)),
                "rollouts": _overall(self.costs(ours, baseline, "rollouts")),
                "accuracy": self.difference((ours, self.top), (baseline, self.top)).get(OVERALL),
            }
            for what, (required, stretch) in GOALS.get(baseline, {}).items():
                value = measured[what]
                if value is not None:
                    verdict = self._verdict(what, value, required, stretch, equal)
                    found.append(
                        Goal(
                            what=what,
                            baseline=baseline,
                            required=required,
                            stretch=stretch,
                            measured=value,
                            verdict=verdict,
                        )
                    )
        return found

    def _verdict(self, what: str, value: Estimate, required: float, stretch: float | None, equal: bool) -> str:
        if len(self.runs) < FEWEST_SEEDS:
            return f"not told: {len(self.runs)} seeds, fewer than {FEWEST_SEEDS}"
        if what == "accuracy":
            if not equal:
                return "not told: ours had more rollouts"
            return "met" if value.low >= required else "not met"
        if stretch is not None and value.high <= stretch:
            return "stretch met"
        return "met" if value.high < 1 and value.high <= required else "not met"


def _overall(found: Mapping[str, Ratio]) -> Estimate | None:
    return found[OVERALL].estimate if OVERALL in found else None


def _curve(run: Mapping[Key, Trained], key: Key, column: int) -> tuple[Floats, Floats] | None:
    """Costs and smoothed accuracy of one stage's curve, the start in front; None where it has none or cost nothing."""
    trained = run.get(key)
    if trained is None or not len(trained.curve) or not trained.curve[-1, column] > 0:
        return None
    start = run.get((key[0], START, 0))
    first = start.curve[-1, -1] if start is not None and len(start.curve) else trained.curve[0, -1]
    return (
        np.concatenate([[0.0], trained.curve[:, column]]),
        np.concatenate([[first], running_mean(trained.curve[:, -1])]),
    )


def others(analysis: Analysis) -> Sequence[str]:
    """The arms that are neither ours nor a baseline: parts left out, and controls."""
    return [arm for arm in analysis.arms if arm not in (analysis.plan.ours, *analysis.plan.baselines)]
