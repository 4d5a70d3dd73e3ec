"""Places: who stands where, from sentences about two at a time.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from collections.abc import Iterator
from typing import Any

from thinkaloud.problems.answers import lines_of
from thinkaloud.problems.families.stories import HE, SHE
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, pieces, unique

OWN = ("Ann", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jo", "Kit", "Lea", "Moe", "Ned", "Pia", "Roy")
NAMES = OWN + SHE + HE
WORDINGS = (
    ("{one} is left of {other}", "{other} is right of {one}", "Who stands where?"),
    ("{one} is before {other}", "{other} is after {one}", "What is the order?"),
    ("{one} is taller than {other}", "{other} is shorter than {one}", "Order them, the tallest first."),
)
COMPARED = re.compile(r"(\w+) is (left|right|before|after|taller|shorter) (?:of |than )?(\w+)")


class Places(Family):
    """The level is how many people there are: "Bo is left of Cy, Bo is right of Ann. Who stands where?".

    Every two neighbours are compared once, either way round, and every sentence after the first adds somebody to an end
    of the row so far; the answer is the whole row, from the left, from the front or from the tallest. The only way,
    `careful`, writes the row anew after every sentence.
    """

    name = "places"
    levels = (3, 4, 5, 6)
    ways = ("careful",)
    words = unique(
        [*pieces(*(" " + text for texts in WORDINGS for text in texts)), ",", ".", "\n"]
        + [space + name for space in ("", " ") for name in NAMES]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        row = rng.sample(NAMES, level)
        before, after, asked = rng.choice(WORDINGS)
        clauses = [rng.choice((before, after)).format(one=one, other=other) for one, other in _growing(row, rng)]
        return self._asked(row, f"{rng.choice((', ', '. ')).join(clauses)}. {asked}")

    def recognise(self, question: str) -> Problem | None:
        row: list[str] = []
        for one, other in compared(question):
            if row and other != row[0] and one != row[-1]:
                return None
            row = [*row, other] if row and one == row[-1] else [one, *row] if row else [one, other]
        known = len(row) in self.levels and len(set(row)) == len(row) and set(row) <= set(NAMES)
        return self._asked(row, question) if known and _is_worded(question) else None

    def _asked(self, row: list[str], question: str) -> Problem:
        return self.problem(level=len(row), question=question, reference=row, canonical=" ".join(row))

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        first, *others = compared(problem.question)
        row = list(first)
        lines = [" ".join(row)]
        for one, other in others:
            row = [*row, other] if one == row[-1] else [one, *row]
            lines.append(" ".join(row))
        return Demonstration(thinking="\n".join(lines), answer=lines[-1], way="careful")

    def verify(self, answer: str, reference: Any) -> Verdict:
        if not (isinstance(reference, list) and reference and all(isinstance(name, str) for name in reference)):
            return Verdict.ungradable("reference")
        said = re.sub(r"[\s.,;:!<>*()'\"`-]+", " ", answer).strip().lower().split(" ")
        return Verdict.right() if said == [name.lower() for name in reference] else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        rows = [line.split(" ") for line in lines_of(thinking)]
        grows = [len(row) for row in rows] == list(range(2, problem.level + 1))
        return "careful" if grows and all(name in NAMES for row in rows for name in row) else "other"


def _growing(row: list[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    """The neighbours in a row, from any two of them outwards."""
    left = right = rng.randrange(len(row))
    while right - left < len(row) - 1:
        if right == len(row) - 1 or (left and rng.random() < 0.5):
            left -= 1
            yield row[left], row[left + 1]
        else:
            right += 1
            yield row[right - 1], row[right]


def compared(question: str) -> list[tuple[str, str]]:
    """The pairs that a question compares, whoever comes first in the row put first, in the order of its sentences."""
    pairs = []
    for one, said, other in COMPARED.findall(question):
        pairs.append((one, other) if said in ("left", "before", "taller") else (other, one))
    return pairs


def _is_worded(question: str) -> bool:
    """Whether a question is sentences of one wording, all joined in the same way, and nothing else."""
    for before, after, last in WORDINGS:
        clause = "|".join(wording.format(one=r"\w+", other=r"\w+") for wording in (before, after))
        joined = "|".join(rf"(?:{clause})(?:{join}(?:{clause}))*" for join in (", ", r"\. "))
        if question.endswith(f". {last}") and re.fullmatch(joined, question.removesuffix(f". {last}")):
            return True
    return False
