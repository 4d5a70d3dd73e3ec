"""Losses and advantages as pure functions. N samples, G samples of one problem; token tensors are flat, [tokens]."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Advantage = Literal["grpo", "centred", "maxrl"]
"How a reward becomes an advantage; see `advantages_of`."


def advantages_of(
    rewards: Sequence[float], kind: Advantage, baselines: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """The advantage of each of G replies to one problem, from rewards in [0, 1].

    `centred`: reward minus the group's mean (Dr. GRPO, arXiv 2503.20783). `grpo`: that over the group's standard
    deviation (arXiv 2402.03300). `maxrl`: over its mean, so that rarely solved problems weigh about 1/p (arXiv
    2602.02710). `baselines`, one a reply, stand for the mean where they are given; without them a group of equal
    rewards gives zeros.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if not len(values):
        return values
    means = np.full_like(values, values.mean()) if baselines is None else np.asarray(baselines, dtype=np.float64)
    centred = values - means
    if kind == "grpo":
        spread = values.std() if baselines is None else np.sqrt(np.clip(means * (1 - means), 0.01, None))
        return centred / spread if np.min(spread) > 1e-9 else np.zeros_like(centred)
    if kind == "maxrl":
        return np.divide(centred, means, out=np.zeros_like(centred), where=means > 1e-9)
    return centred


def clipped_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """The clipped surrogate of every token (arXiv 1707.06347), negated; shape kept.

    Ratios are kept within [1 - clip_low, 1 + clip_high] (separate bounds: arXiv 2503.14476; R1 used a bound of 10).
    """
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def cispo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_high: float) -> Tensor:
    """Weighted log-likelihood of every token, its weight the ratio kept below 1 + clip_high and not differentiated.

    No token loses its gradient (CISPO, arXiv 2506.13585). Negated; shape kept.
    """
    weight = torch.exp(logprobs.detach() - old_logprobs).clamp(max=1.0 + clip_high)
    return -weight * advantages * logprobs


def gspo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    samples: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """The clipped surrogate with one ratio a reply, the geometric mean of its tokens' (GSPO, arXiv 2507.18071).

    `samples` [tokens] numbers the reply of each token; a token's value differs, its gradient is that of its reply's
    ratio (the GSPO-token form). Negated; shape kept.
    """
    count = int(samples.max()) + 1 if len(samples) else 0
    gap = logprobs - old_logprobs
    sums = gap.new_zeros(count).index_add(0, samples, gap.detach())
    lengths = gap.new_zeros(count).index_add(0, samples, torch.ones_like(gap)).clamp(min=1.0)
    ratio = torch.exp((sums / lengths)[samples] + logprobs - logprobs.detach())
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def drift_weights(trained: Tensor, sampled: Tensor, *, most: float) -> Tensor:
    """Weights that undo the sampler's drift: its ratio to the trainer at the same weights, at most `most`.

    Truncated importance sampling (Ionides 2008, J. Comput. Graph. Stat. 17) token by token, for engines that don't
    compute quite what the trainer does. Both are log-probs [tokens]; the result has no gradient.
    """
    return torch.exp(trained.detach() - sampled).clamp(max=most)


def entropies(logits: Tensor) -> Tensor:
    """Entropy in nats of each next-token distribution: logits [tokens, V] -> [tokens]."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def kl_to_reference(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """The non-negative low-variance estimate of KL(policy || reference) per token (GRPO, arXiv 2402.03300, eq. 4)."""
    gap = reference_logprobs - logprobs
    return torch.exp(gap) - gap - 1.0


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-prob of each target [tokens] under logits [tokens, V]."""
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
