"""The doctor on real runs that were broken on purpose, each in one way, and an alarm that takes a stage back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_jsonl
from thinkaloud.problems import FAMILIES
from thinkaloud.reports.diagnosis import examine
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.worker import run_stage
from toys import TOYS, toy_recipe

torch.set_num_threads(1)

COMMON = {"batch_tokens": 300, "max_tokens": 12}
LEARNING = {"kind": "rl", "init": "start", "budget": 10_000, "problems": 8, "samples": 8, **COMMON}
WILD = {"muon_rate": 20.0, "adamw_rate": 10.0, "warmup": 0.0, "decay": 0.0}
STAGES: dict[str, dict[str, Any]] = {
    "start": {"kind": "sft", "budget": 40_000, **COMMON},
    "wild": {**LEARNING, "families": ["toss"], "optimiser": WILD, "budget": 40_000},
    "short": {**LEARNING, "families": ["toss"], "max_tokens": 1, "watch": False},
    "hard": {**LEARNING, "families": ["lottery"], "samples": 4},
    "misprint": {**LEARNING, "families": ["misprint"]},
}
FAMILIES_USED = {"toss": {"train": 60}, "lottery": {"train": 60}, "misprint": {"train": 60}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name, family in TOYS.items():
            patch.setitem(FAMILIES, name, family)
        toy_recipe(folder, FAMILIES_USED, STAGES)
        run_stage(folder, "start")
        with pytest.raises(UserError, match="went wrong again: "):
            run_stage(folder, "wild")
        for name in ("short", "hard", "misprint"):
            run_stage(folder, name)
        yield folder


def names(run: Path, stage: str) -> list[str]:
    return [one.name for one in examine(run)[stage]]


@pytest.mark.parametrize(
    ("stage", "expected"), [("short", "truncation"), ("hard", "too hard"), ("misprint", "references")]
)
def test_a_broken_stage_is_diagnosed_rightly(run: Path, stage: str, expected: str) -> None:
    assert expected in names(run, stage)[:2]


def test_nothing_is_wrong_with_the_cold_start(run: Path) -> None:
    assert names(run, "start") == []


def test_rates_far_too_high_take_a_stage_back_once_and_then_stop_it(run: Path) -> None:
    rows = read_jsonl(stage_folder(run, "wild") / "metrics.jsonl")
    alarms = [row for row in rows if "alarm" in row]
    assert ["taken_back_to" in row for row in alarms] == [True, False] and alarms[1]["stopped"]
    steps = [row["step"] for row in rows if "reward" in row]
    assert steps == sorted(set(steps))  # no step, and so no noise, comes twice
    spent = [row["spent"] for row in rows]
    assert spent == sorted(spent)  # what was taken back was spent all the same
    assert any("learning rates of a third" in one.cure for one in examine(run)["wild"])
