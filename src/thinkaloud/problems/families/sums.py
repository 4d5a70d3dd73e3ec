"""Sums: whole numbers added, subtracted or multiplied by one digit, worked digit by digit as on paper.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections.abc import Iterator
from typing import Any

from thinkaloud.problems.answers import lines_of, whole_numbers
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, pieces, unique

WORDINGS = (
    *("What is {sum}?", "{sum} = ?", "{sum}", "Compute {sum}.", "How much is {sum}?", "Calculate {sum}", "{sum} ="),
    *("what is {sum}", "Work out {sum}.", "Please work out {sum}"),
)
SIGNS = {"+": (" + ", "+", " plus "), "-": (" - ", "-", " minus "), "x": (" x ", "*", " * ", " times ", "x")}
SIGN_OF = {spelt: sign for sign, spellings in SIGNS.items() for spelt in spellings}
ASKED = re.compile(
    "|".join(re.escape(wording).replace(r"\{sum\}", r"([1-9]\d{0,3})(\D+)([1-9]\d{0,3})") for wording in WORDINGS)
)
LINE = re.compile(r"[0-9]{1,2}( [+x-] [0-9]{1,2}){1,2} = [0-9]{1,2}")


class Sums(Family):
    """The level is how many digits the longer number has at most: "What is 347 + 85?".

    Of a product one number has a single digit; a difference is never below zero. The only way, `careful`, spells both
    numbers in digits, works them from the last to the first, each line with what was carried or borrowed, and spells
    the result.
    """

    name = "sums"
    levels = (2, 3, 4)
    ways = ("careful",)
    words = unique(
        [*pieces(*WORDINGS), " +", "+", " plus", " -", "-", " minus", " x", " *", "*", " times", "x", " =", "\n"]
        + [space + str(number) for space in ("", " ") for number in range(100)]
    )
    spelt = True

    def generate(self, rng: random.Random, level: int) -> Problem:
        sign = rng.choice("+-x")
        first, other = (_number(rng, level if place else rng.randint(1, level)) for place in rng.sample((0, 1), 2))
        if sign == "x":
            first, other = rng.sample((_number(rng, level), rng.randint(2, 9)), 2)
        if sign == "-":
            first, other = max(first, other), min(first, other)
        written = rng.choice(SIGNS[sign]).join((str(first), str(other)))
        return self._asked(first, sign, other, rng.choice(WORDINGS).format(sum=written))

    def recognise(self, question: str) -> Problem | None:
        found = ASKED.fullmatch(question)
        first, spelt, other = [part for part in found.groups() if part is not None] if found else ("0", "", "0")
        sign, least = SIGN_OF.get(spelt), min(int(first), int(other))
        fits = {None: False, "+": True, "-": int(first) >= int(other), "x": 2 <= least <= 9}[sign]
        if sign is None or not fits or max(len(first), len(other)) not in self.levels:
            return None
        return self._asked(int(first), sign, int(other), question)

    def _asked(self, first: int, sign: str, other: int, question: str) -> Problem:
        in_order = (first, other) if sign == "-" else sorted((first, other))
        return self.problem(
            level=len(str(max(first, other))),
            question=question,
            reference={"+": first + other, "-": first - other, "x": first * other}[sign],
            canonical=f"{in_order[0]} {sign} {in_order[1]}",
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        first, other = (int(number) for number in re.findall("[0-9]+", problem.question))
        sign = problem.canonical.split()[1]
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
        if type(reference) is not int:
            return Verdict.ungradable("reference")
        return Verdict.right() if whole_numbers(answer) == (reference,) else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        spelt, *steps = lines_of(thinking)
        shown = spelt.split(f" {problem.canonical.split()[1]} ")
        whole = len(shown) == 2 and len(steps) == len(shown[0].split()) + 1
        return "careful" if whole and all(LINE.fullmatch(step) for step in steps[:-1]) else "other"


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


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
