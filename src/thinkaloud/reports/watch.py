"""Run folders looked at while they are written: which there are, how far they are, their curves and their replies.

Knows the files of a run folder, whole or half-written; does not know HTTP, and writes nothing. Runs are named by their
place under one folder, and only names that `runs_under` lists can be opened: a name is never made into a path.
"""

import json
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import METRICS, read_json, read_jsonl
from thinkaloud.reports.load import load_run
from thinkaloud.reports.tables import AFTER, BEFORE, ordered

MOST_DEEP = 4
"Folders above a run's that are looked into: a seed of a study lies three deep."
LIVE_SECONDS = 120
"An unfinished run that wrote nothing for so long has stopped."
MEASURES = {
    "dev_accuracy": "accuracy on dev problems",
    "reward": "reward",
    "thinking_tokens": "tokens of thought",
    "entropy": "entropy, nats a token",
}
"What is drawn, by the key of metrics.jsonl."
STAND_INS = {"thinking_tokens": "dev_thinking_tokens"}
"Where a stage does not sample while it trains, its dev problems say the same."
MOST_POINTS = 400
"Points of a curve; a longer one is thinned out evenly."
SIDES = ("-vote", "-budget", "-beyond")
"Ends of the names of evaluations that are not a model's main one."
LABELS = ("right", "wrong", "ungradable")

Row = dict[str, Any]


def runs_under(folder: Path) -> dict[str, Path]:
    """The run folders below `folder`, by name; what a link leads out of it to is left out."""
    home = folder.resolve()

    def look(place: Path, deep: int) -> Iterator[Path]:
        if (place / "recipe.toml").is_file():
            yield place
        elif deep:
            for inner in sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")):
                if inner.resolve().is_relative_to(home):
                    yield from look(inner, deep - 1)

    found = look(folder, MOST_DEEP) if folder.is_dir() else ()
    return {run.relative_to(folder).as_posix() if run != folder else folder.resolve().name: run for run in found}


def stages_of(run: Path) -> list[str]:
    """Names of its stages, in the order of its recipe; those that are not in it, which no run of ours has, last."""
    try:
        planned = list(tomllib.loads((run / "recipe.toml").read_text()).get("stages", {}))
    except tomllib.TOMLDecodeError:
        planned = []
    begun = [path.name for path in sorted((run / "checkpoints").glob("*")) if (path / METRICS).is_file()]
    return list(dict.fromkeys([*planned, *begun]))


def overview(name: str, run: Path) -> Row:
    """How far a run is."""
    stages = [_stage(run, stage) for stage in stages_of(run)]
    finished = (run / "summary.json").is_file()
    changed = max((path.stat().st_mtime for path in _journals(run)), default=(run / "recipe.toml").stat().st_mtime)
    return {
        "name": name,
        "finished": finished,
        "live": not finished and time.time() - changed < LIVE_SECONDS,
        "changed": changed,
        "stages": stages,
    }


def _journals(run: Path) -> list[Path]:
    return [path for stage in stages_of(run) for path in (run / "checkpoints" / stage).glob("*.jsonl")]


def _stage(run: Path, stage: str) -> Row:
    folder = run / "checkpoints" / stage
    last: Row = {}
    with suppress(UserError):  # a damaged line is told where the run is looked at, and hides no other run
        for row in read_jsonl(folder / METRICS):
            last |= row
    keys = ("kind", "step", "seconds", "spent", "rollouts", "dev_accuracy", "reward")
    done = (folder / "done.json").is_file()
    return {
        "name": stage,
        "done": done,
        "progress": 1.0 if done else last.get("progress", 0.0),
        **{key: last.get(key) for key in keys},
    }


def curves(run: Path) -> Row:
    """By measure, then by stage: points of (progress, step, value)."""
    found: Row = {measure: {} for measure in MEASURES}
    for stage in stages_of(run):
        rows = read_jsonl(run / "checkpoints" / stage / METRICS)
        for measure in MEASURES:
            for key in (measure, STAND_INS.get(measure, measure)):
                points = [
                    (row["progress"], row["step"], row[key]) for row in rows if isinstance(row.get(key), (int, float))
                ]
                if points:
                    found[measure][stage] = _thinned(points)
                    break
    return {measure: {"label": label, "stages": found[measure]} for measure, label in MEASURES.items()}


def _thinned(points: list[Any]) -> list[Any]:
    every = -(-len(points) // MOST_POINTS)
    return points[::every] + ([points[-1]] if (len(points) - 1) % every else [])


def results(run: Path) -> list[Row]:
    """Accuracy of the models that were evaluated, as its report gives it."""
    read = load_run(run)
    found = []
    for name in ordered(read.evaluations):
        problems = read.evaluations[name].problems
        flags = [problem.right[place] for problem in problems for place in problem.kept()]
        tokens = [count for problem in problems for count in problem.thinking_tokens]
        found.append(
            {
                "model": name,
                "problems": len(problems),
                "accuracy": sum(flags) / len(flags) if flags else None,
                "thinking_tokens": sum(tokens) / len(tokens) if tokens else None,
            }
        )
    return found


# --- replies, problem by problem ---


@dataclass(kw_only=True)
class RolloutIndex:
    """Where in a journal of rollouts each problem's replies lie; grows with the journal, keeps no reply itself."""

    path: Path
    "The journal."
    read: int = 0
    "Bytes that are indexed."
    problems: dict[str, Row] = field(default_factory=dict)
    "By problem: family, level, counts by verdict, where its question stands, (offset, length, verdict) of its replies."

    def refresh(self) -> None:
        """Take in what was written since; a journal that was cut back is read again."""
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size < self.read:
            self.read, self.problems = 0, {}
        if size == self.read:
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._enter(json.loads(line), self.read, len(line))
                self.read += len(line)

    def _enter(self, row: Row, offset: int, length: int) -> None:
        fresh = {"problem": row["problem"], "family": row["family"], "level": row["level"]}
        entry = self.problems.setdefault(row["problem"], {**fresh, "counts": Counter(), "places": []})
        entry["counts"][row["verdict"]] += 1
        if "question" in row:
            entry.setdefault("asked", (offset, length))
        entry["places"].append((offset, length, row["verdict"]))

    def page(self, number: int, size: int, wanted: Callable[[Row], bool], verdict: str | None, replies: int) -> Row:
        """Problems `number * size` and on of those `wanted`, with up to `replies` of their last replies."""
        chosen = [entry for entry in self.problems.values() if wanted(entry)]
        shown = []
        with self.path.open("rb") as file:
            for entry in chosen[number * size : (number + 1) * size]:
                places = [place for place in entry["places"] if verdict in (None, place[2])]
                rows = [_line(file, offset, length) for offset, length, _ in places[-replies:]]
                counts = {label: entry["counts"][label] for label in LABELS}
                head = {key: entry[key] for key in ("problem", "family", "level")}
                head["question"] = _line(file, *entry["asked"])["question"] if "asked" in entry else None
                shown.append({**head, "counts": counts, "matching": len(places), "replies": rows})
        families = sorted({entry["family"] for entry in self.problems.values()})
        return {"problems": shown, "total": len(chosen), "families": families}


def _line(file: BinaryIO, offset: int, length: int) -> Row:
    file.seek(offset)
    row: Row = json.loads(file.read(length))
    return row


def rollouts(
    index: RolloutIndex,
    *,
    page: int = 0,
    size: int = 10,
    family: str | None = None,
    verdict: str | None = None,
    problem: str | None = None,
    replies: int = 16,
) -> Row:
    """A page of problems with their replies; `problem` is a part of its id. An index without a journal is empty."""
    index.refresh()

    def wanted(entry: Row) -> bool:
        return (
            family in (None, entry["family"])
            and (verdict is None or entry["counts"][verdict] > 0)
            and (problem is None or problem in entry["problem"])
        )

    if not index.problems:
        return {"problems": [], "total": 0, "families": []}
    return index.page(page, size, wanted, verdict, replies)


# --- the same problem before and after ---


def compared(run: Path, *, before: str | None, after: str | None, page: int = 0, size: int = 10) -> Row:
    """Sealed problems as two evaluated models answered them, those first where their verdicts differ."""
    models = ordered(path.stem for path in (run / "evaluations").glob("*.json") if not path.stem.endswith(SIDES))
    pair = [before or _default(models, BEFORE, 0), after or _default(models, AFTER, -1)]
    if not models or not set(pair) <= set(models):
        return {"models": models, "before": None, "after": None, "total": 0, "problems": []}
    read = [read_json(run / "evaluations" / f"{name}.json")["problems"] for name in pair]
    others = {entry["id"]: entry for entry in read[1]}
    both = [(entry, others[entry["id"]]) for entry in read[0] if entry["id"] in others]
    both.sort(key=lambda two: bool(two[0]["right"][0]) == bool(two[1]["right"][0]))
    shown = [
        {
            **{key: one.get(key) for key in ("id", "family", "level", "question", "reference")},
            "before": _sample(one),
            "after": _sample(other),
        }
        for one, other in both[page * size : (page + 1) * size]
    ]
    return {"models": models, "before": pair[0], "after": pair[1], "total": len(both), "problems": shown}


def _default(models: list[str], wish: str, place: int) -> str:
    return wish if wish in models or not models else models[place]


def _sample(entry: Row) -> Row:
    kept = {key: (entry.get(key) or [None])[0] for key in ("thinking", "answer", "thinking_tokens", "reason")}
    return {**kept, "right": bool(entry["right"][0])}
