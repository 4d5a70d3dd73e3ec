"""How little an arm needs to reach a target, and the ratio of two such needs, with bootstrap intervals.

Knows arrays; does not know arms, files or words. Shapes: D draws, row 0 being what was observed; S seeds (independent
training runs), or the S places of a draw that seeds were drawn into; P problems; C cells (a cell is one trained model);
N points of a curve, by growing cost. A need that is never met is infinite.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from thinkaloud.base.statistics import CONFIDENCE, Estimate, Floats

Integers = NDArray[np.int64]

DRAWS = 4000


def drawn_seeds(seeds: int, *, draws: int = DRAWS, seed: int = 0) -> Integers:
    """Indices of the seeds of every draw, (D, S) with D = draws + 1: row 0 has each once, the others are resamples."""
    if seeds < 1:
        raise ValueError("a bootstrap needs at least one seed")
    random = np.random.default_rng(seed)
    return np.vstack([np.arange(seeds), random.integers(seeds, size=(draws, seeds))])


def resampled_cells(shares_SPC: Floats, chosen_DS: Integers, *, seed: int = 0) -> Floats:
    """Mean over resampled problems of every cell of every drawn seed: (D, S, C); NaN where a seed lacks the cell.

    `shares_SPC` holds the share of right samples; all seeds answer the same problems, so a draw's problems are drawn
    once, for all its seeds and cells: pairing by seed and by problem is kept, and the luck of the problem set, which
    more seeds don't average away, counts in full (the pigeonhole bootstrap, arXiv 0712.1111).
    """
    draws, problems = len(chosen_DS), shares_SPC.shape[1]
    random = np.random.default_rng(seed)
    drawn = random.integers(problems, size=(draws - 1, problems)) + problems * np.arange(draws - 1)[:, None]
    counts_DP = np.bincount(drawn.ravel(), minlength=(draws - 1) * problems).reshape(draws - 1, problems)
    weights_DP = np.vstack([np.ones(problems), counts_DP])
    with np.errstate(invalid="ignore"):
        means_SDC = np.round(weights_DP @ shares_SPC / problems, 12)  # sums in any order: equal cells stay equal
    return np.asarray(means_SDC[chosen_DS, np.arange(draws)[:, None]])


def over_seeds(values_DS: Floats) -> Floats:
    """Mean over the seeds of each draw that have the value: (D,); NaN where none has."""
    known_DS = ~np.isnan(values_DS)
    counts_D = known_DS.sum(axis=1)
    sums_D = np.where(known_DS, values_DS, 0.0).sum(axis=1)
    means_D: Floats = np.divide(sums_D, counts_D, out=np.full(len(counts_D), np.nan), where=counts_D > 0)
    return means_D


def median_over_seeds(values_DS: Floats) -> Floats:
    """Median over the seeds of each draw, (D,), of logarithms, infinities included: infinite if half never got there.

    NaN where no seed has the value. Values are positive.
    """
    ordered_DS = np.sort(np.log(values_DS), axis=1)  # NaN last
    counts_D = (~np.isnan(ordered_DS)).sum(axis=1)
    rows = np.arange(len(ordered_DS))
    lower, upper = np.maximum(counts_D - 1, 0) // 2, np.minimum(counts_D // 2, ordered_DS.shape[1] - 1)
    return np.asarray(np.exp((ordered_DS[rows, lower] + ordered_DS[rows, upper]) / 2))


def fewest(accuracy_DN: Floats, sizes_N: Floats, targets_D: Floats, *, between: bool = False) -> Floats:
    """The first size whose accuracy is at least the target: (D,), infinite where none is.

    With `between` the point on the line from the size before it, straight in the logarithm of the size.
    """
    reached_DN = accuracy_DN >= targets_D[:, None]
    first_D = reached_DN.argmax(axis=1)
    found_D = np.where(reached_DN.any(axis=1), sizes_N[first_D], np.inf)
    if not between:
        return np.asarray(found_D)
    rows, before_D = np.arange(len(first_D)), np.maximum(first_D - 1, 0)
    low_D, high_D = accuracy_DN[rows, before_D], accuracy_DN[rows, first_D]
    known_D = high_D > low_D  # neither the first size nor one after a gap
    share_D = np.divide(targets_D - low_D, high_D - low_D, out=np.ones_like(low_D), where=known_D)
    inside_D = sizes_N[before_D] ** (1 - share_D) * sizes_N[first_D] ** share_D
    return np.asarray(np.where(np.isinf(found_D), np.inf, inside_D))


def running_mean(values_N: Floats) -> Floats:
    """Mean of each point and its neighbours: three points, two at either end, the one where there is but one."""
    sums = np.convolve(values_N, np.ones(3))[1:-1]
    return np.asarray(sums / np.convolve(np.ones_like(values_N), np.ones(3))[1:-1])


def first_reached(costs_N: Floats, accuracy_N: Floats, targets_D: Floats) -> Floats:
    """The cost at which a curve first reaches each target, straight between its points: (D,), infinite if never.

    Point 0 is the start, at cost 0; a target that the start has already reached counts as reached at point 1.
    """
    highest_N = np.maximum.accumulate(accuracy_N)
    index_D = np.searchsorted(highest_N, targets_D)
    first_D = np.clip(index_D, 1, len(costs_N) - 1)
    low_D, high_D = accuracy_N[first_D - 1], accuracy_N[first_D]
    inside_D = (index_D > 0) & (high_D > low_D)
    share_D = np.divide(targets_D - low_D, high_D - low_D, out=np.ones_like(low_D), where=inside_D)
    met_D = costs_N[first_D - 1] + share_D * (costs_N[first_D] - costs_N[first_D - 1])
    return np.asarray(np.where(index_D < len(costs_N), met_D, np.inf))


def need_ratio(ours_D: Floats, theirs_D: Floats, most: float) -> Floats:
    """Our need over theirs, (D,): infinite where we never met it, whether they did or not.

    Where only they never met it, they count as if they had with `most`, all that they were given: the ratio is then
    *at most* that.
    """
    theirs_D = np.where(np.isinf(theirs_D), most, theirs_D)
    return np.asarray(np.where(np.isfinite(ours_D), ours_D / theirs_D, np.inf))


def geometric_mean(ratios: list[Floats]) -> Floats:
    """Geometric mean of several ratios, draw by draw: (D,)."""
    return np.asarray(np.exp(np.mean([np.log(one) for one in ratios], axis=0)))


def student_quantile(share: float, freedom: int) -> float:
    """Quantile of Student's t, by integrating its density over the angle whose tangent is t / sqrt(freedom)."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 400_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.cumsum((density + np.roll(density, 1)) / 2)
    return float(math.sqrt(freedom) * np.tan(np.interp(share, (mass - mass[0]) / (mass[-1] - mass[0]), angles)))


@cache
def expanded_tail(seeds: int, tail: float) -> float:
    """The tail to cut off a bootstrap over few seeds so that it leaves out `tail`: Hesterberg's expanded percentile.

    Resamples of S seeds spread less than seeds do, by sqrt((S - 1) / S), and S seeds call for Student's t (arXiv
    1411.5279, section 5.3). One seed says nothing of others: the tail stays as it is.
    """
    if seeds < 2:
        return tail
    return NormalDist().cdf(math.sqrt(seeds / (seeds - 1)) * student_quantile(tail, seeds - 1))


def estimate(values_D: Floats, seeds: int, count: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Row 0 with the expanded percentile interval of the other rows; its ends are draws, so they may be infinite.

    A draw without a value (NaN) counts on both sides.
    """
    tail = expanded_tail(seeds, (1 - confidence) / 2)
    low = np.quantile(np.where(np.isnan(values_D[1:]), -np.inf, values_D[1:]), tail, method="lower")
    high = np.quantile(np.where(np.isnan(values_D[1:]), np.inf, values_D[1:]), 1 - tail, method="higher")
    return Estimate(mean=float(values_D[0]), low=float(low), high=float(high), count=count)


def lower_bound(values_D: Floats, seeds: int, *, confidence: float = CONFIDENCE) -> float:
    """One-sided: what the true value lies above with this confidence."""
    return estimate(values_D, seeds, 0, confidence=2 * confidence - 1).low
