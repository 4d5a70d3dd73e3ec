"""Memory per problem: what a run believes of each problem, and what follows from that belief.

A belief is a decayed Beta posterior of the pass rate without any help (as in MoPPS, arXiv 2507.04632, and SPO, arXiv
2509.13232). It selects problems, gives the baseline of their advantages, and decides when to help. Knows numbers and
ids of problems; does not know models, rollouts or files. Everything random comes from the caller.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KNOWN = 2.0
"Outcomes that the prior weighs as much as."
RECENT = 0.995
"What an older outcome of the same kind weighs after each newer one: about the newest two hundred count."
CANDIDATES = 8
"Problems looked at for each that is chosen."


@dataclass(kw_only=True)
class Belief:
    """What is known of one problem."""

    right: float = 0.0
    "right replies, older ones counting less"
    wrong: float = 0.0
    "wrong replies, older ones counting less"
    success: list[int] = field(default_factory=list)
    "ids of the thought of the newest right reply"
    failure: list[int] = field(default_factory=list)
    "ids of the thought of the newest wrong reply"
    given: float = 0.5
    "share of such a thought that is given as a beginning; steered until about half of the replies are right"


class ProblemMemory:
    """Beliefs of all problems met so far, by id."""

    def __init__(
        self, decay: float, kinds: Mapping[str, str] | None = None, state: dict[str, Any] | None = None
    ) -> None:
        """`decay` in (0, 1]: what an older outcome weighs after each visit.

        `kinds` says of which kind a problem is, such as its family and level: what was never tried is believed to be
        as hard as its kind.
        """
        self.decay, self.kinds = decay, kinds or {}
        state = state or {}
        self.passed: dict[str, list[float]] = state.get("passed", {})
        self.beliefs = {key: Belief(**value) for key, value in state.get("beliefs", {}).items()}

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for a checkpoint."""
        return {"passed": self.passed, "beliefs": {key: asdict(value) for key, value in self.beliefs.items()}}

    def of(self, problem: str) -> Belief:
        """The belief of a problem, empty where nothing was tried."""
        return self.beliefs.setdefault(problem, Belief())

    def posterior(self, problem: str) -> tuple[float, float]:
        """Parameters (a, b) of the Beta distribution of its pass rate; the prior is the newest rate of its kind."""
        right, wrong = self.passed.get("", [0.5, 0.5])
        kind_right, kind_wrong = self.passed.get(self.kinds.get(problem, ""), [0.0, 0.0])
        mean = (kind_right + KNOWN * right / (right + wrong)) / (kind_right + kind_wrong + KNOWN)
        belief = self.beliefs.get(problem, Belief())
        # Never quite 0, so that the distribution stays proper.
        return belief.right + KNOWN * mean + 1e-3, belief.wrong + KNOWN * (1 - mean) + 1e-3

    def rate(self, problem: str) -> float:
        """Expected pass rate."""
        a, b = self.posterior(problem)
        return a / (a + b)

    def left(self, problems: Sequence[str]) -> float:
        """What is left to learn: the mean of 4 p (1 - p) over the problems' expected pass rates p, from 0 to 1."""
        rates = [self.rate(problem) for problem in problems]
        return sum(4 * rate * (1 - rate) for rate in rates) / len(rates)

    def record(self, problem: str, right: int, wrong: int) -> None:
        """Take in the outcomes of replies without help."""
        belief = self.of(problem)
        belief.right = self.decay * belief.right + right
        belief.wrong = self.decay * belief.wrong + wrong
        keep = RECENT ** (right + wrong)
        for kind in {"", self.kinds.get(problem, "")}:
            passed = self.passed.setdefault(kind, [0.5, 0.5])
            passed[:] = [keep * passed[0] + right, keep * passed[1] + wrong]

    def choose(
        self, problems: Sequence[str], count: int, *, uniform: float, retire: float, rng: random.Random
    ) -> list[int]:
        """Indices of `count` problems, the most learnable of CANDIDATES times as many drawn at random.

        Learnable is the expected p (1 - p), the variance of the reward (arXiv 2502.12272). A share `uniform` comes from
        all alike, which rechecks what is known; of the rest, those believed above `retire` or below 1 - `retire` with
        at least four replies' evidence are left out, so that fewer than `count` may come. Where there are fewer
        problems than `count`, some come twice.
        """
        explored = sum(rng.random() < uniform for _ in range(count))
        chosen = rng.choices(range(len(problems)), k=explored) if explored else []
        scored = []
        for index in rng.sample(range(len(problems)), min(len(problems), CANDIDATES * count)):
            a, b = self.posterior(problems[index])
            if a + b < KNOWN + 4 or 1 - retire <= a / (a + b) <= retire:
                scored.append((a * b / ((a + b) * (a + b + 1)), index))
        best = [index for _, index in sorted(scored, key=lambda pair: -pair[0])]
        while best and len(chosen) < count:
            chosen += best[: count - len(chosen)]
        return chosen

    def baselines(self, problem: str, rewards: Sequence[float]) -> list[float]:
        """For each reply the mean of the others' rewards, shrunk towards the belief before them (in [0, 1])."""
        a, b = self.posterior(problem)
        weight = min(1.0, KNOWN / (a + b))
        a, b = a * weight, b * weight
        total, count = sum(rewards), len(rewards)
        return [(a + total - reward) / (a + b + count - 1) for reward in rewards]
