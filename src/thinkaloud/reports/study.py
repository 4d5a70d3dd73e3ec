"""A study: the same recipe over several seeds in one table, with intervals that count the seeds' luck.

Knows STUDY/seeds/SEED/ (each a run folder, perhaps unfinished) and writes STUDY/study.json, study.md and report.html;
does not know how runs are made.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import write_text
from thinkaloud.base.statistics import (
    Estimate,
    hierarchical_bootstrap,
    hierarchical_paired_bootstrap,
    paired_differences,
)
from thinkaloud.reports import plots
from thinkaloud.reports.drawing import colour_name
from thinkaloud.reports.findings import Finding, direction, listed, tone_of
from thinkaloud.reports.html import findings_card
from thinkaloud.reports.load import Run, load_run, mean_thinking, share_right
from thinkaloud.reports.page import figure, grid, page, section, share_cell, table, tile
from thinkaloud.reports.tables import AFTER, BEFORE, LABELS, controls, interval, ordered, percent, points, signed

Key = TypeVar("Key")

OVERALL = "overall"
"Key of the column over all families."


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One mean over seeds, of an arm or of a difference."""

    estimate: Estimate
    "Mean over seeds with its hierarchical 95 % interval."
    by_seed: Mapping[str, float]
    "The mean of each seed that has the number."


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that the seeds of a study say together."""

    path: Path
    "The study's folder."
    runs: Mapping[str, Run]
    "Run by name of the seed."
    incomplete: Mapping[str, str]
    "Seed -> what it lacks; an empty mapping if the study is complete."
    families: tuple[str, ...]
    "OVERALL and the families."
    arms: Mapping[str, Mapping[str, Compared]] = field(default_factory=dict)
    "Model -> family -> accuracy."
    differences: Mapping[tuple[str, str], Mapping[str, Compared]] = field(default_factory=dict)
    "(model, other model) -> family -> accuracy of the first minus the second."
    lengths: Mapping[str, Compared] = field(default_factory=dict)
    "Model -> thinking tokens."


def load_study(path: Path) -> Study:
    """Read STUDY/seeds/*; UserError if there is no seed at all."""
    folders = sorted((one for one in (Path(path) / "seeds").glob("*") if one.is_dir()), key=_seed_key)
    if not folders:
        raise UserError(f"{path} holds no seeds/SEED/ folder: give the folder that `thinkaloud study` wrote")
    runs = {folder.name: load_run(folder) for folder in folders}
    models = ordered({name for run in runs.values() for name in run.evaluations})
    incomplete = {}
    for seed, run in runs.items():
        gone = [name for name in models if name not in run.evaluations]
        if gone or not run.evaluations:
            incomplete[seed] = f"no evaluation of {listed(gone)}" if gone and run.evaluations else "no evaluated model"
    families = (OVERALL, *dict.fromkeys(name for run in runs.values() for name in run.families()))
    columns = {family: None if family == OVERALL else family for family in families}
    pairs = _pairs(models) or _followed(next(iter(runs.values())).recipe, models)
    return Study(
        path=Path(path),
        runs=runs,
        incomplete=incomplete,
        families=families,
        arms={name: _drop({key: _arm(runs, name, family) for key, family in columns.items()}) for name in models},
        differences={
            pair: _drop({key: _difference(runs, *pair, family) for key, family in columns.items()}) for pair in pairs
        },
        lengths=_drop({name: _length(runs, name) for name in models}),
    )


def _seed_key(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdigit() else -1, folder.name)


def _drop(found: Mapping[Key, Compared | None]) -> dict[Key, Compared]:
    return {key: value for key, value in found.items() if value is not None}


def _pairs(models: Sequence[str]) -> list[tuple[str, str]]:
    wanted = [("think", "direct"), (AFTER, "direct_rl"), (AFTER, BEFORE), *((AFTER, name) for name in controls(models))]
    return [pair for pair in wanted if pair[0] in models and pair[1] in models]


def _followed(recipe: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """Every stage of a recipe with the one that it starts from, and last what the recipe itself compares."""
    try:
        raw = tomllib.loads(recipe)
    except tomllib.TOMLDecodeError:
        return []
    pairs = [(name, str(stage.get("init"))) for name, stage in raw.get("stages", {}).items()]
    compared = raw.get("evaluation", {}).get("compare", [])
    pairs += [(str(compared[1]), str(compared[0]))] if len(compared) == 2 else []
    return [pair for pair in dict.fromkeys(pairs) if pair[0] in models and pair[1] in models]


def _values(runs: Mapping[str, Run], model: str, family: str | None) -> dict[str, dict[str, float]]:
    found = {
        seed: run.evaluations[model].values(family, share_right)
        for seed, run in runs.items()
        if model in run.evaluations
    }
    return {seed: values for seed, values in found.items() if values}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _arm(runs: Mapping[str, Run], model: str, family: str | None) -> Compared | None:
    values = {seed: list(one.values()) for seed, one in _values(runs, model, family).items()}
    return _compared(values)


def _compared(values: Mapping[str, Sequence[float]]) -> Compared | None:
    if not values:
        return None
    by_seed = {seed: float(_mean(one)) for seed, one in values.items()}
    return Compared(estimate=hierarchical_bootstrap(list(values.values())), by_seed=by_seed)


def _length(runs: Mapping[str, Run], model: str) -> Compared | None:
    found = {
        seed: list(run.evaluations[model].values(None, mean_thinking).values())
        for seed, run in runs.items()
        if model in run.evaluations
    }
    return _compared({seed: values for seed, values in found.items() if values})


def _difference(runs: Mapping[str, Run], after: str, before: str, family: str | None) -> Compared | None:
    new, old = _values(runs, after, family), _values(runs, before, family)
    seeds = [seed for seed in new if seed in old and new[seed].keys() & old[seed].keys()]
    if not seeds:
        return None
    estimate = hierarchical_paired_bootstrap([new[seed] for seed in seeds], [old[seed] for seed in seeds])
    by_seed = {seed: float(paired_differences(new[seed], old[seed]).mean()) for seed in seeds}
    return Compared(estimate=estimate, by_seed=by_seed)


def summarise_study(study: Path | Study) -> dict[str, Any]:
    """Content of study.json: seeds, what is incomplete, arms and differences with intervals and each seed's mean."""
    study = study if isinstance(study, Study) else load_study(study)
    return {
        "seeds": list(study.runs),
        "incomplete": dict(study.incomplete),
        "interval": "95 %, hierarchical bootstrap: seeds, then problems within a seed",
        "arms": {name: _plain(columns) for name, columns in study.arms.items()},
        "thinking_tokens": _plain(study.lengths),
        "differences": {f"{new} - {old}": _plain(columns) for (new, old), columns in study.differences.items()},
    }


def _plain(columns: Mapping[str, Compared]) -> dict[str, Any]:
    return {key: {**asdict(one.estimate), "by_seed": dict(one.by_seed)} for key, one in columns.items()}


def study_table(study: Path | Study) -> list[list[str]]:
    """Rows for the terminal, the heading first: accuracy of every arm, then the paired differences in points."""
    study = study if isinstance(study, Study) else load_study(study)
    rows = [["arm", *(f"{family} %" for family in study.families), "thinking tokens", "seeds"]]
    for name, columns in study.arms.items():
        cells = [_share(columns.get(family)) for family in study.families]
        tokens = f"{study.lengths[name].estimate.mean:.1f}" if name in study.lengths else "-"
        rows.append([name, *cells, tokens, _seeds(columns)])
    for (new, old), columns in study.differences.items():
        rows.append(
            [f"{new} \u2212 {old}", *(_points(columns.get(family)) for family in study.families), "", _seeds(columns)]
        )
    return rows


def _seeds(columns: Mapping[str, Compared]) -> str:
    return str(max((len(one.by_seed) for one in columns.values()), default=0))


def _share(one: Compared | None) -> str:
    return "-" if one is None else f"{100 * one.estimate.mean:.1f} ({interval(one.estimate)})"


def _points(one: Compared | None) -> str:
    if one is None:
        return "-"
    low, high = signed(100 * one.estimate.low), signed(100 * one.estimate.high)
    return f"{signed(100 * one.estimate.mean)} ({low} to {high})"


def study_markdown(study: Path | Study) -> str:
    """The study's table in Markdown, for the log and the README."""
    study = study if isinstance(study, Study) else load_study(study)
    heading, *rows = study_table(study)
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    note = f"{len(study.runs)} seeds; 95 % intervals by hierarchical bootstrap (seeds, then problems within a seed); "
    note += "differences in points, paired by problem."
    note += "".join(f" Seed {seed} is incomplete: {what}." for seed, what in study.incomplete.items())
    return f"{text}\n\n{note}\n"


def write_study(study: Path) -> Path:
    """Write STUDY/report.html, study.md and, last, study.json; return the path of the report."""
    loaded = load_study(study)
    file = loaded.path / "report.html"
    write_text(file, render_study(loaded))
    write_text(loaded.path / "study.md", study_markdown(loaded))
    text = json.dumps(summarise_study(loaded), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(loaded.path / "study.json", text + "\n")
    return file


def study_findings(study: Study) -> list[Finding]:
    """Who wins over the seeds: thinking against answering at once, RL against the cold start and each control."""
    findings = []
    for (new, old), columns in study.differences.items():
        details = []
        for family, one in columns.items():
            above = sum(value > 0 for value in one.by_seed.values())
            details.append(f"{family}: {points(one.estimate)}; {new} ahead in {above} of {len(one.by_seed)} seeds.")
        if OVERALL not in columns:
            continue
        sign = direction(columns[OVERALL].estimate)
        verb = {1: "beats", -1: "loses to", 0: "and"}[sign]
        headline = f"{new} {verb} {old}{'' if sign else ': no clear winner'}"
        parts = {
            word: [key for key, one in columns.items() if key != OVERALL and direction(one.estimate) == value]
            for word, value in ((f"{new} ahead on", 1), ("tied on", 0), (f"{old} ahead on", -1))
        }
        where = "; ".join(f"{word} {listed(names)}" for word, names in parts.items() if names)
        headline += f" over {len(columns[OVERALL].by_seed)} seeds" + (f" ({where})." if where else ".")
        findings.append(Finding(topic=old, tone=tone_of(sign), headline=headline, details=tuple(details)))
    return findings


def render_study(study: Study) -> str:
    """The study's page as HTML."""
    name = study.path.resolve().name
    gone = "".join(f"<li>Seed {escape(seed)}: {escape(what)}</li>" for seed, what in study.incomplete.items())
    few = "<li>One seed: the intervals say nothing about the luck of other seeds.</li>" if len(study.runs) == 1 else ""
    rows = []
    for model, columns in study.arms.items():
        colour = colour_name(model)
        label = f"<small>{escape(LABELS[model])}</small>" if model in LABELS else ""
        row = [f'<span class="dot" style="background:var(--{colour})"></span>{escape(model)}{label}']
        for family in study.families:
            one = columns.get(family)
            row.append(share_cell(one.estimate.mean, one.estimate.low, one.estimate.high, colour) if one else "\u2013")
        row.append(f"{study.lengths[model].estimate.mean:.1f}" if model in study.lengths else "\u2013")
        rows.append([*row, _seeds(columns)])
    heading = ["arm", *study.families, "thinking tokens", "seeds"]
    lift = study.differences.get((AFTER, BEFORE), {}).get(OVERALL)
    tiles = [tile(str(len(study.runs)), "seeds" + (f", {len(study.incomplete)} incomplete" if gone else ""))]
    if AFTER in study.arms and OVERALL in study.arms[AFTER]:
        tiles.append(tile(percent(study.arms[AFTER][OVERALL].estimate.mean), f"{AFTER}: right, mean over seeds"))
    if lift:
        span = f"{signed(100 * lift.estimate.low)} to {signed(100 * lift.estimate.high)}"
        tiles.append(tile(signed(100 * lift.estimate.mean), f"points: what RL added ({span})"))
    forests = [_forest(study, family) for family in study.families]
    body = [
        f"<h1>Study <em>{escape(name)}</em></h1>",
        '<p class="muted">The same recipe over several seeds. 95 % intervals by hierarchical bootstrap: seeds, then '
        "problems within a seed; differences are paired by problem.</p>",
        section("What is missing", f'<div class="card"><ul>{gone}{few}</ul></div>' if gone or few else ""),
        f'<div class="tiles">{"".join(tiles)}</div>',
        section("Who wins", findings_card(study_findings(study))),
        section("Arms and families", table(heading, rows) if rows else ""),
        section("Differences", grid(*forests), note="Points, paired by problem; small dots are single seeds."),
        section("The table in Markdown", f"<pre>{escape(study_markdown(study))}</pre>"),
    ]
    return page(f"thinkaloud: study {name}", [part for part in body if part])


def _forest(study: Study, family: str) -> str:
    rows = [
        (f"{new} \u2212 {old}", columns[family].estimate, list(columns[family].by_seed.values()), old)
        for (new, old), columns in study.differences.items()
        if family in columns
    ]
    plot = plots.forest(rows, f"difference-{family}")
    return figure(plot, f"{family}: differences in accuracy")
