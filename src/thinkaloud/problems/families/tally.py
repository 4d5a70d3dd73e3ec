"""A number to which changes are made one by one, whatever the words: what such families share.

Knows: how the problem is kept, how its answer is judged. Doesn't know: any wording, any way of working.
"""

from itertools import accumulate
from typing import Any

from thinkaloud.problems.answers import same_number
from thinkaloud.problems.types import Family, Problem, Verdict


class Tally(Family):
    """A family whose problem is a start and signed changes, and whose answer is the value at the end."""

    def _asked(self, start: int, changes: list[int], question: str) -> Problem:
        return self.problem(
            level=len(changes),
            question=question,
            reference=start + sum(changes),
            canonical=" ".join([str(start), *(f"{change:+d}" for change in changes)]),
        )

    def verify(self, answer: str, reference: Any) -> Verdict:
        return same_number(answer, reference)


def read_tally(problem: Problem) -> tuple[list[int], list[int]]:
    """A problem's changes, and the values before, between and after them."""
    start, *changes = (int(number) for number in problem.canonical.split())
    return changes, list(accumulate(changes, initial=start))
