"""How good the bundled model is: sealed problems by family, what thinking does for it, and what it says to the rest.

A reply is drawn as `thinkaloud ask` draws it where nothing is said. The control that answers at once is the stage
`direct` of the same run. What the model never learnt is measured on 200 inputs written by
hand, in tests/fixtures/talk.jsonl, which no stage has seen; how often it refuses what it did learn, on the sealed
problems.

    .venv/bin/python benchmarks/bundled.py runs/bundled --into src/thinkaloud/bundled/README.md
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.statistics import bootstrap_mean, wilson_estimate
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.problems.families.talk import ANSWERS, Talk
from thinkaloud.rollouts import Rollout, Sampling, collect
from thinkaloud.train.data import SEALED_SEED
from thinkaloud.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "bundled.json"
HELD_OUT = ROOT / "tests" / "fixtures" / "talk.jsonl"
BUDGETS = (8, 16, 32, 64)
LONGEST = 192
SEARCHES = ("countdown", "scales")
BEGIN, END = "<!-- benchmarks/bundled.py: begin -->", "<!-- benchmarks/bundled.py: end -->"


def asked(
    model: ReasoningModel, problems: Sequence[Problem], *, thinking: bool, budget: int | None = None
) -> list[Rollout]:
    """One judged reply to each problem."""
    wish = model.defaults
    prompts = (model.template.prompt(one.messages, thinking=thinking) for one in problems)
    room = model.transformer.config.max_position_embeddings - max(map(len, prompts))
    sampling = Sampling(
        thinking=thinking,
        budget=budget,
        max_tokens=min(LONGEST, room),
        temperature=wish.temperature,
        top_p=wish.top_p,
        top_k=wish.top_k,
        min_p=wish.min_p,
    )
    return [group[0] for group in collect(model.engine, model.template, problems, sampling, seed=1)]


def right(rollouts: Sequence[Rollout]) -> list[int]:
    """1 for each reply that is right."""
    return [int(one.verdict.label == "right") for one in rollouts]


def share(values: Sequence[int]) -> list[float]:
    """A share with its 95 % interval and how many it is of."""
    found = wilson_estimate(sum(values), len(values))
    return [found.mean, found.low, found.high, found.count]


def family_row(thinking: Sequence[Rollout], at_once: Sequence[Rollout]) -> dict[str, Any]:
    """What one family's replies show; the difference is paired by problem."""
    pairs = [one - other for one, other in zip(right(thinking), right(at_once), strict=True)]
    ahead = bootstrap_mean(pairs)
    return {
        "thinking": share(right(thinking)),
        "at_once": share(right(at_once)),
        "difference": [ahead.mean, ahead.low, ahead.high],
        "thought_tokens": sum(one.thinking_tokens for one in thinking) / len(thinking),
    }


def held_out() -> list[Problem]:
    """The inputs written by hand, as problems of the family talk."""
    lines = [json.loads(line) for line in HELD_OUT.read_text("utf-8").splitlines()]
    return [
        Talk().problem(level=0, question=line["question"], reference=line["kind"], canonical=line["question"])
        for line in lines
    ]


def talk_row(model: ReasoningModel, sealed: Sequence[Rollout]) -> dict[str, Any]:
    """How inputs that no family asks are met, and how often a family's question is met so."""
    talked = asked(model, held_out(), thinking=True)
    honest = [int(any(FAMILIES["talk"].verify(one.answer, kind).score for kind in ANSWERS)) for one in talked]
    outside = [value for value, one in zip(honest, talked, strict=True) if one.problem.reference == "outside"]
    others = [one for one in sealed if one.problem.family != "talk"]
    refused = [int(any(FAMILIES["talk"].verify(one.answer, kind).score for kind in ANSWERS)) for one in others]
    return {
        "held_out_right": share(right(talked)),
        "held_out_honest": share(honest),
        "outside_honest": share(outside),
        "refused": share(refused),
        "misses": [
            {"question": one.problem.question, "answer": one.answer}
            for value, one in zip(honest, talked, strict=True)
            if not value
        ],
    }


def sealed_of(name: str, count: int, levels: list[int] | None) -> list[Problem]:
    """`count` sealed problems; half of that, or a quarter and so on, where the family has no more."""
    while True:
        try:
            return draw(name, "test", count, SEALED_SEED, levels)
        except UserError:
            count //= 2


def measured(run: Path, count: int, few: int) -> dict[str, Any]:
    """All numbers of a finished run."""
    recipe = load_settings(Recipe, run / "recipe.toml")
    model, direct = load(run), load(run / "checkpoints" / "direct")
    rows, budgets, sealed = {}, {}, []
    for name, family in recipe.families.items():
        problems = sealed_of(name, count, family.levels)
        thinking = asked(model, problems, thinking=True)
        rows[name] = family_row(thinking, asked(direct, problems, thinking=False))
        sealed += thinking
        budgets[name] = {
            str(most): share(right(asked(model, problems[:few], thinking=True, budget=most))) for most in BUDGETS
        }
        budgets[name]["none"] = share(right(thinking[:few]))
        print(name, json.dumps(rows[name]), flush=True)
    return {"parameters": model.transformer.size, "families": rows, "budgets": budgets, "talk": talk_row(model, sealed)}


def told(found: dict[str, Any]) -> str:
    """The numbers as the card tells them."""
    lines = [
        "| family | thinking % | at once % | difference, points | thought, tokens | problems |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in found["families"].items():
        ahead = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in row["difference"]))
        search = " (a search)" if name in SEARCHES else ""
        cells = [
            f"{name}{search}",
            interval(row["thinking"]),
            interval(row["at_once"]),
            ahead,
            f"{row['thought_tokens']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {row['thinking'][3]:,} |")
    few = next(iter(found["budgets"].values()))["none"][3]
    lines += ["", "| most tokens of the thought | " + " | ".join([*map(str, BUDGETS), "no limit"]) + " |"]
    lines.append("|---|" + "---:|" * (len(BUDGETS) + 1))
    for name, row in found["budgets"].items():
        lines.append(f"| {name} % | " + " | ".join(f"{100 * value[0]:.1f}" for value in row.values()) + " |")
    talk = found["talk"]
    lines += [
        "",
        f"The first table is of sealed problems, the second of the first {few:,} of each family.",
        "",
        f"- To {talk['outside_honest'][3]} inputs from outside, written by hand, it said an honest sentence in "
        f"{interval(talk['outside_honest'])} %.",
        f"- To all {talk['held_out_honest'][3]} inputs by hand, greetings and questions about itself among them, in "
        f"{interval(talk['held_out_honest'])} %, and the fitting one in {interval(talk['held_out_right'])} %.",
        f"- It refused {interval(talk['refused'], 2)} % of {talk['refused'][3]:,} sealed problems of other families.",
    ]
    return "\n".join(lines)


def interval(found: Sequence[float], digits: int = 1) -> str:
    """A share in percent with its interval."""
    mean, low, high = (f"{100 * value:.{digits}f}" for value in found[:3])
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Measure, write the numbers, and tell them in the card between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of recipes/bundled.toml")
    parser.add_argument("--count", type=int, default=2000, help="sealed problems of each family, if it has so many")
    parser.add_argument("--few", type=int, default=200, help="of those, for each thinking budget")
    parser.add_argument("--into", type=Path, help="the card; its text between the two marks is written anew")
    settings = parser.parse_args()
    found = measured(settings.run, settings.count, settings.few)
    DATA.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    text = told(found)
    print(text)
    if settings.into is not None:
        before, _, rest = settings.into.read_text("utf-8").partition(BEGIN)
        settings.into.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
