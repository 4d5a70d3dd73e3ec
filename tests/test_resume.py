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
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kills import contents, plain
from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError, told
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import SCHEMA_VERSION, Journal, environment, read_json, read_jsonl, write_json
from thinkaloud.cli.pace import Pace
from thinkaloud.problems import FAMILIES
from thinkaloud.train.checkpoints import checksum, count_repeated, load_state, save_state
from thinkaloud.train.older import bring_up_to_date
from thinkaloud.train.pipeline import StageStatus, prepare
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.worker import _account, run_stage
from toys import TOYS, toy_recipe

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


def test_a_run_killed_at_the_most_telling_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    found = killed(tmp_path, 6)
    assert found["different"] == [] and found["kills"] == 6


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
    words = [sys.executable, "-m", "thinkaloud", "train", str(SMOKE), f"run.dir={disk / 'run'}", "stages.think.average=1"]
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
