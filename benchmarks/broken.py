"""Runs broken on purpose, each in one way: does `thinkaloud doctor` name what is wrong?

`python benchmarks/broken.py` trains them all in runs/broken (what is there is not trained again), prints what the
doctor says of each and keeps their metrics, in little, in tests/fixtures/broken; names after it choose some. The exit
code is the number of runs that were diagnosed wrongly.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_jsonl, write_text
from thinkaloud.model import Transformer
from thinkaloud.problems import Problem, Verdict, draw
from thinkaloud.reports.diagnosis import diagnose
from thinkaloud.train import stage as stage_room
from thinkaloud.train.pipeline import prepare
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.worker import run_stage

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures" / "broken"
BUNDLED = ROOT / "src" / "thinkaloud" / "bundled"
LEFT_OUT = (
    *("stage", "kind", "seconds", "spent", "rollouts", "generated_tokens", "update_tokens", "sample"),
    *("reward_", "way_", "thinking_tokens", "dev_accuracy_"),
)
"How keys begin that no diagnosis asks for."
STOPPED = "stopped.txt"
"In a run whose watch has stopped it: its last words."
ABSENT = ""
"In a column, where a row has no such key; null is a number that is not finite."


@contextmanager
def stale_sampler() -> Iterator[None]:
    """The engine runs a copy of the model that no update reaches."""
    own = stage_room.engine_of
    with (
        patch.object(stage_room, "engine_of", lambda model: own(deepcopy(model))),
        patch.object(stage_room, "refresh", lambda engine, model: engine.refresh()),
    ):
        yield


@contextmanager
def failing_verifier() -> Iterator[None]:
    """Two verdicts of five are the verifier's own failure."""
    room, verdicts = import_module("thinkaloud.rollouts.collect"), count()
    sound = room.verdict_on

    def failing(problem: Problem, answer: str, finish: str) -> Verdict:
        return Verdict.ungradable("worker") if next(verdicts) % 5 < 2 else sound(problem, answer, finish)

    with patch.object(room, "verdict_on", failing):
        yield


@contextmanager
def sharpened() -> Iterator[None]:
    """A cold start whose logits are ten times as large: as sure of itself as a policy that has collapsed."""
    own = stage_room.Stage._first_weights

    def sharp(stage: stage_room.Stage) -> Transformer:
        model = own(stage)
        with torch.no_grad():
            model.model.norm.weight.mul_(10.0)
        return model

    with patch.object(stage_room.Stage, "_first_weights", sharp):
        yield


@dataclass(frozen=True, kw_only=True)
class Breakage:
    """One way to break the healthy run."""

    overrides: tuple[str, ...] = ()
    "settings other than its own"
    says: tuple[str, ...]
    "names of diagnoses, one of which must come first; empty: there must be none"
    own_start: bool = False
    "whether it needs a cold start of its own; the others go on from the healthy run's"
    line: Callable[[Problem], dict[str, Any]] | None = None
    "a word problem as a line of a file of problems, which takes the place of the families"
    fault: Callable[[], AbstractContextManager[None]] = nullcontext
    "a fault of ours that is there while it trains"


FAST = ("not finite", "too fast", "fallen reward", "collapse", "runaway length", "vanishing length", "repetition")
"Names whose cure is lower rates."
BREAKAGES = {
    "healthy": Breakage(says=()),
    "rate_100_times": Breakage(
        overrides=("stages.rl.optimiser={ muon_rate = 0.2, adamw_rate = 0.04 }",),
        says=FAST,
    ),
    "rate_a_thousandth": Breakage(
        overrides=("stages.rl.optimiser={ muon_rate = 2e-6, adamw_rate = 4e-7 }",), says=("too slow",)
    ),
    "held_by_kl": Breakage(overrides=("stages.rl.kl=100.0",), says=("held",)),
    "short_replies": Breakage(overrides=("stages.rl.max_tokens=14", "stages.rl.budget=40_000"), says=("truncation",)),
    "wrong_references": Breakage(
        line=lambda problem: {
            "question": problem.question,
            "answer": int(problem.reference) + 1 + int(problem.id[-1], 16) % 7,
        },
        says=("references",),
    ),
    "another_form": Breakage(
        line=lambda problem: {"question": problem.question, "answer": "B", "verifier": "choice"},
        overrides=("stages.rl.budget=40_000",),
        says=("format",),
    ),
    "no_cold_start": Breakage(
        overrides=("stages.start.budget=1", "model={ hidden_size = 96 }"), own_start=True, says=("format",)
    ),
    "too_hard": Breakage(
        overrides=(
            "families.cups={ levels = [10], ways = { hasty = 1.0 }, train = 1000 }",
            "families.chains={ levels = [8], ways = { hasty = 1.0 }, train = 1000 }",
            "stages.rl.samples=2",
            "stages.rl.problems=32",
        ),
        own_start=True,
        says=("too hard",),
    ),
    "too_easy": Breakage(
        overrides=(
            "families.cups={ levels = [3], train = 100 }",
            "families.chains={ levels = [3], train = 100 }",
            "stages.start.optimiser={ muon_rate = 0.0005, adamw_rate = 0.0002 }",
        ),
        own_start=True,
        says=("too easy",),
    ),
    "no_noise": Breakage(overrides=("stages.rl.temperature=0.0", "stages.rl.budget=40_000"), says=("alike",)),
    "low_temperature": Breakage(overrides=("stages.rl.temperature=0.2",), says=("alike",)),
    "no_entropy": Breakage(fault=sharpened, says=("alike", "entropy")),
    "stale_sampler": Breakage(fault=stale_sampler, says=("drift",)),
    "failing_verifier": Breakage(fault=failing_verifier, says=("ungradable",)),
    "few_problems": Breakage(
        overrides=(
            "stages.rl.subset=2",
            "stages.rl.epochs=8",
            "stages.rl.problems=2",
            "stages.rl.samples=16",
        ),
        says=("overfitting",),
    ),
    "small_budget": Breakage(overrides=("stages.rl.budget=40_000",), says=("budget",)),
}


def train(name: str, runs: Path) -> Path:
    """The run broken in that way, trained unless it is there; a stage that its watch stops is as good as trained."""
    breakage, run = BREAKAGES[name], runs / name
    overrides = [f"run.dir={run}", f"run.name={name}", f"model={BUNDLED}", *breakage.overrides]
    if name != "healthy":
        start = train("healthy", runs) / "checkpoints" / "start"
        given = f'stages.start={{ kind = "given", budget = 1, stage = "{start}" }}'
        overrides += [] if breakage.own_start else [given]
    if breakage.line is not None:
        problems = draw("chains", "train", 400, 1, [3])
        file = run.with_suffix(".jsonl")
        write_text(file, "".join(json.dumps(breakage.line(problem)) + "\n" for problem in problems))
        overrides += [f"problems={file}", 'instruction=""']
    recipe = load_settings(Recipe, ROOT / "benchmarks" / "broken.toml", overrides)
    prepare(recipe)
    for stage in recipe.stages:
        ended = (run / "checkpoints" / stage / "done.json").exists() or (run / STOPPED).exists()
        if not ended:
            with breakage.fault() if stage == "rl" else nullcontext():
                try:
                    run_stage(run, stage)
                except UserError as error:
                    write_text(run / STOPPED, f"{error}\n")
    return run


def in_little(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Metrics rows as columns of what the doctor reads, numbers rounded."""
    keys = dict.fromkeys(key for row in rows for key in row if not key.startswith(LEFT_OUT))
    return {key: [_rounded(row[key]) if key in row else ABSENT for row in rows] for key in keys}


def as_rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of such columns."""
    return [
        {key: value for key, value in zip(columns, row, strict=True) if value != ABSENT}
        for row in zip(*columns.values(), strict=True)
    ]


def verdict(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the doctor names first what is wrong with that run, and nothing where nothing is."""
    found = diagnose(rows)
    return found[0].name in BREAKAGES[name].says if found else not BREAKAGES[name].says


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def keep(name: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write what the fast test reads: a key a line."""
    lines = (f"  {json.dumps(key)}: {json.dumps(column)}" for key, column in in_little(rows).items())
    says = json.dumps(BREAKAGES[name].says)
    write_text(folder / f"{name}.json", f'{{\n "says": {says},\n "rows": {{\n' + ",\n".join(lines) + "\n }\n}\n")


def main() -> None:
    """Train, tell, keep; the exit code counts what was diagnosed wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BREAKAGES, []], metavar="NAME", help=", ".join(BREAKAGES))
    parser.add_argument("--runs", type=Path, default=Path("runs/broken"))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    for name in options.names or BREAKAGES:
        rows = read_jsonl(train(name, options.runs) / "checkpoints" / "rl" / "metrics.jsonl")
        right = verdict(name, rows)
        wrong += not right
        print(f"{name}: {'rightly' if right else 'WRONGLY'} diagnosed, {len(rows)} rows")
        for one in diagnose(rows):
            print(f"    {one.name}: {one}")
        if right:
            keep(name, rows, options.out)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
