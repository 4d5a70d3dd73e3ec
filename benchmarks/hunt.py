"""What the ways of working on the scales can reach under the limit of recipes/hunt.toml, without any model.

`python benchmarks/hunt.py` prints the share of the sealed problems that a faultless solver of each way gets right;
`--study runs/hunt-study` besides, how each arm of the study worked: the share of moves that heed the scales.
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.problems.families.scales import ADVICE

LEVELS, MOST_LINES = (5, 6), 5
WANDERS = 4
"Demonstrations looked at for each training problem."

MOVE = re.compile(r"(light|heavy) (more|less)")
"What the scales say on a line, and the move that follows."
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


def heeding(evaluations: list[Path]) -> tuple[int, int]:
    """How many moves heed the scales over these evaluations, and how many there are."""
    heeded, moves = 0, 0
    for file in evaluations:
        for entry in json.loads(file.read_text())["problems"]:
            told = [move for thought in entry["thinking"] for move in MOVE.findall(thought)]
            heeded, moves = heeded + sum(move == ADVICE[said] for said, move in told), moves + len(told)
    return heeded, moves


def tell(study: Path) -> None:
    """How the arms of a study worked; those that never go by the scales are left out."""
    seeds = sorted((study / "seeds").iterdir())
    for arm in sorted({file.stem for seed in seeds for file in (seed / "evaluations").glob("*.json")}):
        files = [file for seed in seeds if (file := seed / "evaluations" / f"{arm}.json").exists()]
        heeded, moves = heeding(files)
        if moves:
            print(f"{arm}: {heeded / moves:.3f} of {moves} moves heed the scales ({len(files)} seeds)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, help="folder of a study of recipes/hunt.toml, told besides")
    study = parser.parse_args().study
    if study:
        tell(study)
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
