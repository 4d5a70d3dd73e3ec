"""Answers with a check attached: drawn until one passes an exact check, else voted on, with a confidence that was
measured, and kept back on request.

Knows: which checks fit a question, what a vote is worth for a calibrated model. Doesn't know: HTTP, training.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from thinkaloud.base.errors import UserError
from thinkaloud.base.statistics import majority_vote
from thinkaloud.inference import Reply
from thinkaloud.inference.asking import AskSettings, Conversation
from thinkaloud.inference.model import ReasoningModel
from thinkaloud.problems.recognise import false_claims, recognised
from thinkaloud.problems.types import Problem
from thinkaloud.problems.verify import verify

Check = Callable[[str], bool | None]
"An answer -> whether it is right; None where that could not be found out."


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The reply that was chosen among several, and what is known of its answer."""

    reply: Reply
    "the one chosen"
    verified: bool | None
    "true: an exact check passed; false: every reply failed it; None: no check fits the question"
    check: str
    "what checked it: a family's name, sum, tests; none"
    confidence: float | None
    "how often such an answer is right: 1 or 0 where checked, else by the share of its votes; None: not calibrated"
    share: float
    "of the replies that state this answer"
    drawn: int
    "replies drawn"
    completion_tokens: int
    "of all of them"
    abstained: bool
    "whether the confidence is below what was asked for"
    false_claims: tuple[str, ...]
    "sums in its thought or answer that are wrong"

    @property
    def answer(self) -> str | None:
        """The answer; None where it is kept back."""
        return None if self.abstained else self.reply.answer


def ask_verified(
    model: ReasoningModel,
    messages: Conversation,
    *,
    samples: int = 4,
    tests: dict[str, Any] | None = None,
    abstain_below: float | None = None,
    **settings: Unpack[AskSettings],
) -> Verified:
    """The best of up to `samples` replies; settings as for `ReasoningModel.stream`, the effort high by default.

    Where a check fits, replies are drawn until one passes it. `tests` makes the question one for a program: a reference
    of the verifier `code`, as {"tests": "assert add(2, 3) == 5", "entry_point": "add"}. Else the answer that most
    replies state is taken. With `abstain_below` an answer of less confidence is kept back. Raises UserError where that
    is asked of a model without a calibration, and no check fits.
    """
    if samples < 1:
        raise UserError(f"samples is {samples}: give 1 or more")
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise UserError(f"abstain_below is {abstain_below}: give a confidence from 0 to 1")
    problem = problem_of(messages)
    check, name = check_for(problem, tests)
    effort = settings.setdefault("effort", "high")
    calibrated = model.calibration is not None and effort == "high" and settings.get("thinking_budget") is None
    if abstain_below is not None and check is None and not calibrated:
        raise UserError(
            "nothing is known of this answer's confidence: run thinkaloud calibrate, and ask at effort high"
        )
    replies: list[Reply] = []
    verdicts: list[bool | None] = []
    while len(replies) < samples and True not in verdicts:
        wave = samples - len(replies) if check is None else min(max(1, len(replies)), samples - len(replies))
        drawn = _draw(model, messages, wave, len(replies), settings)
        replies += drawn
        verdicts += [checked(check, reply) for reply in drawn]
    said = [stated(reply) for reply in replies]
    chosen = verdicts.index(True) if True in verdicts else _voted(replies, said)
    share = said.count(said[chosen]) / len(said)
    verified = True if True in verdicts else None if None in verdicts else False
    confidence = None if verified is None else float(verified)
    if verified is None and calibrated and model.calibration is not None:
        kind = settings.get("kind") or (problem.family if problem else None)
        confidence = model.calibration.confidence(share, len(replies), kind)
    return Verified(
        reply=replies[chosen],
        verified=verified,
        check=name,
        confidence=confidence,
        share=share,
        drawn=len(replies),
        completion_tokens=sum(reply.usage.completion_tokens for reply in replies),
        abstained=abstain_below is not None and (confidence is None or confidence < abstain_below),
        false_claims=tuple(_false(replies[chosen])),
    )


def problem_of(messages: Conversation) -> Problem | None:
    """The problem that a conversation of one question asks, where its text says so exactly."""
    if isinstance(messages, str):
        return recognised(messages)
    if len(messages) != 1:
        return None
    content = messages[0].get("content") if isinstance(messages[0], dict) else messages[0].content
    return recognised(content) if isinstance(content, str) else None


def kind_of(messages: Conversation) -> str | None:
    """The kind of a question as a calibration names it; None where it is not known."""
    problem = problem_of(messages)
    return None if problem is None else problem.family


def check_for(problem: Problem | None, tests: dict[str, Any] | None) -> tuple[Check | None, str]:
    """The exact check that fits, and its name."""
    if tests is not None:
        return lambda answer: _verdict("code", answer, tests), "tests"
    if problem is not None:
        return lambda answer: _verdict(problem.verifier, answer, problem.reference), problem.family
    return None, "none"


def _verdict(kind: str, answer: str, reference: Any) -> bool | None:
    return {"right": True, "wrong": False}.get(verify(kind, answer=answer, reference=reference).label)


def checked(check: Check | None, reply: Reply) -> bool | None:
    if check is None:
        return None
    return check(reply.answer) if reply.finish == "stop" else False


def _draw(model: ReasoningModel, messages: Conversation, count: int, before: int, settings: AskSettings) -> list[Reply]:
    """So many replies, side by side in the engine."""
    first = settings.get("seed", 0)
    numbered: list[AskSettings] = [{**settings, "seed": first + before + index} for index in range(count)]
    streams = [model.stream(messages, **one) for one in numbered]
    for stream in streams:
        for _ in stream:
            pass
    return [stream.reply for stream in streams if stream.reply is not None]


def stated(reply: Reply) -> str:
    """What a reply states, for the vote: its answer without what wording changes; nothing where it was cut off."""
    return re.sub(r"\s+", " ", reply.answer).strip(" .*`'\"").casefold() if reply.finish == "stop" else ""


def _false(reply: Reply) -> list[str]:
    return false_claims(f"{reply.thinking}\n{reply.answer}")


def _voted(replies: list[Reply], said: list[str]) -> int:
    """The reply whose answer most state; among those the first without a wrong sum."""
    most = said[majority_vote(said)]
    among = [index for index, text in enumerate(said) if text == most]
    return next((index for index in among if not _false(replies[index])), among[0])
