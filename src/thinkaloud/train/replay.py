"""Verified replay: right replies of earlier steps, kept to be learnt from again, also by another run.

Positives only: stale negatives are what makes off-policy learning unstable (arXiv 2506.20520). Knows samples; does not
know models or rewards.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_jsonl, write_text
from thinkaloud.train.batches import Sample

EACH = 8
"Replies kept of a problem, the newest."


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A right reply."""

    problem: str
    "id of its problem"
    step: int
    "when it was drawn"
    sample: Sample
    "ids, mask and the log-probs of the policy that drew it"

    def row(self) -> list[Any]:
        """As JSON."""
        sample = self.sample
        mask = "".join("01"[flag] for flag in sample.mask)
        return [self.problem, self.step, list(sample.ids), mask, list(sample.logprobs)]

    @classmethod
    def of(cls, row: list[Any]) -> "Kept":
        """What `row` gave; ValueError, TypeError or IndexError where it is something else."""
        problem, step, ids, mask, logprobs = row
        sample = Sample(ids=tuple(map(int, ids)), mask=tuple(flag == "1" for flag in mask), logprobs=tuple(logprobs))
        if not len(sample.ids) == len(sample.mask) == len(sample.logprobs):
            raise ValueError("ids, mask and log-probs differ in length")
        return cls(problem=str(problem), step=int(step), sample=sample)


class Replay:
    """The newest right replies by problem, none older than `age` steps."""

    def __init__(self, age: int, state: list[list[Any]] | None = None) -> None:
        """`state` is what `state` gave."""
        self.age = age
        self._kept: dict[str, list[Kept]] = defaultdict(list)
        for row in state or []:
            self.keep(Kept.of(row))

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def state(self) -> list[list[Any]]:
        """All of it as JSON, for a checkpoint."""
        return [kept.row() for problem in self._kept.values() for kept in problem]

    def keep(self, kept: Kept) -> None:
        """Add a reply; the oldest of its problem goes where there are too many."""
        same = self._kept[kept.problem]
        same.append(kept)
        del same[:-EACH]

    def draw(self, count: int, step: int, rng: random.Random) -> list[Kept]:
        """`count` replies drawn before `step`, problems equally likely; none where none is young enough."""
        for problem in list(self._kept):
            self._kept[problem] = [kept for kept in self._kept[problem] if step - kept.step <= self.age]
            if not self._kept[problem]:
                del self._kept[problem]
        problems = list(self._kept)
        return [rng.choice(self._kept[rng.choice(problems)]) for _ in range(count)] if problems else []

    def save(self, path: Path) -> None:
        """Write all, a line each; their steps count backwards from the end."""
        newest = max((kept.step for problem in self._kept.values() for kept in problem), default=0)
        rows = [[row[0], row[1] - newest, *row[2:]] for row in self.state()]
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def load(self, path: Path, vocabulary: int) -> None:
        """Take in what another run saved; UserError where that is none, or of another tokenizer (ids >= vocabulary)."""
        if not path.exists():
            raise UserError(
                f"{path} does not exist: replay_from takes the folder of a stage that ended, such as RUN/checkpoints/rl"
            )
        try:
            kept = [Kept.of(row) for row in read_jsonl(path)]
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): leave replay_from out, or run that stage again") from None
        if any(id_ >= vocabulary for one in kept for id_ in one.sample.ids):
            raise UserError(f"{path} comes from a model with another tokenizer: its replies can't be replayed here")
        for one in kept:
            self.keep(one)
