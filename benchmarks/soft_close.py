"""How strong the soft close should be: accuracy of the bundled model under tight budgets, for a few strengths.

    python benchmarks/soft_close.py --problems 250

The strength is what is added, at the end of the budget, to the logit of the id that closes the thought, in nats
(`PRESSURE` in engine/row.py); 0 leaves the hard close alone. The best is chosen on dev problems, and what is reported
of it and of the default is measured on test problems: accuracies, and their difference paired by problem.
"""

import argparse
import statistics
from collections.abc import Sequence

import numpy as np

from thinkaloud.base.statistics import bootstrap_mean
from thinkaloud.engine import row
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.problems import draw, verify
from thinkaloud.problems.types import Problem

FAMILIES = ("chains", "cups", "bot", "stories")
BUDGETS = (16, 24, 32)
STRENGTHS = (0.0, 4.0, 8.0, 16.0, 32.0)
DEFAULT = row.PRESSURE


def right(model: ReasoningModel, problems: Sequence[Problem], budget: int, strength: float) -> list[bool]:
    """Which problems are solved under a budget, at a strength."""
    row.PRESSURE = strength
    streams = [model.stream(one.question, thinking_budget=budget, seed=index) for index, one in enumerate(problems)]
    while any(stream.reply is None for stream in streams):
        model.advance()
    answers = [stream.reply.answer for stream in streams if stream.reply is not None]
    return [
        verify(one.verifier, answer=answer, reference=one.reference).label == "right"
        for one, answer in zip(problems, answers, strict=True)
    ]


def measured(model: ReasoningModel, split: str, count: int, strengths: Sequence[float]) -> dict[float, list[bool]]:
    """Strength -> what is right, all families and budgets in one order; a line for each of them."""
    found: dict[float, list[bool]] = {one: [] for one in strengths}
    for name in FAMILIES:
        problems = draw(name, split, count, seed=8)
        for budget in BUDGETS:
            told = []
            for strength in strengths:
                solved = right(model, problems, budget, strength)
                found[strength] += solved
                told.append(f"{100 * statistics.mean(solved):5.1f}")
            print(f"  {split:4} {name:8} {budget:3}: {' '.join(told)}", flush=True)
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=250, help="of each family")
    given = parser.parse_args()
    model = load()
    print(f"strengths: {', '.join(f'{one:g}' for one in STRENGTHS)}", flush=True)
    dev = measured(model, "dev", given.problems, STRENGTHS)
    means = {strength: statistics.mean(solved) for strength, solved in dev.items()}
    print("dev, all: " + ", ".join(f"{one:g}: {100 * mean:.1f} %" for one, mean in means.items()))
    best = max(means, key=lambda one: (means[one], one == DEFAULT))
    others = [one for one in (best, 0.0) if one != DEFAULT]
    test = measured(model, "test", given.problems, [DEFAULT, *dict.fromkeys(others)])
    for strength, solved in test.items():
        gaps = np.subtract(solved, test[DEFAULT], dtype=float)
        each = bootstrap_mean(gaps.reshape(len(FAMILIES), len(BUDGETS), -1).mean(1).ravel())
        told = f"{100 * each.mean:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f}) points to the default"
        print(f"test, strength {strength:g}: {100 * statistics.mean(solved):.1f} %, {told}")


if __name__ == "__main__":
    main()
