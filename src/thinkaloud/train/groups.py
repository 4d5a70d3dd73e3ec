"""The groups of a step: which problems are asked, in which form, from which beginning, how many replies each.

Knows: the memory's beliefs, the engine through its stage. Does not know: advantages, losses.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from thinkaloud.problems import FAMILIES, Problem
from thinkaloud.problems.sets import split_of
from thinkaloud.rollouts import Ask, Rollout, Sampling
from thinkaloud.train.data import demonstrations
from thinkaloud.train.describe import mean_score
from thinkaloud.train.memory import ProblemMemory
from thinkaloud.train.stage import Stage
from thinkaloud.train.stages import RlSettings

HELP_BELOW, HARDEN_ABOVE = 0.1, 0.9
"Believed pass rates outside of which a problem is steered."
MOST_DRAWS = 8
"Dynamic sampling gives up after that many draws a step."


@dataclass(kw_only=True)
class Group:
    """Replies of one step to one problem."""

    problem: Problem
    "the given problem"
    asked: Problem
    "it, or its variant"
    prefix: tuple[int, ...] = ()
    "ids that its replies go on from"
    rollouts: list[Rollout] = field(default_factory=list)
    "its replies so far"

    @property
    def graded(self) -> list[Rollout]:
        """Those that count: ungradable replies never train."""
        return [rollout for rollout in self.rollouts if rollout.verdict.label != "ungradable"]

    @property
    def informative(self) -> bool:
        """Whether both outcomes are there."""
        return 0 < mean_score(self.rollouts) < 1


class Drawing:
    """Draws the groups of every step."""

    def __init__(self, stage: Stage, settings: RlSettings, memory: ProblemMemory) -> None:
        self.stage, self.settings, self.memory = stage, settings, memory
        self.sampling = Sampling(
            thinking=settings.thinking,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            samples=settings.samples,
        )
        self.variants: set[str] = set(stage.extra.get("variants", []))
        self.hints: set[str] = set(stage.extra.get("hints", []))

    def groups(self, rng: random.Random) -> list[Group]:
        """Groups of judged replies; of dynamic sampling only those with both outcomes."""
        settings, part, asked = self.settings, 0, Counter[str]()
        groups: list[Group] = []
        for _ in range(MOST_DRAWS if settings.dynamic else 1):
            fresh = [self._open(problem, rng) for problem in self._choose(rng)]
            part = self._draw(fresh, part, asked)
            if not settings.dynamic:
                return fresh
            kept = [group for group in fresh if group.informative][: settings.problems - len(groups)]
            discarded = [group for group in fresh if all(group is not one for one in kept)]
            self.stage.ledger.discarded_tokens += sum(sum(r.sampled) for g in discarded for r in g.rollouts)
            groups += kept
            if len(groups) >= settings.problems:
                break
        return groups or fresh

    def _choose(self, rng: random.Random) -> list[Problem]:
        stage, settings = self.stage, self.settings
        if not settings.memory:
            order = stage.order(settings.problems, "problems", len(stage.problems))
            return [stage.problems[index] for index in order]
        chosen = self.memory.choose(
            [problem.id for problem in stage.problems],
            settings.problems,
            uniform=settings.uniform,
            retire=1.0 if settings.steering else settings.retire,
            rng=rng,
        )
        chosen = chosen or rng.choices(range(len(stage.problems)), k=max(1, settings.problems // 8))
        return [stage.problems[index] for index in chosen]

    def _open(self, problem: Problem, rng: random.Random) -> Group:
        self.stage.seen.add(problem.id)
        prefix = self._prefix(problem, rng) if self.settings.steering else ()
        asked = problem
        met = problem.id in self.memory.beliefs
        if met and not prefix and rng.random() < self.settings.variants:
            asked = _variant(problem, rng)
            if asked.id != problem.id:
                self.variants.add(asked.id)
        return Group(problem=problem, asked=asked, prefix=prefix)

    def _prefix(self, problem: Problem, rng: random.Random) -> tuple[int, ...]:
        """The beginning of an own thought, or of a demonstration, that brings the pass rate towards one half."""
        belief, rate = self.memory.of(problem.id), self.memory.rate(problem.id)
        if HELP_BELOW <= rate <= HARDEN_ABOVE or rng.random() < self.settings.uniform:
            return ()
        thought = belief.success if rate < HELP_BELOW else belief.failure
        if not thought and rate < HELP_BELOW and self.settings.hints:
            thought = self._demonstration(problem)
        return tuple(thought[: int(belief.given * len(thought))])

    def _demonstration(self, problem: Problem) -> list[int]:
        stage = self.stage
        ways = {name: family.ways for name, family in stage.recipe.families.items()}
        shown = demonstrations([problem], stage.template, ways, thinking=True, seed=stage.recipe.run.seed)
        reply = [id_ for one in shown for id_, learnt in zip(one.ids, one.mask, strict=True) if learnt]
        thought = self.thought_of(reply)
        if thought and problem.id not in self.hints:
            self.hints.add(problem.id)
            stage.ledger.demonstrations += 1
            stage.ledger.hint_tokens += len(thought)
        return thought

    def thought_of(self, reply: Sequence[int]) -> list[int]:
        """The ids of a reply's thought, empty where it was never closed."""
        close = self.stage.template.markup.think_close
        return list(reply[: reply.index(close)]) if close in reply else []

    def _draw(self, groups: list[Group], part: int, asked: Counter[str]) -> int:
        """Fill the groups, in portions where that is asked for; gives the number of the next call."""
        settings = self.settings
        portion = settings.adaptive or settings.samples
        open_groups = groups
        while open_groups:
            asks = []
            for group in open_groups:
                count = min(portion, settings.samples - len(group.rollouts))
                asks.append(Ask(problem=group.asked, samples=count, first=asked[group.asked.id], prefix=group.prefix))
                asked[group.asked.id] += count
            for group, rollouts in zip(open_groups, self.stage.attempts(asks, self.sampling, part=part), strict=True):
                group.rollouts += rollouts
            part += 1
            open_groups = [g for g in open_groups if len(g.rollouts) < settings.samples and not g.informative]
        return part


def _variant(problem: Problem, rng: random.Random) -> Problem:
    """A variant of it by its family, or the problem itself: a variant that is sealed for dev or test isn't used."""
    if problem.family not in FAMILIES:
        return problem
    varied = FAMILIES[problem.family].variant(problem, rng)
    return varied if split_of(varied.canonical) == "train" else problem
