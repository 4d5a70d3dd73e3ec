"""Recipes: overrides, what is said of a mistake, and the way back to TOML."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.config import load_settings, parse_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stages import RlSettings, SftSettings

TOML = """
[run]
name = "tiny"
dir = "runs/tiny"
result = "more"

[families.cups]
train = 20
levels = [3, 4]

[stages.start]
kind = "sft"
budget = 1000

[stages.more]
kind = "rl"
init = "start"
budget = 500
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(TOML)
    return path


def said(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load_settings(Recipe, path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_kinds_of_stages_are_told_apart(recipe_file: Path) -> None:
    recipe = load_settings(Recipe, recipe_file)
    assert isinstance(recipe.stages["start"], SftSettings) and isinstance(recipe.stages["more"], RlSettings)
    assert recipe.families["cups"].levels == [3, 4] and recipe.stages["more"].init == "start"


def test_overrides_of_every_type(recipe_file: Path) -> None:
    recipe = load_settings(
        Recipe,
        recipe_file,
        [
            "run.seed=7",
            "run.dir=runs/other folder",
            'run.name="a name = a value"',
            "families.cups.levels=[5]",
            "families.cups.ways.hasty=0.5",
            "stages.more.memory=true",
            "stages.more.optimiser.muon_rate=1e-3",
            "evaluation.budgets=[]",
        ],
    )
    assert (
        recipe.run.seed == 7 and recipe.run.dir == Path("runs/other folder") and recipe.run.name == "a name = a value"
    )
    assert recipe.families["cups"].levels == [5] and recipe.families["cups"].ways == {"hasty": 0.5}
    more = recipe.stages["more"]
    assert isinstance(more, RlSettings) and more.memory and more.optimiser.muon_rate == 1e-3
    assert recipe.evaluation.budgets == []


def test_a_later_override_wins(recipe_file: Path) -> None:
    assert load_settings(Recipe, recipe_file, ["run.seed=1", "run.seed=2"]).run.seed == 2


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("run.sede=1", "run.seed"),
        ("modle={}", "model"),
        ("families.cups.trian=5", "families.cups.train"),
        ("stages.more.clip_hihg=0.3", "stages.more.clip_high"),
        ("stages.start.wyas={}", "stages.start.ways"),
        ("stages.start.optimiser.warmpu=0.1", "stages.start.optimiser.warmup"),
        ("evaluation.tset=5", "evaluation.test"),
    ],
)
def test_an_unknown_key_names_the_nearest(recipe_file: Path, override: str, nearest: str) -> None:
    words = said(recipe_file, override)
    assert f"unknown key {override.split('=')[0]}" in words and f"did you mean {nearest}?" in words


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("run.seed=many", "run.seed"),
        ("families.cups.train=0", "families.cups.train"),
        ("families.cups.levels=['x']", "families.cups.levels"),
        ("stages.more.budget=-1", "stages.more.budget"),
        ("stages.more.length=word", "stages.more.length"),
        ("stages.more.kind=magic", "stages.more"),
        ("stages.third.budget=5", "stages.third"),
    ],
)
def test_a_wrong_value_names_its_key(recipe_file: Path, override: str, key: str) -> None:
    assert f": {key}" in said(recipe_file, override)


@pytest.mark.parametrize("override", ["run.seed", "=3", "run.=3", ".seed=3", "run.name.deeper=3"])
def test_a_malformed_override_is_shown(recipe_file: Path, override: str) -> None:
    assert repr(override) in said(recipe_file, override)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "does not exist" in said(tmp_path / "none.toml")
    assert "cannot be read" in said(tmp_path)
    (tmp_path / "broken.toml").write_text("[run\n")
    assert "not valid TOML" in said(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in said(tmp_path / "binary.toml")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(TOML.replace('result = "more"\n', ""))
    assert "run.result" in said(tmp_path / "short.toml")


def test_to_toml_is_resolved_and_comes_back(recipe_file: Path) -> None:
    recipe = load_settings(Recipe, recipe_file, ["stages.more.optimiser.floor=0.25"])
    text = to_toml(recipe)
    recipe_file.write_text(text)
    assert load_settings(Recipe, recipe_file) == recipe
    assert "floor = 0.25" in text and tomllib.loads(text)["model"]["hidden_size"] == recipe.model.hidden_size


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    name=names,
    seed=st.integers(-(2**63), 2**63 - 1),
    ways=st.dictionaries(names, st.floats(0, 1e300), max_size=3),
    stage=names,
    budget=st.floats(1e-300, 1e300),
    levels=st.none() | st.lists(st.integers(-9, 99), max_size=3),
)
def test_any_recipe_survives_the_way_through_toml(
    name: str, seed: int, ways: dict[str, float], stage: str, budget: float, levels: list[int] | None
) -> None:
    raw: dict[str, Any] = {
        "run": {"name": name, "dir": "runs/x", "result": stage, "seed": seed},
        "families": {name: {"ways": ways, "levels": levels}},
        "stages": {stage: {"kind": "sft", "budget": budget, "ways": {name: ways}}},
    }
    recipe = parse_settings(Recipe, raw, "test")
    assert parse_settings(Recipe, tomllib.loads(to_toml(recipe)), "test") == recipe


def test_files_are_utf8_wherever_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbf" + TOML.replace("tiny", "f\u00fcnf").encode())
    code = """
from pathlib import Path
from thinkaloud.base.config import Settings, load_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, write_json
write_json(Path("problems.json"), "f\\xfcnf")
assert read_json(Path("problems.json")) == "f\\xfcnf"
try:
    load_settings(Settings, Path("recipe.toml"))
except UserError as error:
    assert "unknown key run" in str(error), error
"""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | ascii_only, check=True)
    assert "f\u00fcnf" in (tmp_path / "problems.json").read_text("utf-8")
