"""A guard on a stage: what its first weights could do on dev problems of named families must not be lost.

Knows verdicts before and now, problem by problem. Does not know models, rewards or checkpoints: a stage asks it, and
goes back by itself.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field

from thinkaloud.base.config import Settings
from thinkaloud.base.statistics import change_bound
from thinkaloud.problems import Problem, Verdict


class GuardSettings(Settings):
    """What a stage must not lose; where it does, it is taken back to its last state that passed and ends there."""

    families: list[str] = Field(min_length=1)
    "families of the recipe whose dev accuracy is watched, also such as the stage does not train on"
    margin: float = Field(default=0.01, ge=0, lt=1)
    "accuracy that may be lost of each family; less than that, by the one-sided 95 % bound, ends the stage"
    problems: int = Field(default=400, ge=20)
    "dev problems of each family, asked at the start and at every point of the learning curve"
    max_tokens: int | None = Field(default=None, ge=1)
    "longest reply to them; None: the stage's"


class Guard:
    """The verdicts on the first weights' replies, against which later ones are held.

    Example: 400 problems, 36 right before and wrong now, 12 the other way round: 6 points fewer, at most 3.1 by the
    one-sided 95 % bound: more is lost than a margin of 1.
    """

    def __init__(self, settings: GuardSettings, problems: Sequence[Problem]) -> None:
        """`problems` are those asked; a stage that goes on sets `first` to what it was."""
        self.settings, self.problems = settings, problems
        self.first: str | None = None

    def changes(self, verdicts: Sequence[Verdict]) -> dict[str, float]:
        """By family: accuracy now, its change since the start and the upper bound of that, for the journal.

        The first verdicts, one a problem, are what later ones are held against. Pairs with an ungradable reply are
        left out.
        """
        marks = "".join(verdict.label[0] for verdict in verdicts)  # r, w and u
        self.first = self.first or marks
        pairs = list(zip(self.problems, self.first, marks, strict=True))
        row = {}
        for family in self.settings.families:
            own = [
                before + now for problem, before, now in pairs if problem.family == family and "u" not in before + now
            ]
            lost, won, count = own.count("rw"), own.count("wr"), len(own)
            row[f"guard_{family}"] = (own.count("rr") + won) / max(1, count)
            row[f"guard_change_{family}"] = (won - lost) / max(1, count)
            row[f"guard_bound_{family}"] = change_bound(lost, won, count)
        return row

    def loss(self, row: Mapping[str, float]) -> str | None:
        """What was lost, in words, where the bound of a family's change lies below the margin; else None."""
        margin = self.settings.margin
        lost = [
            f"{family} lost {-100 * row[f'guard_change_{family}']:.1f} points of dev accuracy, at least "
            f"{-100 * row[f'guard_bound_{family}']:.1f} by the one-sided 95 % bound"
            for family in self.settings.families
            if row.get(f"guard_bound_{family}", 0.0) < -margin
        ]
        return f"{' and '.join(lost)} (margin {100 * margin:g})" if lost else None
