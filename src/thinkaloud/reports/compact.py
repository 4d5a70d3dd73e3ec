"""A study of arms and sizes in little: one small file a seed, from which all its statistics can be made again.

Knows STUDY/seeds/SEED/ (a run folder whose stages are called FAMILY.ARM.SIZE, and FAMILY.start where all arms of a
family start) and the compact form FOLDER/SEED.json; does not know statistics.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinkaloud.base.config import Settings, parse_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import METRICS, read_json, read_jsonl, write_text
from thinkaloud.base.statistics import Floats

SCHEMA_VERSION = 1
"Of a seed in little."
START = "start"
COSTS = ("rollouts", "generated_tokens", "update_tokens", "seconds")
"What a point of a learning curve has cost by then; the accuracy on dev problems follows them."
STAGE = re.compile(r"(?P<family>[^.]+)\.(?:(?P<arm>[^.]+)\.(?P<size>\d+)|start)")

PARTS = ("test", "beyond")
"The sealed problems, and those out of range."

Key = tuple[str, str, int]
"Family, arm, size; the start has size 0."


class Plan(Settings):
    """What the study declared beforehand: part of a recipe's [study] table."""

    families: tuple[str, ...]
    "families of problems; each weighs the same"
    arms: tuple[str, ...]
    "what was trained, each from the family's start"
    sizes: tuple[int, ...]
    "unique problems that an arm could see"
    baselines: tuple[str, ...] = ("b0", "b1")
    "the arms that ours is measured against"
    ours: str = "ours"
    "our arm"
    margin: float = 0.01
    "what accuracy may be worse by and still count as the same: a share"
    target_share: float = 0.9
    "the target: the start's accuracy and this share of the baseline's gain at the largest size"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One trained stage of one seed."""

    ledger: Mapping[str, float]
    "What it spent."
    curve: Floats
    "Points of its learning curve, (N, 5): COSTS, then accuracy on dev problems."
    test: Floats
    "Share of right samples of each sealed problem, (P,), in their fixed order."
    beyond: Floats | None
    "The same out of range: longer, larger."


@dataclass(frozen=True, kw_only=True)
class Data:
    """All seeds of a study."""

    plan: Plan
    "What was declared."
    seeds: Mapping[str, Mapping[Key, Trained]]
    "By seed."
    samples: int
    "Replies a problem."
    remarks: tuple[str, ...] = ()
    "What is incomplete or ungradable, a line each."


def compact(run: Path) -> dict[str, Any]:
    """A seed's run folder in its small form; stages that are not measured yet are left out.

    It is kept as RUN/compact.json, from which the stages whose files have not changed since are taken.
    """
    kept = run / "compact.json"
    since = kept.stat().st_mtime if kept.exists() else 0.0
    before = read_json(kept)["stages"] if kept.exists() else {}
    stages: dict[str, dict[str, Any]] = {}
    for file in sorted((run / "evaluations").glob("*.json")):
        parts = {"test": file, "beyond": file.with_name(f"{file.stem}-beyond.json")}
        folder = run / "checkpoints" / file.stem
        if STAGE.fullmatch(file.stem) is None or not (folder / "ledger.json").exists():
            continue
        times = [one.stat().st_mtime for one in (*parts.values(), folder / "ledger.json") if one.exists()]
        if file.stem in before and max(times) < since:
            stages[file.stem] = before[file.stem]
            continue
        stage = {"ledger": read_json(folder / "ledger.json"), "curve": _curve(folder)}
        stages[file.stem] = stage | {name: _digits(one) for name, one in parts.items() if one.exists()}
    if not stages:
        raise UserError(f"{run} holds no measured stage called FAMILY.ARM.SIZE: give the folder of such a study")
    ordered = dict(sorted(stages.items(), key=lambda item: _order(_key(item[0]))))
    raw = {"schema_version": SCHEMA_VERSION, "study": _plan(run, ordered).model_dump(), "stages": ordered}
    write_compact(kept, raw)
    return raw


def _digits(file: Path) -> dict[str, Any]:
    """An evaluation: right samples of each problem as one digit, and a hash of which problems they are."""
    entries = read_json(file)["problems"]
    samples = {len(one["right"]) for one in entries}
    if len(samples) != 1 or max(samples) > 9:
        raise UserError(f"{file} must hold equally many replies to every problem, at most 9: run the study again")
    return {
        "samples": max(samples),
        "problems": hashlib.sha256(" ".join(one["id"] for one in entries).encode()).hexdigest()[:16],
        "ungradable": sum(sum(one.get("ungradable", ())) for one in entries),
        "right": "".join(str(sum(one["right"])) for one in entries),
    }


def _curve(folder: Path) -> list[list[float]]:
    rows = [row for row in read_jsonl(folder / METRICS) if row.get("dev_accuracy") is not None]
    return [[*(row.get(name) or 0 for name in COSTS), row["dev_accuracy"]] for row in rows]


def _key(name: str) -> Key:
    match = STAGE.fullmatch(name)
    if match is None:
        raise UserError(f"{name} is no stage of such a study: they are called FAMILY.ARM.SIZE and FAMILY.start")
    return match["family"], match["arm"] or START, int(match["size"] or 0)


def _order(key: Key) -> tuple[str, bool, str, int]:
    return key[0], key[1] != START, key[1], key[2]


def _plan(run: Path, names: Iterable[str]) -> Plan:
    """The [study] table of the seed's recipe; what it lacks is read off the stages."""
    keys = [_key(name) for name in names]
    arms = sorted({arm for _, arm, _ in keys} - {START})
    found: dict[str, Any] = {
        "families": sorted({family for family, _, _ in keys}),
        "arms": arms,
        "sizes": sorted({size for _, _, size in keys if size}),
        "baselines": [arm for arm in arms if arm in ("b0", "b1")],
    }
    file = run / "recipe.toml"
    table = tomllib.loads(file.read_text()).get("study", {}) if file.exists() else {}
    known = {name: table[name] for name in Plan.model_fields if table.get(name)}
    if "arms" in known:
        known["arms"] = list(known["arms"])  # a table by name
    return parse_settings(Plan, found | known, str(file))


def write_compact(path: Path, raw: Mapping[str, Any]) -> None:
    """Write a seed's small form, one stage a line."""
    stages = ",\n".join(f"  {json.dumps(name)}: {json.dumps(stage)}" for name, stage in raw["stages"].items())
    head = "".join(f" {json.dumps(key)}: {json.dumps(raw[key])},\n" for key in raw if key != "stages")
    write_text(path, f'{{\n{head} "stages": {{\n{stages}\n }}\n}}\n')


def is_study(path: Path) -> bool:
    """Whether the folder holds a study of arms and sizes, as run folders or in little."""
    stages = (file.stem for file in (path / "seeds").glob("*/evaluations/*.json"))
    return any(STAGE.fullmatch(name) for name in stages) or bool(_small_files(path))


def _small_files(path: Path) -> list[Path]:
    return sorted((file for file in path.glob("*.json") if file.stem.isdigit()), key=lambda file: int(file.stem))


def read_small(path: Path) -> dict[str, dict[str, Any]]:
    """Every seed's small form, from either kind of folder; UserError where there is none."""
    runs = [one for one in (path / "seeds").glob("*") if any((one / "evaluations").glob("*.json"))]
    if runs:
        return {run.name: compact(run) for run in sorted(runs, key=lambda run: (len(run.name), run.name))}
    files = _small_files(path)
    if not files:
        raise UserError(
            f"{path} holds no study: give the folder DIR-study that `thinkaloud study` wrote, a folder of its "
            "seeds in little (SEED.json), or two evaluations"
        )
    return {file.stem: read_json(file) for file in files}


def load_data(path: Path) -> Data:
    """The study in `path`; UserError where seeds differ in what was declared or asked."""
    small = read_small(path)
    plans, seeds, remarks = [], {}, []
    asked: dict[tuple[str, str], tuple[str, int]] = {}
    for seed, raw in small.items():
        if "stages" not in raw or "study" not in raw:
            raise UserError(f"{path}: the file of seed {seed} is not a seed in little: write it with --compact")
        plans.append(parse_settings(Plan, raw["study"], f"{path}, seed {seed}"))
        seeds[seed] = {_key(name): _trained(stage) for name, stage in raw["stages"].items()}
        parts = [(name, part, stage[part]) for name, stage in raw["stages"].items() for part in PARTS if part in stage]
        for name, part, one in parts:
            problems = (one["problems"], one["samples"])
            if asked.setdefault((_key(name)[0], part), problems) != problems:
                raise UserError(f"{path}: {name} of seed {seed} answered other problems than its family's other stages")
        ungradable = sum(one["ungradable"] for _, _, one in parts)
        if ungradable:
            remarks.append(f"Seed {seed}: {ungradable:,} replies were ungradable and count as wrong.")
    keys = sorted({key for stages in seeds.values() for key in stages}, key=_order)
    for seed, stages in seeds.items():
        gone = [".".join(map(str, key)) for key in keys if key not in stages]
        if gone:
            more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
            remarks.append(f"Seed {seed} is incomplete: it lacks {', '.join(gone[:3])}{more}.")
    samples = max(samples for _, samples in asked.values())
    return Data(plan=_joined(path, plans), seeds=seeds, samples=samples, remarks=tuple(remarks))


def _joined(path: Path, plans: Sequence[Plan]) -> Plan:
    """What all seeds declared; UserError where they differ in more than how far they are."""
    lists = {
        name: tuple(dict.fromkeys(one for plan in plans for one in getattr(plan, name)))
        for name in ("families", "arms", "sizes", "baselines")
    }
    joined = {plan.model_copy(update=lists) for plan in plans}
    if len(joined) > 1:
        raise UserError(f"{path}: the seeds were declared differently in [study]: {plans[0]} and others")
    return joined.pop()


def _trained(raw: Mapping[str, Any]) -> Trained:
    return Trained(
        ledger=raw["ledger"],
        curve=np.asarray(raw["curve"], dtype=np.float64).reshape(-1, len(COSTS) + 1),
        test=_shares(raw["test"]),
        beyond=_shares(raw["beyond"]) if "beyond" in raw else None,
    )


def _shares(raw: Mapping[str, Any]) -> Floats:
    return np.asarray((np.frombuffer(raw["right"].encode(), dtype=np.uint8) - ord("0")) / raw["samples"])
