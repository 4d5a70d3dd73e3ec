"""Reinforcement learning with verifiable rewards, from the R1 recipe to our own: every part is one setting.

A step: problems are chosen, replies are drawn and judged, rewards become advantages, the policy is updated. As the
settings stand by default it is GRPO (arXiv 2402.03300), as in DeepSeek-R1 (arXiv 2501.12948).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from thinkaloud.rollouts import Rollout
from thinkaloud.rollouts.collect import noise_seed
from thinkaloud.rollouts.judge import judge_of
from thinkaloud.text.language import consistency
from thinkaloud.train.batches import Sample
from thinkaloud.train.describe import describe
from thinkaloud.train.groups import HELP_BELOW, Drawing, Group
from thinkaloud.train.losses import advantages_of
from thinkaloud.train.memory import ProblemMemory
from thinkaloud.train.policy import without_drift
from thinkaloud.train.process import checked_lines
from thinkaloud.train.replay import Kept, Replay
from thinkaloud.train.stage import Stage
from thinkaloud.train.stages import RlSettings

LEAST_ADVANTAGE = 0.05
"An advantage below that is noise to an optimiser that scales every step alike."
Checks = list[bool | None]
"Of each id of a reply whether its line is right; None where that can't be said."
ENTROPY_PACE = 0.02
"How fast the weight of the entropy follows its error, a step; its bound is ten times that."


def train_rl(stage: Stage) -> None:
    """Steps until a budget is spent."""
    run = _Run(stage)
    while not stage.finished:
        run.step()
    run.replay.save(stage.folder / "replay.jsonl")


class _Run:
    def __init__(self, stage: Stage) -> None:
        settings = stage.settings
        assert isinstance(settings, RlSettings)
        self.stage, self.settings = stage, settings
        stage.judge = judge_of(settings.judge)
        kinds = {problem.id: f"{problem.family} {problem.level}" for problem in stage.problems}
        self.memory = ProblemMemory(settings.decay, kinds, stage.extra.get("memory"))
        self.drawing = Drawing(stage, settings, self.memory)
        self.replay = Replay(settings.replay_age, stage.extra.get("replay"))
        if settings.replay_from is not None and "replay" not in stage.extra:
            self.replay.load(settings.replay_from / "replay.jsonl", stage.tokenizer.vocab_size)
        pool = stage.extra.get("pool", [])
        self.pool = [replace(Kept.of(row[:5]).sample, weight=row[5], factors=tuple(row[6:])) for row in pool]
        self.bonus: float = stage.extra.get("bonus", 0.0)
        stage.keeping = self._state

    def step(self) -> None:
        """One step: choose, draw, learn, remember."""
        stage, settings = self.stage, self.settings
        rng = random.Random(noise_seed(stage.recipe.run.seed, stage.name, "choice", stage.step))
        groups = self.drawing.groups(rng)
        row = describe([group.rollouts for group in groups])
        checks = self._checked(groups, row) if settings.process else [None] * len(groups)
        samples = [s for group, found in zip(groups, checks, strict=True) for s in self._learnable(group, found)]
        row["steered"] = sum(bool(group.prefix) for group in groups) / len(groups)
        earned = [self._reward(rollout) for group in groups for rollout in group.graded]
        row["earned"] = sum(earned) / max(1, len(earned))
        if settings.settle:
            row["left"] = self.memory.left([problem.id for problem in stage.problems])
            stage.rate_scale = row["left"] ** settings.settle
        self.pool += samples
        if sum(map(self._worth, self.pool)) >= settings.least:
            row |= self._update(self.pool, rng)
            if settings.traces:
                row |= self._learn_traces(rng)
            self.pool = []
        self._remember(groups)
        used = sum(sum(sample.mask) for sample in samples)
        stage.ledger.discarded_tokens += sum(sum(r.sampled) for group in groups for r in group.rollouts) - used
        stage.ledger.variants = len(self.drawing.variants)
        stage.end_step(row)

    def _state(self) -> dict[str, Any]:
        return {
            "memory": self.memory.state(),
            "replay": self.replay.state(),
            "pool": [[*Kept(problem="", step=0, sample=one).row(), one.weight, *one.factors] for one in self.pool],
            "bonus": self.bonus,
            "variants": sorted(self.drawing.variants),
            "hints": sorted(self.drawing.hints),
        }

    # --- learning ---

    def _reward(self, rollout: Rollout) -> float:
        if self.settings.reward == "format":
            return float(rollout.finish == "stop" and bool(rollout.answer.strip()))
        reward = rollout.verdict.score * (1 - self.settings.brevity * sum(rollout.sampled) / self.settings.max_tokens)
        if rollout.finish == "stop" and rollout.answer.strip():
            reward += self.settings.form
            if self.settings.language:
                said = f"{rollout.thinking}\n{rollout.answer}"
                reward += self.settings.language * consistency(rollout.problem.question, said)
        return reward

    def _checked(self, groups: list[Group], row: dict[str, Any]) -> list[list[Checks]]:
        """By group and reply the verdict on each id's line; counts the lines, and tells the share of right ones."""
        found: list[list[Checks]] = []
        judged = right = 0
        for group in groups:
            found.append([])
            for rollout in group.graded:
                lines, ids = checked_lines(rollout, self.stage.template)
                judged, right = judged + len(lines) - lines.count(None), right + lines.count(True)
                found[-1].append(ids)
        self.stage.ledger.line_verdicts += judged
        row["lines_right"] = right / max(1, judged)
        return found

    def _learnable(self, group: Group, checks: list[Checks] | None) -> list[Sample]:
        rewards = [self._reward(rollout) for rollout in group.graded]
        besides = self.settings.brevity or self.settings.form or self.settings.language or self.stage.judge is not None
        plain = self.settings.reward == "verdict" and not besides
        believed = self.settings.memory and not group.prefix and plain
        baselines = self.memory.baselines(group.problem.id, rewards) if believed else None
        return learnable(group.graded, rewards, self.settings, baselines, checks)

    def _update(self, samples: list[Sample], rng: random.Random) -> dict[str, Any]:
        stage, settings = self.stage, self.settings
        row: dict[str, Any] = {}
        replayed = self._replayed(len(samples), rng)
        row["replayed"] = len(replayed)
        samples = samples + replayed
        if settings.drift is not None and samples:
            samples, drift = without_drift(stage.model, samples, settings.drift, batch_tokens=settings.pass_tokens)
            row |= drift
            tokens = sum(len(sample.ids) for sample in samples)
            stage.ledger.reference_tokens += tokens
            stage.spend(processed=tokens)
        skipped = 0.0
        for epoch in range(settings.epochs):
            order = samples if epoch == 0 else rng.sample(samples, len(samples))
            for part in range(settings.minibatches):
                share = order[part :: settings.minibatches]
                if share:
                    update = stage.improve(share, settings, divisor=self._divisor(share), bonus=self.bonus)
                    skipped += update.pop("skipped")
                    row = update | row  # the gap to the sampler is the first update's
                    row["clipped"] = update["clipped"]  # how far the step has moved is the last one's
        if settings.entropy is not None and "policy_entropy" in row:
            bound = 10 * ENTROPY_PACE
            self.bonus += ENTROPY_PACE * (settings.entropy - row["policy_entropy"])
            self.bonus = min(bound, max(-bound, self.bonus))
            row["entropy_bonus"] = self.bonus
        return {**row, "skipped": skipped}

    def _worth(self, sample: Sample) -> float:
        """The size of its advantage, or of its tokens' greatest."""
        greatest = max(map(abs, sample.factors), default=1.0)
        return greatest * abs(sample.weight) * (sum(sample.mask) if self.settings.length == "sample" else 1)

    def _divisor(self, samples: list[Sample]) -> float:
        """What the summed loss is divided by."""
        if self.settings.length == "sample":
            return float(len(samples))
        if self.settings.length == "constant":
            return float(len(samples) * self.settings.max_tokens)
        return float(sum(sum(sample.mask) for sample in samples))

    def _replayed(self, fresh: int, rng: random.Random) -> list[Sample]:
        """Right replies of earlier steps: positives only, weighed against a baseline below their problem's mean."""
        settings = self.settings
        count = round(fresh * settings.replay / (1 - settings.replay))
        kept = self.replay.draw(count, self.stage.step, rng)
        self.stage.ledger.replayed += len(kept)
        return [
            replace(
                one.sample, weight=self._surplus(one) / (sum(one.sample.mask) if settings.length == "sample" else 1)
            )
            for one in kept
        ]

    def _surplus(self, kept: Kept) -> float:
        return 1.0 - max(0.0, self.memory.rate(kept.problem) - 0.1)

    def _learn_traces(self, rng: random.Random) -> dict[str, Any]:
        stage, row = self.stage, {}
        for _ in range(self.settings.traces):
            batch: list[Sample] = []
            while self.replay and sum(len(sample.ids) for sample in batch) < self.settings.batch_tokens:
                batch += [one.sample for one in self.replay.draw(8, stage.step, rng)]
            if batch:
                stage.ledger.replayed += len(batch)
                row = stage.fit(
                    [replace(sample, weight=1.0) for sample in batch], divisor=sum(sum(s.mask) for s in batch)
                )
        return {"traces_loss": row["loss"]} if row else {}

    # --- remembering ---

    def _remember(self, groups: list[Group]) -> None:
        for group in groups:
            belief, graded = self.memory.of(group.problem.id), group.graded
            right = [rollout for rollout in graded if rollout.verdict.label == "right"]
            wrong = [rollout for rollout in graded if rollout.verdict.label == "wrong"]
            if group.prefix:  # what was helped says nothing of the pass rate, only of how much help is enough
                share, helping = len(right) / max(1, len(graded)), self.memory.rate(group.problem.id) < HELP_BELOW
                more = (share < 0.5) == helping
                belief.given = min(0.9, max(0.1, belief.given + (0.1 if more else -0.1)))
            else:
                self.memory.record(group.problem.id, len(right), len(wrong))
            if group.asked.id == group.problem.id and self.settings.steering:
                belief.success = next(self._thoughts(right), belief.success)
                belief.failure = next(self._thoughts(wrong), belief.failure)
            if self.settings.replay or self.settings.traces:
                for rollout in {rollout.ids: rollout for rollout in right}.values():
                    sample = Sample(ids=rollout.ids, mask=rollout.sampled, logprobs=rollout.logprobs)
                    self.replay.keep(Kept(problem=group.problem.id, step=self.stage.step, sample=sample))

    def _thoughts(self, rollouts: list[Rollout]) -> Iterator[list[int]]:
        for rollout in rollouts:
            thought = self.drawing.thought_of(rollout.ids[rollout.prompt_tokens :])
            if thought:
                yield thought


def learnable(
    rollouts: Sequence[Rollout],
    rewards: Sequence[float],
    settings: RlSettings,
    baselines: Sequence[float] | None = None,
    checks: Sequence[Checks] | None = None,
) -> list[Sample]:
    """Replies to one problem with their advantages; those of no advantage are left out.

    With `checks`, one a reply, a token of a line that is right or wrong goes by that instead.
    """
    advantages = advantages_of(rewards, settings.advantage, baselines)
    found = []
    for number, (rollout, advantage) in enumerate(zip(rollouts, advantages, strict=True)):
        lines = [None] if checks is None else checks[number]
        earned = [
            float(advantage) if right is None else settings.process if right else -settings.process for right in lines
        ]
        if max(map(abs, earned)) > LEAST_ADVANTAGE:
            weight, factors = (earned[0], ()) if checks is None else (1.0, tuple(earned))
            weight /= sum(rollout.sampled) if settings.length == "sample" else 1
            ids, mask, logprobs = rollout.ids, rollout.sampled, rollout.logprobs
            found.append(Sample(ids=ids, mask=mask, weight=weight, logprobs=logprobs, factors=factors))
    return found
