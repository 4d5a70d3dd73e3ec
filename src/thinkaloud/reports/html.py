"""report.html of a run: verdicts, table, plots, monologues before and after, ledger, how to reproduce.

Knows which parts a report has and their order; does not know how verdicts are reached, plots drawn or pages styled.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from shlex import quote

from thinkaloud.base.run import write_text
from thinkaloud.reports import plots
from thinkaloud.reports.drawing import colour_name
from thinkaloud.reports.findings import START, Finding, control_findings, data, endings, lift, thinking, training
from thinkaloud.reports.load import Json, Run, load_run
from thinkaloud.reports.monologue import length, votes, ways
from thinkaloud.reports.page import figure, finding, grid, page, section, share_cell, table, tile
from thinkaloud.reports.tables import (
    AFTER,
    BEFORE,
    LABELS,
    accuracy,
    difference,
    length_difference,
    mean_length,
    ordered,
    percent,
    quantity,
    signed,
)

COUNTERS = {
    "unique_problems": "unique problems",
    "demonstrations": "demonstrations",
    "demonstration_tokens": "their tokens",
    "rollouts": "rollouts",
    "prompt_tokens": "prompt tokens",
    "generated_tokens": "generated tokens",
    "discarded_tokens": "of these discarded",
    "update_tokens": "trained tokens",
    "verifier_calls": "verdicts",
    "judge_calls": "judgements",
    "compute_flops": "compute (FLOP)",
    "seconds": "seconds",
}
"Counters of the ledger as the report heads them."

EXAMPLES_OPEN = 3
"Examples shown at once; the others fold away."


def write_report(run: Path) -> Path:
    """Write RUN/report.html, one self-contained file, and return its path; UserError if RUN is no folder."""
    loaded = load_run(run)
    file = loaded.path / "report.html"
    write_text(file, render(loaded))
    return file


def render(run: Run) -> str:
    """The report of a loaded run as HTML."""
    name = run.path.resolve().name
    body = [
        f"<h1>Run <em>{escape(name)}</em></h1>",
        f'<p class="muted">{escape(_subtitle(run))}</p>',
        _missing(run),
        _tiles(run),
        _verdicts(run),
        _models(run),
        _training(run),
        _accuracy(run),
        _ways(run),
        _examples(run),
        _ledger(run),
        _reproduce(run),
        _method(),
    ]
    return page(f"thinkaloud: run {name}", [part for part in body if part])


def _subtitle(run: Run) -> str:
    parts = []
    if run.evaluations:
        problems = {problem.id for one in run.evaluations.values() for problem in one.problems}
        parts.append(f"{len(run.evaluations)} models tested on {len(problems):,} sealed problems")
        parts.append(f"families: {', '.join(run.families())}")
    seconds = run.ledger.get("total", {}).get("seconds")
    if seconds:
        spent = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
        parts.append(f"{spent}, stages added up")
    machine = run.environment.get("machine")
    if isinstance(machine, dict):
        parts.extend(
            f"{key.replace('_', ' ')} {value}" for key, value in machine.items() if isinstance(value, (str, int, float))
        )
    return " \u00b7 ".join(parts)


def _missing(run: Run) -> str:
    if not run.missing:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in run.missing)
    return f'<section><h2>What is missing</h2><div class="card"><ul>{items}</ul></div></section>'


def _tiles(run: Run) -> str:
    tiles = []
    models = run.evaluations
    if AFTER in models:
        grade = accuracy(models[AFTER])
        if grade:
            tiles.append(tile(percent(grade.mean), f"{AFTER}: right on sealed problems"))
    for after, before, text in (
        ("think", "direct", "points: thinking aloud minus answering at once"),
        (AFTER, BEFORE, "points: what RL added to the thinking model"),
    ):
        change = difference(models[after], models[before]) if after in models and before in models else None
        if change:
            span = f"{signed(100 * change.low)} to {signed(100 * change.high)}"
            tiles.append(tile(signed(100 * change.mean), f"{text} ({span})"))
    change = length_difference(models[AFTER], models[BEFORE]) if AFTER in models and BEFORE in models else None
    if change:
        ends = f"{mean_length(models[BEFORE]):.1f} \u2192 {mean_length(models[AFTER]):.1f}"
        tiles.append(tile(ends, "thinking tokens before and after RL"))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def findings_card(findings: list[Finding]) -> str:
    """A card of verdicts; empty if there are none."""
    content = "".join(finding(one.tone, one.headline, one.details) for one in findings)
    return f'<div class="card">{content}</div>' if content else ""


def _verdicts(run: Run) -> str:
    if not run.evaluations:
        return ""
    groups = {
        "What training made of the model": training(run),
        "Thinking aloud against answering at once": thinking(run),
        "What reinforcement learning added": lift(run),
        "A fraction of the data": data(run),
        "RL beside its controls": control_findings(run),
        "What guards prevented": endings(run),
        "The monologue": [*length(run), *ways(run), *votes(run)],
    }
    if START in run.evaluations:  # a run of the user's own: what it has not is no gap
        groups = {heading: [one for one in found if one.tone != "missing"] for heading, found in groups.items()}
    return "".join(section(heading, findings_card(found)) for heading, found in groups.items() if found)


def _models(run: Run) -> str:
    families = run.families()
    names = ordered(run.evaluations)
    rows, partial, ungradable = [], [], 0
    for name in names:
        evaluation = run.evaluations[name]
        colour = colour_name(name)
        label = f"<small>{escape(LABELS[name])}</small>" if name in LABELS else ""
        row = [f'<span class="dot" style="background:var(--{colour})"></span>{escape(name)}{label}']
        for family in (None, *families):
            grade = accuracy(evaluation, family)
            row.append(share_cell(grade.mean, grade.low, grade.high, colour) if grade else "\u2013")
        tokens = mean_length(evaluation)
        row.append("\u2013" if tokens != tokens else f"{tokens:.1f}")
        row.append(f"{len(evaluation.problems):,}")
        rows.append(row)
        ungradable += sum(len(problem.right) - len(problem.kept()) for problem in evaluation.problems)
        if len(evaluation.families()) < len(families):
            partial.append(name)
    note = "Accuracy in percent with 95 % intervals; bars run from 0 to 100 %."
    if ungradable:
        note += f" {ungradable:,} samples could not be graded and are left out."
    if partial:
        note += f" Tested on some families only, so its overall number stands alone: {', '.join(partial)}."
    heading = ["model", "overall", *families, "thinking tokens", "problems"]
    strong = [index for index, name in enumerate(names) if name == AFTER]
    return section("Models and families", table(heading, rows, strong=strong) if rows else "", note=note)


def _training(run: Run) -> str:
    return section(
        "Learning",
        grid(
            figure(plots.learning_curves(run, "dev_accuracy"), "Accuracy on held-out problems during training"),
            figure(plots.learning_curves(run, "reward", "rl"), "Reward during reinforcement learning"),
            figure(plots.length_and_accuracy(run), "Monologue and accuracy during RL", f"Stage {AFTER}."),
            figure(plots.votes(run), "Several samples a problem", "At the temperature of the evaluation."),
        ),
    )


def _accuracy(run: Run) -> str:
    levels = [figure(plots.accuracy_by_level(run, name), f"{name}: accuracy by level") for name in run.families()]
    budgets = []
    if run.budgets:
        caption = "A thought that reaches its budget is closed, and the model must answer."
        for name in run.families():
            budgets.append(figure(plots.accuracy_by_budget(run, name), f"{name}: accuracy against budget", caption))
    return section("Difficulty and thinking budget", grid(*levels, *budgets))


def _ways(run: Run) -> str:
    bars = [figure(plots.ways(run, name), f"{name}: ways of working") for name in run.families()]
    note = (
        "Share of the replies whose monologue works in each way, read from its text; \u201cother\u201d is no named way."
    )
    return section("Ways of working", grid(*bars), note=note)


def _examples(run: Run) -> str:
    cards = [_example(example) for example in run.examples]
    rest = cards[EXAMPLES_OPEN:]
    more = f'<details><summary>{len(rest)} more</summary><div class="stack">{"".join(rest)}</div></details>'
    shown = f'<div class="stack">{"".join(cards[:EXAMPLES_OPEN])}</div>' if cards else ""
    return section("The same problem, before and after RL", shown, more if rest else "")


def _example(example: Mapping[str, Json]) -> str:
    sides = "".join(_reply(side, example.get(side)) for side in ("before", "after"))
    facts = (
        f"{example.get('family', '')}, level {example.get('level', '?')}, reference: {example.get('reference', '?')}"
    )
    question = escape(str(example.get("question", "")))
    return (
        f'<article class="card"><p class="question">{question}<br><small>{escape(facts)}</small></p>'
        f'<div class="pair">{sides}</div></article>'
    )


def _reply(side: str, reply: Json) -> str:
    if not isinstance(reply, dict):
        return ""
    right = bool(reply.get("right"))
    mark = '<span class="yes">\u2713 right</span>' if right else '<span class="no">\u2717 wrong</span>'
    thought = escape(str(reply.get("thinking") or ""))
    answer = escape(str(reply.get("answer") or "(no answer)"))
    return f"<div><h3>{side} RL: {mark}</h3><pre>{thought}</pre><p>Answer: <b>{answer}</b></p></div>"


def _ledger(run: Run) -> str:
    used = [key for key in COUNTERS if any(counters.get(key) for counters in run.ledger.values())]
    stages = sorted(ordered(run.ledger), key=lambda stage: stage == "total")
    rows = []
    for stage in stages:
        counters = run.ledger[stage]
        rows.append([escape(stage), *(quantity(counters[key]) if counters.get(key) else "\u2013" for key in used)])
    strong = [index for index, stage in enumerate(stages) if stage == "total"]
    heading = ["stage", *(COUNTERS[key] for key in used)]
    note = "Compute: 6 FLOP per parameter and trained token, 2 per processed or generated token."
    return section("What it cost", table(heading, rows, strong=strong) if rows else "", note=note)


def _reproduce(run: Run) -> str:
    folder = quote(str(run.path))
    commands = [
        f"thinkaloud train {folder}/recipe.toml run.dir={folder}-again    # the same run once more",
        f"thinkaloud study {folder}/recipe.toml    # several seeds, with more controls",
        f"thinkaloud eval {folder}    # test the result again",
        f"thinkaloud chat {folder}    # talk to it",
        f"thinkaloud report {folder}    # write this page again",
    ]
    parts = [f"<pre>{escape(chr(10).join(commands))}</pre>"]
    versions = run.environment.get("versions")
    if isinstance(versions, dict) and versions:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        parts.append(f'<p class="muted">{escape(text)}</p>')
    if run.recipe:
        parts.append(f"<details><summary>The recipe</summary><pre>{escape(run.recipe)}</pre></details>")
    return section("How to reproduce", *parts)


def _method() -> str:
    return (
        "<footer><p>Every verdict is computed from this run's numbers. Accuracy has Wilson intervals (one sample a "
        "problem) or bootstrap intervals over problems; differences are paired by problem and bootstrapped. "
        "&ldquo;Wins&rdquo;, &ldquo;rose&rdquo; and &ldquo;grew&rdquo; mean a 95 % interval clear of zero. One run "
        "cannot say how much luck of the seed is in it: a study can. A way of working was <em>selected</em> if more "
        "than 1 % of the cold start's replies showed it and its share rose, <em>found</em> if fewer did, and "
        "<em>lengthened</em> if the same way became longer on the same problems.</p></footer>"
    )
