"""Runs as they would have been watched, to see how well the time that is left was told.

`python tests/traces.py RUN FILE` keeps in FILE when the stages of a finished run began, were trained and measured, and
how far they were at which second: times of their files, rows of their journals. RUN may be the folder of a study, if
nothing interrupted it. What the pace would have said is printed. Reports, which come after the last stage, don't count.

`python tests/traces.py RUN FILE --even` keeps the run as a machine whose load does not change would have trained it:
each stage as long as its processor seconds, on as many places as there were. It may have been interrupted.
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

TOLD = ("progress", "seconds", "dev_seconds", "dev_problems", "dev_tokens", "dev_prompt_tokens")
"What of a stage's rows the pace goes by."
ROWS = 40
"Rows of a stage that are kept besides those of its learning curve, about."
START = 1.0
"Processor seconds until a stage has opened what it needs, about."
SHARES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
"Of the whole time, in percent, at which is told how right the pace is."
LOOKS = 400
"Moments at which a run is looked at."


def trace(run: Path, *, even: bool = False) -> dict[str, Any]:
    """The record of a run or a study."""
    runs = sorted((run / "seeds").iterdir(), key=lambda one: int(one.name)) if (run / "seeds").is_dir() else [run]
    statuses = [status for one in runs for status in statuses_of(load_settings(Recipe, one / "recipe.toml"))]
    statuses = [status for status in statuses if (status.folder / "done.json").exists()]
    places = {status.folder: number for number, status in enumerate(statuses)}
    began = min((status.folder / ".lock").stat().st_mtime for status in statuses)
    ended = max((status.folder / "done.json").stat().st_mtime for status in statuses)
    record = {
        "seconds": round(ended - began, 2),
        "stages": [
            {
                "name": status.name,
                "run": str(status.run),
                "kind": status.kind,
                "work": asdict(status.work),
                "needs": sorted(places[folder] for folder in status.needs if folder in places),
                "places": status.places,
                **(_even(status.folder) if even else _times(status.folder, began)),
            }
            for status in statuses
        ],
    }
    return laid_out(record) if even else record


def _times(folder: Path, began: float) -> dict[str, Any]:
    files = {"began": ".lock", "trained": "model/config.json", "done": "done.json"}
    times = {what: round((folder / file).stat().st_mtime - began, 2) for what, file in files.items()}
    seconds = read_json(folder / "ledger.json")["seconds"]
    rows = read_jsonl(folder / "metrics.jsonl")
    kept = [row for number, row in enumerate(rows) if "dev_seconds" in row or number % (1 + len(rows) // ROWS) == 0]
    looks = [[round(times["trained"] - seconds + row["seconds"], 2), *(row.get(key) for key in TOLD)] for row in kept]
    return {**times, "looks": looks}


def _even(folder: Path) -> dict[str, Any]:
    """Of a stage that begins at once: processor seconds where the journal has seconds."""
    ledger, rows = read_json(folder / "ledger.json"), read_jsonl(folder / "metrics.jsonl")
    share = ledger["cpu_seconds"] / ledger["seconds"]
    rows = [row | {key: row[key] * share for key in ("seconds", "dev_seconds") if key in row} for row in rows]
    kept = [row for number, row in enumerate(rows) if "dev_seconds" in row or number % (1 + len(rows) // ROWS) == 0]
    trained = START + ledger["cpu_seconds"]
    looks = [[START + row["seconds"], *(row.get(key) for key in TOLD)] for row in kept]
    return {"began": 0.0, "trained": trained, "done": trained + ledger["evaluation_seconds"] * share, "looks": looks}


def laid_out(record: dict[str, Any]) -> dict[str, Any]:
    """The stages of a record one after another, on its places; one begins as soon as all that it needs is trained."""
    stages, now = record["stages"], 0.0
    begun: dict[int, dict[str, Any]] = {}
    while len(begun) < len(stages):
        trained = {number for number, one in begun.items() if one["trained"] <= now}
        ready = (number for number, one in enumerate(stages) if number not in begun and trained >= set(one["needs"]))
        following = next(ready, None)
        if following is not None and sum(one["done"] > now for one in begun.values()) < stages[following]["places"]:
            one = stages[following]
            later = {key: round(one[key] - one["began"] + now, 2) for key in ("began", "trained", "done")}
            looks = [[round(look[0] - one["began"] + now, 2), *look[1:]] for look in one["looks"]]
            begun[following] = one | later | {"looks": looks}
        else:
            now = min(end for one in begun.values() for end in (one["trained"], one["done"]) if end > now)
    stages = [begun[number] for number in range(len(stages))]
    return {"seconds": max(one["done"] for one in stages), "stages": stages}


def replay(record: dict[str, Any]) -> Iterator[tuple[float, list[StageStatus]]]:
    """Moments of a record, and where every stage stood."""
    stages = record["stages"]
    statuses = [
        StageStatus(run=Path(one["run"]), name=one["name"], kind=one["kind"], work=Work(**one["work"]))
        for one in stages
    ]
    for status, one in zip(statuses, stages, strict=True):
        status.needs, status.places = frozenset(statuses[number].folder for number in one["needs"]), one["places"]
    coming = [list(reversed(one["looks"])) for one in stages]
    for number in range(LOOKS):
        now = record["seconds"] * number / LOOKS
        for status, one, looks in zip(statuses, stages, coming, strict=True):
            reached = [state for state in ("began", "trained", "done") if now >= one[state]]
            status.state = ("waiting", "training", "measuring", "done")[len(reached)]
            while looks and looks[-1][0] <= now:
                _, *told = looks.pop()
                status.row |= {key: value for key, value in zip(TOLD, told, strict=False) if value is not None}
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
    run, file = map(Path, sys.argv[1:3])
    record = trace(run, even=sys.argv[3:] == ["--even"])
    file.write_text(json.dumps(record).replace("], [", "],\n["))
    tell(record)


def tell(record: dict[str, Any]) -> None:
    """Said beside true, at shares of the whole time."""
    told = list(estimates(record))
    for share in SHARES:
        now, left, said = told[LOOKS * share // 100]
        ratio = "nothing said" if said is None else f"{said:7.0f} s said, {said / left:.2f} times as long"
        print(f"{share:3d} % ({now:.0f} s): {left:7.0f} s left, {ratio}")


if __name__ == "__main__":
    main()
