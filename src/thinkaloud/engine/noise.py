"""Sampling noise from a counter: a number for each (seed, sample, position), whatever else is in the batch. B rows."""

import numpy as np
from numpy.typing import NDArray


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def noise_key(seed: int, sample: int) -> int:
    """The 64-bit key of one row's noise."""
    both = np.array([seed & 0xFFFFFFFFFFFFFFFF, sample], dtype=np.uint64)
    first = _mix(both[:1] + np.uint64(0x9E3779B97F4A7C15))
    return int(_mix(first ^ _mix(both[1:] + np.uint64(0xD1B54A32D192ED03)))[0])


def uniforms(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in [0, 1) for each (key, position), the same on every machine and in every batch; shape [B]."""
    mixed = _mix(keys + positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
