"""`thinkaloud study`: one recipe over several seeds."""

from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.compare import tell_study
from thinkaloud.cli.console import say, say_table
from thinkaloud.cli.recipes import finished, read_recipe, tell_findings, watch
from thinkaloud.cli.train import Overrides


def study(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file, such as recipes/demo.toml.")],
    overrides: Overrides = None,
    seeds: Annotated[str, typer.Option(help="The seeds, separated by commas.")] = "1,2,3,4,5",
) -> None:
    """Repeat a recipe over several seeds.

    Tells what holds over all of them, with intervals that count their luck.
    Writes DIR-study/ beside the recipe's own run.dir. Asked again it goes on where it stopped.
    """
    from thinkaloud.reports import study_table, write_study
    from thinkaloud.reports.study import load_study, study_findings
    from thinkaloud.train.study import run_study, seeded

    recipes = seeded(read_recipe(recipe, overrides or ()), _numbers(seeds))
    folder = recipes[0].run.dir.parents[1]
    if recipes[0].study.arms:
        watch(run_study(recipes))
        say()
        tell_study(folder)
        return
    if (folder / "study.json").exists() and all([finished(one) for one in recipes]):
        say(f"{folder} is finished: nothing to do (delete it, or give run.dir=, to study once more)")
    else:
        watch(run_study(recipes))
        write_study(folder)
    loaded = load_study(folder)
    say()
    say_table(study_table(loaded))
    say()
    tell_findings(iter(study_findings(loaded)))
    say()
    say(f"The whole of it: {folder}/report.html, the table in Markdown: {folder}/study.md")


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds {text!r} is not a list of different numbers: write it as 1,2,3")
    return [int(part) for part in parts]
