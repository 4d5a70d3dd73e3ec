"""Legs of animals, of the reasoning-gym library: lists, a table learnt by heart, and sums.

Knows: how to read this one dataset's questions, vary them, work them step by step and check such work. Doesn't know:
models, tokens, splits.
"""

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from thinkaloud.problems.families.gym import GymFamily
from thinkaloud.problems.types import Problem, unique

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
MOST_LEGS = 5 * MOST_EACH * 14
LEGS_LINE = re.compile(r".* x [0-9]{1,3} = [0-9]{1,3}, total ([0-9]{1,3})")
LEGS_OF = {animal: legs for legs, animals in LEGS.items() for animal in animals.split(", ")}


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


def _legs_line(animal: str, count: int, before: int) -> str:
    """One line of the monologue: so many of an animal, their legs, and the total with those before."""
    legs = count * LEGS_OF[animal]
    return f"{_counted(count, animal)} x {LEGS_OF[animal]} = {legs}, total {before + legs}"


def _counted(count: int, animal: str) -> str:
    return f"{count} {animal}{'s' if count > 1 else ''}"
