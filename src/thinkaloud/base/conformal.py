"""Risks that are kept, and confidences that mean what they say, without assuming a distribution.

Knows arrays of losses, of shares and of right and wrong; does not know models, problems, files or words.
Shapes: P problems, L settings from the boldest to the most cautious.
"""

import numpy as np
from numpy.typing import ArrayLike

from thinkaloud.base.statistics import Floats

Knots = list[tuple[float, float]]
"What is said -> how often it is right, by rising x; between two knots the lower one's value holds."


def least_cautious(losses: ArrayLike, risk: float) -> int | None:
    """Conformal risk control (arXiv 2208.02814): the boldest setting whose expected loss is at most `risk`.

    `losses` is (P, L) in [0, 1]. A loss that rises again at a more cautious setting counts at all bolder ones too: that
    makes it monotone, as the theorem asks. If the P problems and a new one are exchangeable, the new one's expected
    loss at the setting chosen is at most `risk`: the mean is over the P problems and the new one, drawn together. None
    where no setting is known to be cautious enough, which is always so for fewer than 1 / risk - 1 problems.
    """
    losses_PL = np.asarray(losses, dtype=np.float64)
    if losses_PL.ndim != 2 or (losses_PL < 0).any() or (losses_PL > 1).any():
        raise ValueError("losses are problems x settings, each from 0 to 1")
    monotone_PL = np.maximum.accumulate(losses_PL[:, ::-1], axis=1)[:, ::-1]
    bounds_L = (monotone_PL.sum(axis=0) + 1) / (len(losses_PL) + 1)
    kept = np.flatnonzero(bounds_L <= risk + 1e-12)
    return int(kept[0]) if kept.size else None


def isotonic(said: ArrayLike, right: ArrayLike) -> Knots:
    """How often what was said is right, rising with it: isotonic regression by pooling adjacent violators.

    `said` and `right` are (P,); one knot a level of the fit, at the least that was said in it. Ayer and others 1955.
    """
    said_P, right_P = np.asarray(said, dtype=np.float64), np.asarray(right, dtype=np.float64)
    values, places = np.unique(said_P, return_inverse=True)
    sums = np.bincount(places, weights=right_P)
    counts = np.bincount(places)
    blocks: list[list[float]] = []  # least said, sum of right, count
    for value, total, count in zip(values, sums, counts, strict=True):
        blocks.append([float(value), float(total), float(count)])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            _, total_of_last, count_of_last = blocks.pop()
            blocks[-1][1] += total_of_last
            blocks[-1][2] += count_of_last
    return [(least, total / count) for least, total, count in blocks]


def looked_up(knots: Knots, said: float) -> float:
    """What `isotonic` found for what is said; below the first knot the first one's value."""
    assert knots, "there is nothing to look up"
    held = [value for least, value in knots if least <= said + 1e-12]
    return held[-1] if held else knots[0][1]


def calibration_error(said: ArrayLike, right: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: |said - right| in bins of equal width, weighed by how much is in each."""
    said_P, right_P = np.asarray(said, dtype=np.float64), np.asarray(right, dtype=np.float64)
    places = np.minimum((said_P * bins).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    gaps: Floats = np.abs(
        np.bincount(places, weights=said_P, minlength=bins) - np.bincount(places, weights=right_P, minlength=bins)
    )
    return float(gaps.sum() / max(1, counts.sum()))
