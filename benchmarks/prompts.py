"""The cold starts of recipes/fraction.toml with their best prompt: does a prompt give what training gives?

    python benchmarks/prompts.py runs/fraction-study/seeds/1

Each cold start is asked plainly, after each of several system messages, and after one, two and four solved problems,
their careful thoughts shown. The best on 1,000 dev problems, one reply each, is asked the 2,000 sealed problems of the
study, four replies each, beside the plain prompt.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from thinkaloud.base.statistics import bootstrap_mean
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.text import Message
from thinkaloud.train.data import SEALED_SEED

OUT = Path(__file__).parents[1] / "docs" / "data" / "prompts.json"
FAMILIES_ASKED = {"chains": (None, 80), "pairs": ((4, 5, 6), 112), "gym_leg_counting": (None, 80)}
"Families of the study: their levels where not all, and most tokens of a reply."
SYSTEM = (
    "Think step by step.",
    "Work carefully: write every step on a line of its own, and do not guess.",
    "Check each line before the next. Give the answer only when nothing is left to do.",
)
SHOTS = (1, 2, 4)


def prompts(family: str, levels: Sequence[int] | None) -> dict[str, tuple[Message, ...]]:
    """What may stand before a question, by name."""
    rng = random.Random(f"shots {family}")
    turns: list[Message] = []
    for problem in draw(family, "train", max(SHOTS), 1, levels):
        shown = FAMILIES[family].demonstrate(problem, "careful", rng)
        turns += [Message("user", problem.question), Message("assistant", shown.answer, shown.thinking)]
    told = {f"system: {text}": (Message("system", text),) for text in SYSTEM}
    return {"plain": ()} | told | {f"{shots} solved": tuple(turns[: 2 * shots]) for shots in SHOTS}


def right(
    model: ReasoningModel, before: Sequence[Message], problems: Sequence[Problem], samples: int, most: int
) -> list[float]:
    """Share of right replies to each problem."""
    asked = [model.template.prompt([*before, *problem.messages], history="keep") for problem in problems]
    replies = model.generate_ids([one for one in asked for _ in range(samples)], max_tokens=most, seed=1)
    answers = [model.template.parse(reply.token_ids).content for reply in replies]
    told = [
        FAMILIES[problem.family].verify(answers[samples * index + number], problem.reference).label == "right"
        for index, problem in enumerate(problems)
        for number in range(samples)
    ]
    return [sum(told[first : first + samples]) / samples for first in range(0, len(told), samples)]


def main() -> None:
    """Ask, choose, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=Path, help="the folder of one seed of the study")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    found = {}
    for family, (levels, most) in FAMILIES_ASKED.items():
        model = load(given.seed / "checkpoints" / f"{family}.start" / "model")
        dev = draw(family, "dev", 1000, SEALED_SEED, levels)
        sealed = draw(family, "test", 2000, SEALED_SEED, levels)
        tried = prompts(family, levels)
        scores = {name: sum(right(model, before, dev, 1, most)) / len(dev) for name, before in tried.items()}
        best = max(scores, key=lambda name: scores[name])
        measured = {
            name: bootstrap_mean(right(model, tried[name], sealed, 4, most)) for name in dict.fromkeys(("plain", best))
        }
        found[family] = {
            "dev": scores,
            "best": best,
            "sealed": {name: [one.mean, one.low, one.high] for name, one in measured.items()},
        }
        print(family, json.dumps(found[family], indent=1), flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
