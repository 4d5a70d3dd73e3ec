"""Memory per problem: what a run believes of each problem, and what follows from that belief.

A belief is a decayed Beta posterior of the pass rate without any help (as in MoPPS, arXiv 2507.04632, and SPO, arXiv
2509.13232). It selects problems, gives the baseline of their advantages, and decides when to help. Knows numbers and
ids of problems; does not know models, rollouts or files. Everything random comes from the caller.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KNOWN = 2.0
"Outcomes that the prior weighs as much as."


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

    def __init__(self, decay: float, state: dict[str, Any] | None = None) -> None:
        """`decay` in (0, 1]: what an older outcome weighs after each visit."""
        self.decay = decay
        state = state or {}
        self.overall: list[float] = state.get("overall", [0.5, 0.5])
        self.beliefs = {key: Belief(**value) for key, value in state.get("beliefs", {}).items()}

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for a checkpoint."""
        return {"overall": self.overall, "beliefs": {key: asdict(value) for key, value in self.beliefs.items()}}

    def of(self, problem: str) -> Belief:
        """The belief of a problem, empty where nothing was tried."""
        return self.beliefs.setdefault(problem, Belief())

    def posterior(self, problem: str) -> tuple[float, float]:
        """Parameters (a, b) of the Beta distribution of its pass rate; the prior is the pass rate of all, decayed."""
        mean = self.overall[0] / sum(self.overall)
        belief = self.beliefs.get(problem, Belief())
        # Never quite 0, so that the distribution stays proper.
        return belief.right + KNOWN * mean + 1e-3, belief.wrong + KNOWN * (1 - mean) + 1e-3

    def rate(self, problem: str) -> float:
        """Expected pass rate."""
        a, b = self.posterior(problem)
        return a / (a + b)

    def record(self, problem: str, right: int, wrong: int) -> None:
        """Take in the outcomes of replies without help."""
        belief = self.of(problem)
        belief.right = self.decay * belief.right + right
        belief.wrong = self.decay * belief.wrong + wrong
        # About the newest thousand outcomes of all problems count.
        keep = 0.999 ** (right + wrong)
        self.overall = [keep * self.overall[0] + right, keep * self.overall[1] + wrong]

    def choose(
        self, problems: Sequence[str], count: int, *, uniform: float, retire: float, rng: random.Random
    ) -> list[int]:
        """Indices of `count` problems, most learnable first: p (1 - p) of a rate drawn from each belief.

        p (1 - p) is the variance of the reward (arXiv 2502.12272), the draw is Thompson's. A share `uniform` comes from
        all alike, which rechecks what is known; of the rest, those believed above `retire` or below 1 - `retire` with
        at least a group's evidence are left out, so that fewer than `count` may come. Where there are fewer problems
        than `count`, some come twice.
        """
        explored = sum(rng.random() < uniform for _ in range(count))
        chosen = rng.choices(range(len(problems)), k=explored) if explored else []
        scored = []
        for index, problem in enumerate(problems):
            a, b = self.posterior(problem)
            settled = a + b >= KNOWN + 4 and not 1 - retire <= a / (a + b) <= retire
            if not settled:
                drawn = rng.betavariate(a, b)
                scored.append((drawn * (1 - drawn), index))
        scored.sort(reverse=True)
        best = [index for _, index in scored]
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
