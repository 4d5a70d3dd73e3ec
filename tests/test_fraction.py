"""The study of data in miniature: its own recipe, made small; reward goes up, and every ledger adds up."""

from pathlib import Path

import pytest

from thinkaloud.base.config import load_settings
from thinkaloud.base.run import read_json, read_jsonl
from thinkaloud.reports.compact import load_data
from thinkaloud.reports.ratio_tables import tables
from thinkaloud.reports.ratios import Analysis
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.stages import RlSettings
from thinkaloud.train.study import run_study, seeded

RECIPES = Path(__file__).parents[1] / "recipes"
SMALL = [
    "families.chains.levels=[5,6]",
    'stages."chains.start".budget=700000',
    'stages."pairs.start".budget=3000',
    'stages."gym_leg_counting.start".budget=3000',
    "evaluation.test=100",
    "evaluation.samples=1",
    "evaluation.beyond=0",
    "evaluation.dev=100",
    "evaluation.points=4",
    'study.families=["chains"]',
    "study.sizes=[64]",
    "study.arms.ours.sizes=[4,64]",
    "study.arms.b0.rollouts=512",
]


@pytest.mark.parametrize("name", ["fraction.toml", "fraction-fresh.toml", "fraction-tune.toml", "fraction-parts.toml"])
def test_the_recipes_of_the_study_hold_together(name: str) -> None:
    recipe = load_settings(Recipe, RECIPES / name)
    stages = seeded(recipe, [1])[0].stages
    arms = [stage for key, stage in stages.items() if key not in recipe.stages]
    assert {stage.init for stage in arms} == {f"{family}.start" for family in recipe.study.families}
    assert all(stage.skip == 5000 for stage in arms), "an arm learns from problems that its cold start has seen"
    limits = {stage.rollouts for stage in arms if isinstance(stage, RlSettings)}
    assert limits == {2048}, "arms are given equal rollouts"


@pytest.mark.slow
def test_a_miniature_learns_and_its_ledgers_add_up(tmp_path: Path) -> None:
    recipe = load_settings(Recipe, RECIPES / "fraction.toml", [*SMALL, f"run.dir={tmp_path / 'mini'}"])
    runs = seeded(recipe, [1, 2])
    for _ in run_study(runs):
        pass
    gains: list[float] = []
    for run in runs:
        for name, stage in run.stages.items():
            folder = stage_folder(run.run.dir, name)
            ledger, rollouts = read_json(folder / "ledger.json"), read_jsonl(folder / "rollouts.jsonl")
            assert ledger["rollouts"] == ledger["verifier_calls"] == len(rollouts)
            assert ledger["generated_tokens"] == sum(row["tokens"] for row in rollouts)
            assert ledger["discarded_tokens"] <= ledger["generated_tokens"]
            if not isinstance(stage, RlSettings):
                continue
            asked = {row["problem"] for row in rollouts}
            assert stage.subset is not None and abs(ledger["rollouts"] - 512) <= 64
            assert len(asked) <= stage.subset + ledger["variants"]
            assert ledger["unique_problems"] <= stage.subset + run.evaluation.dev
            curve = [row["dev_accuracy"] for row in read_jsonl(folder / "metrics.jsonl") if "dev_accuracy" in row]
            if name in ("chains.b0.64", "chains.ours.64"):
                gains.append(max(curve[1:]) - curve[0])
    assert sum(gains) / len(gains) > 0.03, gains
    analysis = Analysis(load_data(runs[0].run.dir.parents[1]))
    titles = [one.title for one in tables(analysis)]
    assert "Unique problems to the target of b0" in titles and "What was spent" in titles


def test_a_stage_with_a_dot_in_its_name_is_overridden_in_quotes() -> None:
    recipe = load_settings(Recipe, RECIPES / "fraction.toml", ['stages."chains.start".budget=7'])
    assert recipe.stages["chains.start"].budget == 7
