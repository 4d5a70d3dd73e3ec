"""Several runs side by side, on invented run folders: what is lined up, what differs, and nothing that isn't there."""

import json
from pathlib import Path

import pytest

from test_reports import write_run
from thinkaloud.base.errors import UserError
from thinkaloud.cli.main import run as command_line
from thinkaloud.reports import load_run
from thinkaloud.reports.several import (
    load_several,
    models_of,
    render_several,
    settings_that_differ,
    side_by_side_table,
)

BETTER = {"think": {"cups": 0.95, "chains": 0.95}, "think_rl": {"cups": 0.95, "chains": 0.95}}


def recipe(run: Path, text: str) -> None:
    (run / "recipe.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two runs whose folders have the same name."""
    runs = [write_run(tmp_path / "a" / "demo"), write_run(tmp_path / "b" / "demo", skill=BETTER, seed=1)]
    recipe(runs[0], '[run]\nname = "one"\ndir = "a"\nseed = 1\n[stages.think]\nbudget = 5\n')
    recipe(runs[1], '[run]\nname = "two"\ndir = "b"\nseed = 1\n[stages.think]\nbudget = 7\nlabel = "<b>"\n')
    return runs


def test_runs_are_named_by_what_tells_them_apart(pair: list[Path], tmp_path: Path) -> None:
    assert list(load_several(pair)) == ["a/demo", "b/demo"]
    other = write_run(tmp_path / "c" / "other")
    assert list(load_several([pair[0], other])) == ["demo", "other"]


def test_only_what_differs_is_listed(pair: list[Path]) -> None:
    assert settings_that_differ(load_several(pair)) == [
        ["stages.think.budget", "5", "7"],
        ["stages.think.label", "\u2013", "<b>"],
    ]
    recipe(pair[1], (pair[0] / "recipe.toml").read_text())
    assert settings_that_differ(load_several(pair)) == []


def test_a_model_that_one_run_lacks_leaves_its_cell_empty(pair: list[Path]) -> None:
    runs = load_several(pair)
    assert models_of(runs)[:2] == ["direct", "direct_rl"]
    heading, first, *_ = side_by_side_table(runs)
    assert heading == ["model %", "a/demo", "b/demo"] and first[0] == "direct" and first[2] == "-"


def test_the_page_shows_all_of_it_and_no_foreign_markup(pair: list[Path]) -> None:
    page = render_several(load_several(pair))
    for part in ("2 runs side by side", "Settings that differ", "&lt;b&gt;", "think_rl: reward", "What they cost"):
        assert part in page
    assert "<b></td>" not in page and 'class="yes"' in page  # the second run's cold start is better, and said to be
    assert page.count("a/demo") > 3


def test_a_run_that_is_not_finished_has_its_curves(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    for stage in ("think", "think_rl"):
        (begun / "checkpoints" / stage).mkdir(parents=True)
        rows = [{"stage": stage, "kind": "rl", "step": step, "progress": step / 9, "reward": 0.5} for step in (1, 2)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (begun / "checkpoints" / stage / "metrics.jsonl").write_text(text)
    recipe(begun, '[run]\nname = "begun"\n')
    assert {row["stage"] for row in load_run(begun).metrics} == {"think", "think_rl"}
    page = render_several(load_several([begun, write_run(tmp_path / "whole")]))
    assert "begun: ledger.json is not there" in page and "think_rl: reward" in page


def test_the_verb_writes_one_page(
    pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line(["report", *map(str, pair)]) == 0
    said = capsys.readouterr().out
    assert "stages.think.budget" in said and "side-by-side.html" in said
    assert "a/demo" in (tmp_path / "side-by-side.html").read_text(encoding="utf-8")


def test_what_is_no_run_is_refused(pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="named twice"):
        load_several([pair[0], pair[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        load_several([pair[0], tmp_path / "empty"])
    assert command_line(["report", str(pair[0]), "--out", "x.html"]) == 2
    assert "several runs" in capsys.readouterr().err
