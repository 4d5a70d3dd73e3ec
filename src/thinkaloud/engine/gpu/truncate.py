"""Draws with top-k, top-p and min-p on the device, equal to those of `engine.sampling.Sampler`.

B rows, V vocabulary, C candidates.
"""

import torch
from torch import Tensor

from thinkaloud.engine.sampling import truncate

CANDIDATES = 64
"Where no row keeps more tokens by top-k, only so many are looked at."
_STRETCH = 256
"Vocabulary entries that are looked at together."


def draw_few(logits: Tensor, norms: Tensor, settings: Tensor, top_k: Tensor, noise: Tensor) -> Tensor:
    """Ids [B] for rows with 1 <= top_k <= CANDIDATES; those of other rows mean nothing.

    Equal logits rank by id, as in a stable sort: the rank is one whole number, logit above, id below.
    """
    scaled = _scaled(logits, norms, settings) + 0.0  # no -0.0
    vocabulary = logits.shape[1]
    bits = scaled.view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    ranks = (ordered << 32) | torch.arange(vocabulary - 1, -1, -1, device=logits.device)
    best = _highest(ranks, min(CANDIDATES, vocabulary))
    ids = vocabulary - 1 - (best & 0xFFFFFFFF)
    kept = scaled.gather(1, ids)
    rank = torch.arange(ids.shape[1], device=logits.device)
    keep = rank < top_k.unsqueeze(1)
    probabilities = kept.masked_fill(~keep, -torch.inf).softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    keep &= (before < settings[:, 1:2]) & (probabilities >= settings[:, 2:3] * probabilities[:, :1])
    keep[:, 0] = True
    ids, order = ids.sort(dim=1)
    cumulative = kept.masked_fill(~keep, -torch.inf).gather(1, order).double().softmax(-1).cumsum(-1)
    return ids.gather(1, _crossing(cumulative, noise).unsqueeze(1)).squeeze(1)


def draw_sorted(logits: Tensor, norms: Tensor, settings: Tensor, top_k: Tensor, noise: Tensor) -> Tensor:
    """Ids [B] with any truncation, by sorting the vocabulary."""
    scaled = _scaled(logits, norms, settings)
    kept = truncate(scaled, top_p=settings[:, 1:2], top_k=top_k.unsqueeze(1), min_p=settings[:, 2:3])
    return _crossing(kept.double().softmax(-1).cumsum(-1), noise)


def _highest(ranks: Tensor, count: int) -> Tensor:
    """The `count` highest of each row of whole numbers, all different, from the highest down [B, count].

    They lie in the stretches whose own highest are highest: two small selections instead of one over the vocabulary.
    """
    stretches = torch.nn.functional.pad(ranks, (0, -ranks.shape[1] % _STRETCH), value=torch.iinfo(torch.int64).min)
    stretches = stretches.unflatten(1, (-1, _STRETCH))
    where = stretches.amax(2).topk(min(count, stretches.shape[1]), dim=1).indices
    return stretches.gather(1, where.unsqueeze(2).expand(-1, -1, _STRETCH)).flatten(1).topk(count, dim=1).values


def _scaled(logits: Tensor, norms: Tensor, settings: Tensor) -> Tensor:
    return (logits.float() - norms.unsqueeze(1)) / settings[:, :1].clamp_min(1e-6)


def _crossing(cumulative: Tensor, noise: Tensor) -> Tensor:
    threshold = noise.unsqueeze(1) * cumulative[:, -1:]
    return (cumulative <= threshold).sum(-1).clamp_max(cumulative.shape[1] - 1)
