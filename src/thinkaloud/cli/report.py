"""`thinkaloud report`: a run, a study or an evaluation told again from its folder."""

from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.cli.compare import tell_study
from thinkaloud.cli.console import say, say_table
from thinkaloud.cli.recipes import tell_findings, tell_run


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's, a study's or an evaluation's folder, finished or not.")
    ],
) -> None:
    """Tell a run again and rewrite its report.html."""
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
    else:
        file = write_report(run)
        tell_run(run)
    say()
    say(f"The whole of it: {file}")
