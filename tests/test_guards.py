"""Guards on stages: what must not be lost, when a stage is taken back, and that a kill changes nothing of it."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from thinkaloud.base.config import parse_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl
from thinkaloud.base.statistics import change_bound
from thinkaloud.problems import FAMILIES, Verdict
from thinkaloud.reports.alarms import Diagnosis
from thinkaloud.reports.findings import endings
from thinkaloud.reports.load import Run
from thinkaloud.train.checkpoints import Rewound, last_good, load_state, rewind, save_state
from thinkaloud.train.guard import Guard, GuardSettings
from thinkaloud.train.recipe import Recipe, check
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.worker import run_stage
from toys import TOYS, toy_recipe

torch.set_num_threads(1)


# --- what chance explains ---


def test_the_bound_of_a_change_by_hand() -> None:
    """Bonett and Price: 37 of 402 against 13 of 402 is 0.0597 fewer, give or take 1.645 times 0.0171."""
    up, down = 13 / 402, 37 / 402
    expected = up - down + 1.6449 * ((up + down - (up - down) ** 2) / 402) ** 0.5
    assert change_bound(36, 12, 400) == pytest.approx(expected, abs=1e-4) == pytest.approx(-0.0314, abs=1e-3)
    assert change_bound(0, 0, 0) == 1.0 and change_bound(3, 0, 400) > 0 > change_bound(9, 0, 400)


@settings(max_examples=100, deadline=None)
@given(lost=st.integers(0, 50), won=st.integers(0, 50), same=st.integers(0, 300))
def test_the_bound_lies_above_the_change_and_falls_with_every_loss(lost: int, won: int, same: int) -> None:
    count = lost + won + same
    bound = change_bound(lost, won, count + 1)
    assert bound > (won - lost) / (count + 1) * (1 if lost > won else 0) - 1e-9
    assert change_bound(lost + 1, won, count + 1) < bound


@pytest.mark.parametrize("changed", [0.02, 0.1, 0.3])
def test_the_bound_holds_as_often_as_it_says(changed: float) -> None:
    """Of 4,000 draws at a true loss of the margin itself no more than about one in twenty is called more."""
    rng, margin, count = np.random.default_rng(1), 0.01, 400
    drawn = rng.multinomial(count, [(changed + margin) / 2, (changed - margin) / 2, 1 - changed], size=4000)
    called = np.mean([change_bound(lost, won, count) < -margin for lost, won, _ in drawn])
    assert called < 0.06


def test_chance_alone_seldom_ends_a_stage() -> None:
    """Ten looks at a family that does not change, a twelfth of its verdicts other than at the start: 8 % of stages."""
    rng, count, ended = np.random.default_rng(1), 400, 0
    for _ in range(1000):
        rates = rng.beta(2, 1, size=count)
        start = rng.random(count) < rates
        for _ in range(10):
            now = np.where(rng.random(count) < 0.25, rng.random(count) < rates, start)
            if change_bound(int((start & ~now).sum()), int((~start & now).sum()), count) < -0.01:
                ended += 1
                break
    assert 0.04 < ended / 1000 < 0.12
    assert change_bound(28, 12, 400) < -0.01 < change_bound(27, 13, 400)  # 16 of 400 is seen, 14 is not


def verdicts(marks: str) -> list[Verdict]:
    known = {"r": Verdict.right(), "w": Verdict.wrong("different"), "u": Verdict.ungradable("broken")}
    return [known[mark] for mark in marks]


def test_each_family_is_held_against_its_own_start() -> None:
    """What one family gains hides nothing of what another loses; ungradable replies count for nobody."""
    problem = FAMILIES["cups"].generate(random.Random(1), 3)
    problems = [replace(problem, family=name) for name in ["a"] * 100 + ["b"] * 100]
    guard = Guard(GuardSettings(families=["a", "b"]), problems)
    start = guard.changes(verdicts("r" * 50 + "w" * 50 + "r" * 90 + "w" * 10))
    assert start["guard_a"] == 0.5 and start["guard_change_b"] == 0.0 and guard.loss(start) is None
    row = guard.changes(verdicts("r" * 100 + "w" * 20 + "r" * 60 + "u" * 20))
    assert row["guard_change_a"] == 0.5 and row["guard_change_b"] == -20 / 80
    lost = guard.loss(row)
    assert lost is not None and lost.startswith("b lost 25.0 points") and "a lost" not in lost
    assert Guard(GuardSettings(families=["b"], margin=0.3), problems).loss(row) is None
    nothing = guard.changes(verdicts("u" * 200))
    assert nothing["guard_a"] == 0.0 and guard.loss(nothing) is None


# --- states that may be gone back to ---


def facts(step: int, **other: Any) -> dict[str, Any]:
    return {"step": step, "spent": 10.0 * step, "extra": {}, "ledger": {"undone_tokens": 0}, **other}


def test_the_newest_good_state_is_kept_and_gone_back_to(tmp_path: Path) -> None:
    for step, good in ((1, True), (2, True), (3, False), (4, False), (5, False)):
        extra = {"memory": step, "variants": [step]}
        save_state(tmp_path, step, {"w": torch.full((2,), float(step))}, facts(step, extra=extra), good=good)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"state-00000{step}" for step in (2, 4, 5)]
    with pytest.raises(Rewound):
        rewind(tmp_path, last_good(tmp_path), facts(7, extra={"memory": 7, "variants": [2, 7]}, ended="lost"))
    tensors, found = load_state(tmp_path) or ({}, {})
    assert tensors["w"].tolist() == [2.0, 2.0] and (found["step"], found["spent"], found["ended"]) == (7, 70.0, "lost")
    assert found["extra"] == {"memory": 2, "variants": [2, 7]} and found["ledger"]["undone_tokens"] == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-000005", "state-000007"]


def test_without_a_good_state_it_says_what_to_do(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"w": torch.zeros(1)}, facts(1), good=False)
    with pytest.raises(UserError, match="no undamaged state"):
        last_good(tmp_path)


# --- stages ---


@pytest.fixture(autouse=True, scope="module")
def the_families() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, family in TOYS.items():
            patch.setitem(FAMILIES, name, family)
        yield


def guarded_recipe(run: Path) -> Recipe:
    common = {"batch_tokens": 300, "max_tokens": 12, "budget": 8_000, "init": "start"}
    guard = {"families": ["toss"], "problems": 60}
    group = {"problems": 8, "samples": 4}
    return toy_recipe(
        run,
        {"toss": {"train": 60}, "spin": {"train": 60}},
        {
            "start": {"kind": "sft", **common, "budget": 40_000, "init": None},
            "spoilt": {"kind": "sft", **common, "families": ["spin"], "ways": {"spin": {"hasty": 1}}, "guard": guard},
            "kept": {"kind": "sft", **common, "families": ["spin"], "guard": guard},
            "unguarded": {"kind": "sft", **common, "families": ["spin"], "ways": {"spin": {"hasty": 1}}},
            "learnt": {"kind": "rl", **common, **group, "families": ["spin"], "replay": 0.3, "guard": guard},
        },
        test=40,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, the_families: None) -> Path:
    run = tmp_path_factory.mktemp("guarded") / "run"
    for name in guarded_recipe(run).stages:
        run_stage(run, name)
    return run


def accuracy(run: Path, stage: str, family: str) -> float:
    found = [entry for entry in read_json(run / "evaluations" / f"{stage}.json")["problems"]]
    right = [entry["right"][0] for entry in found if entry["family"] == family]
    return sum(right) / len(right)


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(stage_folder(run, stage) / "model" / "model.safetensors")


def test_a_stage_that_loses_what_it_must_keep_is_taken_back_and_ends(finished: Path) -> None:
    """Learning tails from the wheel spoils the toss; with a guard the stage ends before that, and not as an error."""
    rows = read_jsonl(stage_folder(finished, "spoilt") / "metrics.jsonl")
    ended = [row["ended"] for row in rows if "ended" in row]
    assert len(ended) == 1 and rows[-1]["ended"] == ended[0] and ended[0].startswith("toss lost")
    assert rows[-2]["guard_toss"] < 0.8 and rows[-2]["guard_bound_toss"] < -0.01 and rows[-2]["progress"] < 1
    assert rows[-1]["taken_back_to"] < rows[-1]["step"] == rows[-2]["step"]
    assert accuracy(finished, "unguarded", "spin") < 0.3 < 0.9 < accuracy(finished, "spoilt", "spin")
    ledger = read_json(stage_folder(finished, "spoilt") / "ledger.json")
    assert 0 < ledger["undone_tokens"] <= rows[-1]["spent"] + 1
    assert ledger["update_tokens"] == rows[-1]["update_tokens"]  # what was undone was spent all the same


def test_the_report_says_that_a_guard_ended_a_stage(finished: Path) -> None:
    rows = [row for name in ("spoilt", "kept") for row in read_jsonl(stage_folder(finished, name) / "metrics.jsonl")]
    told = endings(Run(path=finished, metrics=tuple(rows)))
    assert len(told) == 1 and told[0].headline.startswith("spoilt was ended by its guard at ")
    assert "toss lost" in told[0].headline


def test_a_stage_that_keeps_it_goes_to_its_end(finished: Path) -> None:
    for name in ("kept", "learnt"):
        rows = read_jsonl(stage_folder(finished, name) / "metrics.jsonl")
        assert not any("ended" in row for row in rows) and rows[-1]["progress"] > 0.9
        assert all(row["guard_toss"] > 0.9 for row in rows if "dev_accuracy" in row)
        assert read_json(stage_folder(finished, name) / "ledger.json")["undone_tokens"] == 0


def test_the_guards_questions_are_counted(finished: Path) -> None:
    guarded, free = (read_json(stage_folder(finished, name) / "ledger.json") for name in ("kept", "unguarded"))
    rows = read_jsonl(stage_folder(finished, "kept") / "metrics.jsonl")
    looks = 1 + sum("guard_toss" in row for row in rows)
    assert guarded["evaluation_tokens"] - free["evaluation_tokens"] > looks * 60 * 5
    assert guarded["unique_problems"] - free["unique_problems"] == 60
    assert guarded["compute_flops"] == pytest.approx(free["compute_flops"], rel=0.1)


class Interrupted(Exception):
    """The power is gone."""


def test_a_kill_on_the_way_changes_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one between being taken back and the end."""
    run = tmp_path / "run"
    guarded_recipe(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "start").symlink_to(stage_folder(finished, "start"))
    steps, whole = 0, Stage.end_step

    def cut_off(stage: Stage, row: dict[str, Any]) -> None:
        nonlocal steps
        whole(stage, row)
        steps += 1
        if steps == 2:
            raise Interrupted

    monkeypatch.setattr(Stage, "end_step", cut_off)
    with pytest.raises(Interrupted):
        run_stage(run, "spoilt")
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "finish", lambda stage: (_ for _ in ()).throw(Interrupted()))
        with pytest.raises(Interrupted):
            run_stage(run, "spoilt")
    run_stage(run, "spoilt")
    for key, value in weights(finished, "spoilt").items():
        assert torch.equal(value, weights(run, "spoilt")[key])
    rows = [
        [{key: one for key, one in row.items() if "seconds" not in key} for row in read_jsonl(folder / "metrics.jsonl")]
        for folder in (stage_folder(finished, "spoilt"), stage_folder(run, "spoilt"))
    ]
    assert rows[0] == rows[1]


def test_an_alarm_on_the_way_is_the_same_after_kills(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alarm is raised at step 5; killed before and after it, the stage ends with the same weights and journals."""

    def at_five(rows: list[dict[str, Any]], steps: int = 5) -> Diagnosis | None:
        fifth = bool(rows) and rows[-1]["step"] == 5 and "alarm" not in rows[-1] and steps == 5
        return Diagnosis(name="test", words="it is the fifth step", cure="none") if fifth else None

    monkeypatch.setattr("thinkaloud.train.stage.alarmed", at_five)
    whole, killed, steps = Stage.end_step, tmp_path / "killed", 0

    def cut_off(stage: Stage, row: dict[str, Any]) -> None:
        nonlocal steps
        whole(stage, row)
        steps += 1
        if stage.run == killed and steps in (2, 7):
            raise Interrupted

    monkeypatch.setattr(Stage, "end_step", cut_off)
    for run in (tmp_path / "whole", killed):
        guarded_recipe(run)
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "start").symlink_to(stage_folder(finished, "start"))
        steps = 0
        for _ in range(3 if run == killed else 1):
            with contextlib.suppress(Interrupted):
                run_stage(run, "learnt")
    one, other = weights(tmp_path / "whole", "learnt"), weights(killed, "learnt")
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    folders = [stage_folder(run, "learnt") for run in (tmp_path / "whole", killed)]
    timeless = {"seconds": 0, "dev_seconds": 0}
    rows = [[row | timeless for row in read_jsonl(folder / "metrics.jsonl")] for folder in folders]
    assert rows[0] == rows[1] and [row["taken_back_to"] for row in rows[0] if "alarm" in row] != []
    assert read_json(folders[0] / "ledger.json")["undone_tokens"] > 0
    texts = [(folder / "rollouts.jsonl").read_bytes() for folder in folders]
    assert texts[0] == texts[1]


def test_a_guard_of_what_the_recipe_does_not_have_is_refused(tmp_path: Path) -> None:
    raw = guarded_recipe(tmp_path).model_dump(mode="json", exclude_none=True)
    raw["stages"]["kept"]["guard"] = {"families": ["cups"]}
    with pytest.raises(UserError, match="stage kept names the family cups, which is none"):
        check(parse_settings(Recipe, raw, "test"))
    raw["stages"]["kept"]["guard"] = {"families": ["toss"], "margins": 0.1}
    with pytest.raises(UserError, match="did you mean stages.kept.guard.margin"):
        parse_settings(Recipe, raw, "test")
