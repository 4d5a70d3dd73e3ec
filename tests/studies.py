"""Invented studies of arms and sizes whose truth is known: what each arm needs, and how much seeds differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thinkaloud.base.statistics import Floats
from thinkaloud.reports.compact import START, Data, Key, Plan, Trained

SIZES = (4, 16, 64, 256, 1024, 4096)
STEEPNESS = {"chains": 1.0, "pairs": 1.2, "cups": 0.9}
"How fast accuracy grows with the logarithm of the size, by family."

Needs = Mapping[str, tuple[float, float, float]]
"By arm: problems to half of its gain, rollouts to half of its gain, accuracy in the end."

HOPED: Needs = {"b0": (100.0, 4000.0, 0.80), "b1": (80.0, 3000.0, 0.82), "ours": (8.0, 1200.0, 0.88)}
ROLLOUTS = 20_000.0


def gain(size: float, half: float, steepness: float) -> float:
    """Share of the whole gain: a sigmoid of the logarithm, one half at `half`."""
    return float(1 / (1 + (half / size) ** steepness))


def truth(need: tuple[float, float, float], size: int, steepness: float, *, start: float = 0.3) -> float:
    """An arm's accuracy at a size, all its rollouts made."""
    return start + (need[2] - start) * gain(size, need[0], steepness)


def invented(
    *,
    needs: Needs = HOPED,
    families: Sequence[str] = ("chains", "pairs", "cups"),
    sizes: Sequence[int] = SIZES,
    seeds: int = 8,
    problems: int = 300,
    spread: float = 0.02,
    dev: int = 400,
    points: int = 20,
    random: np.random.Generator,
) -> Data:
    """A study: problems of differing difficulty, seeds whose accuracy differs by `spread`, replies by chance."""
    start, found = 0.3, {}
    hardness = {family: random.normal(0, 0.15, size=problems) for family in families}
    for seed in range(1, seeds + 1):
        run: dict[Key, Trained] = {}
        for family in families:
            luck = random.normal(0, spread)
            cells: dict[Key, float] = {(family, START, 0): start}
            for arm, need in needs.items():
                for size in sizes:
                    own = random.normal(0, spread)
                    cells[family, arm, size] = truth(need, size, STEEPNESS[family], start=start) + luck + own
            for key, mean in cells.items():
                chances = np.clip(mean + hardness[family], 0, 1)
                curve = np.empty((0, 5))
                rollouts = 0.0
                if key[1] != START:
                    rollouts = ROLLOUTS
                    made = ROLLOUTS * np.arange(1, points + 1) / points
                    half, end = needs[key[1]][1], gain(ROLLOUTS, needs[key[1]][1], 2.0)
                    shape = np.array([gain(one, half, 2.0) for one in made]) / end
                    accuracy = random.binomial(dev, np.clip(start + (mean - start) * shape, 0, 1)) / dev
                    curve = np.column_stack([made, 20 * made, 15 * made, made / 100, accuracy])
                else:
                    curve = np.array([[0.0, 0.0, 5e5, 100.0, random.binomial(dev, start) / dev]])
                run[key] = Trained(
                    ledger={"rollouts": rollouts, "unique_problems": float(key[2]), "generated_tokens": 20 * rollouts},
                    curve=curve,
                    test=random.binomial(4, chances) / 4,
                    beyond=random.binomial(4, chances / 2) / 4,
                )
        found[str(seed)] = run
    plan = Plan(families=tuple(families), arms=tuple(needs), sizes=tuple(sizes), baselines=("b0", "b1"))
    return Data(plan=plan, seeds=found, samples=4)


def in_little(data: Data) -> dict[str, dict[str, Any]]:
    """The study as its small files hold it, by seed."""

    def digits(shares: Floats) -> dict[str, Any]:
        right = "".join(str(round(data.samples * share)) for share in shares)
        return {"samples": data.samples, "problems": "0" * 16, "ungradable": 0, "right": right}

    found = {}
    for seed, run in data.seeds.items():
        stages = {}
        for (family, arm, size), one in run.items():
            stage = {"ledger": dict(one.ledger), "curve": one.curve.tolist(), "test": digits(one.test)}
            stages[f"{family}.{arm}.{size}" if size else f"{family}.{arm}"] = stage
            if one.beyond is not None:
                stage["beyond"] = digits(one.beyond)
        found[seed] = {"schema_version": 1, "study": data.plan.model_dump(), "stages": stages}
    return found
