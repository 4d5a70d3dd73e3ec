"""Rejection-sampled fine-tuning (arXiv 2308.01825) in rounds: sample replies, keep the right ones, learn those."""

import random

from thinkaloud.engine import Engine
from thinkaloud.rollouts import Sampling
from thinkaloud.train.batches import Sample
from thinkaloud.train.data import demonstrations, train_problems
from thinkaloud.train.describe import describe
from thinkaloud.train.sft import fine_tune_step
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.stages import RftSettings
from thinkaloud.train.start import opened

PROBLEMS_A_STEP = 64


def train_rft(stage: Stage) -> None:
    """Each round spends `sampling` of its share of the budget on replies and the rest on learning the right ones."""
    settings = stage.settings
    assert isinstance(settings, RftSettings)
    sampling = Sampling(
        thinking=settings.thinking,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        samples=settings.samples,
    )
    if settings.source is not None:
        stage.sampler = Engine(opened(stage_folder(stage.run, settings.source) / "model", stage.recipe))
    share = settings.budget / settings.rounds
    shown = _shown(stage, settings)
    while not stage.finished:
        number = min(int(stage.spent / share), settings.rounds - 1)
        if stage.extra.get("round") != number:
            stage.extra = {"round": number, "kept": []}
        if not stage.extra["kept"] or stage.spent < share * (number + settings.sampling):
            chosen = [stage.problems[i] for i in stage.order(PROBLEMS_A_STEP, "problems", len(stage.problems))]
            groups = stage.rollouts(chosen, sampling)
            for group in groups:
                right = {rollout.ids: rollout for rollout in group if rollout.verdict.label == "right"}
                kept = list(right.values())[: settings.keep]
                stage.extra["kept"] += [[list(rollout.ids), list(rollout.sampled)] for rollout in kept]
                stage.ledger.discarded_tokens += sum(sum(r.sampled) for r in group) - sum(sum(r.sampled) for r in kept)
            stage.end_step({**describe(groups), "round": number})
        else:
            samples = [Sample(ids=tuple(ids), mask=tuple(sampled)) for ids, sampled in stage.extra["kept"]]
            samples += shown[: round(len(samples) * settings.shown_share / (1 - settings.shown_share))]
            stage.end_step({**fine_tune_step(stage, samples, f"round {number}"), "round": number})


def _shown(stage: Stage, settings: RftSettings) -> list[Sample]:
    """Demonstrations of other families, in random order."""
    if not settings.shown:
        return []
    problems = train_problems(stage.recipe, settings.model_copy(update={"families": settings.shown, "subset": None}))
    ways = {name: stage.recipe.families[name].ways for name in settings.shown}
    seed = stage.recipe.run.seed
    samples = demonstrations(problems, stage.template, ways, thinking=settings.thinking, seed=seed)
    random.Random(f"{seed} shown").shuffle(samples)
    return samples
