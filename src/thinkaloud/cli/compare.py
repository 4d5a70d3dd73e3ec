"""`thinkaloud compare`: two evaluations, paired by problem; or the arms of a study, by what each needs."""

from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import say, say_json, say_table
from thinkaloud.cli.recipes import tell_findings


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="An evaluation's folder, a run's, or a study's.")],
    second: Annotated[Path | None, typer.Argument(metavar="[B]", help="The other one; none for a study.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    small: Annotated[
        Path | None, typer.Option("--compact", help="Of a study: write it in little to this folder, one file a seed.")
    ] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Of a study: write its plots to this folder.")] = None,
    page: Annotated[
        Path | None, typer.Option("--into", help="Of a study: tell it between the marked lines of this Markdown page.")
    ] = None,
) -> None:
    """Compare two evaluations, or the arms of a study.

    Of two evaluations, problem by problem: prints B minus A with 95 % intervals and a verdict. Where the sample is too
    small for one, it says which difference it could have shown. Of a study whose stages are called FAMILY.ARM.SIZE:
    accuracy against unique problems, rollouts, tokens and seconds, and the ratios of what the arms need to reach the
    target that was declared. It reads DIR-study, or a folder of its seeds in little.
    """
    if second is not None:
        if small or plots or page:
            raise UserError("--compact, --plots and --into are for a study: give its folder alone")
        _two(first, second, as_json)
    else:
        _study(first, as_json, small, plots, page)


def _two(first: Path, second: Path, as_json: bool) -> None:
    from thinkaloud.reports import compare as reading

    one, other = reading.load_side(first), reading.load_side(second)
    found = reading.compare(one, other)
    words = [*(part.words(one.name, other.name) for part in found), *reading.remarks(one, other)]
    if as_json:
        rows = [
            {
                "what": part.what,
                "difference": part.difference.mean,
                "ci95": [part.difference.low, part.difference.high],
                "n": part.difference.count,
                "detectable": part.detectable,
                "claim": part.claim,
            }
            for part in found
        ]
        say_json({"a": one.name, "b": other.name, "comparisons": rows, "words": words})
        return
    say_table(reading.comparison_table(found))
    say()
    for line in words:
        say(line)


def _study(path: Path, as_json: bool, small: Path | None, plots: Path | None, page: Path | None) -> None:
    from thinkaloud.reports import ratio_report as telling
    from thinkaloud.reports.compact import read_small, write_compact

    if small is not None:
        for seed, raw in read_small(path).items():
            write_compact(small / f"{seed}.json", raw)
    if page is not None or plots is not None or as_json:
        analysis = telling.analyse(path)
        if page is not None:
            telling.write_into(page, analysis, plots)
        elif plots is not None:
            telling.write_plots(plots, analysis)
        if as_json:
            say_json(telling.summary(analysis))
    else:
        tell_study(path)


def tell_study(path: Path) -> None:
    """The tables and sentences of a study of arms and sizes; beside its run folders, report.html is written anew."""
    from thinkaloud.reports import ratio_report as telling
    from thinkaloud.reports.ratio_tables import findings, tables

    analysis = telling.analyse(path)
    say(telling.method(analysis))
    for one in tables(analysis):
        say()
        say(one.title, "bold")
        say_table(one.rows)
        say(one.note)
    say()
    tell_findings(iter(findings(analysis)))
    if (path / "seeds").is_dir():
        say()
        say(f"The whole of it: {telling.write_page(path, analysis)}")
