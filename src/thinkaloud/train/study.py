"""Studies: one recipe over several seeds, in one folder, resumable, its stages side by side."""

from collections.abc import Iterator, Sequence

from thinkaloud.train.pipeline import StageStatus, train
from thinkaloud.train.recipe import Recipe, StudySettings


def seeded(recipe: Recipe, seeds: Sequence[int]) -> list[Recipe]:
    """The recipe once for every seed, in `DIR-study/seeds/SEED`, with the study's own stages.

    Budget curves and votes are left to single runs.
    """
    folder = recipe.run.dir.with_name(recipe.run.dir.name + "-study")
    return [
        recipe.model_copy(
            update={
                "run": recipe.run.model_copy(update={"seed": seed, "dir": folder / "seeds" / str(seed)}),
                "stages": recipe.stages | recipe.study.stages,
                "study": StudySettings(),
                "evaluation": recipe.evaluation.model_copy(update={"probe": []}),
            }
        )
        for seed in seeds
    ]


def run_study(recipes: Sequence[Recipe]) -> Iterator[list[StageStatus]]:
    """Train all; yields where every stage stands."""
    yield from train(recipes)
