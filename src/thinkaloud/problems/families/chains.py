"""Chains: word problems in short fixed clauses, one gain or loss after another.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections.abc import Sequence
from itertools import accumulate

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.families.tally import Tally, read_tally
from thinkaloud.problems.types import Demonstration, Problem, unique

NAMES = ("Mia", "Ben", "Zoe", "Tom", "Ada", "Max", "Eva", "Sam")
OBJECTS = ("beads", "cards", "coins", "shells", "stamps", "nuts")
GAINS = ("finds", "buys", "wins", "gets")
LOSSES = ("loses", "gives", "eats", "sells")
MOST_VALUE, MOST_CHANGE, MOST_START = 30, 9, 20
HASTY_LINES = 4
MOST_ROUNDS = 3
SHUFFLES = 8
CHANGES = tuple(change for change in range(-MOST_CHANGE, MOST_CHANGE + 1) if change)
CLAUSE = rf"(?:{'|'.join(GAINS + LOSSES)}) [1-9]"
QUESTION = re.compile(
    rf"(?:{'|'.join(NAMES)}) has ([1-9][0-9]?) (?:{'|'.join(OBJECTS)}): ({CLAUSE}(?:, {CLAUSE})*)\. How many\?"
)
CHANGE = re.compile(r"[+-] [1-9]")
LINE = re.compile(r"([0-9]{1,3})((?: [+-] [1-9])+) = ([0-9]{1,3})")


class Chains(Tally):
    """The level is the number of clauses: "Mia has 7 beads: finds 3, loses 2, buys 5. How many?".

    Values stay within 0..30, changes within 1..9. Names, objects and synonyms don't make another problem. Ways:
    `careful` writes a line a clause; `hasty` at most four such lines and then guess; `leaps` takes two or three clauses
    a line; `rechecks` goes on after the last clause with the first, for up to two more rounds, and stops anywhere.
    """

    name = "chains"
    levels = tuple(range(3, 9))
    beyond = (9, 10)
    ways = ("careful", "hasty", "leaps", "rechecks")
    words = unique(
        [*NAMES, " has", ":", ",", ".", " How", " many", "?", " +", " -", " =", "\n", "guess"]
        + [" " + thing for thing in OBJECTS]
        + [" " + verb for verb in GAINS + LOSSES]
        + [" " + str(value) for value in range(MOST_VALUE + 1)]
        + [str(value) for value in range(MOST_VALUE + 1)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        start = value = rng.randint(1, MOST_START)
        changes, clauses = [], []
        for _ in range(level):
            change = rng.choice([change for change in CHANGES if 0 <= value + change <= MOST_VALUE])
            value += change
            changes.append(change)
            clauses.append(_clause(change, rng))
        return self._worded(start, changes, clauses, rng)

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The clauses in another order and other words, some split in two, joined or with two more that cancel out.

        A sum doesn't depend on any of it; with another start it differs by as much. Values stay within 0..30, clauses
        within 3..8.
        """
        start, *changes = (int(number) for number in problem.canonical.split())
        for _ in range(SHUFFLES):
            moved, order = rng.choice((start, rng.randint(1, MOST_START))), changes
            for _ in range(rng.randint(1, 3)):
                order = _same_sum(order, rng)
            if all(0 <= value <= MOST_VALUE for value in accumulate(order, initial=moved)):
                return self._worded(moved, order, [_clause(change, rng) for change in order], rng)
        return problem

    def _worded(self, start: int, changes: list[int], clauses: list[str], rng: random.Random) -> Problem:
        question = f"{rng.choice(NAMES)} has {start} {rng.choice(OBJECTS)}: {', '.join(clauses)}. How many?"
        return self._asked(start, changes, question)

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None:
            return None
        clauses = [clause.split() for clause in found[2].split(", ")]
        changes = [int(size) * (1 if verb in GAINS else -1) for verb, size in clauses]
        values = list(accumulate(changes, initial=int(found[1])))
        sound = values[0] <= MOST_START and all(0 <= value <= MOST_VALUE for value in values)
        return self._asked(values[0], changes, question) if sound else None

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        changes, values = read_tally(problem)
        sizes = _leaps(len(changes), rng) if way == "leaps" else [1] * len(changes)
        ends = list(accumulate(sizes))
        lines = [
            _line(values[end - size], changes[end - size : end], values[end])
            for size, end in zip(sizes, ends, strict=True)
        ]
        shown = way if way in ("leaps", "rechecks") else "careful"
        if way == "rechecks":
            lines = (lines * MOST_ROUNDS)[: rng.randint(len(lines) + 1, len(lines) * MOST_ROUNDS)]
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        return Demonstration(thinking="\n".join(lines), answer=str(values[-1]), way=shown)

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        matches = [LINE.fullmatch(line) for line in lines_of(thinking)]
        taken = [CHANGE.findall(match[2]) if match else [] for match in matches]
        changes = [f"{change[0]} {change[1:]}" for change in problem.canonical.split()[1:]]
        single = len(taken) > len(changes) and all(len(line) == 1 for line in taken)
        if single and [line[0] for line in taken] == [changes[index % len(changes)] for index in range(len(taken))]:
            return "rechecks"
        if [change for line in taken for change in line] != changes or not all(taken):
            return "other"
        return "careful" if all(len(line) == 1 for line in taken) else "leaps"

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line goes on from the value before it with the next clauses; what comes after the last is not judged."""
        changes, (value, *_) = read_tally(problem)
        found: list[bool | None] = []
        for match in map(LINE.fullmatch, lines):
            if match is None or not changes:
                found.append(None)
                continue
            taken = [int(change.replace(" ", "")) for change in CHANGE.findall(match[2])]
            due, changes = changes[: len(taken)], changes[len(taken) :]
            found.append(int(match[1]) == value and taken == due and value + sum(taken) == int(match[3]))
            value = int(match[3])
        return found


def _clause(change: int, rng: random.Random) -> str:
    return f"{rng.choice(GAINS if change > 0 else LOSSES)} {abs(change)}"


def _same_sum(changes: list[int], rng: random.Random) -> list[int]:
    """As large a sum of changes in random order, up to two of them more or one fewer."""
    left, way = list(changes), rng.choice(("order", "split", "join", "cancel"))
    rng.shuffle(left)
    if way == "split" and len(left) < Chains.levels[-1]:
        whole = left.pop()
        part = rng.choice([part for part in CHANGES if 0 < abs(whole - part) <= MOST_CHANGE])
        left += [part, whole - part]
    elif way == "join" and len(left) > Chains.levels[0] and 0 < abs(left[-1] + left[-2]) <= MOST_CHANGE:
        left.append(left.pop() + left.pop())
    elif way == "cancel" and len(left) + 2 <= Chains.levels[-1]:
        extra = rng.choice(CHANGES)
        left += [extra, -extra]
    rng.shuffle(left)
    return left


def _leaps(count: int, rng: random.Random) -> list[int]:
    """`count` clauses (two or more) cut at random into runs of two or three."""
    sizes: list[int] = []
    while count:
        size = count if count <= 3 else rng.choice((2, 3)) if count != 4 else 2
        sizes.append(size)
        count -= size
    return sizes


def _line(before: int, changes: list[int], after: int) -> str:
    """One line of the monologue, the value before its changes and after: "7 + 3 = 10"."""
    signed = [f"{'+' if change > 0 else '-'} {abs(change)}" for change in changes]
    return f"{before} {' '.join(signed)} = {after}"
