"""Scales: find two of several weights that make a given sum, told at every try whether it was too little or too much.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import combinations

from thinkaloud.problems.answers import lines_of
from thinkaloud.problems.families.pairs import Pairs
from thinkaloud.problems.types import Demonstration, Problem, unique

MOST_WEIGHT = 15
QUESTION = re.compile(r"([1-9][0-9]?(?: [1-9][0-9]?)+) weigh ([1-9][0-9]?): which two\?")
TRIED = re.compile(r"([0-9]{1,3}) ([0-9]{1,3}) = [0-9]{1,3}(?: (light|heavy) (next|more|less|again)| even)")
ADVICE = {"light": "more", "heavy": "less"}
MOVES = ("more", "less")


class Scales(Pairs):
    """The level is how many weights there are: "3 8 11 14 weigh 19: which two?".

    The weights differ, rise and lie within 1..15; any two that have the sum are right. A line of the monologue is a
    pair, its sum, what the scales say of it, and a move: "3 14 = 17 light more". The move more takes the next heavier
    for the lighter of the two, less the next lighter for the heavier one. Ways: `careful` tries all pairs in order, its
    move is next; `wander` begins with the lightest and the heaviest and moves at random, whatever the scales say, and
    where that leads nowhere goes on as `careful` after again; `guided` does what the scales advise, which leads to a
    right pair without fail.
    """

    name = "scales"
    levels = (4, 5, 6, 7, 8)
    beyond = (9,)
    ways = ("careful", "wander", "guided")
    words = unique(
        [" weigh", ":", " which", " two", "?", " =", " light", " heavy", " even", "\n"]
        + [" next", " more", " less", " again"]
        + [" " + str(number) for number in range(2 * MOST_WEIGHT)]
        + [str(number) for number in range(MOST_WEIGHT + 1)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        weights = sorted(rng.sample(range(1, MOST_WEIGHT + 1), level))
        return self._worded(weights, sum(rng.sample(weights, 2)))

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None:
            return None
        weights, target = [int(weight) for weight in found[1].split()], int(found[2])
        sound = weights == sorted(set(weights)) and weights[-1] <= MOST_WEIGHT
        return self._worded(weights, target) if sound and target in map(sum, combinations(weights, 2)) else None

    def _worded(self, weights: list[int], target: int) -> Problem:
        return self.problem(
            level=len(weights),
            question=f"{' '.join(map(str, weights))} weigh {target}: which two?",
            reference={"numbers": weights, "target": target},
            canonical=f"{' '.join(map(str, weights))} = {target}",
        )

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """Itself: in another order the weights would tell less."""
        return problem

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        weights, target = problem.reference["numbers"], problem.reference["target"]
        if way == "careful":
            lines = list(_in_order(weights, target))
        else:
            lines = list(_inwards(weights, target, lambda said: ADVICE[said] if way == "guided" else rng.choice(MOVES)))
        thinking = "\n".join(lines)
        return Demonstration(
            thinking=thinking, answer=" ".join(lines[-1].split()[:2]), way=self.way_of(problem, thinking)
        )

    def way_of(self, problem: Problem, thinking: str) -> str:
        found = [TRIED.fullmatch(line) for line in lines_of(thinking)]
        tried = [(int(line[1]), int(line[2])) for line in found if line]
        told = [(line[3], line[4]) for line in found if line and line[3]]
        if len(tried) < len(found) or len(told) != len(found) - 1 or (found[-1] and found[-1][3]):
            return "other"
        weights = problem.reference["numbers"]
        in_order = list(combinations(weights, 2))
        if tried == in_order[: len(tried)] and all(move == "next" for _, move in told):
            return "careful"
        if tried[0] != (weights[0], weights[-1]) or not set(tried) <= set(in_order):
            return "other"
        return "guided" if all(move == ADVICE[said] for said, move in told) else "wander"


def _in_order(weights: list[int], target: int) -> Iterator[str]:
    for light, heavy in combinations(weights, 2):
        yield _line(light, heavy, target, "next")
        if light + heavy == target:
            return


def _inwards(weights: list[int], target: int, move: Callable[[str], str]) -> Iterator[str]:
    """From the outermost pair inwards; where no pair is left between, all of them in order."""
    light, heavy = 0, len(weights) - 1
    while (total := weights[light] + weights[heavy]) != target:
        if heavy - light == 1:
            yield _line(weights[light], weights[heavy], target, "again")
            yield from _in_order(weights, target)
            return
        chosen = move(_said(total, target))
        yield _line(weights[light], weights[heavy], target, chosen)
        light, heavy = (light + 1, heavy) if chosen == "more" else (light, heavy - 1)
    yield _line(weights[light], weights[heavy], target, "")


def _line(light: int, heavy: int, target: int, move: str) -> str:
    """One line of the monologue: "3 14 = 17 light more", or "8 11 = 19 even"."""
    total = light + heavy
    return f"{light} {heavy} = {total} {_said(total, target)}" + (f" {move}" if total != target else "")


def _said(total: int, target: int) -> str:
    return "even" if total == target else "light" if total < target else "heavy"
