"""A process that trains stages and measures them, one after another: `python -m thinkaloud.train.worker`.

Each line of its input names one, as JSON: [run, stage]. The same line of its output says that it is done, any other
what is wrong.
"""

import gc
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import IO, Any, NoReturn

import torch

from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import MISTAKE, UserError, is_disk_full, told
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import JOURNALS, locked, read_json, write_json, write_text
from thinkaloud.engine import Engine
from thinkaloud.problems import Problem
from thinkaloud.reports.findings import START
from thinkaloud.rollouts import Sampling, evaluate
from thinkaloud.train.checkpoints import Rewound, drop_states
from thinkaloud.train.data import held_out
from thinkaloud.train.distil import train_distil
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.rft import train_rft
from thinkaloud.train.rl import train_rl
from thinkaloud.train.sft import train_sft
from thinkaloud.train.spending import mib, needs_of, room_of
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.stages import GivenSettings
from thinkaloud.train.start import device_of, folder_of, opened, template_in

LOOPS = {"sft": train_sft, "rl": train_rl, "rft": train_rft, "distil": train_distil}


def run_stage(run: Path, name: str) -> None:
    """Train the stage `name` of the run in `run` unless its model is there, then measure what is not measured."""
    recipe = load_settings(Recipe, run / "recipe.toml")
    torch.set_num_threads(recipe.run.threads)
    if device_of(recipe) == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    folder = stage_folder(run, name)
    wanted = recipe.stages[name]
    if not (folder / "ledger.json").exists() and isinstance(wanted, GivenSettings):
        take_over(wanted.stage, folder)
    elif not (folder / "ledger.json").exists():
        _train(run, recipe, name).finish()
    drop_states(folder)
    measure(run, recipe, name)
    write_json(folder / "done.json", {"stage": name})


def take_over(given: Path, folder: Path) -> None:
    """Copy a trained stage: its model, its learning curve and, last, its ledger."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    shutil.copytree(given / "model", folder / "model")
    for journal in JOURNALS:
        write_text(folder / journal, (given / journal).read_text("utf-8"))
    write_json(folder / "ledger.json", {**read_json(given / "ledger.json"), "evaluation_seconds": 0.0})


def _train(run: Path, recipe: Recipe, name: str) -> Stage:
    """Train to the end; a stage that was taken back goes on from there like one that was killed."""
    while True:
        stage = Stage(run, recipe, name)
        try:
            with _polite(stage):
                LOOPS[stage.settings.kind](stage)
        except Rewound:
            continue
        return stage


@contextmanager
def _polite(stage: Stage) -> Iterator[None]:
    """A process that is asked to end while it trains ends after the step under way, which it keeps."""

    def leave(number: int, frame: FrameType | None) -> None:
        stage.leaving = True

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def measure(run: Path, recipe: Recipe, name: str) -> None:
    """Evaluate a stage's model on sealed test problems; where asked, its budget curve and its majority vote too."""
    settings, wanted = recipe.evaluation, recipe.stages[name]
    folder = stage_folder(run, name)
    engine, template = Engine(opened(folder / "model", recipe)), template_in(folder / "model")
    test = held_out(recipe, "test", settings.test, wanted)
    probe_count = min(settings.probe_problems, settings.test)
    probe = held_out(recipe, "test", probe_count, wanted)  # the first ones of each family's

    def measured(
        who: Engine, problems: list[Problem], *, budget: int | None = None, samples: int = settings.samples
    ) -> dict[str, Any]:
        sampling = Sampling(
            thinking=wanted.thinking,
            budget=budget,
            max_tokens=wanted.max_tokens,
            temperature=settings.temperature,
            samples=samples,
        )
        return evaluate(who, template, problems, sampling, seed=recipe.run.seed)

    def curve(who: Engine) -> dict[str, Any]:
        whole = read_json(run / "evaluations" / f"{name}.json")  # same problems, same noise: measured already
        chosen = {problem.id for problem in probe}
        unlimited = {**whole, "problems": [entry for entry in whole["problems"] if entry["id"] in chosen]}
        return {"budgets": {str(b): measured(who, probe, budget=b) for b in settings.budgets} | {"none": unlimited}}

    parts: dict[str, Callable[[Engine], dict[str, Any]]] = {name: lambda who: measured(who, test)}
    source = folder_of(recipe)
    if source is not None and name == next((one for one, stage in recipe.stages.items() if stage.init is None), None):
        parts[START] = parts[name]
    beyond = held_out(recipe, "test", settings.beyond, wanted, beyond=True)
    if beyond:
        parts[f"{name}-beyond"] = lambda who: measured(who, beyond)
    if name in settings.probe:
        parts[f"{name}-vote"] = lambda who: measured(who, probe, samples=settings.votes)
        parts[f"{name}-budget"] = curve
    for part, result in parts.items():
        target = run / "evaluations" / f"{part}.json"
        if target.exists():
            continue
        who = Engine(opened(source, recipe)) if part == START and source is not None else engine
        started, before = time.perf_counter(), who.prefilled_tokens + who.generated_tokens
        found = {"model": START if part == START else name, **result(who)}
        tokens = who.prefilled_tokens + who.generated_tokens - before
        _account(folder, part, tokens, time.perf_counter() - started)
        write_json(target, found)


def _account(folder: Path, part: str, tokens: int, seconds: float) -> None:
    """Enter into the ledger what measuring a part took: once, also if a kill makes it be measured again."""
    ledger = Ledger(**read_json(folder / "ledger.json"))
    parts = folder / "measured.json"
    trained = {"": (ledger.evaluation_tokens, ledger.evaluation_seconds)}
    taken: dict[str, tuple[int, float]] = read_json(parts) if parts.exists() else trained
    taken[part] = tokens, seconds
    write_json(parts, taken)
    ledger.evaluation_tokens = sum(one for one, _ in taken.values())
    ledger.evaluation_seconds = sum(one for _, one in taken.values())
    write_json(folder / "ledger.json", ledger.as_dict())


def _stages(given: IO[str]) -> Iterator[str]:
    """The lines of the input; when it ends, so does this process at once: the one that started it is gone."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in given:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def main() -> None:
    """Run the stages named on the input, each alone in its folder, for as long as the starting process lives.

    A user's mistake is one line, the last of the stage's log and of the output, and the exit code MISTAKE. Ctrl-C is
    left to the starting process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what was imported stays: no need to look through it again and again
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in _stages(sys.stdin):
        run, name = json.loads(line)
        folder = stage_folder(Path(run), name)
        with (folder / "log.txt").open("ab") as log, locked(folder, wait=True):
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            try:
                run_stage(Path(run), name)
            except UserError as error:
                _give_up(str(error), answers)
            except OSError as error:
                words = _no_space(Path(run)) if is_disk_full(error) else told(error)
                if words is None:
                    raise
                _give_up(words, answers)
        print(line, end="", file=answers, flush=True)


def _no_space(run: Path) -> str:
    recipe = load_settings(Recipe, run / "recipe.toml")
    return (
        f"no space is left on the disk of {run}: the whole run takes about {mib(room_of(recipe, needs_of(recipe)))} "
        "MiB; make room, then the same command again goes on from the last checkpoint"
    )


def _give_up(words: str, answers: IO[str]) -> NoReturn:
    """Say what is wrong: in the log, where its disk has room for it, and to whoever waits."""
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)
    print(" ".join(words.split()), file=answers, flush=True)
    os._exit(MISTAKE)


if __name__ == "__main__":
    main()
