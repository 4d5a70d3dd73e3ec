"""What judged replies show, as plain numbers for the journals: reward, length, ways of working, one reply to read."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from thinkaloud.base.ledger import Ledger
from thinkaloud.rollouts import Rollout

LOOP = 36
"Ids at a reply's end that are looked at for a loop: up to twelve, three times, which no honest work ends in."
AGREED = 0.75
"Share of a group's replies that state one and the same answer for the group to be agreed."
NO_FORM = ("no answer", "no number", "no letter", "no call", "no JSON", "no literal", "unreadable", "invalid")
"Reasons of verdicts on answers that could not be read."
UNGRADED = "ungradable"


def mean_score(rollouts: Sequence[Rollout]) -> float:
    """Mean score of the gradable ones (0 where there are none)."""
    scores = [rollout.verdict.score for rollout in rollouts if rollout.verdict.label != "ungradable"]
    return sum(scores) / len(scores) if scores else 0.0


def plain(value: Any) -> Any:
    """A logged value as JSON knows it: floats rounded, those that are not finite null."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def loops(ids: Sequence[int]) -> bool:
    """Whether the last LOOP ids are one piece three times or more."""
    end = tuple(ids[-LOOP:])
    return len(end) == LOOP and any(end[period:] == end[:-period] for period in range(1, LOOP // 3 + 1))


def _compared(groups: list[list[Rollout]]) -> list[list[Rollout]]:
    """The groups, or where each is a single reply the step's replies as one: they are compared with a belief."""
    return groups if any(len(group) > 1 for group in groups) else [[one for group in groups for one in group]]


def faults(groups: list[list[Rollout]]) -> dict[str, float]:
    """Shares of replies and of groups that a doctor asks for."""
    flat = [rollout for group in groups for rollout in group]
    labelled = [[rollout.verdict.label for rollout in group] for group in _compared(groups)]
    graded = [labels for labels in labelled if set(labels) != {UNGRADED}]
    answers = [Counter(r.answer.strip() for r in group if r.finish == "stop") for group in groups]
    shares = {
        "ungradable": [rollout.verdict.label == UNGRADED for rollout in flat],
        "unreadable": [r.finish == "stop" and (not r.answer.strip() or r.verdict.reason in NO_FORM) for r in flat],
        "thoughts_cut": [not all(r.sampled[r.prompt_tokens + r.prefix_tokens :]) for r in flat],
        "looping": [loops(rollout.ids[rollout.prompt_tokens :]) for rollout in flat],
        "thoughtless": [r.way != "direct" and not r.thinking.strip() and r.verdict.label == "right" for r in flat],
        "all_right": [set(labels) <= {"right", UNGRADED} for labels in graded],
        "all_wrong": [set(labels) <= {"wrong", UNGRADED} for labels in graded],
        "alike": [len(group) > 1 and len({rollout.ids for rollout in group}) == 1 for group in groups],
        "agreed_wrong": [
            all(r.verdict.label == "wrong" for r in group)
            and len(group) > 1
            and max((count for answer, count in said.items() if answer), default=0) >= AGREED * len(group)
            for group, said in zip(groups, answers, strict=True)
        ],
    }
    return {name: sum(flags) / max(1, len(flags)) for name, flags in shares.items()}


def describe(groups: list[list[Rollout]]) -> dict[str, Any]:
    """What a step's rollouts show: reward, length, ways of working, informative groups, entropy."""
    compared = _compared(groups)
    flat = [rollout for group in groups for rollout in group]
    logprobs = [x for rollout in flat for x, sampled in zip(rollout.logprobs, rollout.sampled, strict=True) if sampled]
    row: dict[str, Any] = {
        "reward": mean_score(flat),
        "thinking_tokens": sum(rollout.thinking_tokens for rollout in flat) / len(flat),
        "truncated": sum(rollout.finish == "length" for rollout in flat) / len(flat),
        "informative_groups": sum(0 < mean_score(group) < 1 for group in compared) / len(compared),
        "entropy": -sum(logprobs) / len(logprobs),
        "tokens": sum(sum(rollout.sampled) for rollout in flat) / len(flat),
        **faults(groups),
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
    row: dict[str, Any] = {"dev_accuracy": mean_score(rollouts), "dev_problems": len(rollouts)}
    for family in dict.fromkeys(rollout.problem.family for rollout in rollouts):
        row[f"dev_accuracy_{family}"] = mean_score([r for r in rollouts if r.problem.family == family])
    row["dev_thinking_tokens"] = sum(rollout.thinking_tokens for rollout in rollouts) / len(rollouts)
    row["dev_tokens"] = sum(sum(rollout.sampled) for rollout in rollouts) / len(rollouts)
    row["dev_prompt_tokens"] = sum(rollout.prompt_tokens for rollout in rollouts) / len(rollouts)
    shown = max(rollouts, key=lambda rollout: rollout.problem.level)
    row["sample"] = {
        "question": shown.problem.question,
        "thinking": shown.thinking,
        "answer": shown.answer,
        "right": shown.verdict.label == "right",
    }
    return row


def enter(rollouts: Sequence[Rollout], ledger: Ledger) -> int:
    """Account for sampled and judged replies; returns how many tokens were generated."""
    generated = sum(len(rollout.ids) - rollout.prompt_tokens - rollout.prefix_tokens for rollout in rollouts)
    ledger.steered += sum(rollout.prefix_tokens > 0 for rollout in rollouts)
    ledger.rollouts += len(rollouts)
    ledger.verifier_calls += len(rollouts)
    ledger.ungradable += sum(rollout.verdict.label == "ungradable" for rollout in rollouts)
    ledger.generated_tokens += generated
    return generated
