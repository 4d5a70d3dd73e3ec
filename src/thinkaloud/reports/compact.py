"""A study of arms and sizes in little: one small file a seed, from which all its statistics can be made again.

Knows STUDY/seeds/SEED/ (a run folder whose stages are called FAMILY.ARM.SIZE, and FAMILY.start where all arms of a
family start) and the compact form FOLDER/SEED.json; does not know statistics.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import SCHEMA_VERSION, read_json, read_jsonl, write_text
from thinkaloud.base.statistics import Floats

START = "start"
COSTS = ("rollouts", "generated_tokens", "update_tokens", "seconds")
"What a point of a learning curve has cost by then; the accuracy on dev problems follows them."
STAGE = re.compile(r"(?P<family>[^.]+)\.(?:(?P<arm>[^.]+)\.(?P<size>\d+)|start)")

LISTS = ("families", "arms", "sizes")
"What of a plan an unfinished seed may show only a part of."

Key = tuple[str, str, int]
"Family, arm, size; the start has size 0."


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the study declared beforehand; a recipe's [study] table."""

    families: tuple[str, ...]
    "Families of problems; each weighs the same."
    arms: tuple[str, ...]
    "What was trained, each from the family's start."
    sizes: tuple[int, ...]
    "Unique problems that an arm could see, growing."
    baselines: tuple[str, ...] = ("b0", "b1")
    "The arms that ours is measured against."
    ours: str = "ours"
    "Our arm; NAME_no_PART is ours without a part."
    margin: float = 0.01
    "What accuracy may be worse by and still count as the same: a share."
    target_share: float = 0.9
    "The target: the start's accuracy and this share of the baseline's gain at the largest size."


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
    remarks: tuple[str, ...] = field(default=())
    "What is incomplete or ungradable, a line each."


def compact(run: Path) -> dict[str, Any]:
    """A seed's run folder in its small form; stages that are not measured yet are left out."""
    stages: dict[str, dict[str, Any]] = {}
    problems: dict[str, dict[str, str]] = {}
    samples = ungradable = 0
    for file in sorted((run / "evaluations").glob("*.json")):
        match = STAGE.fullmatch(file.stem)
        folder = run / "checkpoints" / file.stem
        if match is None or not (folder / "ledger.json").exists():
            continue
        stage: dict[str, Any] = {"ledger": read_json(folder / "ledger.json"), "curve": _curve(folder)}
        for part, source in (("test", file), ("beyond", file.with_name(f"{file.stem}-beyond.json"))):
            entries = read_json(source)["problems"] if source.exists() else []
            if entries:
                digest = hashlib.sha256(" ".join(one["id"] for one in entries).encode()).hexdigest()[:16]
                known = problems.setdefault(match["family"], {}).setdefault(part, digest)
                samples = samples or len(entries[0]["right"])
                if known != digest or any(len(one["right"]) != samples for one in entries) or samples > 9:
                    raise UserError(
                        f"{source} does not hold the same problems as its family's other stages, {samples} replies "
                        "each and at most 9: delete it and run the study again"
                    )
                stage[part] = "".join(str(sum(one["right"])) for one in entries)
                ungradable += sum(sum(one.get("ungradable", ())) for one in entries)
        stages[file.stem] = stage
    if not stages:
        raise UserError(f"{run} holds no measured stage called FAMILY.ARM.SIZE: give the folder of such a study")
    return {
        "schema_version": SCHEMA_VERSION,
        "samples": samples,
        "ungradable": ungradable,
        "study": asdict(_plan(run, stages)),
        "problems": problems,
        "stages": dict(sorted(stages.items(), key=lambda item: _order(_key(item[0])))),
    }


def _curve(folder: Path) -> list[list[float]]:
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if row.get("dev_accuracy") is not None]
    return [[*(row.get(name) or 0 for name in COSTS), row["dev_accuracy"]] for row in rows]


def _key(name: str) -> Key:
    match = STAGE.fullmatch(name)
    if match is None:
        raise UserError(f"{name} is no stage of such a study: they are called FAMILY.ARM.SIZE and FAMILY.start")
    return match["family"], match["arm"] or START, int(match["size"] or 0)


def _order(key: Key) -> tuple[str, bool, str, int]:
    return key[0], key[1] != START, key[1], key[2]


def _plan(run: Path, names: Iterable[str]) -> Plan:
    """The [study] table of the seed's recipe, or of the study's; what they lack is read off the stages."""
    keys = [_key(name) for name in names]
    arms = sorted({arm for _, arm, _ in keys} - {START})
    found = Plan(
        families=tuple(sorted({family for family, _, _ in keys})),
        arms=tuple(arms),
        sizes=tuple(sorted({size for _, _, size in keys if size})),
        baselines=tuple(arm for arm in arms if arm in Plan.baselines),
    )
    for file in (run / "recipe.toml", run.parent.parent / "recipe.toml"):
        table = tomllib.loads(file.read_text()).get("study", {}) if file.exists() else {}
        known = {one.name: table[one.name] for one in fields(Plan) if one.name in table}
        if known:
            return _checked(replace(found, **known))
    return found


def _checked(plan: Plan) -> Plan:
    """The plan with tuples for lists and growing sizes."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in asdict(plan).items()}
    return Plan(**{**plain, "sizes": tuple(sorted(plain["sizes"]))})


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
    small = read_small(Path(path))
    first_seed, first = next(iter(small.items()))
    plans, seeds, remarks = [], {}, []
    for seed, raw in small.items():
        if "stages" not in raw or "study" not in raw:
            raise UserError(f"{path}: the file of seed {seed} is not a seed in little: write it with --compact")
        plans.append(_checked(Plan(**raw["study"])))
        if raw["samples"] != first["samples"] or _clash(raw["problems"], first["problems"]):
            raise UserError(f"{path}: seeds {first_seed} and {seed} answered other problems: they can't be paired")
        seeds[seed] = {_key(name): _trained(stage, raw["samples"]) for name, stage in raw["stages"].items()}
        if raw.get("ungradable"):
            remarks.append(f"Seed {seed}: {raw['ungradable']:,} replies were ungradable and count as wrong.")
    plan = plans[0]
    for other in plans[1:]:
        joined = {name: tuple(dict.fromkeys((*getattr(plan, name), *getattr(other, name)))) for name in LISTS}
        if replace(plan, **joined) != replace(other, **joined):
            raise UserError(f"{path}: the seeds were declared differently in [study]: {plan} and {other}")
        plan = _checked(replace(plan, **joined))
    keys = sorted({key for stages in seeds.values() for key in stages}, key=_order)
    for seed, stages in seeds.items():
        gone = [".".join(map(str, key)) for key in keys if key not in stages]
        if gone:
            more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
            remarks.append(f"Seed {seed} is incomplete: it lacks {', '.join(gone[:3])}{more}.")
    return Data(plan=plan, seeds=seeds, samples=int(first["samples"]), remarks=tuple(remarks))


def _clash(one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether two seeds hold other problems of one family (an unfinished one may lack some)."""
    pairs = ((one[family], other[family]) for family in one.keys() & other.keys())
    return any(left[part] != right[part] for left, right in pairs for part in left.keys() & right.keys())



def _trained(raw: Mapping[str, Any], samples: int) -> Trained:
    return Trained(
        ledger=raw["ledger"],
        curve=np.asarray(raw["curve"], dtype=np.float64).reshape(-1, len(COSTS) + 1),
        test=_shares(raw["test"], samples),
        beyond=_shares(raw["beyond"], samples) if "beyond" in raw else None,
    )


def _shares(digits: str, samples: int) -> Floats:
    return (np.frombuffer(digits.encode(), dtype=np.uint8) - ord("0")) / samples
