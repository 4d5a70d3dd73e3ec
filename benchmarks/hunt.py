"""What the ways of working on the scales can reach under the limit of recipes/hunt.toml, without any model.

`python benchmarks/hunt.py` prints the share of the sealed problems that a faultless solver of each way gets right.
"""

import random
from collections import Counter

from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.problems.families.scales import ADVICE

LEVELS, MOST_LINES = (5, 6), 5
WANDERS = 4
"Demonstrations looked at for each training problem."

State = tuple[int, int, int, int, str]
"Weights, line, places of the two on the scales, what these say."


def lines_of(problem: Problem, way: str, rng: random.Random) -> list[str]:
    """The lines of a demonstration."""
    return FAMILIES["scales"].demonstrate(problem, way, rng).thinking.split("\n")


def moves_of_short_ones(most: int, rng: random.Random) -> tuple[Counter[State], Counter[State]]:
    """How often each state occurs in demonstrations of at most `most` lines, and how often they heed the scales."""
    met, heeded = Counter[State](), Counter[State]()
    for problem in draw("scales", "train", 8000, 1, LEVELS):
        weights = problem.reference["numbers"]
        for lines in (lines_of(problem, "wander", rng) for _ in range(WANDERS)):
            for number, line in enumerate(lines[:-1] if len(lines) <= most else []):
                light, heavy, _, _, said, move = line.split()
                state = problem.level, number, weights.index(int(light)), weights.index(int(heavy)), said
                if move in ADVICE.values():
                    met[state] += 1
                    heeded[state] += move == ADVICE[said]
    return met, heeded


def imitated(problem: Problem, met: Counter[State], heeded: Counter[State], rng: random.Random) -> bool:
    """Whether a search that heeds the scales as often as short demonstrations do ends within the limit."""
    weights, target = problem.reference["numbers"], problem.reference["target"]
    light, heavy = 0, len(weights) - 1
    for number in range(MOST_LINES):
        total = weights[light] + weights[heavy]
        if total == target:
            return True
        if heavy - light == 1:
            return False
        said = "light" if total < target else "heavy"
        state = problem.level, number, light, heavy, said
        heeds = rng.random() < (heeded[state] / met[state] if met[state] else 0.5)
        light, heavy = (light + 1, heavy) if (said == "light") == heeds else (light, heavy - 1)
    return False


def main() -> None:
    """Print the table."""
    rng = random.Random(0)
    test = draw("scales", "test", 2000, 0, LEVELS)
    for way in FAMILIES["scales"].ways:
        share = sum(len(lines_of(problem, way, rng)) <= MOST_LINES for problem in test) / len(test)
        print(f"{way}: {share:.2f}")
    for most in (2, 3, 4, 5):
        met, heeded = moves_of_short_ones(most, rng)
        share = sum(imitated(problem, met, heeded, rng) for problem in test) / len(test)
        heed = heeded.total() / met.total()
        print(
            f"imitating demonstrations of at most {most} lines: {share:.2f}; of their moves {heed:.2f} heed the scales"
        )


if __name__ == "__main__":
    main()
