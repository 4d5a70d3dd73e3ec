"""What judged replies show, as plain numbers for the journals: reward, length, ways of working, one reply to read."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from thinkaloud.rollouts import Rollout


def mean_score(rollouts: Sequence[Rollout]) -> float:
    """Mean score of the gradable ones (0 where there are none)."""
    scores = [rollout.verdict.score for rollout in rollouts if rollout.verdict.label != "ungradable"]
    return sum(scores) / len(scores) if scores else 0.0


def plain(value: Any) -> Any:
    """A logged value as JSON knows it: floats rounded, those that are not finite null."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def describe(groups: list[list[Rollout]]) -> dict[str, Any]:
    """What a step's rollouts show: reward, length, ways of working, informative groups, entropy."""
    flat = [rollout for group in groups for rollout in group]
    logprobs = [x for rollout in flat for x, sampled in zip(rollout.logprobs, rollout.sampled, strict=True) if sampled]
    row: dict[str, Any] = {
        "reward": mean_score(flat),
        "thinking_tokens": sum(rollout.thinking_tokens for rollout in flat) / len(flat),
        "truncated": sum(rollout.finish == "length" for rollout in flat) / len(flat),
        "informative_groups": sum(0 < mean_score(group) < 1 for group in groups) / len(groups),
        "entropy": -sum(logprobs) / len(logprobs),
    }
    for family in sorted({rollout.problem.family for rollout in flat}):
        members = [rollout for rollout in flat if rollout.problem.family == family]
        row[f"reward_{family}"] = mean_score(members)
        row[f"thinking_tokens_{family}"] = sum(rollout.thinking_tokens for rollout in members) / len(members)
        for way, count in Counter(rollout.way for rollout in members).items():
            row[f"way_{way}_{family}"] = count / len(members)
    return row


def curve_point(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Accuracy on dev problems, overall and by family, and one reply to a problem of the highest level."""
    row: dict[str, Any] = {"dev_accuracy": mean_score(rollouts)}
    for family in dict.fromkeys(rollout.problem.family for rollout in rollouts):
        row[f"dev_accuracy_{family}"] = mean_score([r for r in rollouts if r.problem.family == family])
    row["dev_thinking_tokens"] = sum(rollout.thinking_tokens for rollout in rollouts) / len(rollouts)
    shown = max(rollouts, key=lambda rollout: rollout.problem.level)
    row["sample"] = {
        "question": shown.problem.question,
        "thinking": shown.thinking,
        "answer": shown.answer,
        "right": shown.verdict.label == "right",
    }
    return row
