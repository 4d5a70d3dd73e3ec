"""Sequences -> packed batches. A rollout is a flat sequence with a mask; so is a demonstration.

R rows of a batch, T tokens of a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """Samples packed into rows: several a row, none seeing another."""

    ids: Tensor
    "[R, T] token ids"
    positions: Tensor
    "[R, T] place of each token within its own sample"
    visible: Tensor
    "[R, T, T] true where a token may look: earlier in its own sample, or itself"
    predicts: Tensor
    "[R, T] true where the next token is trained on"
    targets: Tensor
    "[n] the next tokens where `predicts`"
    weights: Tensor
    "[n] weight or advantage of each"
    logprobs: Tensor
    "[n] the sampler's log-prob of each (0 in fine-tuning)"
    lengths: Tensor
    "[n] how many tokens of its own sample are trained on"
    samples: Tensor
    "[n] number of its own sample within the batch"
    tokens: int
    "tokens of all samples, padding not counted"


def pack(samples: Sequence[Sample], *, row_tokens: int) -> list[list[int]]:
    """Put samples (by index) into rows of at most `row_tokens`: first-fit decreasing; one too long gets its own row."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(samples)), key=lambda i: (-len(samples[i].ids), i)):
        length = len(samples[index].ids)
        for row, left in enumerate(room):
            if length <= left:
                rows[row].append(index)
                room[row] -= length
                break
        else:
            rows.append([index])
            room.append(row_tokens - length)
    return rows


def batches(samples: Sequence[Sample], *, row_tokens: int = 192, batch_tokens: int = 8192) -> Iterator[TrainBatch]:
    """All samples once, in packed batches of at most `batch_tokens` tokens (padding counted)."""
    rows = pack(samples, row_tokens=row_tokens)
    while rows:
        longest = max(row_tokens, len(samples[rows[0][0]].ids))  # rows of one sample too long come first, longest first
        count = max(1, batch_tokens // longest)
        yield _build([[samples[i] for i in row] for row in rows[:count]])
        rows = rows[count:]


def _build(rows: list[list[Sample]]) -> TrainBatch:
    length = max(sum(len(sample.ids) for sample in row) for row in rows)
    ids, positions, documents, learnt, lengths, weights, logprobs, numbers = ([] for _ in range(8))
    count = 0
    for row in rows:
        pad = length - sum(len(sample.ids) for sample in row)
        ids.append([i for sample in row for i in sample.ids] + [0] * pad)
        positions.append([p for sample in row for p in range(len(sample.ids))] + [0] * pad)
        documents.append([d for d, sample in enumerate(row) for _ in sample.ids] + [-1] * pad)
        learnt.append([m and p > 0 for sample in row for p, m in enumerate(sample.mask)] + [False] * pad)
        lengths.append([sum(sample.mask) for sample in row for _ in sample.ids] + [0] * pad)
        numbers.append([count + d for d, sample in enumerate(row) for _ in sample.ids] + [0] * pad)
        count += len(row)
        factors = [f for sample in row for f in (sample.factors or [1.0] * len(sample.ids))]
        owned = [sample.weight for sample in row for _ in sample.ids]
        weights.append([w * f for w, f in zip(owned, factors, strict=True)] + [0.0] * pad)
        logprobs.append([x for sample in row for x in (sample.logprobs or [0.0] * len(sample.ids))] + [0.0] * pad)
    ids_RT = torch.tensor(ids)
    document_RT = torch.tensor(documents)
    learnt_RT = torch.tensor(learnt)
    visible = (document_RT.unsqueeze(2) == document_RT.unsqueeze(1)) & torch.ones(
        length, length, dtype=torch.bool
    ).tril()
    predicts = torch.zeros_like(learnt_RT)
    predicts[:, :-1] = learnt_RT[:, 1:]
    return TrainBatch(
        ids=ids_RT,
        positions=torch.tensor(positions),
        visible=visible,
        predicts=predicts,
        targets=ids_RT[learnt_RT],
        weights=torch.tensor(weights)[learnt_RT],
        logprobs=torch.tensor(logprobs)[learnt_RT],
        lengths=torch.tensor(lengths)[learnt_RT],
        samples=torch.tensor(numbers)[learnt_RT],
        tokens=int((document_RT >= 0).sum()),
    )
