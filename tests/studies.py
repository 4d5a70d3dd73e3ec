"""Invented studies of arms and sizes whose truth is known: what each arm needs, and how much seeds differ."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from thinkaloud.base.ratios import fewest, first_reached, running_mean
from thinkaloud.base.statistics import Floats
from thinkaloud.reports.compact import START, Data, Key, Plan, Trained

SIZES = (4, 16, 64, 256, 1024, 4096)
FAMILIES = {"chains": 1.0, "pairs": 1.2, "cups": 0.9}
"How fast a family's accuracy grows with the logarithm of the size."
FLOOR, ROLLOUTS, POINTS, SPREAD = 0.3, 20_000.0, 20, 0.02
"The start's accuracy; rollouts of a stage; points of its curve; how much seeds differ in accuracy, twice over."
HARDNESS = 0.15 * np.array([NormalDist().inv_cdf((index + 0.5) / 500) for index in range(500)])
"Quantiles of how much problems differ."

Needs = Mapping[str, tuple[float, float, float]]
"By arm: problems to half of its gain, rollouts to half of its gain, accuracy in the end."
HOPED: Needs = {"b0": (100.0, 4000.0, 0.70), "b1": (80.0, 3000.0, 0.72), "ours": (8.0, 1200.0, 0.80)}


def gain(amount: float, half: float, steepness: float) -> float:
    """Share of the whole gain: a sigmoid of the logarithm, one half at `half`."""
    return float(1 / (1 + (half / amount) ** steepness))


def skill(need: tuple[float, float, float], size: int, steepness: float) -> float:
    """An arm's skill at a size, all its rollouts made."""
    return FLOOR + (need[2] - FLOOR) * gain(size, need[0], steepness)


def expected(skills: Floats | float) -> Floats:
    """Mean accuracy over all problems that there could be."""
    return np.clip(np.asarray(skills)[..., None] + HARDNESS, 0, 1).mean(axis=-1)


def course(mean: float, need: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """Rollouts and accuracy along training towards a skill."""
    made = ROLLOUTS * np.arange(1, POINTS + 1) / POINTS
    shape = np.array([gain(one, need[1], 2.0) for one in made]) / gain(ROLLOUTS, need[1], 2.0)
    return made, expected(FLOOR + (mean - FLOOR) * shape)


def invented(
    random: np.random.Generator, *, needs: Needs = HOPED, seeds: int = 8, problems: int = 300, spread: float = SPREAD
) -> Data:
    """A study: problems of differing difficulty, seeds of differing luck, replies by chance; one stage costs alike."""
    found = {}
    hardness = {family: random.normal(0, 0.15, size=problems) for family in FAMILIES}
    for seed in range(1, seeds + 1):
        run: dict[Key, Trained] = {}
        for family, steepness in FAMILIES.items():
            luck = random.normal(0, spread)
            cells: dict[Key, float] = {(family, START, 0): FLOOR}
            for arm, need in needs.items():
                for size in SIZES:
                    cells[family, arm, size] = skill(need, size, steepness) + luck + random.normal(0, spread)
            for key, mean in cells.items():
                chances = np.clip(mean + hardness[family], 0, 1)
                if key[1] == START:
                    made, course_N = np.zeros(1), expected(FLOOR)[None]
                else:
                    made, course_N = course(mean, needs[key[1]])
                dev = random.binomial(400, course_N) / 400
                run[key] = Trained(
                    ledger={"rollouts": float(made[-1]), "unique_problems": float(key[2])},
                    curve=np.column_stack([made, 20 * made, 15 * made, made / 100, dev]),
                    test=random.binomial(4, chances) / 4,
                    beyond=random.binomial(4, chances / 2) / 4,
                )
        found[str(seed)] = run
    plan = Plan(families=tuple(FAMILIES), arms=tuple(needs), sizes=SIZES)
    return Data(plan=plan, seeds=found, samples=4)


def true_needs(arm: str, baseline: str, family: str, needs: Needs = HOPED) -> tuple[float, float, float]:
    """What an arm needs to reach the baseline's target, without chance: problems on the grid, between, rollouts."""
    steepness = FAMILIES[family]

    def ends(name: str) -> Floats:
        return expected(np.array([skill(needs[name], size, steepness) for size in SIZES]))

    start = float(expected(FLOOR))
    target = np.array([start + 0.9 * (ends(baseline)[-1] - start)])
    sizes = np.array(SIZES, dtype=np.float64)
    made, accuracy = course(skill(needs[arm], SIZES[-1], steepness), needs[arm])
    costs, curve = np.concatenate([[0.0], made]), np.concatenate([[start], running_mean(accuracy)])
    problems = [float(fewest(ends(arm)[None], sizes, target, between=between)[0]) for between in (False, True)]
    return problems[0], problems[1], float(first_reached(costs, curve, target)[0])


def in_little(data: Data) -> dict[str, dict[str, Any]]:
    """The study as its small files hold it, by seed."""

    def digits(shares: Floats) -> dict[str, Any]:
        right = "".join(str(round(data.samples * share)) for share in shares)
        return {"samples": data.samples, "problems": "0" * 16, "ungradable": 0, "right": right}

    found = {}
    for seed, run in data.seeds.items():
        stages = {}
        for key, one in run.items():
            assert one.beyond is not None
            stage = {"ledger": dict(one.ledger), "curve": one.curve.tolist()}
            stages[stage_name(key)] = stage | {"test": digits(one.test), "beyond": digits(one.beyond)}
        found[seed] = {"schema_version": 1, "study": data.plan.model_dump(), "stages": stages}
    return found


def stage_name(key: Key) -> str:
    """FAMILY.ARM.SIZE or FAMILY.start."""
    return ".".join(map(str, key if key[2] else key[:2]))


def write_runs(study: Path, data: Data) -> None:
    """The study as `thinkaloud study` leaves it: a run folder a seed."""
    for seed, run in data.seeds.items():
        folder = study / "seeds" / seed
        for key, one in run.items():
            name = stage_name(key)
            assert one.beyond is not None
            for file, shares in ((name, one.test), (f"{name}-beyond", one.beyond)):
                entries = [
                    {"id": f"{key[0]}-{index}", "family": key[0], "level": 1, "right": _samples(share, data.samples)}
                    for index, share in enumerate(shares)
                ]
                evaluation = {"model": name, "samples": data.samples, "problems": entries}
                _write(folder / "evaluations" / f"{file}.json", json.dumps(evaluation))
            rows = [{"stage": name, "step": 0, "reward": 0.5}]
            names = ("rollouts", "generated_tokens", "update_tokens", "seconds", "dev_accuracy")
            rows += [{"stage": name, **dict(zip(names, point, strict=True))} for point in one.curve.tolist()]
            _write(folder / "checkpoints" / name / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            _write(folder / "checkpoints" / name / "ledger.json", json.dumps(dict(one.ledger)))


def _samples(share: float, samples: int) -> list[int]:
    right = round(samples * share)
    return [1] * right + [0] * (samples - right)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
