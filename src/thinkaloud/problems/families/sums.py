"""Sums: whole numbers added, subtracted or multiplied by one digit, worked digit by digit as on paper.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import functools
import random
import re
from collections.abc import Iterator
from typing import Any

from thinkaloud.problems.answers import lines_of, same_number
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, pieces, unique

WORDINGS = (
    *("What is {sum}?", "{sum} = ?", "{sum}", "Compute {sum}.", "How much is {sum}?", "Calculate {sum}", "{sum} ="),
    *("what is {sum}", "Work out {sum}.", "Please work out {sum}", "What's {sum}?", "what's {sum}", "{sum}=", "{sum}?"),
    *("How much does {sum} make?", "Can you work out {sum}?", "Please calculate {sum}", "Solve {sum}", "{sum} is"),
)
PHRASES = {
    "+": ("Add {first} and {other}.", "What is the sum of {first} and {other}?"),
    "-": ("Subtract {other} from {first}.",),
    "x": ("Multiply {first} by {other}.",),
}
SIGNS = {
    "+": (" + ", "+", " plus "),
    "-": (" - ", "-", " minus "),
    "x": (" x ", "*", " * ", " times ", "x", " \N{MULTIPLICATION SIGN} "),
}
SIGN_OF = {spelt: sign for sign, spellings in SIGNS.items() for spelt in spellings}
ENDS = " .?"
"What may follow or not, as in what people type; so may capitals."
PHRASED = 0.1
"Share of the questions that have no sign."
ONE_DIGIT = 0.15
"Share of the lowest level that has no longer number."
LINE = re.compile(r"[0-9]{1,2}( [+x-] [0-9]{1,2}){1,2} = [0-9]{1,2}")


class Sums(Family):
    """The level is how many digits the longer number has, at least two: "What is 347 + 85?".

    Of a product one number has a single digit; a difference is never below zero. The only way, `careful`, spells both
    numbers in digits, works them from the last to the first, each line with what was carried or borrowed, and spells
    the result.
    """

    name = "sums"
    levels = (2, 3, 4)
    ways = ("careful",)
    words = unique(
        pieces(*WORDINGS, *(text for texts in PHRASES.values() for text in texts))
        + [" +", "+", " plus", " -", "-", " minus", " x", " *", "*", " times", "x", " =", "\n"]
        + [space + str(number) for space in ("", " ") for number in range(100)]
    )
    spelt = True

    def generate(self, rng: random.Random, level: int) -> Problem:
        sign = rng.choice("+-x")
        most = 1 if level == 2 and rng.random() < ONE_DIGIT else level
        first, other = (_number(rng, most if place else rng.randint(1, most)) for place in rng.sample((0, 1), 2))
        if sign == "x":
            first, other = rng.sample((_number(rng, most), rng.randint(2, 9)), 2)
        if sign == "-":
            first, other = max(first, other), min(first, other)
        if rng.random() < PHRASED:
            question = rng.choice(PHRASES[sign]).format(first=first, other=other)
        else:
            question = rng.choice(WORDINGS).format(sum=f"{first}{rng.choice(SIGNS[sign])}{other}")
        return self._asked(first, sign, other, _typed(question, rng))

    def recognise(self, question: str) -> Problem | None:
        first, sign, other = _read(question)
        fits = {"": False, "+": True, "-": first >= other, "x": min(first, other) <= 9}[sign]
        return self._asked(first, sign, other, question) if fits else None

    def _asked(self, first: int, sign: str, other: int, question: str) -> Problem:
        in_order = (first, other) if sign == "-" else sorted((first, other))
        return self.problem(
            level=max(2, len(str(max(first, other)))),
            question=question,
            reference={"+": first + other, "-": first - other, "x": first * other}[sign],
            canonical=f"{in_order[0]} {sign} {in_order[1]}",
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        first, sign, other = _read(problem.question)
        if sign == "x" and first < 10:
            first, other = other, first
        width = max(len(str(first)), 1 if sign == "x" else len(str(other)))
        digits = [int(digit) for digit in reversed(f"{first:0{width}d}")]
        if sign == "x":
            others = [other] * width
            spelt = f"{_spelt(str(first))} x {other}"
        else:
            others = [int(digit) for digit in reversed(f"{other:0{width}d}")]
            spelt = f"{_spelt(f'{first:0{width}d}')} {sign} {_spelt(f'{other:0{width}d}')}"
        steps = {"+": _added, "-": _subtracted, "x": _multiplied}[sign](digits, others)
        answer = str(problem.reference)
        return Demonstration(thinking="\n".join([spelt, *steps, _spelt(answer)]), answer=answer, way="careful")

    def verify(self, answer: str, reference: Any) -> Verdict:
        return same_number(answer, reference)

    def way_of(self, problem: Problem, thinking: str) -> str:
        spelt, *steps = lines_of(thinking)
        shown = spelt.split(f" {problem.canonical.split()[1]} ")
        whole = len(shown) == 2 and len(steps) == len(shown[0].split()) + 1
        return "careful" if whole and all(LINE.fullmatch(step) for step in steps[:-1]) else "other"


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _typed(question: str, rng: random.Random) -> str:
    """As people type it: a third in small letters, a third without the last mark."""
    text = question.lower() if rng.random() < 0.33 else question
    return text.rstrip(ENDS) if rng.random() < 0.33 else text


def _read(question: str) -> tuple[int, str, int]:
    """The first number, the sign and the other one; no sign where the text asks for no sum."""
    for sign, pattern in _patterns():
        if found := pattern.fullmatch(question.lower().rstrip(ENDS)):
            said = found.groupdict()
            spelt = SIGN_OF.get(said.get("sign", ""), sign)
            return int(said["first"]), spelt, int(said["other"])
    return 0, "", 0


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """What the wordings look like, each with the sign that it stands for, if one alone."""
    parts = {name: rf"(?P<{name}>[1-9][0-9]{{0,3}})" for name in ("first", "other")}
    parts["sum"] = f"{parts['first']}(?P<sign>{'|'.join(map(re.escape, SIGN_OF))}){parts['other']}"
    told = [("", wording) for wording in WORDINGS] + [(sign, text) for sign in PHRASES for text in PHRASES[sign]]
    plain = [(sign, wording.lower().rstrip(ENDS)) for sign, wording in told]
    return [
        (sign, re.compile(re.sub(r"\\\{(\w+)\\\}", lambda found: parts[found[1]], re.escape(text))))
        for sign, text in plain
    ]


def _spelt(number: str) -> str:
    return " ".join(number)


def _added(digits: list[int], others: list[int]) -> Iterator[str]:
    carried = 0
    for digit, other in zip(digits, others, strict=True):
        total = digit + other + carried
        yield f"{digit} + {other}{' + 1' if carried else ''} = {total}"
        carried = total // 10


def _subtracted(digits: list[int], others: list[int]) -> Iterator[str]:
    """A digit that is too small borrows ten; the line after one that begins with ten or more gives one back."""
    borrowed = 0
    for digit, other in zip(digits, others, strict=True):
        top = digit + 10 * (digit < other + borrowed)
        yield f"{top} - {other}{' - 1' if borrowed else ''} = {top - other - borrowed}"
        borrowed = top // 10


def _multiplied(digits: list[int], others: list[int]) -> Iterator[str]:
    carried = 0
    for digit, other in zip(digits, others, strict=True):
        total = digit * other + carried
        yield f"{digit} x {other}{f' + {carried}' if carried else ''} = {total}"
        carried = total // 10
