"""Runs of several stages: every stage a process of its own, as many side by side as the recipe allows.

Progress is read from the stages' own journals, pulled by whoever draws it; nothing calls upwards.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from thinkaloud.base.config import difference, load_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import JOURNALS, environment, locked, read_json, write_json, write_text
from thinkaloud.reports import summarise, write_report
from thinkaloud.train.brought import FILE, bring, keep
from thinkaloud.train.older import bring_up_to_date
from thinkaloud.train.recipe import Recipe, check
from thinkaloud.train.spending import spending, workers_of
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.start import check_start
from thinkaloud.train.status import StageStatus, statuses_of
from thinkaloud.train.telling import Telling
from thinkaloud.train.tracking import check_tracker
from thinkaloud.train.workers import Worker, free_worker

POLL_SECONDS = 0.25
WRITTEN = (
    *JOURNALS,
    "ledger.json",
    "summary.json",
    "examples.json",
    "report.html",
    "model",
    "checkpoints",
    "evaluations",
)
"What a run writes besides what preparing it does."


def prepare(recipe: Recipe) -> bool:
    """Make the run's folder, or check that it holds this very recipe; true if the run is already finished.

    Raises UserError if another recipe lives there or this one cannot be trained (see `check`).
    """
    run = recipe.run.dir
    check(recipe)
    check_start(recipe)
    check_tracker(recipe.run.track)
    if (run / "recipe.toml").exists():
        bring_up_to_date(run)
        there = load_settings(Recipe, run / "recipe.toml")
        if there != recipe:
            raise UserError(
                f"{run} holds a run of another recipe ({difference(there, recipe)}): delete it, or choose another "
                "folder with run.dir="
            )
    else:
        for name in WRITTEN:
            if (run / name).exists():
                raise UserError(f"{run} holds no run, but {name}, which a run writes over: choose another run.dir=")
        found = None if recipe.problems is None else bring(recipe.problems, recipe.instruction)
        if found is not None:
            keep(run, found)
        write_json(run / "environment.json", environment())
        write_text(run / "recipe.toml", to_toml(recipe))  # the last: it says that all is prepared
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
        with ExitStack() as tellings:
            told = [
                tellings.enter_context(Telling(recipe.run, [one for one in statuses if one.run == recipe.run.dir]))
                for recipe in pending
            ]
            for standing in _run_stages(pending, statuses):
                for one in told:
                    one.look()
                yield standing
            for recipe in pending:
                gather(recipe)
        for recipe in pending:  # the last: it says that the run is finished, and nothing is written into it any more
            write_json(recipe.run.dir / "summary.json", summarise(recipe.run.dir))


def _run_stages(recipes: Sequence[Recipe], statuses: list[StageStatus]) -> Iterator[list[StageStatus]]:
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
            if not running and all(status.state == "done" for status in statuses):
                yield statuses
                return
            for status in statuses:
                key = (status.run, status.name)
                if len(running) < most and key not in running and status.ready:
                    if status.run not in threads:
                        raise UserError(
                            f"{status.run} is finished, but its stage {status.name} is gone: put {status.folder} "
                            f"back, or delete {status.run / 'summary.json'}, and it is trained again"
                        )
                    free_worker(workers, threads[status.run], status.folder / "log.txt").give(*key)
                    running.add(key)
            if not running:
                waiting = next(status for status in statuses if status.state == "waiting")
                raise UserError(f"no run has trained {min(waiting.needs)}, which a stage takes over: train it first")
            yield statuses
            time.sleep(POLL_SECONDS)
    finally:
        for worker in workers:
            worker.ask_to_end()
        for worker in workers:
            worker.end()


def gather(recipe: Recipe) -> None:
    """Write what belongs to the whole run but for its summary: model, journals, ledger, examples and report."""
    run = recipe.run.dir
    for journal in JOURNALS:
        text = "".join((stage_folder(run, name) / journal).read_text("utf-8") for name in recipe.stages)
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
    tops: dict[str, int] = {}
    for entry in pair[0]:
        tops[entry["family"]] = max(entry["level"], tops.get(entry["family"], entry["level"]))
    for first, second in zip(*pair, strict=True):
        rows = chosen.setdefault(first["family"], [])
        if first["level"] == tops[first["family"]] and len(rows) < each:
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
