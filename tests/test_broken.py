"""The doctor on real runs that were broken on purpose, as benchmarks/broken.py recorded them, and on new ones."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from thinkaloud.base.run import read_jsonl
from thinkaloud.reports.diagnosis import diagnose

ROOT = Path(__file__).parents[1]
RECORDED = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "tests/fixtures/broken").glob("*.json"))}


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("broken", ROOT / "benchmarks" / "broken.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


broken = module()


def test_every_way_to_break_a_run_is_recorded() -> None:
    assert set(RECORDED) == set(broken.BREAKAGES) and len(RECORDED) > 10
    assert all(RECORDED[name]["says"] == list(one.says) for name, one in broken.BREAKAGES.items())


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_is_diagnosed_rightly(name: str) -> None:
    """What is wrong comes first; and of the other names that runs were broken for, none comes that contradicts it."""
    found = [one.name for one in diagnose(broken.as_rows(RECORDED[name]["rows"]))]
    assert found[0] in RECORDED[name]["says"] if RECORDED[name]["says"] else found == []


def test_rows_come_back_as_they_were() -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "reward": 0.5}, {"step": 2, "weight_norm": None, "reward": 0.25}]
    assert broken.as_rows(broken.in_little(rows)) == rows
    assert broken.in_little([{"step": 1, "seconds": 3.0, "reward_cups": 1.0, "entropy": 0.123456}]) == {
        "step": [1],
        "entropy": [0.1235],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", broken.BREAKAGES)
def test_a_run_broken_anew_is_diagnosed_rightly(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    runs = tmp_path_factory.getbasetemp() / "broken"
    rows = read_jsonl(broken.train(name, runs) / "checkpoints" / "rl" / "metrics.jsonl")
    assert broken.verdict(name, rows), [str(one) for one in diagnose(rows)]
