"""The few types of the problems room: a problem, a verdict, a demonstration, and what every family must offer.

Knows: what a problem is and what a family promises. Doesn't know: any single family, models, tokens, torch.
"""

import hashlib
import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thinkaloud.text.messages import Message

Label = Literal["right", "wrong", "ungradable"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One question with what its verifier needs, e.g. "Red under B, blue under D. Swap AC BD AE. Where now?"."""

    id: str
    "Family and twelve hexadecimal digits of the canonical form's SHA-256; equal for two wordings of the same problem."
    family: str
    "Name of the family in the registry."
    level: int
    "Difficulty, in the family's own unit (swaps, clauses, moves, numbers)."
    messages: tuple[Message, ...]
    "The conversation that ends with the question."
    verifier: str
    "Kind of verifier, as `problems.verify.verify` takes it."
    reference: Any
    "JSON value that the verifier compares an answer with."
    canonical: str
    "The problem without its wording: two problems are the same exactly when these are equal. It determines the answer."
    thought: str | None = None
    "A demonstrated monologue, where whoever brought the problem gave one; families demonstrate by themselves."

    @property
    def question(self) -> str:
        """Text of the last message."""
        return self.messages[-1].content


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a verifier says of one answer."""

    label: Label
    "`ungradable` is the verifier's or the reference's fault only, never the answer's."
    score: float
    "Reward: 1.0 for right, 0.0 otherwise; between them where a judge has its share."
    reason: str
    "One or two words: why (empty when right)."
    sandbox: str | None = None
    "Name of the sandbox that ran a program; None where no program ran."

    @classmethod
    def right(cls) -> "Verdict":
        """Full reward."""
        return cls(label="right", score=1.0, reason="")

    @classmethod
    def wrong(cls, reason: str) -> "Verdict":
        """No reward, by the answer's fault."""
        return cls(label="wrong", score=0.0, reason=reason)

    @classmethod
    def ungradable(cls, reason: str) -> "Verdict":
        """No reward, by our own or the reference's fault."""
        return cls(label="ungradable", score=0.0, reason=reason)


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """Problems that are measured on together, and whose they are."""

    name: str
    "As it was asked for."
    problems: tuple[Problem, ...]
    "In the order of where they are from."
    source: str
    "Files, the hub's name of the data set, or the generator."
    licence: str
    "Under which it is published."

    @property
    def sha256(self) -> str:
        """Hash over all that is asked and what is right: equal hashes, equal test."""
        found = hashlib.sha256()
        for one in self.problems:
            said = [[message.role, message.content] for message in one.messages]
            found.update(json.dumps([one.id, said, one.verifier, one.reference], sort_keys=True).encode() + b"\n")
        return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A worked solution: a monologue and the right answer."""

    thinking: str
    "The monologue, without its tags; lines are separated by one newline."
    answer: str
    "The answer, always right, even after a guess."
    way: str
    "The way of working that the monologue shows, as `Family.way_of` would name it."


class Family(ABC):
    """A source of problems of one kind with its verifier and its solver. One family is one page."""

    name: str
    "Name in the registry; also the kind of its verifier."
    levels: tuple[int, ...]
    "Every level that can be generated, easiest first."
    ways: tuple[str, ...]
    "Ways of working that can be demonstrated; the first is `careful`."
    beyond: tuple[int, ...] = ()
    "Levels past those, for measuring out of range; never drawn unless asked for."
    words: tuple[str, ...]
    "Every pre-token (GPT-2 rule: a leading space belongs to the word) of its prompts and demonstrations."
    spelt: bool = False
    "Whether other pre-tokens come up as well, such as long numbers and any name, which are spelt byte by byte."

    @abstractmethod
    def generate(self, rng: random.Random, level: int) -> Problem:
        """A random problem; everything random comes from `rng`."""

    @abstractmethod
    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        """A correct solution worked in `way`; one that doesn't differ from the careful way is named careful."""

    @abstractmethod
    def verify(self, answer: str, reference: Any) -> Verdict:
        """Judges any text: tolerant of case, space and punctuation, exact in content; never raises."""

    @abstractmethod
    def way_of(self, problem: Problem, thinking: str) -> str:
        """Names the way in which a monologue works, right or not: one of `ways`, or `other`."""

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """Another problem, by a change whose effect on the answer the family can prove; or the problem itself."""
        return problem

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """Whether each line of a monologue is right, by the problem and the lines before it; None: that can't be said.

        What a wrong line says is taken as it stands by the next, so that a line answers for its own fault alone.
        """
        return [None] * len(lines)

    @property
    def checks(self) -> bool:
        """Whether it can check lines."""
        return type(self).check is not Family.check

    def recognise(self, question: str) -> Problem | None:
        """The problem that asks this question, word for word; None for any other text, or where reading isn't exact."""
        return None

    def problem(self, *, level: int, question: str, reference: Any, canonical: str) -> Problem:
        """A problem of this family with a single user message."""
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return Problem(
            id=f"{self.name}-{digest[:12]}",
            family=self.name,
            level=level,
            messages=(Message(role="user", content=question),),
            verifier=self.name,
            reference=reference,
            canonical=canonical,
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One item of a verifier's self-test: an answer whose verdict is known."""

    answer: str
    "As a model would give it."
    reference: Any
    "What it is judged against."
    label: Label
    "The verdict that it must get."


class Verifier(ABC):
    """A way of judging answers. One verifier is one page."""

    name: str
    "The kind, as `problems.verify.verify` takes it."
    most_characters: int = 10_000
    "A longer answer is wrong, reason `limit`."

    def at_once(self, answer: str, reference: Any) -> Verdict | None:
        """The verdict where linear time in this process suffices; None sends the answer to a worker."""
        return None

    def seconds(self, reference: Any) -> float:
        """Wall time that a worker has for one answer; past it the answer is wrong, reason `limit`."""
        return 5.0

    def stated(self, answer: str) -> str | None:
        """What an answer states, in a form that can be voted on; "" for nothing, None where no vote makes sense."""
        return None

    def prepare(self) -> None:
        """Imports what judging needs; not counted against an answer."""
        return

    @abstractmethod
    def judge(self, answer: str, reference: Any, unsafe: bool) -> Verdict:
        """The verdict, in a worker process; `unsafe` lets programs run without isolation."""

    @abstractmethod
    def checks(self) -> Iterable[Check]:
        """The self-test: right answers, mutated ones, hacks, broken references."""


PIECE = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
"The GPT-2 rule for ASCII."


def pieces(*texts: str) -> list[str]:
    """The pre-tokens of ASCII texts, those that stand where a template has {something} left out."""
    return [
        piece
        for text in texts
        for part in re.split(r"\{[a-z]+\}", text)
        for piece in PIECE.findall(part)
        if piece != " "
    ]


def unique(words: Iterable[str]) -> tuple[str, ...]:
    """The words without repetition, in order."""
    return tuple(dict.fromkeys(words))
