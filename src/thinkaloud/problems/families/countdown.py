"""Countdown: three or four numbers, put together to make another; a search.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

from thinkaloud.problems.answers import lines_of
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, pieces, unique

WORDINGS = ("Make {target} from {numbers}.", "Use {numbers} to make {target}.", "Make {target} with {numbers}")
ASKED = tuple(
    re.compile(
        re.escape(wording)
        .replace(r"\{target\}", "(?P<target>[1-9][0-9]?)")
        .replace(r"\{numbers\}", "(?P<numbers>[1-9][0-9]?(?: [1-9][0-9]?)*)")
    )
    for wording in WORDINGS
)
SIGNS = ("+", "-", "x")
MOST_NUMBER, MOST_VALUE = 12, 99
LONGEST = 80
LINE = re.compile(r"[0-9]+( [+x-] [0-9]+ = [0-9]+)*(:( [0-9]+| low| high)* (yes|no)| [+x-] [0-9]+ (low|high))")
OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "x"}


class Countdown(Family):
    """The level is how many numbers there are: "Make 21 from 2 5 3.", and "(2 + 5) x 3" is one right answer.

    Any expression of + - x and brackets is right that has the value and takes each number at most once. Some answer
    takes all of them in the order given, from left to right, with all values within 0..99. The only way, `careful`,
    searches for it: a line puts all numbers but the last together and tries the three signs with that one; what leaves
    0..99 is low or high and not gone on with.
    """

    name = "countdown"
    levels = (3, 4)
    ways = ("careful",)
    words = unique(
        [*pieces(*WORDINGS), " from", " with", " +", " -", " x", " =", ":", " low", " high", " yes", " no", "\n"]
        + ["(", ")", "."]
        + [space + str(number) for space in ("", " ") for number in range(MOST_VALUE + 1)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        while True:
            numbers = [rng.randint(1, MOST_NUMBER) for _ in range(level)]
            target, *rest = numbers
            for number in rest:
                target = _put(target, rng.choice(SIGNS), number)
                if not 0 <= target <= MOST_VALUE:
                    break
            else:
                if target > 0 and target not in numbers:
                    break
        said = " ".join(map(str, numbers))
        return self._asked(numbers, target, rng.choice(WORDINGS).format(target=target, numbers=said))

    def recognise(self, question: str) -> Problem | None:
        found = next(filter(None, (pattern.fullmatch(question) for pattern in ASKED)), None)
        if found is None:
            return None
        numbers, target = [int(number) for number in found["numbers"].split(" ")], int(found["target"])
        sound = len(numbers) in self.levels and max(numbers) <= MOST_NUMBER and target not in numbers
        solved = sound and any(signs for line, signs in _search(numbers, target) if line.endswith(" yes"))
        return self._asked(numbers, target, question) if solved else None

    def _asked(self, numbers: list[int], target: int, question: str) -> Problem:
        return self.problem(
            level=len(numbers),
            question=question,
            reference={"numbers": numbers, "target": target},
            canonical=f"{' '.join(map(str, sorted(numbers)))} = {target}",
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        numbers, target = problem.reference["numbers"], problem.reference["target"]
        lines, signs = zip(*_search(numbers, target), strict=True)
        return Demonstration(thinking="\n".join(lines), answer=_written(numbers, signs[-1]), way="careful")

    def verify(self, answer: str, reference: Any) -> Verdict:
        try:
            numbers, target = Counter(reference["numbers"]), int(reference["target"])
        except (KeyError, TypeError, ValueError):
            return Verdict.ungradable("reference")
        text = answer.strip(" \t\r\n*'\"`").rstrip(".!").replace("\N{MULTIPLICATION SIGN}", "x")
        if len(text) > LONGEST or not re.fullmatch(r"[0-9+x*() -]+", text):
            return Verdict.wrong("no expression")
        try:
            used: list[int] = []
            value = _value(ast.parse(text.replace("x", "*").strip(), mode="eval").body, used)
        except (SyntaxError, ValueError):
            return Verdict.wrong("no expression")
        if Counter(used) - numbers:
            return Verdict.wrong("not given")
        return Verdict.right() if value == target and len(used) > 1 else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        lines = lines_of(thinking)
        told = [line.rsplit(" ", 1)[-1] == "yes" for line in lines]
        found = told == [False] * (len(lines) - 1) + [True]
        return "careful" if found and all(LINE.fullmatch(line) for line in lines) else "other"


def _put(value: int, sign: str, number: int) -> int:
    return value + number if sign == "+" else value - number if sign == "-" else value * number


def _search(numbers: list[int], target: int) -> Iterator[tuple[str, str]]:
    """The lines of the monologue up to the one that finds the target, each with the signs tried so far."""
    first, *inner, last = numbers
    dead = ""
    for signs in product(SIGNS, repeat=len(inner)):
        if dead and "".join(signs).startswith(dead):
            continue
        value, line, dead = first, str(first), ""
        for place, (sign, number) in enumerate(zip(signs, inner, strict=True)):
            value = _put(value, sign, number)
            line += f" {sign} {number}"
            if not 0 <= value <= MOST_VALUE:
                dead = "".join(signs[: place + 1])
                yield f"{line} {_said(value)}", ""
                break
            line += f" = {value}"
        if dead:
            continue
        line += ":"
        for sign in SIGNS:
            ends = _put(value, sign, last)
            line += f" {_said(ends)}"
            if ends == target:
                yield f"{line} yes", "".join(signs) + sign
                return
        yield f"{line} no", ""


def _said(value: int) -> str:
    return "low" if value < 0 else "high" if value > MOST_VALUE else str(value)


def _written(numbers: list[int], signs: str) -> str:
    """The expression from left to right, with brackets around a sum that is multiplied."""
    text, loose = str(numbers[0]), False
    for sign, number in zip(signs, numbers[1:], strict=True):
        text = f"({text}) x {number}" if sign == "x" and loose else f"{text} {sign} {number}"
        loose = sign != "x"
    return text


def _value(node: ast.expr, used: list[int]) -> int:
    """The value of an expression, its numbers put into `used`; ValueError for anything but numbers and + - x."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return _put(_value(node.left, used), OPERATORS[type(node.op)], _value(node.right, used))
    raise ValueError
