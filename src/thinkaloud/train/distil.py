"""On-policy distillation: the student tries, a larger model of the same tokenizer says how likely each token was to it.

Each sampled token's advantage is the teacher's log-prob of it minus the student's: the gradient of the reverse KL
divergence, token by token (arXiv 2306.13649). Knows: rollouts, teachers. Does not know: rewards; verdicts are kept for
the journals only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from thinkaloud.base.errors import UserError
from thinkaloud.model import load_model
from thinkaloud.rollouts import Sampling
from thinkaloud.text import Tokenizer
from thinkaloud.train.batches import Sample
from thinkaloud.train.describe import describe
from thinkaloud.train.policy import logprobs_of
from thinkaloud.train.stage import Stage
from thinkaloud.train.stages import DistilSettings, RlSettings

MOST = 5.0
"Bound of an advantage, in nats: a token that the teacher would never say is no reason to jump."


class Teacher(Protocol):
    """Whoever knows how likely tokens are."""

    def logprobs(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """Log-prob of each id of each sequence given those before it; 0 for the first."""


class OwnTeacher:
    """A checkpoint in this process."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        inside = folder / "model"
        folder = inside if inside.is_dir() else folder
        if not Tokenizer.load(folder).same_ids(tokenizer):
            raise UserError(f"the teacher {folder} has another tokenizer than the student: take one of the same family")
        self.model = load_model(folder).eval().requires_grad_(False)

    def logprobs(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """In batches, in float32."""
        samples = [Sample(ids=ids, mask=(True,) * len(ids)) for ids in sequences]
        return logprobs_of(self.model, samples)


def train_distil(stage: Stage) -> None:
    """Steps until a budget is spent."""
    settings = stage.settings
    assert isinstance(settings, DistilSettings)
    teacher = OwnTeacher(settings.teacher, stage.tokenizer)
    sampling = Sampling(
        thinking=settings.thinking,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        samples=settings.samples,
    )
    budget, share = settings.budget, settings.pass_tokens
    surrogate = RlSettings(kind="rl", budget=budget, pass_tokens=share, loss="cispo", clip_high=4.0, length="token")
    while not stage.finished:
        chosen = [stage.problems[i] for i in stage.order(settings.problems, "problems", len(stage.problems))]
        groups = stage.rollouts(chosen, sampling)
        flat = [rollout for group in groups for rollout in group]
        stage.ledger.teacher_tokens += sum(len(rollout.ids) for rollout in flat)
        samples, gaps = [], []
        for rollout, known in zip(flat, teacher.logprobs([rollout.ids for rollout in flat]), strict=True):
            factors = tuple(
                max(-MOST, min(MOST, theirs - own)) if sampled else 0.0
                for theirs, own, sampled in zip(known, rollout.logprobs, rollout.sampled, strict=True)
            )
            gaps += [-factor for factor, sampled in zip(factors, rollout.sampled, strict=True) if sampled]
            samples.append(Sample(ids=rollout.ids, mask=rollout.sampled, logprobs=rollout.logprobs, factors=factors))
        update = stage.improve(samples, surrogate, divisor=float(len(gaps)))
        stage.end_step({**describe(groups), **update, "divergence": sum(gaps) / len(gaps)})
