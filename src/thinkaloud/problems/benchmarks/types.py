"""What a published set is: where it lies, whose it is, and how its rows become problems.

Knows: prompts as the makers of QwQ and DeepSeek-R1 advise. Doesn't know: any single set's schema.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkaloud.problems.benchmarks.files import Row, rows
from thinkaloud.problems.types import Problem
from thinkaloud.text.messages import Message, followed

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
LETTER = 'Please show your choice in the `answer` field with only the choice letter, e.g., `"answer": "C"`.'
SIGNS = r"[-+*/^=<>×÷·−±≠≤≥√]"
WORDS = re.compile(rf"\w+|{SIGNS}|(?<={SIGNS})\s*\(|\)(?=\s*{SIGNS})")
"Words, signs, and the brackets beside a sign, which say what is worked out first."
PROMPTS = {"math": BOXED, "choice": LETTER}
"What is asked beyond the question, by the kind of verifier; in the user's message, since R1 wants no system prompt."


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a reader makes of a row; the set adds its name."""

    question: str
    "The question itself."
    verifier: str
    "Kind of verifier."
    reference: Any
    "What the verifier compares with."
    prompt: str | None = None
    "All that is said to the model; None: the question and what its kind of verifier asks for."
    id: str | None = None
    "The set's own name for it; None: its number."
    level: int = 0
    "Difficulty, where the set has levels."
    test: bool = True
    "False for a row that its makers set apart for prompts or tuning: self-tests take it, an evaluation does not."
    known: tuple[str, str] | None = None
    "An answer that must be right and one that must be wrong, where the set brings a solution: for self-tests."


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A published set of problems. One set is one entry of the registry and one reader of its rows."""

    name: str
    "As `--on` takes it."
    what: str
    "What is asked, in a few words."
    licence: str
    "Under which its makers publish it."
    hub: str
    "Name of the data set on the hub."
    hub_files: tuple[str, ...]
    "Patterns of its files there: the first for which there are files counts."
    files: tuple[str, ...] = ()
    "More patterns, below a folder that the user names."
    read: Callable[[Row], Item | None]
    "Makes an item of a row; None leaves the row out. A missing column is a KeyError."
    rows: Callable[[Path], Iterator[Row]] = rows
    "Reads a file; a set whose answers lie in a file beside it joins them here."


def canonical(question: str) -> str:
    """A question without case, punctuation and spacing: two questions that agree in it are the same."""
    return " ".join(word.strip() for word in WORDS.findall(question.lower()))


def asked(question: str, kind: str) -> str:
    """A question with what its kind of verifier asks for."""
    return followed(question, PROMPTS.get(kind, ""))


def problem_of(name: str, number: int, item: Item) -> Problem:
    """The problem that an item is."""
    prompt = item.prompt if item.prompt is not None else asked(item.question, item.verifier)
    return Problem(
        id=f"{name}-{number if item.id is None else item.id}",
        family=name,
        level=item.level,
        messages=(Message(role="user", content=prompt),),
        verifier=item.verifier,
        reference=item.reference,
        canonical=canonical(item.question),
    )
