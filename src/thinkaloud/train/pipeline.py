"""Runs of several stages: every stage a process of its own, as many side by side as the recipe allows.

Progress is read from the stages' own journals, pulled by whoever draws it; nothing calls upwards.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkaloud.base.config import load_settings, to_toml
from thinkaloud.base.errors import MISTAKE, UserError
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import environment, locked, read_json, write_json, write_text
from thinkaloud.reports import summarise, write_report
from thinkaloud.train.brought import FILE, bring, brought, keep
from thinkaloud.train.recipe import GivenSettings, Recipe, StageSettings, check
from thinkaloud.train.spending import spending, workers_of
from thinkaloud.train.stage import GENERATED, stage_folder
from thinkaloud.train.start import check_start

POLL_SECONDS = 0.25


@dataclass(kw_only=True)
class StageStatus:
    """Where one stage stands."""

    run: Path
    "its run's folder"
    name: str
    "its name"
    kind: str
    "sft, rl, rft or distil"
    budget: float
    "its compute in training tokens"
    measuring: float = 0.0
    "about how much compute its measuring takes, in training tokens"
    state: str = "waiting"
    "waiting, training, measuring or done"
    progress: float = 0.0
    "share of the budget that is spent"
    seconds: float = 0.0
    "wall time of its training so far"
    row: dict[str, Any] = field(default_factory=dict)
    "newest value of everything it logged"
    _read: int = 0

    @property
    def folder(self) -> Path:
        """Its folder."""
        return stage_folder(self.run, self.name)

    def update(self, running: bool) -> None:
        """Read what its journals say by now."""
        if self.state == "done":
            return
        journal = self.folder / "metrics.jsonl"
        if journal.exists():
            with journal.open("rb") as file:
                self._read = min(self._read, journal.stat().st_size)
                file.seek(self._read)
                fresh = file.read()
            whole = fresh.rfind(b"\n") + 1
            self._read += whole
            for line in fresh[:whole].splitlines():
                self.row |= json.loads(line)
            self.progress = self.row.get("progress", 0.0)
            self.seconds = self.row.get("seconds", 0.0)
        if (self.folder / "done.json").exists():
            self.state, self.progress = "done", 1.0
        elif running:
            self.state = "measuring" if (self.folder / "ledger.json").exists() else "training"


def prepare(recipe: Recipe) -> bool:
    """Make the run's folder, or check that it holds this very recipe; true if the run is already finished.

    Raises UserError if another recipe lives there or this one cannot be trained (see `check`).
    """
    run = recipe.run.dir
    check(recipe)
    check_start(recipe)
    if (run / "recipe.toml").exists():
        if load_settings(Recipe, run / "recipe.toml") != recipe:
            raise UserError(f"{run} holds a run of another recipe: delete it, or choose another folder with run.dir=")
    else:
        found = None if recipe.problems is None else bring(recipe.problems, recipe.instruction)
        if found is not None:
            keep(run, found)
        write_text(run / "recipe.toml", to_toml(recipe))
        write_json(run / "environment.json", environment())
    return (run / "summary.json").exists()


def announce(recipe: Recipe) -> list[str]:
    """Prepare a run and say what it will spend; UserError, and no recipe is left there, where it does not fit."""
    run = recipe.run.dir
    with locked(run):
        fresh = not (run / "recipe.toml").exists()
        prepare(recipe)
        try:
            return list(spending(recipe))
        except UserError:
            for name in ("recipe.toml", "environment.json", FILE) if fresh else ():
                (run / name).unlink(missing_ok=True)
            raise


def train(recipes: Sequence[Recipe]) -> Iterator[list[StageStatus]]:
    """Run all stages of all recipes and write the results; yields where every stage stands, several times a second.

    Asked again it goes on where it was; finished runs are left alone. A stage that fails stops everything with a
    UserError that carries its last words.
    """
    with ExitStack() as stack:
        for recipe in recipes:
            stack.enter_context(locked(recipe.run.dir))
        pending = [recipe for recipe in recipes if not prepare(recipe)]
        statuses = [status for recipe in recipes for status in statuses_of(recipe)]
        yield from _run_stages(pending, statuses)
        for recipe in pending:
            gather(recipe)


def statuses_of(recipe: Recipe) -> list[StageStatus]:
    """The stages of a prepared run, all of them waiting."""
    return [
        StageStatus(
            run=recipe.run.dir, name=name, kind=stage.kind, budget=_work(stage), measuring=_measuring(recipe, stage)
        )
        for name, stage in recipe.stages.items()
    ]


def _work(stage: StageSettings) -> float:
    """About how much compute a stage takes, in training tokens, for telling how long it will last."""
    rollouts = getattr(stage, "rollouts", None)
    return stage.budget if rollouts is None else min(stage.budget, float(rollouts * stage.max_tokens))


def _measuring(recipe: Recipe, stage: StageSettings) -> float:
    """The same of measuring a stage on sealed problems, a checkpoint's own evaluation included."""
    settings, times = recipe.evaluation, 1 + (isinstance(recipe.model, str) and stage.init is None)
    test = settings.test
    if recipe.problems is not None:
        test = min(test, len(brought(recipe.run.dir, "test")))
    return times * GENERATED * test * settings.samples * stage.max_tokens


class Worker:
    """A process that trains one stage after another."""

    def __init__(self, threads: int, log: Path) -> None:
        """`log` takes what it says before its first stage."""
        self.threads = threads
        self.stage: tuple[Path, str] | None = None
        limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "thinkaloud.train.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env=os.environ | limits,
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def give(self, run: Path, name: str) -> None:
        """Let it train a stage."""
        assert self.stage is None and self._process.stdin is not None
        stage_folder(run, name).mkdir(parents=True, exist_ok=True)
        self.stage = run, name
        self._process.stdin.write(json.dumps([str(run), name]).encode() + b"\n")
        self._process.stdin.flush()

    def look(self) -> None:
        """See whether its stage is done; UserError if it ended instead, with the last words of the stage."""
        assert self._process.stdout is not None
        if self.stage is not None and self._process.stdout.readline():
            self.stage = None
        elif self.stage is not None and self._process.poll() is not None:
            log = stage_folder(*self.stage) / "log.txt"
            text = log.read_text(errors="replace") if log.exists() else ""
            words = [line for line in text.splitlines() if line.strip()][-1:]
            if self._process.returncode == MISTAKE:
                run, name = self.stage
                raise UserError(f"stage {name}: {' '.join(words)} (more on it: thinkaloud doctor {run})")
            raise UserError(
                f"stage {self.stage[1]} ended with code {self._process.returncode}: {' '.join(words)} (all of it: "
                f"{log}); the same command again goes on from its last checkpoint"
            )

    def end(self) -> None:
        """Let it go, in whatever state it is."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _run_stages(recipes: Sequence[Recipe], statuses: list[StageStatus]) -> Iterator[list[StageStatus]]:
    inits = {(recipe.run.dir, name): stage.init for recipe in recipes for name, stage in recipe.stages.items()}
    given = {
        (recipe.run.dir, name): stage.stage
        for recipe in recipes
        for name, stage in recipe.stages.items()
        if isinstance(stage, GivenSettings)
    }
    most = max(map(workers_of, recipes), default=1)
    threads = {recipe.run.dir: recipe.run.threads for recipe in recipes}
    workers: list[Worker] = []
    try:
        while True:
            for worker in workers:
                worker.look()
            running = {worker.stage for worker in workers if worker.stage is not None}
            for status in statuses:
                status.update((status.run, status.name) in running)
            done = {(status.run, status.name) for status in statuses if status.state == "done"} - running
            if done.issuperset(inits):
                yield statuses
                return
            for key, init in inits.items():
                ready = key not in done and key not in running and (init is None or (key[0], init) in done)
                ready = ready and (key not in given or (given[key] / "ledger.json").exists())
                if ready and len(running) < most:
                    _free(workers, threads[key[0]], stage_folder(*key) / "log.txt").give(*key)
                    running.add(key)
            if not running:
                waiting = sorted(str(path) for key, path in given.items() if key not in done)
                raise UserError(f"no run has trained {waiting[0]}, which a stage takes over: train it first")
            yield statuses
            time.sleep(POLL_SECONDS)
    finally:
        for worker in workers:
            worker.end()


def _free(workers: list[Worker], threads: int, log: Path) -> Worker:
    """One that has nothing to do and runs with so many threads; a new one where there is none."""
    for worker in workers:
        if worker.stage is None and worker.threads == threads:
            return worker
    workers.append(Worker(threads, log))
    return workers[-1]


def gather(recipe: Recipe) -> None:
    """Write what belongs to the whole run: model, journals, ledger, examples, report and, last, summary."""
    run = recipe.run.dir
    for journal in ("metrics.jsonl", "rollouts.jsonl"):
        text = "".join((stage_folder(run, name) / journal).read_text() for name in recipe.stages)
        write_text(run / journal, text)
    ledgers = {name: read_json(stage_folder(run, name) / "ledger.json") for name in recipe.stages}
    write_json(run / "ledger.json", {"stages": ledgers, "total": _total(ledgers)})
    partial = run / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(stage_folder(run, recipe.run.result) / "model", partial)
    shutil.rmtree(run / "model", ignore_errors=True)
    partial.rename(run / "model")
    if recipe.evaluation.compare:
        write_json(run / "examples.json", examples(run, *recipe.evaluation.compare))
    write_report(run)
    write_json(run / "summary.json", summarise(run))


def _total(ledgers: dict[str, dict[str, float]]) -> dict[str, float]:
    known = set(Ledger().as_dict())
    total = Ledger()
    for ledger in ledgers.values():
        total += Ledger(**{key: value for key, value in ledger.items() if key in known})  # type: ignore[arg-type]
    total.unique_problems = max((int(ledger["unique_problems"]) for ledger in ledgers.values()), default=0)
    return total.as_dict()


def examples(run: Path, before: str, after: str, *, each: int = 3) -> list[dict[str, Any]]:
    """The same sealed problems as two stages answered them: of every family the first `each` of its highest level."""
    pair = [read_json(run / "evaluations" / f"{name}.json")["problems"] for name in (before, after)]
    chosen: dict[str, list[dict[str, Any]]] = {}
    for first, second in zip(*pair, strict=True):
        top = max(entry["level"] for entry in pair[0] if entry["family"] == first["family"])
        rows = chosen.setdefault(first["family"], [])
        if first["level"] == top and len(rows) < each:
            rows.append(
                {
                    **{key: first[key] for key in ("id", "family", "level", "question", "reference")},
                    "before": _shown(first),
                    "after": _shown(second),
                }
            )
    return [row for rows in chosen.values() for row in rows]


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {"thinking": entry["thinking"][0], "answer": entry["answer"][0], "right": bool(entry["right"][0])}
