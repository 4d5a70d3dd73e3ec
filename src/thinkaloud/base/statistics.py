"""Statistics of graded replies: avg@k, pass@k, majority vote and 95 % intervals, in vectorised numpy.

Knows arrays of right and wrong; does not know models, problems, files or words. Everything random takes a seed, and
the same seed gives the same numbers. Shapes: P problems, K samples a problem, S seeds (independent training runs).
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its interval: `Estimate(mean=0.12, low=0.08, high=0.16, count=2000)` is +12 points, clear of zero."""

    mean: float
    "The observed mean, not the mean of the resamples."
    low: float
    "Lower end of the interval."
    high: float
    "Upper end of the interval."
    count: int
    "How many problems (over all seeds) the mean is taken over."

    @property
    def direction(self) -> int:
        """+1 if the whole interval is above zero, -1 if it is below, 0 if it touches zero."""
        return int(self.low > 0) - int(self.high < 0)


def problem_means(right: ArrayLike, graded: ArrayLike | None = None) -> Floats:
    """Share of right samples of each problem: `right` and `graded` are (P, K) of 0/1, the result is (P,).

    Samples with `graded` 0 are left out; a problem without a graded sample gives NaN.
    """
    right_PK = np.asarray(right, dtype=np.float64)
    if right_PK.ndim != 2:
        raise ValueError(f"expected problems x samples, got shape {right_PK.shape}")
    graded_PK = np.ones_like(right_PK) if graded is None else np.asarray(graded, dtype=np.float64)
    counts_P = graded_PK.sum(axis=1)
    sums_P = (right_PK * graded_PK).sum(axis=1)
    means_P: Floats = np.divide(sums_P, counts_P, out=np.full_like(sums_P, np.nan), where=counts_P > 0)
    return means_P


def average_at_k(right: ArrayLike, graded: ArrayLike | None = None) -> float:
    """avg@k: the mean over problems of the share of right samples; NaN if nothing is graded."""
    means_P = problem_means(right, graded)
    kept = means_P[~np.isnan(means_P)]
    return float(kept.mean()) if kept.size else float("nan")


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int) -> Floats:
    """Unbiased pass@k of each problem, 1 - C(n-c, k) / C(n, k), as a stable product (arXiv 2107.03374, section 2.1).

    `samples` n and `correct` c are (P,) integers (or scalars that broadcast) with n >= k >= 1 and 0 <= c <= n.
    """
    samples_P, correct_P = np.broadcast_arrays(
        np.atleast_1d(np.asarray(samples, dtype=np.int64)), np.atleast_1d(np.asarray(correct, dtype=np.int64))
    )
    if k < 1 or (samples_P < k).any():
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} samples of every problem")
    if (correct_P < 0).any() or (correct_P > samples_P).any():
        raise ValueError("the number of right samples must lie between 0 and the number of samples")
    if not samples_P.size:
        return np.empty(0)
    # C(n-c, k) / C(n, k) = product over j < k of (n - c - j) / (n - j); a factor of 0 marks n - c < k.
    step_K = np.arange(k)
    wrong_PK = np.maximum((samples_P - correct_P)[:, None] - step_K, 0)
    return 1.0 - np.asarray(np.prod(wrong_PK / (samples_P[:, None] - step_K), axis=1), dtype=np.float64)


def majority_vote(answers: Sequence[Hashable]) -> int:
    """Index of the first sample that gave the most frequent answer; among equals the answer that came first wins.

    Self-consistency, arXiv 2203.11171. An index and not the answer, so that the caller can look up its verdict.
    """
    if not answers:
        raise ValueError("a vote needs at least one answer")
    first: dict[Hashable, int] = {}
    votes: dict[Hashable, int] = {}
    for index, answer in enumerate(answers):
        first.setdefault(answer, index)
        votes[answer] = votes.get(answer, 0) + 1
    return first[max(votes, key=lambda answer: votes[answer])]  # max keeps the first among equals, dicts keep order


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927, J. Am. Stat. Assoc. 22) of a share: (low, high), each of the broadcast shape.

    Unlike the normal interval it stays inside [0, 1] and has width at 0 and at 1. Zero trials give (0, 1).
    """
    successes_P = np.asarray(successes, dtype=np.float64)
    trials_P = np.asarray(trials, dtype=np.float64)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    safe = np.maximum(trials_P, 1)
    share = successes_P / safe
    scale = 1 + z * z / safe
    centre = (share + z * z / (2 * safe)) / scale
    half = z * np.sqrt(share * (1 - share) / safe + z * z / (4 * safe * safe)) / scale
    low = np.where((trials_P == 0) | (successes_P == 0), 0.0, np.clip(centre - half, 0, 1))
    high = np.where((trials_P == 0) | (successes_P == trials_P), 1.0, np.clip(centre + half, 0, 1))
    return low, high


def wilson_estimate(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """The share of `successes` in `trials` (at least one) with Wilson's interval."""
    if trials < 1:
        raise ValueError("a share needs at least one trial")
    low, high = wilson_interval(successes, trials, confidence=confidence)
    return Estimate(mean=successes / trials, low=float(low), high=float(high), count=trials)


def change_bound(lost: int, won: int, count: int, *, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of the change of a share, from `count` pairs: right before and wrong now, or won.

    The adjusted Wald bound of Bonett and Price (2012, J. Educ. Behav. Stat. 37): one more pair of either kind, so that
    it holds for few changed pairs too. It is 1.0 where there are no pairs.
    """
    if not count:
        return 1.0
    up, down = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    spread = float(np.sqrt((up + down - (up - down) ** 2) / (count + 2)))
    return up - down + float(NormalDist().inv_cdf(confidence) * spread)


def resampled_means(values: ArrayLike, draws: int, random: np.random.Generator) -> Floats:
    """Means of `draws` resamples with replacement of the (P,) values, shape (draws,).

    Drawn as counts of the distinct values: the same distribution as drawing P indices, far cheaper for 0/1 grades.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    total = int(counts.sum())
    if distinct.size == 1:
        return np.full(draws, distinct[0])
    drawn = random.multinomial(total, counts / total, size=draws)
    return np.asarray(drawn @ distinct / total, dtype=np.float64)


def bootstrap_mean(values: ArrayLike, *, confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Mean over problems with a percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    `values` is (P,): one number a problem (a share right, a length, a paired difference), no NaN, P >= 1.
    """
    return hierarchical_bootstrap([values], confidence=confidence, draws=draws, seed=seed)


def hierarchical_bootstrap(
    values_by_seed: Sequence[ArrayLike], *, confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Mean over seeds of the mean over problems; each draw resamples seeds, then problems within each drawn seed.

    S arrays of shapes (P_s,), one a seed, every seed weighing the same. Davison and Hinkley 1997, section 3.8; for
    learned policies arXiv 2108.13264. With one seed it is the plain bootstrap over problems and says nothing about
    other seeds; with few seeds (about five or fewer) a percentile interval is somewhat too narrow.
    """
    groups = [np.asarray(values, dtype=np.float64) for values in values_by_seed]
    if not groups or any(group.ndim != 1 or not group.size for group in groups):
        raise ValueError("a bootstrap needs at least one seed, and at least one problem in each")
    if any(np.isnan(group).any() for group in groups):
        raise ValueError("a bootstrap takes no NaN: leave ungraded problems out first")
    random = np.random.default_rng(seed)
    chosen_DS = random.integers(len(groups), size=(draws, len(groups)))
    means_DS = np.empty(chosen_DS.shape)
    for index, group in enumerate(groups):
        slots = chosen_DS == index
        means_DS[slots] = resampled_means(group, int(slots.sum()), random)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_DS.mean(axis=1), [tail, 1 - tail])
    mean = float(np.mean([group.mean() for group in groups]))
    return Estimate(mean=mean, low=float(low), high=float(high), count=sum(group.size for group in groups))


def paired_differences(after: Mapping[str, float], before: Mapping[str, float]) -> Floats:
    """after - before for every problem id that both hold (NaN left out), in the order of `after`: shape (P,)."""
    pairs = ((after[key], before[key]) for key in after if key in before)
    return _without_nan(new - old for new, old in pairs)


def paired_bootstrap(
    after: Mapping[str, float],
    before: Mapping[str, float],
    *,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Mean of after - before over the problems that both hold, with a bootstrap interval over those problems."""
    return bootstrap_mean(paired_differences(after, before), confidence=confidence, draws=draws, seed=seed)


def hierarchical_paired_bootstrap(
    after: Sequence[Mapping[str, float]],
    before: Sequence[Mapping[str, float]],
    *,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Mean over seeds of after - before, paired by seed and problem; resamples seeds, then problems within a seed."""
    pairs = zip(after, before, strict=True)
    differences = [paired_differences(new, old) for new, old in pairs]
    return hierarchical_bootstrap(differences, confidence=confidence, draws=draws, seed=seed)


def _without_nan(values: Iterable[float]) -> Floats:
    array = np.fromiter(values, dtype=np.float64)
    return array[~np.isnan(array)]
