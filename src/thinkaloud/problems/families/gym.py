"""Gym: families of the reasoning-gym library behind our interface, scored exactly.

Knows: how to draw four of them, read their questions back and work them step by step. Doesn't know: models, tokens,
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
LEGS = {
    0: "snake, sea slug, jellyfish, flatworm, leech",
    2: "chicken, bird, human, duck",
    4: "dog, cat, cow, horse, lion, elephant, giraffe, tiger, deer, sheep",
    5: "starfish",
    6: "insect, ant, butterfly, beetle, bee, wasp, grasshopper, cricket, cockroach, praying mantis, firefly",
    8: "spider, scorpion",
    10: "crab, lobster, shrimp",
    14: "woodlouse",
}
MOST_EACH = 4
MOST_NUMBER = 60
MOST_LEGS = 5 * MOST_EACH * 14
LEGS_LINE = re.compile(r".* x [0-9]{1,3} = [0-9]{1,3}, total ([0-9]{1,3})")
LEGS_OF = {animal: legs for legs, animals in LEGS.items() for animal in animals.split(", ")}


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


class LegCounting(GymFamily):
    """Legs of animals, one to four of each kind; the level is how many kinds."""

    name = "gym_leg_counting"
    dataset = "leg_counting"
    levels = (2, 3, 4)
    beyond = (5,)
    asked = re.compile(
        r"Your task is to count how many legs there are in total when given a list of animals\.\n\n"
        r"Now, how many legs are there in total if you have ([1-9a-z, ]+)\?"
    )
    words = unique(
        ["Your", " task", " is", " to", " count", " how", " many", " legs", " there", " are", " in", " total"]
        + [" when", " given", " a", " list", " of", " animals", ".", "Now", ",", " if", " you", " have", "?"]
        + [" x", " =", "\n", "guess"]
        + [" " + word + plural for animal in LEGS_OF for word in animal.split() for plural in ("", "s")]
        + [" " + str(number) for number in range(MOST_LEGS + 1)]
        + [str(number) for number in range(MOST_LEGS + 1)]
    )

    def options(self, level: int) -> dict[str, int]:
        return {"min_animals": level, "max_animals": level, "max_instances": MOST_EACH}

    def read(self, said: str) -> tuple[int, str, dict[str, Any]] | None:
        animals: dict[str, int] = {}
        for one in said.split(", "):
            count, _, name = one.partition(" ")
            animal = name if count == "1" else name.removesuffix("s")
            if one != _counted(int(count) if count.isdecimal() else 0, animal) or animal not in LEGS_OF:
                return None
            animals[animal] = int(count)
        known = len(animals) == said.count(", ") + 1 and len(animals) in (*self.levels, *self.beyond)
        if not known or max(animals.values()) > MOST_EACH:
            return None
        total = sum(count * LEGS_OF[animal] for animal, count in animals.items())
        return len(animals), str(total), {"animals": animals}

    def canonical(self, metadata: dict[str, Any]) -> str:
        return ", ".join(f"{count} {animal}" for animal, count in sorted(metadata["animals"].items()))

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The animals in another order, some of them others with as many legs, perhaps more or fewer of one.

        The sum stays, or differs by the legs of those.
        """
        animals, counts = list(problem.reference["metadata"]["animals"].items()), {}
        for animal, count in rng.sample(animals, len(animals)):
            alike = [one for one, legs in LEGS_OF.items() if legs == LEGS_OF[animal] and one not in counts]
            free = [one for one in alike if one == animal or one not in problem.reference["metadata"]["animals"]]
            counts[rng.choice(free)] = count
        total = int(problem.reference["answer"])
        if rng.random() < 0.5:
            changed, count = rng.choice(list(counts)), rng.randint(1, MOST_EACH)
            total += (count - counts[changed]) * LEGS_OF[changed]
            counts[changed] = count
        listed = ", ".join(_counted(count, animal) for animal, count in counts.items())
        before, _ = problem.question.rsplit(" you have ", 1)
        metadata = {**problem.reference["metadata"], "animals": counts, "total_legs": total}
        return self.problem(
            level=problem.level,
            question=f"{before} you have {listed}?",
            reference={"answer": str(total), "metadata": metadata},
            canonical=self.canonical(metadata),
        )

    def steps(self, metadata: dict[str, Any]) -> Iterator[str]:
        total = 0
        for animal, count in metadata["animals"].items():
            yield _legs_line(animal, count, total)
            total += count * LEGS_OF[animal]

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        """A line takes the next animal and adds its legs to the total before; after the last none is judged."""
        animals = list(problem.reference["metadata"]["animals"].items())
        found: list[bool | None] = []
        total = 0
        for match in map(LEGS_LINE.fullmatch, lines):
            if match is None or not animals:
                found.append(None)
                continue
            animal, count = animals.pop(0)
            found.append(match[0] == _legs_line(animal, count, total))
            total = int(match[1])
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


def _legs_line(animal: str, count: int, before: int) -> str:
    """One line of the monologue: so many of an animal, their legs, and the total with those before."""
    legs = count * LEGS_OF[animal]
    return f"{_counted(count, animal)} x {LEGS_OF[animal]} = {legs}, total {before + legs}"


def _counted(count: int, animal: str) -> str:
    return f"{count} {animal}{'s' if count > 1 else ''}"


def _shape(line: str) -> str:
    """A line with every number, signed or not, as #."""
    return re.sub(r"-?[0-9]+", "#", line)
