"""Runs that survive: kills, requests to end, damaged checkpoints, full disks, older folders; nothing lost or twice."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kills import contents, plain
from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError, told
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import SCHEMA_VERSION, Journal, environment, read_json, read_jsonl, write_json
from thinkaloud.problems import FAMILIES
from thinkaloud.train.checkpoints import checksum, count_repeated, load_state, save_state
from thinkaloud.train.older import bring_up_to_date
from thinkaloud.train.pipeline import prepare, train
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.status import StageStatus, Work
from thinkaloud.train.worker import _account, run_stage
from toys import TOYS, toy_recipe
from traces import estimates

TESTS = Path(__file__).parent
SMOKE = TESTS.parent / "recipes" / "smoke.toml"
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "THINKALOUD_NATIVE": "portable"}
torch.set_num_threads(1)


# --- killed ---


def killed(folder: Path, count: int) -> dict[str, Any]:
    """What tests/kills.py found."""
    words = [sys.executable, str(TESTS / "kills.py"), str(folder), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_run_killed_at_the_most_telling_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    found = killed(tmp_path, 5)
    assert found["different"] == [] and found["kills"] == 5


@pytest.mark.slow
def test_a_hundred_kills_at_named_and_random_moments_change_nothing(tmp_path: Path) -> None:
    """Training and a study: cold start, reinforcement, rejection sampling, evaluation, gathering."""
    found = killed(tmp_path, 100)
    assert found["different"] == [] and found["kills"] >= 100


@pytest.mark.slow
def test_five_kills_of_the_command_leave_the_smoke_run_as_it_would_be(tmp_path: Path) -> None:
    """The command alone is killed: its workers end by themselves, and what they had is gone on with."""
    words = [sys.executable, "-m", "thinkaloud", "train", str(SMOKE), "run.dir=runs/smoke"]
    began = time.monotonic()
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    subprocess.run(words, cwd=tmp_path / "whole", env=ONE_THREAD, check=True, capture_output=True)
    seconds, rng, kills = time.monotonic() - began, random.Random(5), 0
    for number in range(1, 100):
        with (tmp_path / f"said-{number}").open("wb") as said:
            command = subprocess.Popen(words, cwd=tmp_path / "killed", env=ONE_THREAD, stdout=said, stderr=said)
            try:
                code = command.wait(rng.uniform(0.1, 0.6) * seconds if kills < 5 else None)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()
                kills += 1
                continue
        assert code == 0, (tmp_path / f"said-{number}").read_text()
        break
    assert kills >= 3, "it was too quick to be killed"
    expected, found = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)] == []
    assert sum(stage["repeated_tokens"] for stage in ledgers(tmp_path / "killed").values()) > 0


def ledgers(folder: Path) -> dict[str, dict[str, float]]:
    """Of the stages of the smoke run."""
    found: dict[str, dict[str, float]] = read_json(folder / "runs" / "smoke" / "ledger.json")["stages"]
    return found


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_on_a_disk_that_fills_up_the_command_stops_and_goes_on_with_more_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [sys.executable, "-m", "thinkaloud", "train", str(SMOKE), f"run.dir={disk / 'run'}"]
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        filler = subprocess.Popen(words, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not list(disk.glob("run/checkpoints/think/state-*")):
            assert filler.poll() is None
            time.sleep(0.1)
        with (disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(bytes(1 << 16))
                ballast.flush()
        said = filler.communicate()[0]
        assert filler.returncode == 2 and "Traceback" not in said
        assert "no space is left" in said.splitlines()[-1] and "MiB" in said.splitlines()[-1]
        (disk / "ballast").unlink()
        done = subprocess.run(words, env=ONE_THREAD, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_worker_ends_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    """Also in the midst of a stage: the pipe closes however the other process ends."""
    run = tmp_path / "run"
    prepare(load_settings(Recipe, SMOKE, [f"run.dir={run}", "stages.think.budget=1e9", "families.cups.train=60"]))
    stage_folder(run, "think").mkdir(parents=True)
    command = [sys.executable, "-m", "thinkaloud.train.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, env=ONE_THREAD)
    assert worker.stdin is not None
    try:
        worker.stdin.write(json.dumps([str(run), "think"]).encode() + b"\n")
        worker.stdin.flush()
        journal = stage_folder(run, "think") / "metrics.jsonl"
        while not journal.exists() or journal.stat().st_size == 0:
            assert worker.poll() is None
            time.sleep(0.05)
        worker.stdin.close()
        assert worker.wait(5) == 1
    finally:
        worker.kill()
        worker.wait()


# --- asked to end ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a cold start and a stage of reinforcement, never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name, family in TOYS.items():
            patch.setitem(FAMILIES, name, family)
        a_recipe(run)
        for name in ("start", "learnt"):
            run_stage(run, name)
        yield run


def a_recipe(run: Path) -> Recipe:
    short = {"batch_tokens": 400, "max_tokens": 8}
    stages = {
        "start": {"kind": "sft", "budget": 20_000, "average": 0.5, **short},
        "learnt": {
            "kind": "rl",
            "init": "start",
            "budget": 4_000,
            "problems": 4,
            "samples": 4,
            "memory": True,
            **short,
        },
    }
    return toy_recipe(run, {"toss": {"train": 60, "ways": {"careful": 1, "hasty": 1}}}, stages)


def same(run: Path, other: Path, name: str) -> None:
    """Weights, journals, evaluations and ledger of a stage, timings apart."""
    mine, theirs = stage_folder(run, name), stage_folder(other, name)
    for file in ("model/model.safetensors", "rollouts.jsonl"):
        assert (mine / file).read_bytes() == (theirs / file).read_bytes(), file
    assert plain(read_jsonl(mine / "metrics.jsonl")) == plain(read_jsonl(theirs / "metrics.jsonl"))
    assert plain(read_json(mine / "ledger.json")) == plain(read_json(theirs / "ledger.json"))
    evaluation = f"evaluations/{name}.json"
    assert (run / evaluation).read_bytes() == (other / evaluation).read_bytes()


@pytest.mark.parametrize("name", ["start", "learnt"])
def test_a_stage_that_is_asked_to_end_keeps_its_last_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Asked in the midst of steps, between checkpoints: it ends after them, and nothing is done again."""
    run = tmp_path / "run"
    a_recipe(run)
    if name != "start":
        shutil.copytree(stage_folder(whole, "start"), stage_folder(run, "start"))
    real, asked = Stage.end_step, [2, 5, 11]

    def end_step(stage: Stage, row: dict[str, Any]) -> None:
        if asked and stage.step == asked[0]:
            asked.pop(0)
            signal.raise_signal(signal.SIGTERM)
        real(stage, row)

    monkeypatch.setattr(Stage, "end_step", end_step)
    for step in (3, 6, 12):
        with pytest.raises(SystemExit) as ended:
            run_stage(run, name)
        assert ended.value.code == 143
        states = sorted(one.name for one in stage_folder(run, name).glob("state-*"))
        assert states[-1] == f"state-{step:06d}"
        assert len(read_jsonl(stage_folder(run, name) / "metrics.jsonl")) == step
    run_stage(run, name)
    same(run, whole, name)
    assert read_json(stage_folder(run, name) / "ledger.json")["repeated_tokens"] == 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nothing_is_written_into_a_run_after_its_summary(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has one is finished and left alone: what a kill cuts off after it would stay so."""
    run = tmp_path / "run"
    recipe = a_recipe(run)
    for name in ("checkpoints", "evaluations"):
        shutil.copytree(whole / name, run / name)
    replace, written = os.replace, []

    def noted(source: Path, target: Path) -> None:
        replace(source, target)
        written.append(target.name)

    monkeypatch.setattr("os.replace", noted)
    assert {status.state for status in list(train([recipe]))[-1]} == {"done"}
    assert "It is finished" in (run / "live.html").read_text()
    assert {"rollouts.jsonl", "report.html", "live.html"} < set(written) and written[-1] == "summary.json"
    assert not list(run.rglob("*.partial"))


# --- damaged, full, older ---


def test_a_full_disk_costs_nothing_that_was_kept(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    a_recipe(run)
    written = 0

    def full(tensors: dict[str, torch.Tensor], file: Path) -> None:
        nonlocal written
        written += 1
        if written == 4:
            file.write_bytes(b"a part")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr("thinkaloud.train.checkpoints.save_file", full)
        with pytest.raises(UserError, match=r"no space is left for a checkpoint in .*: make room for 1 MiB, then"):
            run_stage(run, "start")
    assert not list(stage_folder(run, "start").glob("*.partial")), "what was begun gives its room back"
    run_stage(run, "start")
    same(run, whole, "start")


def test_an_error_of_the_system_that_a_user_can_mend_has_its_cure() -> None:
    assert told(OSError(errno.ENOSPC, "No space left on device")) == (
        "no space left on device: free some space, then the same command again"
    )
    assert told(PermissionError(errno.EACCES, "Permission denied", "runs")) == (
        "runs: permission denied: change its owner or mode, or choose another place"
    )
    assert told(OSError(errno.EPIPE, "Broken pipe")) is None, "that would be a fault of ours"


def damaged_facts(folder: Path) -> None:
    state = folder / "state-000002" / "state.json"
    state.write_text(state.read_text().replace('"spent": 20', '"spent": 21'))


@pytest.mark.parametrize(
    "damage",
    [damaged_facts, lambda folder: os.truncate(folder / "metrics.jsonl", 3)],
    ids=["a digit of its facts", "a journal cut off"],
)
def test_a_state_that_is_not_what_was_written_is_told_and_passed_over(
    tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n" * 4)
    for step in (1, 2):
        save_state(tmp_path, step, {"w": torch.ones(1)}, {"step": step, "spent": 10 * step, "metrics_bytes": 3 * step})
    assert (load_state(tmp_path) or ({}, {}))[1]["step"] == 2
    damage(tmp_path)
    assert (load_state(tmp_path) or ({}, {}))[1]["step"] == 1
    said = capsys.readouterr().out
    assert said == f"checkpoint {tmp_path / 'state-000002'} is damaged: going on from the one before\n"


def test_a_run_of_the_version_before_goes_on(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    a_recipe(run)
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "finish", lambda stage: sys.exit(9))
        with pytest.raises(SystemExit):
            run_stage(run, "start")
    folder = stage_folder(run, "start")
    states = sorted(folder.glob("state-*"))
    for state in states:  # as version 1 wrote them
        facts = read_json(state / "state.json")["facts"]
        write_json(state / "state.json", {**facts, "sha256": checksum(state / "state.safetensors")})
    write_json(folder / "repeated.json", 12.5)
    write_json(run / "environment.json", {**environment(), "schema_version": 1})
    assert load_state(folder) is None
    bring_up_to_date(run)
    assert (load_state(folder) or ({}, {}))[1]["step"] == int(states[-1].name[-6:])
    assert read_json(run / "environment.json")["schema_version"] == SCHEMA_VERSION
    monkeypatch.setattr(Stage, "fit", lambda *_, **__: pytest.fail("trained again"))
    run_stage(run, "start")
    same(run, whole, "start")
    assert read_json(folder / "ledger.json")["repeated_tokens"] == 12


# --- the account ---


def test_what_was_repeated_is_counted_once_replies_of_a_step_without_a_line_too(tmp_path: Path) -> None:
    metrics, rollouts = (Journal(tmp_path / f"{name}.jsonl") for name in ("metrics", "rollouts"))
    metrics.write([{"spent": 100.0, "rollouts": 1}, {"spent": 130.0, "rollouts": 2}])
    rollouts.write([{"tokens": 30}] * 3)  # the third one is of a step that was not logged
    assert count_repeated(tmp_path, 100.0) == pytest.approx(30 + 10)
    assert count_repeated(tmp_path, 100.0) == pytest.approx(40), "killed before the journals were cut back"
    for name in ("metrics", "rollouts"):
        file = tmp_path / f"{name}.jsonl"
        Journal(file, len(file.read_bytes().splitlines(keepends=True)[0]))
    assert count_repeated(tmp_path, 100.0) == pytest.approx(40)
    metrics.write([{"spent": 115.0, "rollouts": 1}])
    assert count_repeated(tmp_path, 100.0) == pytest.approx(55), "killed once more"


def test_what_is_measured_again_counts_once(tmp_path: Path) -> None:
    write_json(tmp_path / "ledger.json", Ledger(evaluation_tokens=5).as_dict())
    for part, tokens in (("think", 100), ("think", 100), ("think-vote", 10)):
        _account(tmp_path, part, tokens, 1.0)
    assert read_json(tmp_path / "ledger.json")["evaluation_tokens"] == 115


def test_a_line_cut_off_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": "\xc3')
    assert read_jsonl(file) == [{"a": 1}, {"a": 2}]
    file.write_bytes(b'{"a": 1}\n\0\0\0\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"rows.jsonl, line 2 is damaged .*: take that line out"):
        read_jsonl(file)


# --- watched ---


def test_a_journal_that_was_cut_back_and_has_grown_is_read_anew(tmp_path: Path) -> None:
    status = StageStatus(run=tmp_path, name="think", kind="sft", work=Work(budget=1.0))
    status.folder.mkdir(parents=True)
    journal = status.folder / "metrics.jsonl"
    for progress in ([0.1, 0.2], [0.1, 0.2, 0.3], [0.1], [0.1, 0.25, 0.375, 0.5]):
        journal.write_text("".join(json.dumps({"progress": one}) + "\n" for one in progress))
        status.update(running=True)
        assert status.progress == progress[-1]


@pytest.mark.parametrize("recipe", ["smoke", "demo", "demo_study", "fraction_parts"])
def test_the_time_left_is_right_within_a_factor_of_one_and_a_half(recipe: str) -> None:
    """From the first tenth of the time on, or within a tenth of the whole.

    The first was watched. The others (a seed of the demo, its study, a seed of the study of parts) are laid out as a
    machine whose load does not change would train them (`tests/traces.py --even`). Their journals were older than
    `dev_seconds`, which is what the steps that answered dev problems took longer than the others, and than
    `dev_prompt_tokens`, which are those of the ledger.
    """
    record = read_json(TESTS / "fixtures" / f"trace_{recipe}.json")
    whole = record["seconds"]
    looks = [(now, left, said) for now, left, said in estimates(record) if now >= whole / 10 and said is not None]
    assert len(looks) > 300 and looks[0][0] < 0.15 * whole
    for now, left, said in looks:
        assert said / 1.5 <= left <= said * 1.5 or abs(left - said) <= whole / 10, f"at {now} s"
