"""Sequences -> batches. A rollout is a flat sequence with a mask; so is a demonstration.

R rows of a batch, one sequence each, T tokens of the longest. Sequences of about one length share a batch, so that
little is padded; padding stands at the end, where no token looks under plain causal attention. Several short ones in a
row would need a mask, which costs more than it saves: docs/LOG.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sequence to learn from.

    Example: prompt 1 2, reply 3 4 to be learnt: `Sample(ids=(1, 2, 3, 4), mask=(False, False, True, True))`.
    """

    ids: tuple[int, ...]
    "prompt and reply"
    mask: tuple[bool, ...]
    "true for tokens that are trained on: never the prompt, never a forced token, never the first token"
    weight: float = 1.0
    "weight of each token's loss; in reinforcement learning the advantage"
    logprobs: tuple[float, ...] = ()
    "log-probs under the policy that sampled it, one an id (0 for the prompt); empty in fine-tuning"
    factors: tuple[float, ...] = ()
    "what each id's weight is multiplied by; empty: 1"


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """Samples of about one length, one a row, padded at the end."""

    ids: Tensor
    "[R, T] token ids"
    predicts: Tensor
    "[R, T] true where the next token is trained on"
    targets: Tensor
    "[n] the next tokens where `predicts`, row by row"
    weights: Tensor
    "[n] weight or advantage of each"
    logprobs: Tensor
    "[n] the sampler's log-prob of each (0 in fine-tuning)"
    lengths: Tensor
    "[n] how many tokens of its own sample are trained on"
    samples: Tensor
    "[n] its row: the number of its own sample within the batch"
    tokens: int
    "tokens of all samples, padding not counted"

    def to(self, device: torch.device) -> "TrainBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def by_length(samples: Sequence[Sample], *, batch_tokens: int = 2048) -> Iterator[list[int]]:
    """All samples (by index) once, longest first: those of a batch, at most `batch_tokens` with padding, or one."""
    left = sorted(range(len(samples)), key=lambda index: -len(samples[index].ids))
    while left:
        rows = max(1, batch_tokens // len(samples[left[0]].ids))
        yield left[:rows]
        left = left[rows:]


def batches(samples: Sequence[Sample], *, batch_tokens: int = 2048) -> Iterator[TrainBatch]:
    """All samples once, longest first, in batches of at most `batch_tokens` tokens (padding counted), or of one row."""
    for numbers in by_length(samples, batch_tokens=batch_tokens):
        yield batch_of([samples[number] for number in numbers])


def batch_of(samples: Sequence[Sample]) -> TrainBatch:
    """One batch, row by row."""
    length = max(len(sample.ids) for sample in samples)
    ids, learnt, weights, logprobs, lengths, rows = ([] for _ in range(6))
    for row, sample in enumerate(samples):
        size = len(sample.ids)
        pad = length - size
        ids.append([*sample.ids] + [0] * pad)
        learnt.append([False, *sample.mask[1:]] + [False] * pad)
        weights.append([sample.weight * factor for factor in sample.factors or [1.0] * size] + [0.0] * pad)
        logprobs.append([*(sample.logprobs or [0.0] * size)] + [0.0] * pad)
        lengths.append([sum(sample.mask)] * length)
        rows.append([row] * length)
    ids_RT = torch.tensor(ids)
    learnt_RT = torch.tensor(learnt)
    return TrainBatch(
        ids=ids_RT,
        predicts=learnt_RT.roll(-1, dims=1),
        targets=ids_RT[learnt_RT],
        weights=torch.tensor(weights)[learnt_RT],
        logprobs=torch.tensor(logprobs)[learnt_RT],
        lengths=torch.tensor(lengths)[learnt_RT],
        samples=torch.tensor(rows)[learnt_RT],
        tokens=sum(len(sample.ids) for sample in samples),
    )
