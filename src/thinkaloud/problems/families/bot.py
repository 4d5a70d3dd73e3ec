"""Bot: a turtle that turns and walks on a 10 x 10 grid whose edges meet.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from itertools import pairwise
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of, whole_numbers
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

SIDE = 10
FACINGS = ("north", "east", "south", "west")
AHEAD = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
TURNS = ("left", "right")
STEPS = ("1", "2", "3", "4")
HASTY_LINES = 4
MOVE = "(?:left|right|[1-4])"
QUESTION = re.compile(rf"At ([0-9]) ([0-9]), facing ({'|'.join(FACINGS)}): ({MOVE}(?:, {MOVE})*)\. Where now\?")
State = tuple[int, int, str]


class Bot(Family):
    """The level is the number of moves: "At 3 4, facing north: 2, left, 4. Where now?".

    A square is x then y, each 0..9; north raises y, east raises x. A move is a turn on the spot or 1 to 4 steps ahead.
    The grid wraps (a step east from x = 9 comes to x = 0), so that all squares are equally likely ends and no edge
    collects lucky guesses. No turn follows a turn, and the last move walks. Ways: `careful` writes square and facing
    after every move; `hasty` at most four such lines and then guess.
    """

    name = "bot"
    levels = tuple(range(3, 9))
    ways = ("careful", "hasty")
    words = unique(
        ["At", ",", " facing", ":", ".", " Where", " now", "?", "\n", "guess"]
        + [" " + facing for facing in FACINGS]
        + [" " + turn for turn in TURNS]
        + [*TURNS]
        + [" " + str(number) for number in range(SIDE)]
        + [str(number) for number in range(SIDE)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        start = (rng.randrange(SIDE), rng.randrange(SIDE), rng.choice(FACINGS))
        moves: list[str] = []
        for index in range(level):
            may_turn = index < level - 1 and (not moves or moves[-1] in STEPS)
            moves.append(rng.choice(TURNS if may_turn and rng.random() < 0.5 else STEPS))
        return self._asked(start, moves)

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None:
            return None
        moves = found[4].split(", ")
        sound = moves[-1] in STEPS and not any(one in TURNS and other in TURNS for one, other in pairwise(moves))
        return self._asked((int(found[1]), int(found[2]), found[3]), moves) if sound else None

    def _asked(self, start: State, moves: list[str]) -> Problem:
        x, y, _ = _walk(start, moves)[-1]
        return self.problem(
            level=len(moves),
            question=f"At {start[0]} {start[1]}, facing {start[2]}: {', '.join(moves)}. Where now?",
            reference=[x, y],
            canonical=" ".join([str(start[0]), str(start[1]), start[2], *moves]),
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        start_x, start_y, facing, *moves = problem.canonical.split()
        states = _walk((int(start_x), int(start_y), facing), moves)
        lines = [_line(move, state) for move, state in zip(moves, states, strict=True)]
        shown = "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        x, y, _ = states[-1]
        return Demonstration(thinking="\n".join(lines), answer=f"{x} {y}", way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        if not (isinstance(reference, list | tuple) and len(reference) == 2):
            return Verdict.ungradable("reference")
        return Verdict.right() if whole_numbers(answer) == tuple(reference) else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        followed = [re.fullmatch(rf"(\w+) [0-9] [0-9] ({'|'.join(FACINGS)})", line) for line in lines_of(thinking)]
        if [line and line[1] for line in followed] == problem.canonical.split()[3:]:
            return "careful"
        return "other"


def _walk(state: State, moves: list[str]) -> list[State]:
    """The state after each move."""
    states = []
    x, y, facing = state
    for move in moves:
        if move in TURNS:
            turn = 1 if move == "right" else -1
            facing = FACINGS[(FACINGS.index(facing) + turn) % 4]
        else:
            x = (x + int(move) * AHEAD[facing][0]) % SIDE
            y = (y + int(move) * AHEAD[facing][1]) % SIDE
        states.append((x, y, facing))
    return states


def _line(move: str, state: State) -> str:
    """One line of the monologue: the move, then square and facing after it."""
    x, y, facing = state
    return f"{move} {x} {y} {facing}"
