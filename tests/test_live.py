"""The page of a run while it is trained, its small curves, and what is sent to trackers."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl, read_tail
from thinkaloud.cli.main import run as command
from thinkaloud.reports.drawing import colours_of
from thinkaloud.reports.live import REFRESH, Standing, live_page, write_live
from thinkaloud.reports.page import COLOURS
from thinkaloud.reports.sketch import round_top, sketch, thinned
from thinkaloud.train.recipe import Recipe, RunSettings
from thinkaloud.train.status import StageStatus, Work
from thinkaloud.train.telling import Telling, follow
from thinkaloud.train.tracking import Tracking, check_tracker, numbers

EVIL = '<script>alert("&")</script>'
SAMPLE = {"question": f"q {EVIL}", "thinking": f"t {EVIL}", "answer": f"a {EVIL}", "right": False}


def rows_of(steps: int) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "progress": step / 20,
            "reward": step / 20,
            "entropy": 0.3,
            "dev_accuracy": 0.5,
            "sample": SAMPLE,
        }
        for step in range(1, steps + 1)
    ]


def standing(folder: Path, name: str = "think_rl", **change: Any) -> Standing:
    known = {"kind": "rl", "state": "training", "progress": 0.5, "seconds": 30.0, "left": 125.0, "rows": rows_of(10)}
    return Standing(name=name, folder=folder / name, **{**known, **change})


def replies(folder: Path) -> None:
    folder.mkdir(parents=True)
    row = {"family": f"f {EVIL}", "level": 3, "thinking": EVIL, "answer": EVIL, "reason": EVIL, "verdict": "wrong"}
    lines = [{**row, "step": 9, "problem": f"p{index // 4} {EVIL}"} for index in range(40)]
    lines[-2]["verdict"] = "right"
    lines[-4]["question"] = f"how many {EVIL}"
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# --- curves ---


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-10, 1000)), max_size=600))
@example([(0.0, 5e-324)])
@example([(1.0, 2.3e-308)])
def test_a_sketch_stays_within_its_frame(points: list[tuple[float, float]]) -> None:
    assert len(thinned(points)) <= 150
    drawn = sketch({"a": points}, {"a": "think"}, "x", share=False)
    assert bool(drawn) == bool(points)
    for x, y in re.findall(r"([\d.-]+),([\d.-]+)", "".join(re.findall(r'points="([^"]*)"', drawn))):
        assert 0 <= float(x) <= 480 and 0 <= float(y) <= 220


def test_axes_end_at_round_numbers() -> None:
    assert [round_top(value) for value in (0, 0.03, 1.0, 1.2, 24, 25, 26, 99)] == [1, 0.05, 1, 2, 25, 25, 50, 100]
    drawn = sketch({EVIL: [(0, 0.5)]}, {EVIL: "think"}, EVIL, share=True)
    assert "<script" not in drawn and "100 %" in drawn


def test_every_curve_has_a_colour_of_its_own_and_known_models_keep_theirs() -> None:
    found = colours_of(["start", "rl", "think", "other"])
    assert found["think"] == "think" and len(set(found.values())) == 4 and set(found.values()) <= set(COLOURS)


# --- the page ---


def test_a_live_page_asks_for_itself_and_for_nothing_else(tmp_path: Path) -> None:
    replies(tmp_path / "think_rl")
    page = live_page(EVIL, [standing(tmp_path)], left=500.0, ended="", now=1e9)
    assert f'http-equiv="refresh" content="{REFRESH}"' in page
    assert "about 8 min left" in page and "2 min left" in page and "50 %" in page
    assert not re.search(r"(src|href)=|@import|url\(|https?:", page)
    assert page.count("<script>") == 1 and "alert(&quot;" in page  # its own script only
    assert "1 of 4 right" in page and "how many &lt;script" in page and "p9" not in page
    assert "p8" in page, "a journal of an older version has no questions"


def test_a_page_of_an_ended_run_asks_no_more_and_says_how_it_ended(tmp_path: Path) -> None:
    page = live_page("demo", [standing(tmp_path)], left=None, ended=f"It was stopped: {EVIL}.", now=1e9)
    assert "refresh" not in page and "<script" not in page and "It was stopped: &lt;script" in page


def test_alarms_and_what_hinders_are_shown(tmp_path: Path) -> None:
    note = {"step": 10, "alarm": "collapse", "words": EVIL, "cure": "slower", "taken_back_to": 5}
    page = live_page("demo", [standing(tmp_path, rows=[*rows_of(10), note])], left=None, ended="", now=1e9)
    assert "collapse" in page and "slower" in page and EVIL not in page


def test_a_page_of_nothing_yet(tmp_path: Path) -> None:
    stages = [standing(tmp_path, rows=[], state="waiting", progress=0.0, left=None)]
    page = write_live(tmp_path, stages, left=None).read_text()
    assert "waiting" in page and "<svg" not in page and not list(tmp_path.glob("*.partial"))


def test_the_tail_of_a_journal_is_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(100)) + '{"n": 1')
    assert [row["n"] for row in read_tail(file, 3)] == [97, 98, 99]
    assert [row["n"] for row in read_tail(file, 50, most=30)] == [98, 99]
    file.write_text("")
    assert read_tail(file, 3) == []


# --- a run that is told ---


def test_a_step_that_comes_again_replaces_what_came_after() -> None:
    rows: list[dict[str, Any]] = []
    note = {"step": 3, "alarm": "collapse", "taken_back_to": 1}
    follow(rows, [{"step": 1}, {"step": 2}, {"step": 3}, note])
    assert [row["step"] for row in rows] == [1, 2, 3, 3]
    follow(rows, [{"step": 2, "again": True}])
    assert rows == [{"step": 1}, {"step": 2, "again": True}]


def test_a_run_is_told_to_its_end_and_beyond_an_interruption(tmp_path: Path) -> None:
    settings = RunSettings(name="demo", dir=tmp_path, result="rl")
    status = StageStatus(run=tmp_path, name="rl", kind="rl", work=Work(budget=100.0), state="training")

    def told() -> str:
        return (tmp_path / "live.html").read_text()

    with Telling(settings, [status]) as telling:
        telling.look()
        assert "It is being trained" in told() and "<svg" not in told()
        status.fresh = rows_of(3)
        telling.look()
        assert status.fresh and "<svg" not in told()  # too early for another look
    assert "It is finished" in told() and "<svg" in told() and not status.fresh
    with pytest.raises(KeyboardInterrupt), Telling(settings, [status]):
        raise KeyboardInterrupt
    assert "It was interrupted" in told() and "goes on from the last checkpoint" in told()
    with pytest.raises(UserError), Telling(settings, [status]):
        raise UserError("stage rl: went wrong")
    assert "It was stopped: stage rl: went wrong." in told()


def test_a_page_that_finds_no_room_hides_no_other_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings(name="demo", dir=tmp_path, result="rl")
    status = StageStatus(run=tmp_path, name="rl", kind="rl", work=Work(budget=100.0), state="training")
    looked = []

    def full(*_: Any, **__: Any) -> None:
        looked.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("thinkaloud.train.telling.write_live", full)
    with pytest.raises(UserError, match="make room for 5 MiB"), Telling(settings, [status]) as telling:
        telling.look()
        raise UserError("stage rl: make room for 5 MiB")
    assert len(looked) == 2


def test_a_status_keeps_what_nobody_has_taken_yet(tmp_path: Path) -> None:
    status = StageStatus(run=tmp_path, name="rl", kind="rl", work=Work(budget=1.0))
    status.folder.mkdir(parents=True)
    (status.folder / "metrics.jsonl").write_text('{"step": 1, "progress": 0.5}\n{"step": 2}\n{"st')
    status.update(running=True)
    assert [row["step"] for row in status.fresh] == [1, 2] and status.progress == 0.5


# --- trackers ---

FAKE = """
calls = []
class Run:
    def __init__(self, name): self.name = name
    def log(self, row, step=None): calls.append((self.name, row, step))
    def finish(self): calls.append((self.name, "finished", None)); print("words of the library")
def init(*, project, name, group, **others): print("words of the library"); return Run(name)
class Settings:
    def __init__(self, **settings): pass
"""


@pytest.fixture(params=["trackio", "wandb"])
def library(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in that notes what it is given."""
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / f"{request.param}.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path / "fakes"))
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    yield request.param
    sys.modules.pop(request.param, None)


def test_each_number_is_sent_once_whatever_is_read_again(
    library: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "demo"
    run.mkdir()
    check_tracker(library)
    rows = [{"step": 1, "reward": 0.5, "kind": "rl", "lost": None}, {"step": 2, "reward": 0.75, "sample": {}}]
    tracking = Tracking(library, run)
    tracking.send("rl", rows[:1])
    tracking.send("rl", rows)
    tracking.close()
    again = Tracking(library, run)
    again.send("rl", [*rows, {"step": 3, "reward": 1.0}])
    again.close()
    calls = [call for call in sys.modules[library].calls if call[1] != "finished"]
    assert calls == [("demo-rl", {"reward": value}, step) for step, value in ((1, 0.5), (2, 0.75), (3, 1.0))]
    assert read_json(run / "tracked.json") == {"rl": 3}
    assert capsys.readouterr().out == "" and "words of the library" in (run / "tracking.txt").read_text()


def test_numbers_are_what_a_tracker_can_draw() -> None:
    row = {"step": 3, "a": 1, "b": float("nan"), "c": "x", "d": None, "e": True}
    assert numbers(row) == {"a": 1.0, "e": 1.0}


def test_no_tracker_writes_nothing(tmp_path: Path) -> None:
    check_tracker("none")
    tracking = Tracking("none", tmp_path)
    tracking.send("rl", [{"step": 1, "reward": 0.5}])
    tracking.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tracker", ["trackio", "tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_a_users_mistake(tracker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thinkaloud.train.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"pip install {tracker}"):
        check_tracker(tracker)


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_takes_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import trackio

    tracking = Tracking("trackio", tmp_path)
    tracking.send("rl", [{"step": step, "reward": step / 4} for step in (1, 2, 3)])
    tracking.close()
    found = trackio.Api().runs("thinkaloud")
    assert [run.name for run in found] == [f"{tmp_path.name}-rl"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_holds_the_numbers_of_a_whole_run(tmp_path: Path) -> None:
    """The events of a run of the smoke recipe, read back by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "smoke"
    assert command(["train", "recipes/smoke.toml", f"run.dir={run}", 'run.track="tensorboard"']) == 0
    for stage in read_json(run / "tracked.json"):
        events = EventAccumulator(str(run / "tensorboard" / stage), size_guidance={"scalars": 0}).Reload()
        told: dict[int, dict[str, float]] = {}
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                told.setdefault(event.step, {})[tag] = event.value
        rows = read_jsonl(run / "checkpoints" / stage / "metrics.jsonl")
        assert told == {row["step"]: pytest.approx(numbers(row), rel=1e-6) for row in rows} and len(rows) > 3
    assert set(read_json(run / "tracked.json")) == set(load_settings(Recipe, run / "recipe.toml").stages)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_holds_the_numbers_of_a_whole_run(tmp_path: Path) -> None:
    """Those of a run of the smoke recipe, without a network, read back from trackio's own database."""
    run, nowhere = tmp_path / "smoke", "http://127.0.0.1:9"
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "TRACKIO_DIR": str(tmp_path / "db"),
    }

    def told_by(*command: str) -> str:
        environment = os.environ | offline
        return subprocess.run(
            [sys.executable, *command], check=True, stdout=subprocess.PIPE, env=environment
        ).stdout.decode()

    told_by("-m", "thinkaloud", "train", "recipes/smoke.toml", f"run.dir={run}", 'run.track="trackio"')
    stages = list(load_settings(Recipe, run / "recipe.toml").stages)
    script = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps([SQLiteStorage.get_logs("thinkaloud", name) for name in sys.argv[1:]]))
"""
    logs = json.loads(told_by("-c", script, *(f"smoke-{stage}" for stage in stages)))
    for stage, log in zip(stages, logs, strict=True):
        rows = read_jsonl(run / "checkpoints" / stage / "metrics.jsonl")
        told = {row["step"]: {key: row[key] for key in row if key not in ("step", "timestamp")} for row in log}
        assert told == {row["step"]: pytest.approx(numbers(row), rel=1e-6) for row in rows}
        assert len(log) == len(rows) > 3, "none is sent twice"
    assert set(read_json(run / "tracked.json")) == set(stages)
