"""Early exit as data: trial answers go in, and out comes whether the thought may end here.

Knows: a rule, tokens' probabilities, when the next trial is due. Does not know: engines, problems, who is asked. The
same lines decide when a rule is chosen, when it is measured, and when a user waits for an answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thinkaloud.inference.calibration import ExitRule


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An answer given after a part of the thought, closed on trial.

    Example: after 24 tokens of thought "13" and the end of turn: `Trial(place=24, ids=(13, 7), logprobs=(-.01, 0.0),
    finished=True)`.
    """

    place: int
    "tokens of the thought before it, the line's end included"
    ids: tuple[int, ...]
    "the answer's tokens, the end of turn included"
    logprobs: tuple[float, ...]
    "their log-probs, at temperature 1"
    finished: bool
    "whether the answer ended within the tokens that a trial has"

    def tokens_until(self, confidence: float) -> int:
        """Tokens of the trial that are drawn if it is given up at the first one below `confidence`."""
        for index, logprob in enumerate(self.logprobs):
            if math.exp(logprob) < confidence:
                return index + 1
        return len(self.ids)

    def holds(self, confidence: float) -> bool:
        """Whether it ended, with every token at least that likely."""
        return self.finished and all(math.exp(logprob) >= confidence for logprob in self.logprobs)


class Watch:
    """A rule run over one thought: ask `due` at every line's end, and if so `take` a trial."""

    def __init__(self, rule: ExitRule) -> None:
        assert rule.confidence is not None, "a rule that never ends a thought needs no watch"
        self.rule, self.confidence = rule, rule.confidence
        self._last: int | None = None
        self._before: tuple[int, ...] | None = None
        self._run = 0

    def due(self, place: int) -> bool:
        """Whether a trial is to be made after `place` tokens of the thought."""
        return place >= self.rule.skip and (self._last is None or place - self._last >= self.rule.gap)

    def take(self, trial: Trial) -> bool:
        """Whether the thought ends with this trial's answer."""
        self._last = trial.place
        if not trial.holds(self.confidence):
            self._before, self._run = None, 0
            return False
        self._run = self._run + 1 if trial.ids == self._before else 1
        self._before = trial.ids
        return self._run >= self.rule.run


def line_ends(texts: Sequence[str]) -> list[int]:
    """How many tokens of a thought there are at each end of a line, from the tokens' texts."""
    return [index + 1 for index, text in enumerate(texts) if text.endswith("\n")]
