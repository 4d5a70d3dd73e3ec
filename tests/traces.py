"""Runs as they were watched, kept to see how well the time that is left was told.

`python tests/traces.py FILE RECIPE [SECTION.KEY=VALUE ...] [--seeds 1,2,3]` trains a recipe, or a study of it, and
keeps what was seen of its stages in FILE: at first all of them, then what has changed.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from thinkaloud.base.config import load_settings
from thinkaloud.train.pace import Pace
from thinkaloud.train.pipeline import announce, train
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.status import StageStatus, Work
from thinkaloud.train.study import run_study, seeded

TOLD = ("dev_seconds", "dev_problems", "dev_tokens")
"What of a stage's rows the pace goes by."
LOOKS = 300
"Looks that are kept, about."


def look(status: StageStatus) -> list[Any]:
    """What is kept of a stage at a moment."""
    return [status.state, round(status.progress, 4), status.seconds, *(status.row.get(key) for key in TOLD)]


def record(standings: Iterator[list[StageStatus]]) -> dict[str, Any]:
    """Watch to the end."""
    began, stages, looks, known = monotonic(), list[dict[str, Any]](), list[list[Any]](), dict[int, list[Any]]()
    statuses: list[StageStatus] = []
    for statuses in standings:
        if not stages:
            places = {status.folder: number for number, status in enumerate(statuses)}
            stages = [
                {
                    "name": status.name,
                    "run": str(status.run),
                    "kind": status.kind,
                    "work": asdict(status.work),
                    "needs": sorted(places[folder] for folder in status.needs),
                    "places": status.places,
                }
                for status in statuses
            ]
        now = monotonic() - began
        if looks and now < looks[-1][0] * (1 + 1 / LOOKS) and all(one.state != "done" for one in statuses):
            continue
        if looks and now < looks[-1][0] + 0.5:
            continue
        looks.append([round(now, 2), _changed(statuses, known)])
    looks.append([round(monotonic() - began, 2), _changed(statuses, known)])
    return {"stages": stages, "looks": looks}


def _changed(statuses: list[StageStatus], known: dict[int, list[Any]]) -> dict[str, list[Any]]:
    fresh = {number: look(status) for number, status in enumerate(statuses)}
    changed = {str(number): seen for number, seen in fresh.items() if known.get(number) != seen}
    known.update(fresh)
    return changed


def replay(trace: dict[str, Any]) -> Iterator[tuple[float, list[StageStatus]]]:
    """The moments of a record, and where every stage stood."""
    statuses = [
        StageStatus(run=Path(one["run"]), name=one["name"], kind=one["kind"], work=Work(**one["work"]))
        for one in trace["stages"]
    ]
    for status, one in zip(statuses, trace["stages"], strict=True):
        status.needs, status.places = frozenset(statuses[number].folder for number in one["needs"]), one["places"]
    for now, changed in trace["looks"]:
        for number, (state, progress, seconds, *told) in changed.items():
            status = statuses[int(number)]
            status.state, status.progress, status.seconds = state, progress, seconds
            status.row = {key: value for key, value in zip(TOLD, told, strict=True) if value is not None}
        yield now, statuses


def estimates(trace: dict[str, Any]) -> Iterator[tuple[float, float, float | None]]:
    """At each moment the time so far, the time that was left, and what the pace said of it."""
    now, end = 0.0, trace["looks"][-1][0]
    pace = Pace(lambda: now)
    for now, statuses in replay(trace):
        pace.observe(statuses)
        yield now, end - now, pace.all_left(statuses)


def main() -> None:
    """Train, record, and say how well the time that is left was told."""
    words = sys.argv[1:]
    seeds = [int(one) for one in words.pop(words.index("--seeds") + 1).split(",")] if "--seeds" in words else []
    file, path, *overrides = (word for word in words if word != "--seeds")
    recipe = load_settings(Recipe, Path(path), overrides)
    if seeds:
        trace = record(run_study(seeded(recipe, seeds)))
    else:
        announce(recipe)
        trace = record(train([recipe]))
    Path(file).write_text(json.dumps(trace).replace("], [", "],\n["))
    for now, left, said in estimates(trace):
        print(f"{now:8.1f} s: {left:8.1f} left, said {'nothing' if said is None else f'{said:8.1f}'}")


if __name__ == "__main__":
    main()
