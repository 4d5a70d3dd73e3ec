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
    began, stages, seen = monotonic(), list[dict[str, Any]](), list[tuple[float, list[Any]]]()
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
        seen.append((monotonic() - began, [look(status) for status in statuses]))
    return {"stages": stages, "looks": thinned(seen), "whole": round(monotonic() - began, 2)}


def thinned(seen: list[tuple[float, list[Any]]]) -> list[list[Any]]:
    """About LOOKS moments, and every one at which a stage begins, is trained or is done: what has changed at each."""
    looks, kept = list[list[Any]](), list[Any]()
    apart, states = seen[-1][0] / LOOKS, list[str]()
    for now, stood in seen:
        if now >= (looks[-1][0] + apart if looks else 0) or states != [one[0] for one in stood]:
            changed = {str(n): one for n, one in enumerate(stood) if n >= len(kept) or kept[n] != one}
            looks.append([round(now, 2), changed])
            kept, states = stood, [one[0] for one in stood]
    return looks


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
    now = 0.0
    pace = Pace(lambda: now)
    for now, statuses in replay(trace):
        pace.observe(statuses)
        yield now, trace["whole"] - now, pace.all_left(statuses)


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
