"""What int8 and int4 cost a model in quality: accuracy on sealed problems, and KL to its own weights.

For every format of the layers' matrices and of the two ends (embedding and head): the mean KL divergence a token, over
the whole vocabulary, from the model as it is stored, on that model's own replies; and the accuracy of the rounded
weights. Then the accuracy of the formats as the native step runs them, inputs rounded and keys and values in either
format. All sample with the same noise, so that differences are paired.

    .venv/bin/python benchmarks/quantised.py --model runs/demo
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from thinkaloud.base.statistics import bootstrap_mean, wilson_estimate
from thinkaloud.engine import Engine
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.model import Transformer
from thinkaloud.model.quantise import quantise
from thinkaloud.problems import Problem, draw
from thinkaloud.rollouts import Rollout, Sampling, collect

DATA = Path(__file__).parents[1] / "docs" / "data" / "quantised.json"
FORMATS = ("bfloat16", "int8", "int4")
RUN = [
    ("bfloat16", "auto"),
    ("bfloat16", "int8"),
    ("int8", "auto"),
    ("int8", "int8"),
    ("int4", "auto"),
    ("int4", "int8"),
]


def rounded(model: Transformer, body: str, ends: str) -> Transformer:
    """A float32 copy of the model with its matrices rounded."""
    copy = Transformer(model.config).eval().requires_grad_(False)
    with torch.no_grad():
        for (name, target), source in zip(copy.named_parameters(), model.parameters(), strict=True):
            format = ends if "embed_tokens" in name or "lm_head" in name else body
            exact = target.dim() != 2 or format == "bfloat16"
            target.copy_(source if exact else quantise(source, format).dequantise())
    return copy


@torch.inference_mode()
def divergence(model: Transformer, other: Transformer, replies: list[list[int]]) -> float:
    """Mean KL(model || other) a token, in nats, over all sequences."""
    total, count = 0.0, 0
    for ids in replies:
        batch = torch.tensor([ids])
        p, q = (torch.log_softmax(one.logits(one(batch)).double(), -1)[0] for one in (model, other))
        total += float((p.exp() * (p - q)).sum())
        count += len(ids)
    return total / count


def graded(opened: ReasoningModel, engine: Engine, problems: list[Problem]) -> list[Rollout]:
    """One judged reply a problem at temperature 1."""
    return [group[0] for group in collect(engine, opened.template, problems, Sampling(max_tokens=96), seed=1)]


def row(name: str, rollouts: list[Rollout], base: list[Rollout] | None, **more: Any) -> dict[str, Any]:
    """Accuracy with its interval and, paired, what was lost."""
    right = [int(one.verdict.label == "right") for one in rollouts]
    estimate = wilson_estimate(sum(right), len(right))
    found: dict[str, Any] = {"name": name, **more, "accuracy": [estimate.mean, estimate.low, estimate.high]}
    if base is not None:
        lost = bootstrap_mean([a - int(b.verdict.label == "right") for a, b in zip(right, base, strict=True)])
        found["difference"] = [lost.mean, lost.low, lost.high]
    return found


def main() -> None:
    """Measure, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a run, a folder or a hub id; the bundled model by default")
    parser.add_argument("--problems", type=int, default=2000, help="sealed problems in all")
    settings = parser.parse_args()
    opened = load(settings.model, dtype="float32")
    families = opened.upbringing.families or ("cups", "chains")
    problems = [one for name in families for one in draw(name, "test", settings.problems // len(families), 0)]
    model = opened.transformer
    base = graded(opened, Engine(model), problems)
    replies = [list(one.ids) for one in base[:: max(1, len(base) // 400)]]
    rows = [row("as stored", base, None, kl=0.0)]
    for body in FORMATS:
        for ends in FORMATS:
            if (body, ends) != ("bfloat16", "bfloat16"):
                copy = rounded(model, body, ends)
                found = graded(opened, Engine(copy), problems)
                rows.append(row(f"layers {body}, ends {ends}", found, base, kl=divergence(model, copy, replies)))
    for weights, cache in RUN:
        found = graded(opened, Engine(model, backend="native", weights=weights, cache=cache), problems)
        rows.append(row(f"run in {weights}, cache {'bfloat16' if cache == 'auto' else cache}", found, base))
    print(f"| {'weights':36} | accuracy % | difference, points | KL a token |\n|---|---:|---:|---:|")
    for one in rows:
        right, lost = ([f"{100 * x:.1f}" for x in one.get(key, ())] for key in ("accuracy", "difference"))
        change = f"{lost[0]} ({lost[1]} to {lost[2]})" if lost else ""
        kl = f"{one['kl']:.5f}" if "kl" in one else ""
        print(f"| {one['name']:36} | {right[0]} ({right[1]} to {right[2]}) | {change} | {kl} |")
    DATA.write_text(
        json.dumps({"model": settings.model or "bundled", "problems": len(problems), "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
