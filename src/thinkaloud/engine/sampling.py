"""One token a row: truncation, inverse-CDF sampling.

B rows, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinkaloud.engine.types import Request


class Sampler:
    """The sampling settings of the rows of a batch, as tensors."""

    def __init__(self, requests: Sequence[Request], device: torch.device) -> None:
        def column(name: str) -> Tensor:
            return torch.tensor([getattr(r, name) for r in requests], dtype=torch.float32, device=device).unsqueeze(1)

        self.temperature, self.top_p, self.top_k, self.min_p = map(column, ("temperature", "top_p", "top_k", "min_p"))
        self.plain = all((r.temperature, r.top_p, r.top_k, r.min_p) == (1.0, 1.0, 0, 0.0) for r in requests)
        self.truncates = any((r.top_p, r.top_k, r.min_p) != (1.0, 0, 0.0) for r in requests)

    def __call__(self, logits_BV: Tensor, noise: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Token ids [B] and their log-probs [B] (raw, temperature 1) from logits and one uniform a row."""
        logprobs_BV = torch.log_softmax(logits_BV.float(), dim=-1)
        scaled = logprobs_BV
        if not self.plain:
            scaled = logprobs_BV / self.temperature.clamp_min(1e-6)
            if self.truncates:
                scaled = truncate(scaled, top_p=self.top_p, top_k=self.top_k, min_p=self.min_p)
        cumulative = scaled.double().softmax(-1).cumsum(-1) if not self.plain else scaled.double().exp().cumsum(-1)
        threshold = torch.from_numpy(noise).to(logits_BV.device).unsqueeze(1) * cumulative[:, -1:]
        ids = (cumulative <= threshold).sum(-1).clamp_max(logits_BV.shape[-1] - 1)
        if not self.plain:
            ids = torch.where(self.temperature.squeeze(1) == 0, logprobs_BV.argmax(-1), ids)
        return ids, logprobs_BV.gather(1, ids.unsqueeze(1)).squeeze(1)


def truncate(scaled_BV: Tensor, *, top_p: Tensor, top_k: Tensor, min_p: Tensor) -> Tensor:
    """Minus infinity for tokens outside top-k, then top-p (arXiv 1904.09751), then min-p (arXiv 2407.01082).

    The settings are [B, 1]; equal logits rank by id.
    """
    vocabulary = scaled_BV.shape[-1]
    ordered, order = scaled_BV.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(vocabulary, device=scaled_BV.device)
    keep = rank < torch.where(top_k > 0, top_k, torch.full_like(top_k, vocabulary))
    probabilities = ordered.masked_fill(~keep, -torch.inf).softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    keep &= (before < top_p) & (probabilities >= min_p * probabilities[:, :1])
    keep[:, 0] = True
    return scaled_BV.masked_fill(~keep.gather(1, order.argsort(-1)), -torch.inf)
