"""`thinkaloud demo` and `thinkaloud train`: a recipe's stages from nothing to measured models."""

from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.cli.console import say
from thinkaloud.cli.recipes import find_recipe, finished, read_recipe, tell_next, tell_run, watch

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings other than the recipe's, such as run.seed=2."),
]


def demo(overrides: Overrides = None) -> None:
    """Teach a small model to think aloud, in minutes.

    Trains it and its controls by recipes/demo.toml, measures all of them and writes a report.
    Asked again it goes on where it stopped; a finished run is left alone.
    """
    recipe = find_recipe(Path("recipes/demo.toml"))
    _train(recipe, overrides)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file, such as recipes/demo.toml.")],
    overrides: Overrides = None,
) -> None:
    """Train a recipe's models and measure them.

    model=PATH starts from a checkpoint, problems=FILE trains on problems of your own: docs/TRAINING.md. First it says
    what it will spend, and refuses what can't fit into memory.
    Asked again it goes on where it stopped; a finished run is left alone.
    """
    _train(recipe, overrides)


def _train(path: Path, overrides: list[str] | None) -> None:
    from thinkaloud.train.pipeline import announce
    from thinkaloud.train.pipeline import train as train_recipes

    recipe = read_recipe(path, overrides or ())
    folder = recipe.run.dir
    if finished(recipe):
        say(f"{folder} is finished: nothing to do (delete it, or give run.dir=, to train once more)")
    else:
        for line in announce(recipe):
            say(line)
        say(f"{folder}/live.html shows how it goes")
        watch(train_recipes([recipe]))
    tell_run(folder)
    tell_next(folder, [str(path), *(overrides or ())])
