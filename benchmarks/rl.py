"""Reinforcement learning side by side with TRL's GRPOTrainer: seconds for 1,000 rollouts, and time to equal accuracy.

Both start from the same weights (the demo's cold start, trained here first), see the same problems in groups of the
same size and length, ask the same verifier and take the same update: GRPO as published, no KL, one update a batch,
AdamW at one constant rate for all weights, float32. Each runs in a process of its own, in turn, with as many threads.
Accuracy is that of the weights saved on the way, measured afterwards on dev problems by one engine with the same
noise; loading, saving and measuring are not in the times. Machines are noisy and shared: quote the ratios.

    make bench-rl
    make bench-rl BENCH="--threads 1 --seeds 1 --steps 4"
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from cpu import processor
from peers.clock import PHASES, Clock

import thinkaloud
from thinkaloud.base.config import load_settings, parse_settings
from thinkaloud.base.statistics import hierarchical_bootstrap
from thinkaloud.engine import Engine
from thinkaloud.model import load_model, save_model
from thinkaloud.problems import draw
from thinkaloud.rollouts import Sampling, collect
from thinkaloud.text import ChatTemplate, Tokenizer
from thinkaloud.train.pipeline import train
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.worker import LOOPS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "rl.json"
TRL = ROOT / ".venv-peers" / "trl" / "bin" / "python"
COLD, RL = "think", "rl"
"The stages: the recipe's cold start, and the reinforcement learning that is timed."
PARTS = (*PHASES, "step")
"What is told of a step: its phases, and all of it."
Runs = dict[str, list[dict[str, Any]]]
"By who ran: for each seed its seconds, its learning curve and how it answered at last."


def cold_start(recipe: Path, folder: Path) -> Path:
    """The demo's cold start, trained as its recipe says unless it is there."""
    whole = load_settings(Recipe, recipe).model_dump()
    alone = {
        "run": {**whole["run"], "dir": folder, "result": COLD, "workers": 1},
        "stages": {COLD: whole["stages"][COLD]},
        "evaluation": {**whole["evaluation"], "test": 200, "probe": [], "compare": []},
        "study": {},
    }
    for _ in train([parse_settings(Recipe, {**whole, **alone}, "the cold start")]):
        pass
    return stage_folder(folder, COLD) / "model"


class Timed(Stage):
    """Our stage for so many steps, its model saved on the way."""

    def follow(self, job: dict[str, Any], clock: Clock) -> None:
        """Note where the job wants its models, and how many steps it takes."""
        self.job, self.clock, self.laps = job, clock, []

    @property
    def finished(self) -> bool:
        """As many steps as asked for, whatever they cost."""
        return self.step >= self.job["steps"]

    def end_step(self, row: dict[str, Any]) -> None:
        """A lap of the clock, and perhaps a model."""
        super().end_step(row)
        self.laps.append({**self.clock.lap(), "reward": row["reward"]})
        if self.step % self.job["every"] == 0:
            save_model(self.model, Path(self.job["out"]) / str(self.step), eos_token_id=0, pad_token_id=0)
        self.clock.skip()


def ours(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train as the job says, by the loop that a recipe runs; one row a step with its seconds by phase."""
    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as folder:
        stage_folder(Path(folder), COLD).mkdir(parents=True)
        (stage_folder(Path(folder), COLD) / "model").symlink_to(Path(job["model"]).resolve())
        rates = {"muon_rate": 0.0, "adamw_rate": job["rate"], "warmup": 0.0, "decay": 0.0}
        base = {"budget": 1e15, "max_tokens": job["max_tokens"], "optimiser": rates}
        learning = {"init": COLD, "problems": job["problems"], "samples": job["samples"], "temperature": 1.0}
        recipe = {
            "run": {"name": "timed", "dir": folder, "seed": job["seed"], "threads": job["threads"], "result": RL},
            "families": {name: {"train": count} for name, count in job["families"].items()},
            "stages": {COLD: {"kind": "sft", "budget": 1.0}, RL: {"kind": "rl", **base, **learning}},
            "evaluation": {"dev": 0},
        }
        stage, clock = Timed(Path(folder), parse_settings(Recipe, recipe, "the timed stage"), RL), Clock()
        stage.follow(job, clock)
        clock.wrap(stage.engine, "generate", "rollout")
        clock.wrap(stage.template, "parse", "verify")
        clock.wrap(sys.modules[collect.__module__], "verdict_on", "verify")
        clock.wrap(stage, "improve", "update")
        clock.skip()
        LOOPS[stage.settings.kind](stage)
    return stage.laps


def run(who: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    """A job in a process of its own: its rows."""
    command = {"ours": [sys.executable, __file__, "--job"], "TRL": [str(TRL), "benchmarks/peers/run_trl.py"]}[who]
    around = os.environ | {
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "MKL_NUM_THREADS": str(job["threads"]),
        "OMP_NUM_THREADS": str(job["threads"]),
        "PYTHONPATH": str(Path(thinkaloud.__file__).parents[1]),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run([*command, json.dumps(job)], cwd=ROOT, env=around, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith('{"steps"')]
    if done.returncode or not found:
        sys.exit(f"{who} failed:\n{done.stderr[-2000:]}")
    return json.loads(found[-1])["steps"]


def per_thousand(rows: list[dict[str, Any]], rollouts: int) -> dict[str, float]:
    """Median seconds of each phase, and of a whole step, for 1,000 rollouts; the first step warms up."""
    kept = rows[1:] or rows
    whole = [row | {"step": sum(row[phase] for phase in PHASES)} for row in kept]
    return {part: 1000 / rollouts * statistics.median(row[part] for row in whole) for part in PARTS}


class Judge:
    """Measures saved weights on dev problems, always with the same noise."""

    def __init__(self, job: dict[str, Any], problems: int) -> None:
        self.template = ChatTemplate(Tokenizer.load(job["model"]))
        self.sampling = Sampling(max_tokens=job["max_tokens"])
        share = -(-problems // len(job["families"]))
        self.problems = [problem for name in job["families"] for problem in draw(name, "dev", share, 0)]

    def right(self, folder: Path) -> list[int]:
        """1 or 0 for each problem."""
        groups = collect(Engine(load_model(folder)), self.template, self.problems, self.sampling, seed=0)
        return [int(group[0].verdict.label == "right") for group in groups]


def alternate(job: dict[str, Any], seeds: int, judge: Judge, started: list[int]) -> Runs:
    """The job for each seed, ours and TRL's in turn; saved models are measured between."""
    runs: Runs = {"ours": [], "TRL": []}
    for seed in range(1, seeds + 1):
        for who, found in runs.items():
            with tempfile.TemporaryDirectory() as out:
                rows = run(who, {**job, "seed": seed, "out": out})
                right = [judge.right(Path(out) / str(step)) for step in saved(job)]
            clock = list(itertools.accumulate((sum(row[phase] for phase in PHASES) for row in rows), initial=0.0))
            points = zip([0, *saved(job)], [started, *right], strict=True)
            curve = [(clock[step], statistics.mean(one)) for step, one in points]
            told = per_thousand(rows, job["problems"] * job["samples"])
            found.append({"per_thousand": told, "curve": curve, "last": (right or [started])[-1]})
            shown = ", ".join(f"{part} {seconds:.2f}" for part, seconds in told.items())
            print(f"{job['threads']} threads, seed {seed}, {who}: {shown} s per 1,000 rollouts", flush=True)
    return runs


def saved(job: dict[str, Any]) -> range:
    """The steps after which a model is saved."""
    return range(job["every"], job["steps"] + 1, job["every"])


def ratios(runs: Runs) -> dict[str, dict[str, float]]:
    """Seconds for 1,000 rollouts, medians over seeds, and how many times TRL's are ours."""
    told = {who: [one["per_thousand"] for one in found] for who, found in runs.items()}
    line = {who: {part: statistics.median(one[part] for one in found) for part in PARTS} for who, found in told.items()}
    pairs = list(zip(told["ours"], told["TRL"], strict=True))
    line["is_times"] = {part: statistics.median(their[part] / our[part] for our, their in pairs) for part in PARTS}
    return line


def mean_curve(runs: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Mean seconds and mean accuracy over seeds at each saved point."""
    points = zip(*(one["curve"] for one in runs), strict=True)
    return [(statistics.mean(p[0] for p in point), statistics.mean(p[1] for p in point)) for point in points]


def reached(target: float, curve: list[tuple[float, float]]) -> float | None:
    """Where a curve of (seconds, accuracy) first meets the target, between its points by a straight line."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= target > low:
            return before + (after - before) * (target - low) / (high - low)
    return None


def learnt(runs: Runs) -> dict[str, Any]:
    """Whether both learn alike from equal rollouts, and how long each takes to an accuracy that both reach.

    That accuracy lies nine tenths of the way from the start to the lower one of the two ends.
    """
    pairs = zip(runs["ours"], runs["TRL"], strict=True)
    apart = [[a - b for a, b in zip(mine["last"], theirs["last"], strict=True)] for mine, theirs in pairs]
    gap = hierarchical_bootstrap(apart)
    curves = {who: mean_curve(found) for who, found in runs.items()}
    start, end = curves["ours"][0][1], min(curve[-1][1] for curve in curves.values())
    target = start + 0.9 * (end - start)
    times = {who: reached(target, curve) for who, curve in curves.items()}
    result = {"curves": curves, "gap": [gap.mean, gap.low, gap.high], "target": target, "seconds_to_target": times}
    for who, curve in curves.items():
        print(f"{who}: " + ", ".join(f"{seconds:.0f} s {100 * right:.1f} %" for seconds, right in curve))
    alike = "alike" if gap.low <= 0 <= gap.high else "NOT alike: this does not compare the same update"
    mean, low, high = (f"{100 * value:+.1f}" for value in (gap.mean, gap.low, gap.high))
    print(f"after equal rollouts ours less TRL's is {mean} points ({low} to {high}): they learn {alike}")
    if times["ours"] and times["TRL"]:
        result["is_times"] = times["TRL"] / times["ours"]
        print(f"to {100 * target:.1f} %: {times['ours']:.1f} s and {times['TRL']:.1f} s, {result['is_times']:.1f}x")
    return result


def table(lines: dict[str, dict[str, Any]]) -> None:
    """Seconds for 1,000 rollouts, and how many times as fast we are."""
    print(f"| threads | | {' | '.join(PARTS)} |\n|---|---|{'---:|' * len(PARTS)}")
    for threads, line in lines.items():
        for who, unit in (("ours", " s"), ("TRL", " s"), ("is_times", "x")):
            cells = " | ".join(f"{line[who][part]:.2f}{unit}" for part in PARTS)
            print(f"| {threads} | {who.replace('is_times', 'ratio')} | {cells} |")


def versions() -> dict[str, str]:
    """What TRL's environment holds."""
    names = ("torch", "transformers", "trl", "accelerate", "datasets")
    asked = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    return json.loads(subprocess.run([str(TRL), "-c", asked], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, print, write docs/data/rl.json."""
    if sys.argv[1:2] == ["--job"]:
        print(json.dumps({"steps": ours(json.loads(sys.argv[2]))}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a cold start's folder; by default the demo's, trained first")
    parser.add_argument("--threads", default="1,2", help="with the first, both learn; with others they are timed only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="where both learn")
    parser.add_argument("--brief", type=int, default=8, help="steps where they are timed only")
    parser.add_argument("--every", type=int, default=2, help="steps between the points of a learning curve")
    parser.add_argument("--dev", type=int, default=500, help="dev problems a point")
    parser.add_argument("--rate", type=float, default=3e-4, help="of AdamW, on both sides")
    parser.add_argument("--out", type=Path, default=DATA)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if not TRL.exists():
        sys.exit(f"{TRL} is not there: make peers")
    model = chosen.model or cold_start(ROOT / "recipes" / "demo.toml", ROOT / "runs" / "bench-rl")
    job: dict[str, Any] = {"model": str(model.resolve()), "families": {"cups": 3000, "chains": 5000}}
    job |= {"problems": 32, "samples": 8, "max_tokens": 80, "rate": chosen.rate}
    judge = Judge(job, chosen.dev)
    started = judge.right(model)
    asked = job | {"model": str(chosen.model or "the demo's cold start")}
    result: dict[str, Any] = {"machine": processor(), "versions": versions(), "job": asked}
    lines: dict[str, dict[str, Any]] = {}
    for number, threads in enumerate(chosen.threads.split(",")):
        length = {"steps": chosen.brief, "every": chosen.brief + 1}
        if number == 0:
            length = {"steps": chosen.steps, "every": chosen.every}
        runs = alternate({**job, **length, "threads": int(threads)}, chosen.seeds, judge, started)
        lines[threads] = ratios(runs)
        if number == 0:
            result["learnt"] = learnt(runs)
    table(lines)
    result["seconds_per_thousand_rollouts"] = lines
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
