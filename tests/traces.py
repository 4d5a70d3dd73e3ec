"""Runs as they would have been watched, to see how well the time that is left was told.

`python tests/traces.py RUN FILE` keeps in FILE when the stages of a finished run began, were trained and measured, and
how far they were at which second: times of their files, rows of their journals. RUN may be the folder of a study, if
nothing interrupted it. What the pace would have said is printed. Reports, which come after the last stage, don't count.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thinkaloud.base.config import load_settings
from thinkaloud.base.run import read_json, read_jsonl
from thinkaloud.train.pace import Pace
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.status import StageStatus, Work, statuses_of

TOLD = ("progress", "seconds", "dev_seconds", "dev_problems", "dev_tokens")
"What of a stage's rows the pace goes by."
ROWS = 40
"Rows of a stage that are kept besides those of its learning curve, about."
LOOKS = 400
"Moments at which a run is looked at."


def trace(run: Path) -> dict[str, Any]:
    """The record of a run or a study."""
    runs = sorted((run / "seeds").iterdir(), key=lambda one: int(one.name)) if (run / "seeds").is_dir() else [run]
    statuses = [status for one in runs for status in statuses_of(load_settings(Recipe, one / "recipe.toml"))]
    places = {status.folder: number for number, status in enumerate(statuses)}
    began = min((status.folder / ".lock").stat().st_mtime for status in statuses)
    ended = max((status.folder / "done.json").stat().st_mtime for status in statuses)
    return {
        "seconds": round(ended - began, 2),
        "stages": [
            {
                "name": status.name,
                "run": str(status.run),
                "kind": status.kind,
                "work": asdict(status.work),
                "needs": sorted(places[folder] for folder in status.needs),
                "places": status.places,
                **_times(status.folder, began),
            }
            for status in statuses
        ],
    }


def _times(folder: Path, began: float) -> dict[str, Any]:
    files = {"began": ".lock", "trained": "model/config.json", "done": "done.json"}
    times = {what: round((folder / file).stat().st_mtime - began, 2) for what, file in files.items()}
    seconds = read_json(folder / "ledger.json")["seconds"]
    rows = read_jsonl(folder / "metrics.jsonl")
    kept = [row for number, row in enumerate(rows) if "dev_seconds" in row or number % (1 + len(rows) // ROWS) == 0]
    looks = [[round(times["trained"] - seconds + row["seconds"], 2), *(row.get(key) for key in TOLD)] for row in kept]
    return {**times, "looks": looks}


def replay(record: dict[str, Any]) -> Iterator[tuple[float, list[StageStatus]]]:
    """Moments of a record, and where every stage stood."""
    stages = record["stages"]
    statuses = [
        StageStatus(run=Path(one["run"]), name=one["name"], kind=one["kind"], work=Work(**one["work"]))
        for one in stages
    ]
    for status, one in zip(statuses, stages, strict=True):
        status.needs, status.places = frozenset(statuses[number].folder for number in one["needs"]), one["places"]
    for number in range(LOOKS):
        now = record["seconds"] * number / LOOKS
        for status, one in zip(statuses, stages, strict=True):
            reached = [state for state in ("began", "trained", "done") if now >= one[state]]
            status.state = ("waiting", "training", "measuring", "done")[len(reached)]
            for _, *told in (look for look in one["looks"] if look[0] <= now):
                status.row |= {key: value for key, value in zip(TOLD, told, strict=True) if value is not None}
            status.progress = 1.0 if status.state == "done" else status.row.get("progress", 0.0)
            status.seconds = status.row.get("seconds", 0.0)
        yield now, statuses


def estimates(record: dict[str, Any]) -> Iterator[tuple[float, float, float | None]]:
    """At each moment the time so far, the time that was left, and what the pace says of it."""
    now = 0.0
    pace = Pace(lambda: now)
    for now, statuses in replay(record):
        pace.observe(statuses)
        yield now, record["seconds"] - now, pace.all_left(statuses)


def main() -> None:
    """Keep a record, and say how well the time that was left is told."""
    run, file = map(Path, sys.argv[1:])
    record = trace(run)
    file.write_text(json.dumps(record).replace("], [", "],\n["))
    for now, left, said in list(estimates(record))[:: LOOKS // 40]:
        print(f"{now:8.1f} s: {left:8.1f} left, said {'nothing' if said is None else f'{said:8.1f}'}")


if __name__ == "__main__":
    main()
