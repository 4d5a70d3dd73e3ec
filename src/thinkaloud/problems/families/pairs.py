"""Pairs: find two of several numbers that make a given sum; a search, which may end early or late.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, cycle, islice
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of, whole_numbers
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

MOST_NUMBER = 30
HASTY_LINES = 4
QUESTION = re.compile(r"([1-9][0-9]?(?: [1-9][0-9]?)+) make ([1-9][0-9]?): which two\?")
TRIED = re.compile(r"([0-9]{1,3}) ([0-9]{1,3}) = ([0-9]{1,3}) (yes|no)")


class Pairs(Family):
    """The level is how many numbers there are: "3 8 14 21 make 22: which two?".

    The numbers differ and lie within 1..30; at least one pair has the sum, and any such pair is right, in either order.
    The order of the numbers doesn't make another problem. Ways: `careful` tries the pairs in order, each with its sum
    and no or yes, until one fits; `hasty` tries at most four and then writes guess; `shuffled` tries them in random
    order; `rechecks` goes on in order after one fits, from the first pair again after the last, and stops anywhere.
    """

    name = "pairs"
    levels = tuple(range(4, 9))
    beyond = (9,)
    ways: tuple[str, ...] = ("careful", "hasty", "shuffled", "rechecks")
    words = unique(
        [" make", ":", " which", " two", "?", " =", " yes", " no", "\n", "guess"]
        + [" " + str(number) for number in range(2 * MOST_NUMBER)]
        + [str(number) for number in range(MOST_NUMBER + 1)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        numbers = rng.sample(range(1, MOST_NUMBER + 1), level)
        target = sum(rng.sample(numbers, 2))
        return self._worded(numbers, target)

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None:
            return None
        numbers, target = [int(number) for number in found[1].split()], int(found[2])
        sound = len(set(numbers)) == len(numbers) and max(numbers) <= MOST_NUMBER
        return self._worded(numbers, target) if sound and target in map(sum, combinations(numbers, 2)) else None

    def _worded(self, numbers: list[int], target: int) -> Problem:
        return self.problem(
            level=len(numbers),
            question=f"{' '.join(map(str, numbers))} make {target}: which two?",
            reference={"numbers": numbers, "target": target},
            canonical=f"{' '.join(map(str, sorted(numbers)))} = {target}",
        )

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The numbers in another order; some of the time one pair that fits among other numbers, or all moved alike.

        That pair is still right, moved as far as the others.
        """
        numbers, target = list(problem.reference["numbers"]), problem.reference["target"]
        if rng.random() < 0.5:
            kept = next(pair for pair in combinations(numbers, 2) if sum(pair) == target)
            others = [number for number in range(1, MOST_NUMBER + 1) if number not in kept]
            numbers = [*kept, *rng.sample(others, len(numbers) - 2)]
        if rng.random() < 0.5:
            shift = rng.randint(1 - min(numbers), MOST_NUMBER - max(numbers))
            numbers, target = [number + shift for number in numbers], target + 2 * shift
        return self._worded(rng.sample(numbers, len(numbers)), target)

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        target: int = problem.reference["target"]
        in_order = list(combinations(problem.reference["numbers"], 2))
        pairs = rng.sample(in_order, len(in_order)) if way == "shuffled" else in_order
        tried = list(_search(pairs, target))
        lines = [_line(first, second, target) for first, second in tried]
        shown = "careful" if tried == in_order[: len(tried)] else "shuffled"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        if way == "rechecks":
            more = islice(cycle(in_order), len(tried), len(tried) + rng.randint(1, len(in_order)))
            lines, shown = [*lines, *(_line(first, second, target) for first, second in more)], "rechecks"
        return Demonstration(thinking="\n".join(lines), answer=f"{tried[-1][0]} {tried[-1][1]}", way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        try:
            numbers, target = Counter(reference["numbers"]), int(reference["target"])
        except (KeyError, TypeError, ValueError):
            return Verdict.ungradable("reference")
        pair = whole_numbers(answer)
        if len(pair) != 2:
            return Verdict.wrong("not a pair")
        if Counter(pair) - numbers:
            return Verdict.wrong("not given")
        return Verdict.right() if sum(pair) == target else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        tried = [TRIED.fullmatch(line) for line in lines_of(thinking)]
        told = [line[4] for line in tried if line]
        if len(told) < len(tried) or "yes" not in told:
            return "other"
        in_order = list(combinations(problem.reference["numbers"], 2))
        pairs = [(int(line[1]), int(line[2])) for line in tried if line]
        if told.index("yes") < len(told) - 1:
            return "rechecks" if pairs == list(islice(cycle(in_order), len(pairs))) else "other"
        if pairs == in_order[: len(pairs)]:
            return "careful"
        return "shuffled" if len(set(pairs)) == len(pairs) and set(pairs) <= set(in_order) else "other"

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line gives two of the numbers, their sum, and whether it fits; a pair again or after a yes isn't judged."""
        numbers, target = problem.reference["numbers"], problem.reference["target"]
        found: list[bool | None] = []
        met: set[frozenset[int]] = set()
        for match in map(TRIED.fullmatch, lines):
            pair = frozenset(map(int, match.group(1, 2))) if match else frozenset()
            if match is None or pair in met:
                found.append(None)
                continue
            total, fits = int(match[3]), match[4] == "yes"
            right = len(pair) == 2 and pair <= set(numbers) and sum(pair) == total
            found.append(right and fits == (total == target))
            met |= {pair} if not fits else set(map(frozenset, combinations(numbers, 2)))
        return found


def _search(pairs: list[tuple[int, int]], target: int) -> Iterator[tuple[int, int]]:
    """The pairs up to the first that fits."""
    for pair in pairs:
        yield pair
        if sum(pair) == target:
            return


def _line(first: int, second: int, target: int) -> str:
    """One line of the monologue: a pair, its sum, and whether it fits."""
    return f"{first} {second} = {first + second} {'yes' if first + second == target else 'no'}"
