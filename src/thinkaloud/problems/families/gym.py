"""Gym: families of the reasoning-gym library behind our interface, scored exactly.

Knows: how to draw three of them, read their questions back and work them step by step. Doesn't know: models, tokens,
splits.
"""

import json
import math
import random
import re
import string
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.families.gym_library import INDICES, exact_score, gym_dataset
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

HASTY_LINES = 2
MOST_NUMBER = 60
ADDED = re.compile(r"-?[0-9]{1,3} [+-] [0-9] = (-?[0-9]{1,3})")
REMAINDER = re.compile(r"([0-9]{1,3}) mod ([0-9]{1,3}) = ([0-9]{1,3})")


class GymFamily(Family):
    """A reasoning-gym dataset; a subclass says how to configure a level, name a problem and work it step by step."""

    dataset: str
    "Name in reasoning-gym."
    ways: tuple[str, ...] = ("careful", "hasty")
    asked: re.Pattern[str]
    "The question; its group is what is asked of."

    @abstractmethod
    def read(self, said: str) -> tuple[int, str, dict[str, Any]] | None:
        """Level, answer and metadata of what is asked of; None where no problem asks it."""

    @abstractmethod
    def options(self, level: int) -> dict[str, int]:
        """The dataset's options at a level."""

    @abstractmethod
    def canonical(self, metadata: dict[str, Any]) -> str:
        """The canonical form of an entry with this metadata."""

    @abstractmethod
    def steps(self, metadata: dict[str, Any]) -> Iterator[str]:
        """The lines of the monologue."""

    def generate(self, rng: random.Random, level: int) -> Problem:
        entry = gym_dataset(self.dataset, **self.options(level))[rng.randrange(INDICES)]
        metadata = json.loads(json.dumps(entry["metadata"]))
        return self.problem(
            level=level,
            question=entry["question"].strip(),
            reference={"answer": entry["answer"], "metadata": metadata},
            canonical=self.canonical(metadata),
        )

    def recognise(self, question: str) -> Problem | None:
        """The problem; of the library's metadata it has what `steps` and `canonical` need."""
        found = self.asked.fullmatch(question)
        read = self.read(found[1]) if found else None
        if read is None:
            return None
        level, answer, metadata = read
        return self.problem(
            level=level,
            question=question,
            reference={"answer": answer, "metadata": metadata},
            canonical=self.canonical(metadata),
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        lines, shown = list(self.steps(problem.reference["metadata"])), "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        return Demonstration(thinking="\n".join(lines), answer=problem.reference["answer"], way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        if not (isinstance(reference, dict) and isinstance(reference.get("answer"), str)):
            return Verdict.ungradable("reference")
        return exact_score(gym_dataset(self.dataset, **self.options(self.levels[0])), answer, reference)

    def way_of(self, problem: Problem, thinking: str) -> str:
        """Careful when the lines have the demonstration's shape, whatever the numbers in them."""
        if guesses(thinking):
            return "hasty"
        worked = [_shape(line) for line in self.steps(problem.reference["metadata"])]
        return "careful" if [_shape(line) for line in lines_of(thinking)] == worked else "other"


class ChainSum(GymFamily):
    """Sums and differences of one-digit numbers from left to right; the level is how many numbers."""

    name = "gym_chain_sum"
    dataset = "chain_sum"
    levels = (3, 4, 5, 6)
    asked = re.compile(r"State the final answer to the following arithmetic problem: ([0-9](?: [+-] [0-9])+) =")
    words = unique(
        ["State", " the", " final", " answer", " to", " following", " arithmetic", " problem", ":"]
        + [" +", " -", " =", "-", "\n", "guess"]
        + [" " + str(number) for number in range(55)]
        + [str(number) for number in range(55)]
    )

    def options(self, level: int) -> dict[str, int]:
        return {"min_terms": level, "max_terms": level, "min_digits": 1, "max_digits": 1}

    def read(self, said: str) -> tuple[int, str, dict[str, Any]] | None:
        numbers = [int(one) for one in re.sub(r"([+-]) ", r"\1", said).split(" ")]
        if len(numbers) not in self.levels:
            return None
        return len(numbers), str(sum(numbers)), {"expression": said}

    def canonical(self, metadata: dict[str, Any]) -> str:
        return str(metadata["expression"])

    def steps(self, metadata: dict[str, Any]) -> Iterator[str]:
        first, *rest = metadata["expression"].split()
        total = int(first)
        for sign, number in zip(rest[::2], rest[1::2], strict=True):
            after = total + int(sign + number)
            yield f"{total} {sign} {number} = {after}"
            total = after

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The numbers in another order, each with its sign, some of the time one of them another."""
        first, *rest = problem.canonical.split()
        terms = [("+", first), *zip(rest[::2], rest[1::2], strict=True)]
        if rng.random() < 0.5:
            at = rng.randrange(len(terms))
            terms[at] = (terms[at][0], str(rng.randint(1, 9)))
        leader = rng.choice([term for term in terms if term[0] == "+"])
        terms.remove(leader)
        terms = [leader, *rng.sample(terms, len(terms))]
        said = " ".join(part for term in terms for part in term).removeprefix("+ ")
        total = sum(int(sign + number) for sign, number in terms)
        return self.problem(
            level=problem.level,
            question=problem.question.replace(problem.canonical, said),
            reference={"answer": str(total), "metadata": {**problem.reference["metadata"], "expression": said}},
            canonical=said,
        )

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line adds the next number to what the line before says, or takes it off; after the last none is judged."""
        total, *due = problem.canonical.split()
        found: list[bool | None] = []
        for match in map(ADDED.fullmatch, lines):
            if match is None or not due:
                found.append(None)
                continue
            sign, number, *due = due
            found.append(match[0] == f"{total} {sign} {number} = {int(total) + int(sign + number)}")
            total = match[1]
        return found


class GreatestCommonDivisor(GymFamily):
    """Greatest common divisor of numbers from 1 to 60 by Euclid's remainders; the level is how many numbers."""

    name = "gym_gcd"
    dataset = "gcd"
    levels = (2, 3, 4)
    asked = re.compile(
        r"Find the Greatest Common Divisor \(GCD\) of these numbers: ([1-9][0-9]?(?:, [1-9][0-9]?)+)\. "
        r"Give only the GCD as your final answer\."
    )
    words = unique(
        ["Find", " the", " Greatest", " Common", " Divisor", " (", "GCD", ")", " of", " these", " numbers", ":", ","]
        + [".", " Give", " only", " GCD", " as", " your", " final", " answer", " mod", " =", "\n", "guess"]
        + [" " + str(number) for number in range(61)]
        + [str(number) for number in range(61)]
    )

    def options(self, level: int) -> dict[str, int]:
        return {"min_numbers": level, "max_numbers": level, "max_value": MOST_NUMBER}

    def read(self, said: str) -> tuple[int, str, dict[str, Any]] | None:
        numbers = [int(one) for one in said.split(", ")]
        if len(numbers) not in self.levels or max(numbers) > MOST_NUMBER:
            return None
        return len(numbers), str(math.gcd(*numbers)), {"numbers": numbers}

    def canonical(self, metadata: dict[str, Any]) -> str:
        return " ".join(map(str, sorted(metadata["numbers"])))

    def steps(self, metadata: dict[str, Any]) -> Iterator[str]:
        divisor, *rest = metadata["numbers"]
        for number in rest:
            while number:
                yield f"{divisor} mod {number} = {divisor % number}"
                divisor, number = number, divisor % number

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The numbers in another order, some of the time one with another added or taken off, or all times as much.

        The first two leave the divisor as it is (Euclid), the third moves it along.
        """
        numbers = list(problem.reference["metadata"]["numbers"])
        if rng.random() < 0.5:
            one, other = rng.sample(range(len(numbers)), 2)
            changed = [numbers[one] + numbers[other], abs(numbers[one] - numbers[other])]
            numbers[one] = rng.choice([number for number in changed if 0 < number <= MOST_NUMBER] or [numbers[one]])
        divisor = math.gcd(*numbers)
        if rng.random() < 0.5:
            numbers = [number // divisor for number in numbers]
            divisor = rng.randint(1, MOST_NUMBER // max(numbers))
            numbers = [number * divisor for number in numbers]
        rng.shuffle(numbers)
        metadata = {**problem.reference["metadata"], "numbers": numbers, "result": divisor}
        before, asked = problem.question.split(": ")
        return self.problem(
            level=problem.level,
            question=f"{before}: {', '.join(map(str, numbers))}. {asked.partition('. ')[2]}",
            reference={"answer": str(divisor), "metadata": metadata},
            canonical=self.canonical(metadata),
        )

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line divides what the line before leaves by its remainder, or by the next number where nothing is left."""
        divisor, *due = problem.reference["metadata"]["numbers"]
        found: list[bool | None] = []
        number = due.pop(0)
        for match in map(REMAINDER.fullmatch, lines):
            if match is None or not number:
                found.append(None)
                continue
            found.append(match[0] == f"{divisor} mod {number} = {divisor % number}")
            divisor, number = int(match[2]), int(match[3])
            if not number and due:
                number = due.pop(0)
        return found


class SpellBackward(GymFamily):
    """Words spelt backward; the level is how many letters."""

    name = "gym_spell_backward"
    dataset = "spell_backward"
    levels = (3, 4, 5, 6)
    ways = ("careful",)
    asked = re.compile(r"Spell this word backward \(example: sun -> nus\): ([A-Za-z0-9]+)")
    words = unique(
        ["Spell", " this", " word", " backward", " (", "example", ":", " sun", " ->", " nus", "):", "\n"]
        + [" " + letter for letter in string.ascii_lowercase]
    )
    spelt = True

    def options(self, level: int) -> dict[str, int]:
        return {"min_word_len": level, "max_word_len": level}

    def read(self, said: str) -> tuple[int, str, dict[str, Any]] | None:
        return (len(said), said[::-1], {"word": said}) if len(said) in self.levels else None

    def canonical(self, metadata: dict[str, Any]) -> str:
        return str(metadata["word"])

    def steps(self, metadata: dict[str, Any]) -> Iterator[str]:
        yield " ".join(metadata["word"])
        yield " ".join(reversed(metadata["word"]))

    def way_of(self, problem: Problem, thinking: str) -> str:
        letters = [line.split(" ") for line in lines_of(thinking)]
        spelt = len(letters) == 2 and all(len(letter) == 1 for line in letters for letter in line)
        return "careful" if spelt else "other"


def _shape(line: str) -> str:
    """A line with every number, signed or not, as #."""
    return re.sub(r"-?[0-9]+", "#", line)
