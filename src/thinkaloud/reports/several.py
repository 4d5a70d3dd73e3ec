"""Several runs side by side on one page: accuracies, curves, costs, and the settings that differ.

Knows run folders and how they are lined up; does not know verdicts: one run of each says nothing of a seed's luck.
"""

import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import write_text
from thinkaloud.reports.drawing import colours_of
from thinkaloud.reports.findings import direction
from thinkaloud.reports.html import COUNTERS
from thinkaloud.reports.load import Run, load_run
from thinkaloud.reports.page import figure, grid, page, section, share_cell, table
from thinkaloud.reports.plots import series
from thinkaloud.reports.sketch import sketch
from thinkaloud.reports.tables import LABELS, accuracy, difference, interval, mean_length, ordered, points, quantity

CURVES = (
    ("dev_accuracy", "accuracy on dev problems", True),
    ("reward", "reward", True),
    ("thinking_tokens", "thinking tokens", False),
    ("entropy", "entropy, nats a token", False),
)
"What is drawn of each stage: key of a row, words, whether it is a share."
NOTHING = "\u2013"
NOT_SHOWN = ("evaluations/*-", "examples.json")
"How the names of files begin that this page would not show if they were there."

Runs = Mapping[str, Run]
"By the name that each has beside the others."


def load_several(paths: Sequence[Path]) -> dict[str, Run]:
    """The runs by name, with as much of the path as tells them apart; UserError for a folder that is no run's."""
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        raise UserError("the same run is named twice: name different ones")
    for path in paths:
        if path.is_dir() and not (path / "recipe.toml").exists():
            raise UserError(f"{path} holds no run (recipe.toml is not there): side by side stand runs only")
    most = max(len(path.parts) for path in whole)
    length = next(size for size in range(1, most + 1) if len({path.parts[-size:] for path in whole}) == len(whole))
    return {"/".join(path.parts[-length:]): load_run(path) for path in whole}


def settings_that_differ(runs: Runs) -> list[list[str]]:
    """Rows of a setting's dotted name and what each run has, for those that are not the same in all."""
    flat = [_flat(tomllib.loads(run.recipe)) for run in runs.values()]
    keys = dict.fromkeys(key for one in flat for key in one if key not in ("run.dir", "run.name"))
    rows = [[key, *(NOTHING if one.get(key) is None else str(one[key]) for one in flat)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(raw: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in raw.items():
        value = f"{value:g}" if isinstance(value, float) else value
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def side_by_side_table(runs: Runs) -> list[list[str]]:
    """Rows for the terminal, the heading first: each model's accuracy in every run, in percent with 95 % interval."""
    rows = [["model %", *runs]]
    for model in models_of(runs):
        grades = [accuracy(run.evaluations[model]) if model in run.evaluations else None for run in runs.values()]
        rows.append([model, *("-" if one is None else f"{100 * one.mean:.1f} ({interval(one)})" for one in grades)])
    return rows


def models_of(runs: Runs) -> list[str]:
    """All models that any run has measured."""
    return ordered({model for run in runs.values() for model in run.evaluations})


def write_several(runs: Runs, file: Path) -> None:
    """Write the page, one self-contained file."""
    write_text(file, render_several(runs))


def render_several(runs: Runs) -> str:
    """The page as HTML."""
    names = list(runs)
    gone = [f"{name}: {line}" for name, run in runs.items() for line in run.missing if not line.startswith(NOT_SHOWN)]
    missing = "".join(f"<li>{escape(line)}</li>" for line in gone)
    legend = " &nbsp; ".join(_dot(name, names) for name in names)
    body = [
        f"<h1>{len(runs)} runs side by side</h1>",
        f"<p>{legend}</p>",
        section("What is missing", f'<div class="card"><ul>{missing}</ul></div>' if missing else ""),
        section("Models", _models(runs), note=_models_note(runs)),
        section("Settings that differ", _settings(runs)),
        section("Curves", _curves(runs), note="Over the share of each stage's budget."),
        section("What they cost", _ledgers(runs)),
    ]
    return page(f"thinkaloud: {', '.join(names)}", [part for part in body if part])


def _dot(name: str, names: Sequence[str]) -> str:
    return f'<span class="dot" style="background:var(--{_colour(name, names)})"></span>{escape(name)}'


def _colour(name: str, names: Sequence[str]) -> str:
    return colours_of(names)[name]


def _models(runs: Runs) -> str:
    names, rows = list(runs), []
    for model in models_of(runs):
        label = f"<small>{escape(LABELS[model])}</small>" if model in LABELS else ""
        rows.append([escape(model) + label, *(_cell(runs, name, model) for name in names)])
    return table(["model", *names], rows) if rows else ""


def _models_note(runs: Runs) -> str:
    first = next(iter(runs))
    return (
        f"Accuracy on sealed problems with 95 % intervals; below it the difference to {first}, paired by problem where "
        "both had the same. The luck of a seed is not in these intervals: a study counts it."
    )


def _cell(runs: Runs, name: str, model: str) -> str:
    names = list(runs)
    evaluation, before = runs[name].evaluations.get(model), runs[names[0]].evaluations.get(model)
    grade = accuracy(evaluation) if evaluation is not None else None
    if evaluation is None or grade is None:
        return NOTHING
    cell = share_cell(grade.mean, grade.low, grade.high, _colour(name, names))
    length = mean_length(evaluation)
    cell += f"<small>{length:.1f} thinking tokens</small>" if length == length else ""
    change = difference(evaluation, before) if before is not None and name != names[0] else None
    if change is None:
        return cell
    tone = {1: "yes", -1: "no", 0: "muted"}[direction(change)]
    return cell + f'<small class="{tone}">{escape(points(change))}</small>'


def _settings(runs: Runs) -> str:
    rows = [[escape(cell) for cell in row] for row in settings_that_differ(runs)]
    return table(["setting", *runs], rows) if rows else "<p>None: the recipes are the same.</p>"


def _curves(runs: Runs) -> str:
    names, figures = list(runs), []
    stages = ordered({str(row["stage"]) for run in runs.values() for row in run.metrics if "stage" in row})
    for stage in stages:
        for key, words, share in CURVES:
            found = {name: series(run, key, [stage]).get(stage, ([], [])) for name, run in runs.items()}
            curves = {name: list(zip(x, y, strict=True)) for name, (x, y) in found.items()}
            drawn = sketch(curves, {name: _colour(name, names) for name in names}, f"{stage} {key}", share=share)
            figures.append(figure(drawn, f"{stage}: {words}"))
    return grid(*figures)


def _ledgers(runs: Runs) -> str:
    every = [counters for run in runs.values() for counters in run.ledger.values()]
    used = [key for key in COUNTERS if any(counters.get(key) for counters in every)]
    stages = ordered({stage for run in runs.values() for stage in run.ledger})
    rows: list[list[str]] = []
    strong: list[int] = []
    for stage in sorted(stages, key=lambda one: one == "total"):
        for name, run in runs.items():
            counters = run.ledger.get(stage)
            if counters is not None:
                strong += [len(rows)] if stage == "total" else []
                cells = (quantity(counters[key]) if counters.get(key) else NOTHING for key in used)
                rows.append([f"{_dot(name, list(runs))}<small>{escape(stage)}</small>", *cells])
    return table(["run, stage", *(COUNTERS[key] for key in used)], rows, strong=strong) if rows else ""
