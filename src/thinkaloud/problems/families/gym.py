"""Gym: families of the reasoning-gym library behind our interface, scored exactly.

Knows: how to draw their problems, refuse the unsound ones, distrust their partial credit, and work four of them step
by step. Doesn't know: models, tokens, splits. The library is imported on first use (two seconds).
"""

import contextlib
import functools
import io
import json
import random
import re
import string
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

BLOCKED = {
    "composite": "it mixes other families, so that nothing says which verifier applies",
    "boxnet": "it has no reference answer",
    "graph_color": "it has no reference answer",
    "rubiks_cube": "it has no reference answer",
    "rush_hour": "it has no reference answer",
    "game_of_life_halting": "its scorer gives full reward to wrong answers",
    "knight_swap": "one seed does not give the same problem twice",
    "list_functions": "one seed does not give the same problem twice",
    "futoshiki": "one problem takes a fifth of a second to generate",
}
HASTY_LINES = 2
FULL_SCORE = 0.99
INDICES = 2**31
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
LEGS_OF = {animal: legs for legs, animals in LEGS.items() for animal in animals.split(", ")}


def gym_dataset(name: str, **options: int) -> Any:
    """The reasoning-gym dataset of that name, made once a set of options; a UserError says why one is refused."""
    if name in BLOCKED:
        raise UserError(f"reasoning-gym's {name} is refused: {BLOCKED[name]}; take another one, such as chain_sum")
    return _dataset(name, tuple(sorted(options.items())))


@functools.cache
def _dataset(name: str, options: tuple[tuple[str, int], ...]) -> Any:
    with _silence():
        import reasoning_gym  # type: ignore[import-untyped, unused-ignore]
        from reasoning_gym.factory import DATASETS  # type: ignore[import-untyped, unused-ignore]

        if name not in DATASETS:
            raise UserError(f"reasoning-gym has no dataset {name!r}; take one of its own names, such as chain_sum")
        return reasoning_gym.create_dataset(name, seed=0, size=INDICES, **dict(options))


def exact_score(dataset: Any, answer: str, entry: dict[str, Any]) -> Verdict:
    """Right only at full score and when the answer, stripped, is no longer than the reference answer.

    The library gives part of the reward to an answer with text around it, and reads "1,2" as 12.
    """
    stripped = answer.strip(" \t\r\n*`'\"").rstrip(".")
    if not 0 < len(stripped) <= len(entry["answer"]):
        return Verdict.wrong("length")
    try:
        with _silence():
            score = float(dataset.score_answer(stripped, entry))
    except Exception:  # Scorers of the library raise errors of many kinds on text that they did not foresee.
        return Verdict.wrong("unreadable")
    return Verdict.right() if score >= FULL_SCORE else Verdict.wrong("different")


class GymFamily(Family):
    """A reasoning-gym dataset; a subclass says how to configure a level, name a problem and work it step by step."""

    dataset: str
    "Name in reasoning-gym."
    ways: tuple[str, ...] = ("careful", "hasty")

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
    words = unique(
        ["State", " the", " final", " answer", " to", " following", " arithmetic", " problem", ":"]
        + [" +", " -", " =", "-", "\n", "guess"]
        + [" " + str(number) for number in range(55)]
        + [str(number) for number in range(55)]
    )

    def options(self, level: int) -> dict[str, int]:
        return {"min_terms": level, "max_terms": level, "min_digits": 1, "max_digits": 1}

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
    words = unique(
        ["Find", " the", " Greatest", " Common", " Divisor", " (", "GCD", ")", " of", " these", " numbers", ":", ","]
        + [".", " Give", " only", " GCD", " as", " your", " final", " answer", " mod", " =", "\n", "guess"]
        + [" " + str(number) for number in range(61)]
        + [str(number) for number in range(61)]
    )

    def options(self, level: int) -> dict[str, int]:
        return {"min_numbers": level, "max_numbers": level, "max_value": 60}

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
        listed = ", ".join(f"{count} {animal}{'s' if count > 1 else ''}" for animal, count in counts.items())
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
            legs = LEGS_OF[animal]
            total += count * legs
            yield f"{count} {animal}{'s' if count > 1 else ''} x {legs} = {count * legs}, total {total}"


class SpellBackward(GymFamily):
    """Words spelt backward; the level is how many letters."""

    name = "gym_spell_backward"
    dataset = "spell_backward"
    levels = (3, 4, 5, 6)
    ways = ("careful",)
    words = unique(
        ["Spell", " this", " word", " backward", " (", "example", ":", " sun", " ->", " nus", "):", "\n"]
        + [" " + letter for letter in string.ascii_lowercase]
    )
    spelt = True

    def options(self, level: int) -> dict[str, int]:
        return {"min_word_len": level, "max_word_len": level}

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


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps what the library prints and warns of from the user's screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
