"""Recipes and runs as the training verbs see them: found, read, trained to the end, told."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING

from thinkaloud.cli.console import out, resumable, say, say_table

if TYPE_CHECKING:
    from thinkaloud.reports.findings import Finding
    from thinkaloud.reports.load import Run
    from thinkaloud.train.recipe import Recipe
    from thinkaloud.train.status import StageStatus

TONES = {"yes": ("+", "green"), "no": ("-", "red"), "open": ("=", "yellow"), "missing": ("?", "dim")}
"How a finding's tone is marked."


def shipped_recipes() -> Path:
    """The folder of our own recipes: in the package when installed, beside `src` in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parents[1] / "recipes"


def find_recipe(path: Path) -> Path:
    """The file meant by `path`: the file itself, else one of ours by `recipes/NAME.toml`, `NAME.toml` or `NAME`."""
    if not path.is_file() and path.parent in (Path(), Path("recipes")):
        ours = (shipped_recipes() / path.name).with_suffix(".toml")
        if ours.exists():
            return ours
    return path


def read_recipe(path: Path, overrides: Sequence[str]) -> "Recipe":
    """The recipe with its overrides; UserError names what is wrong in it."""
    from thinkaloud.base.config import load_settings
    from thinkaloud.train.recipe import Recipe

    return load_settings(Recipe, find_recipe(path), overrides)


def finished(recipe: "Recipe") -> bool:
    """Whether its run is complete; looks only, unless there is no run yet."""
    from thinkaloud.train.pipeline import prepare

    return (recipe.run.dir / "summary.json").exists() and prepare(recipe)


def watch(progress: Iterator[list["StageStatus"]]) -> None:
    """Train to the end and show it; whatever ends it, the stages' processes end too."""
    from thinkaloud.cli.display import follow

    assert isinstance(progress, Generator)
    with resumable(), closing(progress):
        follow(progress, out())


def findings_of(run: "Run") -> Iterator["Finding"]:
    """All verdicts on a run, in the report's order."""
    from thinkaloud.reports.findings import control_findings, data, endings, lift, thinking, training
    from thinkaloud.reports.monologue import length, votes, ways

    for judge in (training, thinking, lift, data, control_findings, endings, length, ways, votes):
        yield from judge(run)


def tell_findings(findings: Iterator["Finding"]) -> None:
    """One line a finding, those that nothing is known about left out."""
    for finding in findings:
        mark, style = TONES[finding.tone]
        if finding.tone != "missing":
            say(f"  {mark} {finding.headline}", style)


def tell_run(folder: Path) -> None:
    """The table of a run and its findings."""
    from thinkaloud.reports import load_run, summary_table

    run = load_run(folder)
    say()
    say_table(summary_table(run))
    say()
    tell_findings(findings_of(run))


def tell_next(folder: Path, recipe: Sequence[str]) -> None:
    """Commands to try on a finished run of a recipe and its overrides."""
    run = quote(str(folder))
    say()
    say("Next:", "bold")
    say(f"  thinkaloud chat {run}")
    say(f"  thinkaloud ask --model {run} {quote(_example(folder))}")
    say(f"  open {run}/report.html")
    say(f"  thinkaloud study {join(recipe)}")


def _example(folder: Path) -> str:
    """A question that the run's model has learnt to answer."""
    from thinkaloud.problems import FAMILIES, draw
    from thinkaloud.reports import load_run

    told = load_run(folder)
    known = [name for name in told.families() if name in FAMILIES]
    if known:
        return draw(known[-1], "test", 1, 7)[0].question
    asked = [problem.question for one in told.evaluations.values() for problem in one.problems]
    return asked[0].split("\n")[0] if asked else "..."
