"""A policy's predictions on a batch and what they cost it: where batches, a model and the losses meet."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thinkaloud.model import Transformer
from thinkaloud.train.batches import Sample, TrainBatch, batch_of, batches, by_length
from thinkaloud.train.losses import (
    cispo_loss,
    clipped_loss,
    drift_weights,
    entropies,
    gspo_loss,
    kl_to_reference,
    token_logprobs,
)
from thinkaloud.train.stages import RlSettings


def on(model: Transformer, batches: Iterable[TrainBatch]) -> Iterator[TrainBatch]:
    """The batches, each moved to where the model is."""
    return (batch.to(model.head.device) for batch in batches)


def predictions(model: Transformer, batch: TrainBatch) -> Tensor:
    """Logits [n, V] at the n places whose next token is trained on."""
    return model.logits(model(batch.ids)[batch.predicts])


def surrogate_gradients(
    model: Transformer,
    reference: Transformer | None,
    samples: Sequence[Sample],
    settings: RlSettings,
    *,
    divisor: float,
    bonus: float,
) -> dict[str, float]:
    """Add the gradients of the settings' loss on all samples, its sum over `divisor`; tells what it saw.

    `reference` is what a KL divergence is measured against. `bonus` weighs the mean entropy of the tokens. The gap is
    the raw one between the log-probs that came with the samples and the model's own, before any clipping.
    """
    total, gaps, clipped, spread, strayed = 0.0, [], [], [], []
    tokens = sum(sum(sample.mask) for sample in samples)
    for batch in on(model, batches(samples, batch_tokens=settings.pass_tokens)):
        logits = predictions(model, batch)
        logprobs = token_logprobs(logits, batch.targets)
        losses = policy_losses(logprobs, batch, settings)
        if reference is not None:
            with torch.no_grad():
                frozen = token_logprobs(predictions(reference, batch), batch.targets)
            share = 1.0 / batch.lengths if settings.length == "sample" else torch.ones_like(frozen)
            divergence = kl_to_reference(logprobs, frozen)
            strayed.append(divergence.detach())
            losses = losses + settings.kl * divergence * share
        loss = losses.sum() / divisor
        if settings.entropy is not None:
            entropy = entropies(logits)
            spread.append(entropy.detach())
            loss = loss - bonus * entropy.sum() / tokens
        loss.backward()
        total += float(loss.detach())
        gap = logprobs.detach() - batch.logprobs
        gaps.append(gap.abs())
        too_high, too_low = gap.exp() > 1 + settings.clip_high, gap.exp() < 1 - settings.clip_low
        clipped.append(torch.where(batch.weights > 0, too_high, too_low).float())
    gap = torch.cat(gaps)
    kl = float(torch.cat(strayed).mean()) if strayed else 0.0
    kept_near = {"kl": kl, "kl_loss": settings.kl * kl} if strayed else {}
    return {
        "loss": total,
        "logprob_gap_mean": float(gap.mean()),
        "logprob_gap_max": float(gap.max()),
        "clipped": float(torch.cat(clipped).mean()),
        **({"policy_entropy": float(torch.cat(spread).mean())} if spread else {}),
        **kept_near,
    }


def policy_losses(logprobs: Tensor, batch: TrainBatch, settings: RlSettings) -> Tensor:
    """The loss of each of the n tokens, by the kind that the settings name."""
    old, weights = batch.logprobs, batch.weights
    if settings.loss == "cispo":
        return cispo_loss(logprobs, old, weights, clip_high=settings.clip_high)
    bounds = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    if settings.loss == "gspo":
        return gspo_loss(logprobs, old, weights, batch.samples, **bounds)
    return clipped_loss(logprobs, old, weights, **bounds)


@torch.no_grad()
def logprobs_of(model: Transformer, samples: Sequence[Sample], *, batch_tokens: int = 2048) -> list[list[float]]:
    """The model's log-prob of each id that is trained on, one list a sample; 0 for its other ids."""
    found: list[list[float]] = [[]] * len(samples)
    for numbers in by_length(samples, batch_tokens=batch_tokens):
        batch = batch_of([samples[number] for number in numbers]).to(model.head.device)
        known = token_logprobs(predictions(model, batch), batch.targets)
        rows = (
            torch.zeros(batch.ids.shape, device=known.device)
            .masked_scatter(batch.predicts.roll(1, dims=1), known)
            .tolist()
        )
        for number, row in zip(numbers, rows, strict=True):
            found[number] = row[: len(samples[number].ids)]
    return found


def without_drift(
    model: Transformer, samples: Sequence[Sample], most: float, *, batch_tokens: int = 2048
) -> tuple[list[Sample], dict[str, float]]:
    """The samples with the trainer's own log-probs at these weights, and factors that undo the sampler's drift.

    The numbers beside them are the raw ratios of trainer to sampler, before truncation at `most`.
    """
    found, gaps = [], []
    known_to_trainer = logprobs_of(model, samples, batch_tokens=batch_tokens)
    for sample, known in zip(samples, known_to_trainer, strict=True):
        learnt = torch.tensor((False, *sample.mask[1:]))
        sampled = torch.tensor(sample.logprobs)
        trained = torch.where(learnt, torch.tensor(known), sampled)
        gaps.append((trained - sampled)[learnt])
        factors = torch.where(learnt, drift_weights(trained, sampled, most=most), 1.0)
        if sample.factors:
            factors = factors * torch.tensor(sample.factors)
        found.append(replace(sample, logprobs=tuple(trained.tolist()), factors=tuple(factors.tolist())))
    ratios = torch.cat(gaps).exp()
    drift = {
        "min": ratios.min(),
        "mean": ratios.mean(),
        "max": ratios.max(),
        "truncated": (ratios > most).float().mean(),
    }
    return found, {f"drift_{name}": float(value) for name, value in drift.items()}
