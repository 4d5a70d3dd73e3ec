"""Evaluation: the first half of a training step, with its results kept by problem."""

from collections.abc import Sequence
from typing import Any

from thinkaloud.engine import Engine
from thinkaloud.problems import Problem
from thinkaloud.rollouts.collect import Rollout, Sampling, collect
from thinkaloud.text import ChatTemplate


def evaluate(
    engine: Engine, template: ChatTemplate, problems: Sequence[Problem], sampling: Sampling, *, seed: int
) -> dict[str, Any]:
    """Judged replies to `problems`, one entry a problem with one value a sample: the form that reports read."""
    groups = collect(engine, template, problems, sampling, seed=seed)
    return {
        "samples": sampling.samples,
        "temperature": sampling.temperature,
        "problems": [_entry(group) for group in groups],
    }


def _entry(group: list[Rollout]) -> dict[str, Any]:
    problem = group[0].problem
    return {
        "id": problem.id,
        "family": problem.family,
        "level": problem.level,
        "question": problem.question,
        "reference": problem.reference,
        "right": [int(rollout.verdict.label == "right") for rollout in group],
        "ungradable": [int(rollout.verdict.label == "ungradable") for rollout in group],
        "thinking_tokens": [rollout.thinking_tokens for rollout in group],
        "thinking": [rollout.thinking for rollout in group],
        "answer": [rollout.answer for rollout in group],
        "way": [rollout.way for rollout in group],
        "finish": [rollout.finish for rollout in group],
    }
