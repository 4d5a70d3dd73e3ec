"""`thinkaloud report`: a run, a study or an evaluation told again from its folder; several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.compare import tell_study
from thinkaloud.cli.console import say, say_table
from thinkaloud.cli.recipes import tell_findings, tell_run


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folder of a run, a study or an evaluation; or several runs.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page of several runs; side-by-side.html by default.")
    ] = None,
) -> None:
    """Tell a run again, or several runs side by side.

    One run's report.html is rewritten; several are put on one page.

    A run need not be finished. While it is trained, live.html in its folder shows how it goes.

    Examples: thinkaloud report runs/demo; thinkaloud report runs/demo runs/other --out both.html
    """
    if len(runs) > 1:
        _side_by_side(runs, out or Path("side-by-side.html"))
    elif out is not None:
        raise UserError("--out is for several runs: the report of one is written into its folder")
    else:
        _one(runs[0])


def _side_by_side(runs: Sequence[Path], file: Path) -> None:
    from thinkaloud.reports.several import load_several, settings_that_differ, side_by_side_table, write_several

    loaded = load_several(runs)
    write_several(loaded, file)
    say_table(side_by_side_table(loaded))
    say()
    differing = settings_that_differ(loaded)
    if differing:
        say_table([["setting", *loaded], *differing])
    else:
        say("The settings are the same.")
    say()
    say(f"The whole of it: {file}")


def _one(run: Path) -> None:
    from thinkaloud.reports import study_table, write_report, write_study
    from thinkaloud.reports.compact import is_study
    from thinkaloud.reports.evaluation import evaluation_table, load_evaluation, write_evaluation
    from thinkaloud.reports.study import load_study, study_findings

    if is_study(run):
        tell_study(run)
        return
    if (run / "seeds").is_dir():
        file = write_study(run)
        loaded = load_study(run)
        say_table(study_table(loaded))
        say()
        tell_findings(iter(study_findings(loaded)))
    elif (run / "samples.jsonl").exists():
        file = write_evaluation(run)
        for one in load_evaluation(run).by_budget.values():
            say_table(evaluation_table(one))
    elif run.is_dir() and not (run / "recipe.toml").exists():
        raise UserError(f"{run} holds no run (recipe.toml is not there): give a folder that `thinkaloud train` wrote")
    else:
        file = write_report(run)
        tell_run(run)
    say()
    say(f"The whole of it: {file}")
