"""Cups: five cups, two balls, and a row of swaps to follow; strictly serial, so thinking aloud pays.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

CUPS = "ABCDE"
SWAPS = tuple(a + b for a, b in combinations(CUPS, 2))
HASTY_LINES = 5
QUESTION = re.compile(r"Red under ([A-E]), blue under ([A-E])\. Swap ([A-E]{2}(?: [A-E]{2})*)\. Where now\?")
LINE = re.compile(r"([A-E]{2}) ([A-E]) ([A-E])")


class Cups(Family):
    """The level is the number of swaps: "Red under B, blue under D. Swap AC BD AE. Where now?".

    A swap exchanges two cups with whatever is under them. Ways: `careful` writes both balls' places after every swap;
    `hasty` writes at most five such lines and then the word guess (in a demonstration, with the right answer all the
    same).
    """

    name = "cups"
    levels = tuple(range(3, 11))
    ways = ("careful", "hasty")
    words = unique(
        ["Red", " under", " blue", ",", ".", " Swap", " Where", " now", "?", "\n", "guess"]
        + [" " + cup for cup in CUPS]
        + [" " + swap for swap in SWAPS]
        + list(SWAPS)
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        red, blue = rng.sample(CUPS, 2)
        swaps = rng.choices(SWAPS, k=level)
        return self._asked(red, blue, swaps)

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The cups named anew, and the balls exchanged or not: the answer goes along."""
        named = dict(zip(CUPS, rng.sample(CUPS, len(CUPS)), strict=True))
        red, blue, *swaps = ("".join(sorted(named[cup] for cup in part)) for part in problem.canonical.split())
        first, second = rng.sample((red, blue), 2)
        return self._asked(first, second, swaps)

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None or found[1] == found[2] or not set(found[3].split()) <= set(SWAPS):
            return None
        return self._asked(found[1], found[2], found[3].split())

    def _asked(self, red: str, blue: str, swaps: list[str]) -> Problem:
        places = _follow(red, blue, swaps)
        return self.problem(
            level=len(swaps),
            question=f"Red under {red}, blue under {blue}. Swap {' '.join(swaps)}. Where now?",
            reference={"red": places[-1][0], "blue": places[-1][1]},
            canonical=f"{red} {blue} {' '.join(swaps)}",
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        red, blue, *swaps = problem.canonical.split()
        places = _follow(red, blue, swaps)
        lines = [_line(swap, *place) for swap, place in zip(swaps, places, strict=True)]
        shown = "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        answer = f"Red {places[-1][0]}, blue {places[-1][1]}"
        return Demonstration(thinking="\n".join(lines), answer=answer, way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        try:
            red, blue = str(reference["red"]).lower(), str(reference["blue"]).lower()
        except (KeyError, TypeError):
            return Verdict.ungradable("reference")
        stated = re.sub(r"[\s.,;:!=*()'\"`-]+", " ", answer).strip().lower().split(" ")
        if stated in (["red", red, "blue", blue], ["blue", blue, "red", red]):
            return Verdict.right()
        return Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        followed = [LINE.fullmatch(line) for line in lines_of(thinking)]
        if [line and line[1] for line in followed] == problem.canonical.split()[2:]:
            return "careful"
        return "other"

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line makes the next swap with the balls where the line before has them; after the last none is judged."""
        red, blue, *swaps = problem.canonical.split()
        found: list[bool | None] = []
        for match in map(LINE.fullmatch, lines):
            if match is None or not swaps:
                found.append(None)
                continue
            found.append([match[0]] == [_line(swaps[0], *place) for place in _follow(red, blue, swaps[:1])])
            (red, blue), swaps = match.group(2, 3), swaps[1:]
        return found


def _follow(red: str, blue: str, swaps: list[str]) -> list[tuple[str, str]]:
    """The two balls' cups after each swap."""
    places = []
    for swap in swaps:
        moved = {swap[0]: swap[1], swap[1]: swap[0]}
        red, blue = moved.get(red, red), moved.get(blue, blue)
        places.append((red, blue))
    return places


def _line(swap: str, red: str, blue: str) -> str:
    """One line of the monologue: the swap, then red's and blue's place after it."""
    return f"{swap} {red} {blue}"
