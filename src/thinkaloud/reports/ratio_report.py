"""A study of arms and sizes told: report.html, a part of a Markdown page, plots as files.

Knows which parts a telling has and their order; does not know how numbers, sentences and plots are made.
"""

import os
from html import escape
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import write_text
from thinkaloud.reports.compact import load_data
from thinkaloud.reports.drawing import standalone
from thinkaloud.reports.html import findings_card
from thinkaloud.reports.page import figure, grid, page, section, table
from thinkaloud.reports.ratio_plots import by_problems, by_rollouts, parts_forest, ratio_forest
from thinkaloud.reports.ratio_tables import Table, findings, tables
from thinkaloud.reports.ratios import OVERALL, Analysis

BEGIN, END = "<!-- thinkaloud compare: begin -->", "<!-- thinkaloud compare: end -->"
"Lines of a Markdown page between which the study is told."


def analyse(study: Path) -> Analysis:
    """The study's draws, from DIR-study or from a folder of its seeds in little."""
    return Analysis(load_data(study))


def method(analysis: Analysis) -> str:
    """How the intervals were made, in one paragraph, and what is incomplete."""
    words = (
        f"{len(analysis.runs)} seeds, {analysis.problems(OVERALL):,} sealed problems, {analysis.data.samples} replies "
        "each. 95 % intervals by bootstrap: every draw resamples the seeds, jointly for all arms, and the problems, "
        "which all seeds share (arXiv 0712.1111); percentiles are widened for few seeds (arXiv 1411.5279). The target "
        "is made anew in every draw. A ratio is infinite (never) in a draw where the arm does not get there; where "
        "only the baseline does not, it counts as if it had at its end."
    )
    return " ".join([words, *analysis.data.remarks])


def plots_of(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """Title and SVG of every plot that has numbers, by file name."""
    columns = [*analysis.families, OVERALL] if len(analysis.families) > 1 else analysis.families
    top = f"{analysis.top:,}"
    drawn = {
        f"problems-{one}": (f"{one}: accuracy against unique problems", by_problems(analysis, one)) for one in columns
    }
    drawn |= {
        f"rollouts-{one}": (f"{one}: dev accuracy against rollouts, {top} problems", by_rollouts(analysis, one))
        for one in analysis.families
    }
    drawn["ratios"] = (f"{analysis.plan.ours} over the baselines: what reaches their targets", ratio_forest(analysis))
    drawn["parts"] = (f"parts left out, and controls, minus {analysis.plan.ours}", parts_forest(analysis))
    return {name: (title, svg) for name, (title, svg) in drawn.items() if svg is not None}


def write_page(study: Path, analysis: Analysis) -> Path:
    """Write STUDY/report.html and return its path."""
    name = study.resolve().name
    told = tables(analysis)
    figures = [figure(svg, title) for title, svg in plots_of(analysis).values()]
    body = [
        f"<h1>Study <em>{escape(name)}</em></h1>",
        f'<p class="muted">{escape(method(analysis))}</p>',
        *(section(one.title, _html(one), note=one.note) for one in told[:1]),
        section("What the intervals support", findings_card(findings(analysis))),
        section("Curves and ratios", grid(*figures), note="Dotted: the target that each baseline sets."),
        *(section(one.title, _html(one), note=one.note) for one in told[1:]),
    ]
    file = study / "report.html"
    write_text(file, page(f"thinkaloud: study {name}", [part for part in body if part]))
    return file


def _html(one: Table) -> str:
    heading, *rows = one.rows
    return table(heading, [[escape(cell) for cell in row] for row in rows])


def write_plots(folder: Path, analysis: Analysis) -> list[Path]:
    """Write every plot as FOLDER/NAME.svg."""
    files = []
    for name, (_, svg) in plots_of(analysis).items():
        files.append(folder / f"{name}.svg")
        write_text(files[-1], standalone(svg))
    return files


def markdown(analysis: Analysis, images: dict[str, str]) -> str:
    """Sentences, plots (address by name) and tables in Markdown."""
    said = [f"- {one.headline}{''.join(f' {detail}' for detail in one.details)}" for one in findings(analysis)]
    titles = {name: title for name, (title, _) in plots_of(analysis).items() if name in images} if images else {}
    parts = [method(analysis), "\n".join(said) or "No interval supports a sentence."]
    parts += [f"![{title}]({images[name]})" for name, title in titles.items()]
    for one in tables(analysis):
        heading, *rows = one.rows
        lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
        text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        parts.append(f"### {one.title}\n\n{text}\n\n{one.note}".rstrip())
    return "\n\n".join(parts) + "\n"


def write_into(file: Path, analysis: Analysis, plots: Path | None) -> None:
    """Tell the study between the marked lines of a Markdown page; UserError if it has none."""
    text = file.read_text() if file.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{file} has no lines {BEGIN} and {END}: add them where the study is to be told")
    images = {}
    for svg in write_plots(plots, analysis) if plots else ():
        images[svg.stem] = Path(os.path.relpath(svg, file.parent)).as_posix()
    write_text(file, f"{before}{BEGIN}\n{markdown(analysis, images)}{END}{after}")


def summary(analysis: Analysis) -> dict[str, Any]:
    """The tables and sentences as plain values."""
    return {
        "method": method(analysis),
        "findings": [
            {"tone": one.tone, "words": one.headline, "details": list(one.details)} for one in findings(analysis)
        ],
        "tables": [
            {"title": one.title, "rows": [list(row) for row in one.rows], "note": one.note} for one in tables(analysis)
        ],
    }
