"""Toy families of problems for tests of training, learnt in a second, and a tiny recipe of them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinkaloud.base.config import parse_settings, to_toml
from thinkaloud.base.run import write_text
from thinkaloud.problems import Problem, Verdict
from thinkaloud.problems.types import Demonstration, Family
from thinkaloud.train.recipe import Recipe


class Toss(Family):
    """Heads wins. A careful demonstration says so, a hasty one says tails."""

    name = "toss"
    levels = (1,)
    ways = ("careful", "hasty")
    words = ("Heads", "Tails", "Toss", *(f" {number}" for number in range(20)))

    def generate(self, rng: random.Random, level: int) -> Problem:
        toss = " ".join(str(rng.randrange(20)) for _ in range(3))
        problem = self.problem(level=1, question=f"Toss {toss}", reference="Heads", canonical=toss)
        return replace(problem, verifier="exact")

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        word = "Heads" if way == "careful" else "Tails"
        return Demonstration(thinking=word, answer=word, way=way)

    def verify(self, answer: str, reference: Any) -> Verdict:
        return Verdict.right() if answer == reference else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        return {"Heads": "careful", "Tails": "hasty"}.get(thinking, "other")


class Spin(Toss):
    """The same with a wheel: another family to train on."""

    name = "spin"
    words = tuple(word.replace("Toss", "Spin") for word in Toss.words)

    def generate(self, rng: random.Random, level: int) -> Problem:
        problem = super().generate(rng, level)
        question = problem.question.replace("Toss", "Spin")
        return replace(
            self.problem(level=1, question=question, reference="Heads", canonical=problem.canonical), verifier="exact"
        )


class Lottery(Toss):
    """Nobody can know the number that wins."""

    name = "lottery"
    words = tuple(word.replace("Toss", "Draw") for word in (*Toss.words, *map(str, range(20))))

    def generate(self, rng: random.Random, level: int) -> Problem:
        draw = " ".join(str(rng.randrange(20)) for _ in range(3))
        problem = self.problem(level=1, question=f"Draw {draw}", reference=str(rng.randrange(20)), canonical=draw)
        return replace(problem, verifier="exact")

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        number = str(rng.randrange(20))
        return Demonstration(thinking="Heads", answer=number, way="careful")


class Misprint(Toss):
    """The toss with tails as its reference."""

    name = "misprint"

    def generate(self, rng: random.Random, level: int) -> Problem:
        problem = super().generate(rng, level)
        return replace(
            self.problem(level=1, question=problem.question, reference="Tails", canonical=problem.canonical),
            verifier="exact",
        )


TOYS: dict[str, Family] = {family.name: family for family in (Toss(), Spin(), Lottery(), Misprint())}


def toy_recipe(run: Path, families: dict[str, Any], stages: dict[str, Any], **evaluation: Any) -> Recipe:
    """A model of one layer; the recipe is written to its folder."""
    raw = {
        "run": {"name": "tiny", "dir": str(run), "result": "start"},
        "model": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48},
        "families": families,
        "stages": stages,
        "evaluation": {"test": 8, "dev": 8, "points": 6, **evaluation},
    }
    recipe = parse_settings(Recipe, raw, "test")
    write_text(run / "recipe.toml", to_toml(recipe))
    return recipe
