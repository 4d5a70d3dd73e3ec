"""One stage of a run: its model, optimiser, engine, budget, ledger and journals, and how it stops and goes on.

The loops in `sft`, `rl` and `rft` say what a stage does; this says what they stand on. All randomness is keyed by
(seed, stage, step), so a stage's state is its weights, its moments and a few counters.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from thinkaloud.base.errors import ASKED, UserError
from thinkaloud.base.ledger import GENERATED, Ledger
from thinkaloud.base.run import METRICS, ROLLOUTS, Journal, read_jsonl, write_json
from thinkaloud.model import Transformer
from thinkaloud.problems import Problem
from thinkaloud.reports.alarms import BEGINS, alarmed
from thinkaloud.rollouts import Ask, Rollout, Sampling, attempt, collect
from thinkaloud.rollouts.collect import noise_seed, rows_of
from thinkaloud.rollouts.judge import Judge
from thinkaloud.train import checkpoints
from thinkaloud.train.adapter import adapt, engine_of, flops_of, fold, refresh, without
from thinkaloud.train.average import Average
from thinkaloud.train.batches import Sample, batches
from thinkaloud.train.data import guarded, held_out, permutation, train_problems
from thinkaloud.train.describe import curve_point, enter, plain
from thinkaloud.train.guard import Guard
from thinkaloud.train.losses import token_logprobs
from thinkaloud.train.optimiser import Optimiser
from thinkaloud.train.policy import on, predictions, surrogate_gradients
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stages import DistilSettings, RlSettings, StageSettings
from thinkaloud.train.start import first_weights, opened, save_trained, template_of


def stage_folder(run: Path, name: str) -> Path:
    """Where a stage keeps its journals, states and final model."""
    return run / "checkpoints" / name


class Stage:
    """What every training loop works with. `step` counts updates, `spent` compute in training tokens.

    A loop finds in `extra` what it kept in the last checkpoint; `keeping` gives what goes into the next one.
    """

    def __init__(self, run: Path, recipe: Recipe, name: str) -> None:
        self.run, self.recipe, self.name = run, recipe, name
        self.settings: StageSettings = recipe.stages[name]
        self.folder = stage_folder(run, name)
        self.template = template_of(recipe)
        self.tokenizer = self.template.tokenizer
        self.problems = train_problems(recipe, self.settings)
        self.dev = held_out(recipe, "dev", recipe.evaluation.dev, self.settings)
        self.model = self._first_weights().requires_grad_(True)
        if self.settings.lora is not None:
            adapt(self.model, self.settings.lora, noise_seed(recipe.run.seed, name, "adapter"))
        self.flops = flops_of(self.model)
        self.engine = self.sampler = engine_of(self.model)
        self.judge: Judge | None = None
        self.optimiser = Optimiser(self.model, self.settings.optimiser)
        self.ledger = Ledger()
        self.step, self.spent, self.measured, self.rate_scale = 0, 0.0, 0, 1.0
        self.average = Average(self.optimiser.parameters.values(), self.settings.average)
        self.cursors: dict[str, int] = {}
        self.last_cost = self._spent_before = 0.0
        self.last_rollouts = self._rollouts_before = 0
        self.seen, self.extra = set[str](), dict[str, Any]()
        self.keeping: Callable[[], dict[str, Any]] = lambda: self.extra
        self.ended: str | None = None
        self.leaving = False  # set from outside: the step under way is the last one of this process
        self.guard = Guard(self.settings.guard, guarded(recipe, self.settings)) if self.settings.guard else None
        self._clock = (time.perf_counter(), time.process_time())
        self._resume()

    def _first_weights(self) -> Transformer:
        if self.settings.init is not None:
            return opened(stage_folder(self.run, self.settings.init) / "model", self.recipe).train()
        return first_weights(self.recipe, self.tokenizer.vocab_size).train()

    # --- how far it is ---

    @property
    def progress(self) -> float:
        """Share of what it may spend that is spent, 0 to 1: compute, or rollouts where those run out first."""
        return min(1.0, max(spent / most for spent, _, most in self._limits()))

    def _limits(self) -> list[tuple[float, float, float]]:
        """(spent, what the last step cost, most) of each thing that ends the stage."""
        limits = [(self.spent, self.last_cost, float(self.settings.budget))]
        if isinstance(self.settings, RlSettings | DistilSettings) and self.settings.rollouts is not None:
            limits.append((self.ledger.rollouts, self.last_rollouts, float(self.settings.rollouts)))
        return limits

    @property
    def finished(self) -> bool:
        """Whether it was ended, or a budget is spent to within half a step: equal budgets are equal within it."""
        return self.ended is not None or any(spent + last / 2 >= most for spent, last, most in self._limits())

    def order(self, count: int, salt: str, items: int) -> list[int]:
        """The next `count` indices into the list `salt` of `items`: every epoch is a permutation of its own."""
        chosen: list[int] = []
        while len(chosen) < count:
            epoch, start = divmod(self.cursors.get(salt, 0), items)
            taken = permutation(f"{self.recipe.run.seed} {salt} {epoch}", items)[start : start + count - len(chosen)]
            chosen += taken
            self.cursors[salt] = self.cursors.get(salt, 0) + len(taken)
        return chosen

    # --- what it does ---

    def rollouts(self, problems: Sequence[Problem], sampling: Sampling) -> list[list[Rollout]]:
        """A group of judged replies to each problem."""
        self.seen.update(problem.id for problem in problems)
        return self.attempts([Ask(problem=problem, samples=sampling.samples) for problem in problems], sampling)

    def attempts(self, asks: Sequence[Ask], sampling: Sampling, *, part: int = 0) -> list[list[Rollout]]:
        """Judged replies for training, accounted for and written to disk. `part` numbers the calls of one step.

        The first call of a step forgets all prompts, so that the ledger of a run that went on from a checkpoint is the
        same as that of one never stopped.
        """
        if part == 0:
            self.sampler.forget()
        before = self.sampler.prefilled_tokens
        seed = noise_seed(self.recipe.run.seed, self.name, "rollouts", self.step)
        groups = attempt(self.sampler, self.template, asks, sampling, seed=seed)
        groups = groups if self.judge is None else self.judge.judged(groups, self.ledger)
        prompt_tokens = self.sampler.prefilled_tokens - before
        flat = [rollout for group in groups for rollout in group]
        self.ledger.prompt_tokens += prompt_tokens
        self.spend(processed=prompt_tokens + enter(flat, self.ledger))
        self._rollouts_journal.write([{"step": self.step, **row} for row in rows_of(groups)])
        return groups

    def fit(self, samples: Sequence[Sample], *, divisor: float) -> dict[str, float]:
        """One optimiser step on the weighted log-likelihood of `samples`: the sum over their tokens, over `divisor`."""
        total = 0.0
        for batch in on(self.model, batches(samples, batch_tokens=self.settings.pass_tokens)):
            logprobs = token_logprobs(predictions(self.model, batch), batch.targets)
            loss = -(logprobs * batch.weights).sum() / divisor
            loss.backward()
            total += float(loss.detach())
            self.spend(trained=batch.tokens)
        return {"loss": total, **self._apply()}

    def improve(
        self, samples: Sequence[Sample], settings: RlSettings, *, divisor: float, bonus: float = 0.0
    ) -> dict[str, float]:
        """One optimiser step on the stage's loss; logs the raw gap between sampler's and trainer's log-probs.

        `bonus` weighs the mean entropy of the tokens, which is then raised (or lowered, where it is negative).
        """
        reference = self.reference if settings.kl > 0 else None
        row = surrogate_gradients(self.model, reference, samples, settings, divisor=divisor, bonus=bonus)
        tokens = sum(len(sample.ids) for sample in samples)
        self.spend(trained=tokens)
        if reference is not None:
            self.ledger.reference_tokens += tokens
            self.spend(processed=tokens)
        return {**row, **self._apply()}

    @cached_property
    def reference(self) -> Transformer:
        """The stage's first weights, frozen: what the KL divergence is measured against."""
        if self.settings.lora is not None:
            return without(self.model)
        return self._first_weights().eval().requires_grad_(False)

    def _apply(self) -> dict[str, float]:
        norm, faulty = self.optimiser.step(self.progress, self.rate_scale)
        if faulty is not None:
            print(f"{self.name}: step {self.step} skipped, the gradient of {faulty} is not finite", flush=True)
        self.average.update()
        refresh(self.engine, self.model)
        return {"gradient_norm": norm, "skipped": float(faulty is not None)}

    def spend(self, *, trained: int = 0, processed: int = 0) -> None:
        """Account for tokens trained on, and processed or generated."""
        self.ledger.update_tokens += trained
        self.spent += trained * self.flops.share + processed * GENERATED
        self.ledger.compute_flops += trained * self.flops.trained + processed * self.flops.processed

    # --- what it tells ---

    def end_step(self, row: dict[str, Any]) -> None:
        """Log a step; at the points of the learning curve measure on dev problems and write a checkpoint."""
        self.step += 1
        self.last_cost, self._spent_before = self.spent - self._spent_before, self.spent
        self.last_rollouts = self.ledger.rollouts - self._rollouts_before
        self._rollouts_before = self.ledger.rollouts
        at_point = self.progress * self.recipe.evaluation.points >= self.measured or self.finished
        if "gradient_norm" in row:
            row = {**row, "weight_norm": self.optimiser.weight_norm()}
        if at_point and math.isfinite(row.get("weight_norm", 0.0)):  # what is broken can't be asked
            row = {**row, **self._measure(), **self._look()}
            self.measured = int(self.progress * self.recipe.evaluation.points) + 1
        self._log(row)
        self._watch(row)
        if at_point or self.leaving:
            self._checkpoint(good=at_point)
        if self.leaving:
            sys.exit(ASKED)

    def _watch(self, row: dict[str, Any]) -> None:
        """On an alarm go back to the last good state, and stop where there was one before; on a guard's end there."""
        found = alarmed(self.rows) if self.settings.watch else None
        if found and any("alarm" in row for row in self.rows):
            self._log({**found.note(), "stopped": True})
            raise UserError(f"stopped at step {self.step}, it went wrong again: {found}; train into another run.dir")
        if found:
            self._take_back(**found.note())
        self.ended = self.guard.loss(row) if self.guard else None
        if self.ended:
            self._take_back(ended=self.ended)

    def _take_back(self, **note: str) -> NoReturn:
        good = checkpoints.last_good(self.folder)
        self._log({**note, "taken_back_to": good[1]["step"]})
        checkpoints.rewind(self.folder, good, self._facts())

    def _log(self, row: dict[str, Any]) -> None:
        self._tick()
        head = {"stage": self.name, "kind": self.settings.kind, "step": self.step, "progress": round(self.progress, 4)}
        head |= {"seconds": round(self.ledger.seconds, 2), "spent": round(self.spent, 3)}
        head |= {name: getattr(self.ledger, name) for name in ("rollouts", "generated_tokens", "update_tokens")}
        self.rows.append(head | {key: plain(value) for key, value in row.items()})
        self._metrics_journal.write(self.rows[-1:])

    def _measure(self) -> dict[str, Any]:
        """The dev problems answered once each: a point of the learning curve."""
        if not self.dev:
            return {}
        began = time.perf_counter()
        point = curve_point(self._answers(self.dev, self.settings.max_tokens))
        return {**point, "dev_seconds": time.perf_counter() - began}

    def _look(self) -> dict[str, float]:
        """What the guard sees; the first look is what later ones are held against."""
        if self.guard is None:
            return {}
        rollouts = self._answers(self.guard.problems, self.guard.settings.max_tokens or self.settings.max_tokens)
        return self.guard.changes([rollout.verdict for rollout in rollouts])

    def _answers(self, problems: Sequence[Problem], max_tokens: int) -> list[Rollout]:
        """One reply to each, not trained on, its noise always the same."""
        sampling = Sampling(
            thinking=self.settings.thinking, max_tokens=max_tokens, temperature=self.recipe.evaluation.temperature
        )
        before = self.engine.prefilled_tokens + self.engine.generated_tokens
        with self.average.applied(lambda: refresh(self.engine, self.model)):
            groups = collect(self.engine, self.template, problems, sampling, seed=0)
        self.ledger.evaluation_tokens += self.engine.prefilled_tokens + self.engine.generated_tokens - before
        self.seen.update(problem.id for problem in problems)
        return [group[0] for group in groups]

    def _tick(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.ledger.seconds += now[0] - self._clock[0]
        self.ledger.cpu_seconds += now[1] - self._clock[1]
        self._clock = now

    # --- how it survives ---

    def _checkpoint(self, *, good: bool = True) -> None:
        tensors = checkpoints.tensors_of(self.optimiser, self.average.weights)
        good = good and alarmed(self.rows, BEGINS) is None
        checkpoints.save_state(self.folder, self.step, tensors, self._facts(), good=good)

    def _facts(self) -> dict[str, Any]:
        self._tick()
        return {
            "step": self.step,
            "updates": self.average.updates,
            "spent": self.spent,
            "last_cost": self.last_cost,
            "last_rollouts": self.last_rollouts,
            "cursors": self.cursors,
            "measured": self.measured,
            "version": self.engine.version,
            "seen": sorted(self.seen),
            "extra": self.keeping(),
            "ledger": self.ledger.as_dict(),
            "metrics_bytes": self._metrics_journal.size,
            "rollouts_bytes": self._rollouts_journal.size,
            "ended": self.ended,
            "guard": self.guard.first if self.guard else None,
        }

    def _resume(self) -> None:
        state = checkpoints.load_state(self.folder)
        tensors, facts = state or ({}, {})
        if state is not None:
            self.average.weights, self.average.updates = checkpoints.take_up(self.optimiser, tensors), facts["updates"]
            self.step, self.spent, self.cursors = facts["step"], facts["spent"], facts["cursors"]
            self.last_cost, self._spent_before = facts["last_cost"], self.spent
            self.last_rollouts, self._rollouts_before = facts["last_rollouts"], facts["ledger"]["rollouts"]
            self.measured, self.extra, self.seen = facts["measured"], facts["extra"], set(facts["seen"])
            refresh(self.engine, self.model)
            self.engine.version = facts["version"]
            self.ledger, self.ended = Ledger(**facts["ledger"]), facts.get("ended")
            if self.guard:
                self.guard.first = facts.get("guard")
        self.repeated = checkpoints.count_repeated(self.folder, self.spent)
        self._metrics_journal = Journal(self.folder / METRICS, facts.get("metrics_bytes", 0))
        self.rows = read_jsonl(self.folder / METRICS)
        self._rollouts_journal = Journal(self.folder / ROLLOUTS, facts.get("rollouts_bytes", 0))
        if state is None:
            self._look()
            self._checkpoint()

    def finish(self) -> Path:
        """Write the stage's model, ready to `load`, then its ledger, which says that it is trained; drop its states."""
        folder, adapter = self.folder / "model", None
        with self.average.applied():
            if self.settings.lora is not None:
                base = self.recipe.model if isinstance(self.recipe.model, str) and self.settings.init is None else None
                adapter = self.folder / "adapter"
                fold(self.model, adapter, self.settings.lora, base)
            save_trained(self.model, self.template, folder, self.recipe, adapter)
        self.ledger.unique_problems = len(self.seen)
        self.ledger.repeated_tokens = round(self.repeated)
        write_json(self.folder / "ledger.json", self.ledger.as_dict())
        checkpoints.drop_states(self.folder)
        return folder
