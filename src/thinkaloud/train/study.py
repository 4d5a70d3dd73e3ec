"""Studies: one recipe over several seeds, in one folder, resumable, its stages side by side.

A study may try arms: every arm on every family and size is a stage FAMILY.ARM.SIZE that starts from FAMILY.start.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from thinkaloud.base.errors import UserError
from thinkaloud.train.pipeline import train
from thinkaloud.train.recipe import Recipe, StudySettings
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.stages import GivenSettings, StageSettings
from thinkaloud.train.status import StageStatus

STAGE = TypeAdapter[StageSettings](StageSettings)


def seeded(recipe: Recipe, seeds: Sequence[int]) -> list[Recipe]:
    """The recipe once for every seed, in `DIR-study/seeds/SEED`, with the study's own stages.

    Budget curves and votes are left to single runs. Where seeds share cold starts, the later ones take them over.
    """
    folder = recipe.run.dir.with_name(recipe.run.dir.name + "-study")
    stages = recipe.stages | recipe.study.stages | arms_of(recipe)
    shared = recipe.study.starts or len(seeds)
    declared = recipe.study.model_copy(update={"stages": {}, "arms": {arm: {} for arm in recipe.study.arms}})
    dirs = [folder / "seeds" / str(seed) for seed in seeds]
    return [
        recipe.model_copy(
            update={
                "run": recipe.run.model_copy(update={"seed": seed, "dir": dirs[number]}),
                "stages": stages | (_taken_over(recipe, dirs[number % shared]) if number >= shared else {}),
                "study": declared if recipe.study.arms else StudySettings(),
                "evaluation": recipe.evaluation.model_copy(update={"probe": []}),
            }
        )
        for number, seed in enumerate(seeds)
    ]


def _taken_over(recipe: Recipe, run: Path) -> dict[str, StageSettings]:
    """The cold starts as another run trains them."""
    known = {"families", "thinking", "budget", "max_tokens"}
    starts = {name: stage.model_dump(include=known) for name, stage in recipe.stages.items() if stage.init is None}
    return {name: GivenSettings(kind="given", stage=stage_folder(run, name), **kept) for name, kept in starts.items()}


def arms_of(recipe: Recipe) -> dict[str, StageSettings]:
    """The stages of a study's arms; UserError names an arm whose settings are none."""
    study, found = recipe.study, {}
    for family in study.families:
        start = f"{family}.start"
        if start not in recipe.stages:
            raise UserError(f'the study of {family} needs a stage [stages."{start}"] that its arms start from')
        shared = {"init": start, "families": [family], "max_tokens": recipe.stages[start].max_tokens}
        for arm in study.arms:
            settings = _settings(study, arm)
            for size in settings.pop("sizes", study.sizes):
                raw = shared | settings | {"subset": size}
                try:
                    found[f"{family}.{arm}.{size}"] = STAGE.validate_python(raw)
                except ValidationError as error:
                    fault = error.errors()[0]
                    where = ".".join(str(part) for part in fault["loc"])
                    raise UserError(f"study.arms.{arm}: {where}: {fault['msg']}") from None
    return found


def _settings(study: StudySettings, arm: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """An arm's own settings over those of the arm it is like."""
    if arm not in study.arms or arm in seen:
        raise UserError(f"study.arms.{(seen or (arm,))[-1]} is like {arm}, which is no other arm of the study")
    own = dict(study.arms[arm])
    like = own.pop("like", None)
    return own if like is None else _settings(study, like, (*seen, arm)) | own


def run_study(recipes: Sequence[Recipe]) -> Iterator[list[StageStatus]]:
    """Train all; yields where every stage stands."""
    yield from train(recipes)
