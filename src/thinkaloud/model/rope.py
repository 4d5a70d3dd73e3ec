"""Rotary positions (arXiv 2104.09864) and the published ways to stretch them over longer texts.

Knows: the entry `rope_scaling` or `rope_parameters` of a `config.json`. Does not know: attention, checkpoints.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkaloud.base.errors import UserError

Floats = NDArray[np.float32]

_NEEDS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
"What each way to stretch can't do without."


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How the angles are stretched.

    Example: QwQ's advice for long inputs,
    `RopeScaling(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)`.
    """

    rope_type: str
    "linear (arXiv 2306.15595), llama3 (Llama 3.1) or yarn (arXiv 2309.00071)"
    factor: float
    "how many times longer the text may be"
    original_max_position_embeddings: int = 0
    "length in tokens of the texts before stretching"
    low_freq_factor: float | None = None
    "llama3: waves longer than the original length over this are stretched in full"
    high_freq_factor: float | None = None
    "llama3: waves shorter than the original length over this are left alone"
    beta_fast: float | None = None
    "yarn: what turns more often than this over the original length is left alone; 32 if not given"
    beta_slow: float | None = None
    "yarn: what turns less often than this is stretched in full; 1 if not given"
    attention_factor: float | None = None
    "yarn: multiplies cosine and sine; by default as the paper recommends"
    mscale: float | None = None
    "yarn, DeepSeek's spelling of attention_factor: its numerator"
    mscale_all_dim: float | None = None
    "the same: its denominator"
    truncate: bool = True
    "yarn: whether the bounds of the ramp are rounded to whole dimensions"

    @classmethod
    def read(cls, published: Mapping[str, Any], positions: int) -> "RopeScaling | None":
        """From `rope_scaling` or `rope_parameters`, old or new spelling; None for plain positions.

        `positions` is the original length where the entry gives none. Raises UserError for an unknown way to stretch,
        a value that is missing and one that is no number.
        """
        kind = published.get("rope_type", published.get("type", "default"))
        if kind == "default":
            return None
        if kind not in _NEEDS:
            raise UserError(f"rotary scaling {kind!r} is not supported; supported: {', '.join(_NEEDS)}")
        names = {field.name for field in fields(cls)} - {"rope_type"}
        values = {name: published[name] for name in names if published.get(name) is not None}
        if kind != "linear":
            values.setdefault("original_max_position_embeddings", positions)
        lacking = [name for name in _NEEDS[kind] if not isinstance(values.get(name), int | float)]
        if lacking:
            raise UserError(f"rotary scaling {kind!r} needs a number for {', '.join(lacking)}")
        return cls(rope_type=kind, **values)

    def published(self) -> dict[str, Any]:
        """The entry `rope_scaling` of a `config.json`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != type(self).__dict__.get(name)}

    def apply(self, frequencies: Floats, theta: float) -> tuple[Floats, float]:
        """Stretched frequencies [E / 2], and the number that multiplies cosine and sine."""
        if self.rope_type == "linear":
            return frequencies / self.factor, 1.0
        if self.rope_type == "llama3":
            return self._llama3(frequencies), 1.0
        return self._yarn(frequencies, theta), self._attention_factor()

    def _llama3(self, frequencies: Floats) -> Floats:
        """Long waves stretched, short ones kept, a straight line between."""
        assert self.low_freq_factor is not None and self.high_freq_factor is not None
        turns = self.original_max_position_embeddings * frequencies / (2 * math.pi)
        kept = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clip(0, 1)
        return (frequencies * (kept + (1 - kept) / self.factor)).astype(np.float32)

    def _yarn(self, frequencies: Floats, theta: float) -> Floats:
        """The same over a ramp that is straight in the dimension instead (section 3.2 of the paper)."""
        half = len(frequencies)

        def dimension(turns: float) -> float:
            length = self.original_max_position_embeddings
            return half * math.log(length / (turns * 2 * math.pi)) / math.log(theta)

        low, high = dimension(self.beta_fast or 32), dimension(self.beta_slow or 1)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        dimensions = np.arange(half, dtype=np.float32)
        stretched = ((dimensions - np.float32(low)) / np.float32(high - low if high != low else 0.001)).clip(0, 1)
        return (frequencies * (1 - stretched + stretched / self.factor)).astype(np.float32)

    def _attention_factor(self) -> float:
        def recommended(weight: float) -> float:
            return 1.0 if self.factor <= 1 else 0.1 * weight * math.log(self.factor) + 1.0

        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return recommended(self.mscale) / recommended(self.mscale_all_dim)
        return recommended(1.0)


def rotary_tables(positions: int, head_dim: int, theta: float, scaling: RopeScaling | None) -> tuple[Floats, Floats]:
    """Cosine and sine of every position, float32 [positions, E]; the halves repeat.

    The angles are rounded to float32, as published models were trained; their cosines and sines are exact up to that.
    """
    steps = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = np.float32(1.0) / np.float32(theta) ** steps
    factor = 1.0
    if scaling is not None:
        frequencies, factor = scaling.apply(frequencies, theta)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies).astype(np.float64)
    cos, sin = (np.tile(turn(angles) * factor, 2).astype(np.float32) for turn in (np.cos, np.sin))
    return cos, sin
