"""A folder of training runs, made by hand: one half-way, one of a study that has not begun, and what is no run."""

import json
from pathlib import Path
from typing import Any

RECIPE = """
[run]
name = "small"
[stages.think]
kind = "sft"
[stages.think_rl]
kind = "rl"
[stages.later]
kind = "sft"
"""


def rollout(step: int, problem: str, verdict: str) -> dict[str, Any]:
    said = {"thinking": f"at {step}", "answer": "13", "verdict": verdict, "reason": "", "way": "careful"}
    return {"step": step, "problem": problem, "family": problem.split("-")[0], "level": 3, **said, "thinking_tokens": 9}


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def metrics(stage: str, steps: int, **values: float) -> list[dict[str, Any]]:
    return [{"stage": stage, "kind": "rl", "step": n, "progress": n / steps, **values} for n in range(1, steps + 1)]


def evaluation(model: str, rights: list[int]) -> dict[str, Any]:
    problems = [
        {"id": f"chains-{n}", "family": "chains", "level": 3, "question": f"question {n}", "right": [right]}
        | {"thinking": [f"{model} thinks"], "answer": [str(right)], "thinking_tokens": [4], "reason": [""]}
        for n, right in enumerate(rights)
    ]
    return {"model": model, "samples": 1, "problems": problems}


def fill(folder: Path) -> None:
    """Put them into `folder`."""
    small = folder / "small"
    (folder / "notes").mkdir(parents=True)
    (folder / "study" / "seeds" / "1").mkdir(parents=True)
    (folder / "study" / "seeds" / "1" / "recipe.toml").write_text(RECIPE)
    small.mkdir()
    (small / "recipe.toml").write_text(RECIPE)
    lines(small / "checkpoints/think/metrics.jsonl", metrics("think", 2, dev_accuracy=0.5, dev_thinking_tokens=7.0))
    (small / "checkpoints/think/done.json").write_text("{}")
    journal = small / "checkpoints/think_rl"
    lines(
        journal / "metrics.jsonl",
        metrics("think_rl", 1000, rollouts=88, reward=0.25, entropy=0.5, thinking_tokens=9.0)[:900],
    )
    verdicts = ["right", "wrong", "wrong", "ungradable"]
    first = [rollout(1, f"chains-{n}", verdict) for n in range(12) for verdict in verdicts]
    lines(journal / "rollouts.jsonl", [{**first[0], "question": "Who?"}, *first[1:]])
    lines(journal / "rollouts.jsonl", [rollout(2, "cups-0", "right") for _ in range(40)])
    (small / "evaluations").mkdir()
    for name, rights in {"think": [0, 1, 0], "think_rl": [0, 1, 1]}.items():
        (small / "evaluations" / f"{name}.json").write_text(json.dumps(evaluation(name, rights)))
