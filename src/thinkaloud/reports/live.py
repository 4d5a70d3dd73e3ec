"""live.html of a run: where it stands, written anew every few seconds while it is trained; needs no server.

Knows metrics rows, judged replies and what a page shows of them; does not know how stages are run, or for how long.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from thinkaloud.base.run import ROLLOUTS, read_tail, write_text
from thinkaloud.reports.alarms import Row
from thinkaloud.reports.diagnosis import diagnose
from thinkaloud.reports.drawing import colours_of
from thinkaloud.reports.page import figure, finding, grid, page, section, table
from thinkaloud.reports.sketch import sketch

REFRESH = 3
"Seconds after which an open page looks again."
SILENCE = 60
"Seconds without a word after which the page says that the run has probably ended."
SHOWN_GROUPS, LOOKED_AT = 6, 200
"Newest problems whose replies are shown, one reply of each; and how many newest replies are looked at for them."
MOST_CHARACTERS = 1200
"Of a thought or an answer; of a longer one the end is shown."
CURVES = (
    ("dev_accuracy", "Accuracy on dev problems", True),
    ("reward", "Reward", True),
    ("thinking_tokens", "Thinking tokens", False),
    ("entropy", "Entropy, nats a token", False),
    ("informative_groups", "Groups with right and wrong replies", True),
    ("loss", "Loss of fine-tuning, nats a token", False),
)
"What is drawn: key of a row, heading, whether it is a share."


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where one stage stands."""

    name: str
    "its name"
    kind: str
    "sft, rl, rft, distil or given"
    state: str
    "waiting, training, measuring or done"
    progress: float
    "share of the budget that is spent"
    seconds: float
    "wall time of its training so far"
    left: float | None
    "seconds until it is done once it runs; None while no speed is known"
    rows: Sequence[Row]
    "its metrics rows so far"
    folder: Path
    "where its journals are"


def write_live(run: Path, stages: Sequence[Standing], *, left: float | None, ended: str = "") -> Path:
    """Write RUN/live.html whole or not at all; `left` seconds for all stages, `ended` says how the run has ended."""
    file = run / "live.html"
    write_text(file, live_page(run.resolve().name, stages, left=left, ended=ended, now=time.time()))
    return file


def live_page(name: str, stages: Sequence[Standing], *, left: float | None, ended: str, now: float) -> str:
    """The page as HTML; it asks for itself again while the run goes on."""
    done = sum(stage.state == "done" for stage in stages)
    colours = colours_of([stage.name for stage in stages])
    head = f"{done} of {len(stages)} stages done"
    head += f", about {lasting(left)} left" if left and not ended else ""
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    body = [
        f"<h1>Run <em>{escape(name)}</em></h1>",
        f"<p>{escape(head)}. {escape(ended) or 'It is being trained.'}</p>",
        f'<p class="muted">Written {written}.<span id="silence"></span></p>',
        section("Stages", _stages(stages, colours)),
        section("What the doctor says", _doctor(stages)),
        section(
            "Curves", _legend(stages, colours), _curves(stages, colours), note="Over the share of each stage's budget."
        ),
        section("A problem held out", _sample(stages)),
        section("Newest replies", _replies(stages)),
    ]
    head_lines = "" if ended else f'<meta http-equiv="refresh" content="{REFRESH}">'
    return page(f"thinkaloud: {name}", [part for part in body if part] + [_watch(now, ended)], head=head_lines)


def lasting(seconds: float) -> str:
    """45 s, 3 min, 1 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _watch(now: float, ended: str) -> str:
    """A script of one line: a page that is no longer written says so by itself."""
    if ended:
        return ""
    words = " Nothing was written since: the run was probably interrupted. The same command again goes on."
    silent = f"Date.now()/1000-{now:.0f}>{SILENCE}"
    return f'<script>if({silent})document.getElementById("silence").textContent="{words}"</script>'


def _stages(stages: Sequence[Standing], colours: Mapping[str, str]) -> str:
    rows = []
    for stage in stages:
        row = _newest(stage.rows)
        right = row.get("dev_accuracy", row.get("reward"))
        style = f"width:{100 * stage.progress:.1f}%;background:var(--{colours[stage.name]})"
        state = stage.state
        if state == "training" and stage.left:
            state = f"{lasting(stage.left)} left"
        elif state == "done":
            state = f"done, {lasting(stage.seconds)}"
        rows.append(
            [
                f"{_dot(stage, colours)}<small>{escape(stage.kind)}</small>",
                f'{100 * stage.progress:.0f} %<div class="bar"><i style="{style}"></i></div>',
                escape(state),
                "\u2013" if right is None else f"{100 * right:.1f} %",
            ]
        )
    return table(["stage", "progress", "", "accuracy"], rows)


def _doctor(stages: Sequence[Standing]) -> str:
    found = []
    for stage in stages:
        for one in diagnose(stage.rows):
            found.append(finding("open", f"{stage.name}, {one.name}: {one.words}.", [f"Cure: {one.cure}."]))
    return f'<div class="card">{"".join(found)}</div>' if found else ""


def _curves(stages: Sequence[Standing], colours: Mapping[str, str]) -> str:
    figures = []
    for key, heading, share in CURVES:
        curves = {stage.name: _points(stage, key) for stage in stages if key != "loss" or stage.kind in ("sft", "rft")}
        drawn = sketch(curves, colours, key, share=share)
        figures.append(figure(drawn, heading))
    return grid(*figures)


def _points(stage: Standing, key: str) -> list[tuple[float, float]]:
    pairs = [(row.get("progress"), row.get(key)) for row in stage.rows]
    return [(x, y) for x, y in pairs if x is not None and y is not None and math.isfinite(y)]


def _legend(stages: Sequence[Standing], colours: Mapping[str, str]) -> str:
    begun = [stage for stage in stages if stage.rows]
    return f"<p>{' &nbsp; '.join(_dot(stage, colours) for stage in begun)}</p>" if begun else ""


def _sample(stages: Sequence[Standing]) -> str:
    shown = [(stage, row["sample"]) for stage in stages for row in stage.rows[::-1] if "sample" in row]
    running = [pair for pair in shown if pair[0].state == "training"] or shown[::-1]
    if not running:
        return ""
    stage, sample = running[0]
    mark = _mark("right" if sample["right"] else "wrong")
    return _card(f"{stage.name}: {sample['question']}", sample["thinking"], sample["answer"], mark)


def _replies(stages: Sequence[Standing]) -> str:
    journals = [(stage.state == "training", stage.folder / ROLLOUTS) for stage in stages]
    journals = [one for one in journals if one[1].exists()]
    if not journals:
        return ""
    _, newest = max(journals, key=lambda one: (one[0], one[1].stat().st_mtime))
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in read_tail(newest, LOOKED_AT):
        groups.setdefault((row["step"], row["problem"]), []).append(row)
    whole = list(groups.values())[1:] or list(groups.values())  # of the first one, some may lie further back
    cards = []
    for group in whole[: -1 - SHOWN_GROUPS : -1]:
        row, right = group[-1], sum(one["verdict"] == "right" for one in group)
        asked = next((one["question"] for one in group if "question" in one), row["problem"])
        facts = f"{newest.parent.name}, step {row['step']}: {row['family']}, level {row['level']}"
        facts += f"; {right} of {len(group)} right, one of the replies:"
        mark = f"{_mark(row['verdict'])} {escape(row['reason'] or '')}"
        cards.append(_card(_end(asked), row["thinking"], row["answer"], mark, facts))
    return grid(*cards)


def _card(heading: str, thinking: str, answer: str, mark: str, facts: str = "") -> str:
    thought = f"<pre>{escape(_end(thinking))}</pre>" if thinking.strip() else ""
    said = escape(_end(answer).strip()) or "(no answer)"
    asked = escape(heading) + (f"<br><small>{escape(facts)}</small>" if facts else "")
    return f'<article class="card"><p class="question">{asked}</p>{thought}<p><b>{said}</b> {mark}</p></article>'


def _end(text: str) -> str:
    return (
        text
        if len(text) <= MOST_CHARACTERS
        else f"({len(text) - MOST_CHARACTERS} characters before)\n{text[-MOST_CHARACTERS:]}"
    )


def _mark(label: str) -> str:
    tone, sign = {"right": ("yes", "\u2713"), "wrong": ("no", "\u2717")}.get(label, ("open", "?"))
    return f'<span class="{tone}">{sign} {escape(label)}</span>'


def _dot(stage: Standing, colours: Mapping[str, str]) -> str:
    return f'<span class="dot" style="background:var(--{colours[stage.name]})"></span>{escape(stage.name)}'


def _newest(rows: Sequence[Row]) -> Mapping[str, float | None]:
    """The newest value of each number that the table shows."""
    return {key: row[key] for row in rows for key in ("dev_accuracy", "reward") if row.get(key) is not None}
