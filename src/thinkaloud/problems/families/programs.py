"""Programs: write a tiny function of Python; it is judged by what it gives for inputs that the question doesn't show.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits, nor how
programs are run.
"""

import random
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.interpreter import Function, Refused, Value
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique
from thinkaloud.text.messages import Message

NUMBERS = (-7, -2, 0, 1, 3, 8, 13, 20)
LISTS = ((5, 0, 9, 2, 7, 4, 1, 8, 3, 6), (10, -3, 4, 4, 7, -8), (2,), (1, 3, 9, 6), (6, 5, 0))
"Inputs of every problem: no model is ever shown them, and together they tell every two problems' functions apart."
HASTY_LINES = 1
WORDING = {"+": ("add {}",), "-": ("subtract {}",), "~": ("take from {}",), "*": ("times {}",), ">": ("keep above {}",)}
WORDING |= {"<": ("keep below {}",)}
ALONE = {"^2": ("square",), "*2": ("double", "times 2"), "even": ("keep even",), "odd": ("keep odd",)}
STEPS = (*(f"{sign}{number}" for sign in "+-~" for number in range(1, 10)), *(f"*{n}" for n in range(2, 10)), "^2")
FILTERS = (*(f"{sign}{number}" for sign in "<>" for number in range(1, 10)), "even", "odd")
ENDS = ("sum", "list")
READ = {
    words.format(step[1:]): step for step in (*STEPS, *FILTERS) for words in ALONE.get(step) or WORDING[step[0]]
} | {end: end for end in ENDS}
"How a step is worded -> the step."
LINE = re.compile(r"[x0-9 ()+*%=<>-]+|sum|list")


class Programs(Family):
    """Levels 2 to 4 are steps on a number: "Write f(x): add 3, double." Levels 5 and 6 take one or two on a list.

    "Write f(xs): keep above 3, add 2, double, sum." Steps follow one another; `take from 9` is 9 minus it. Any function
    that gives the right values is right. Ways: `careful` writes the expression after every step; `hasty` one such line
    and then guess.
    """

    name = "programs"
    levels = (2, 3, 4, 5, 6)
    ways = ("careful", "hasty")
    words = unique(
        ["Write", "def", " f", "(", "x", "xs", "):", ",", ".", "\n", "guess", " return", " for", " in", " if", " x"]
        + [" xs", " add", " subtract", " take", " from", " times", " double", " square", " keep", " above", " below"]
        + [" even", " odd", " sum", " list", "sum", "list", " [", "])", "]", " +", " -", " *", " **", " %", " ==", " >"]
        + [" <", *("(" * depth for depth in (1, 2, 3)), *(" " + "(" * depth for depth in (1, 2, 3))]
        + [")" * depth for depth in (1, 2, 3)]
        + [before + "[" + "(" * depth for before in ("(", " ") for depth in range(4)]
        + [space + str(number) for space in ("", " ") for number in range(10)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        on_list = level > 4
        steps: list[str] = []
        while len(steps) < (level - 4 if on_list else level):
            step = rng.choice(STEPS)
            if step != "^2" or step not in steps:
                steps.append(step)
        return self._worded(level, [rng.choice(FILTERS), *steps, rng.choice(ENDS)] if on_list else steps, rng)

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """Two steps in a row that both add or subtract, or both multiply, the other way round; other words."""
        steps = problem.canonical.split()[1:]
        free = [
            index
            for index, (one, other) in enumerate(pairwise(steps))
            if {one[0], other[0]} <= {"+", "-"} or one[0] == other[0] == "*"
        ]
        if free:
            index = rng.choice(free)
            steps[index], steps[index + 1] = steps[index + 1], steps[index]
        return self._worded(problem.level, steps, rng)

    def recognise(self, question: str) -> Problem | None:
        found = re.fullmatch(r"Write f\((xs?)\): ([a-z0-9, ]+)\.", question)
        steps = [READ.get(words, "") for words in found[2].split(", ")] if found else []
        if found is None or steps.count("^2") > 1:
            return None
        inner, level = steps, len(steps)
        if found[1] == "xs" and len(steps) > 2 and steps[0] in FILTERS and steps[-1] in ENDS:
            inner, level = steps[1:-1], len(steps) + 2
        if not all(step in STEPS for step in inner) or (found[1] == "xs") != (level > 4) or level not in self.levels:
            return None
        worded = self._worded(level, steps, random.Random(0))
        return replace(worded, messages=(Message(role="user", content=question),))

    def _worded(self, level: int, steps: list[str], rng: random.Random) -> Problem:
        on_list = steps[-1] in ENDS
        argument = "xs" if on_list else "x"
        inputs: list[Value] = [list(one) for one in LISTS] if on_list else [*NUMBERS]
        return self.problem(
            level=level,
            question=f"Write f({argument}): {', '.join(_words(step, rng) for step in steps)}.",
            reference={"cases": [[given, _expected(steps, given)] for given in inputs]},
            canonical=" ".join([argument, *steps]),
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        argument, *steps = problem.canonical.split()
        lines, test, expression = [], "", "x"
        for before, step in zip(["", *steps], steps, strict=False):
            if step in FILTERS:
                test = {"even": "x % 2 == 0", "odd": "x % 2 == 1"}.get(step, f"x {step[0]} {step[1:]}")
            elif step not in ENDS:
                expression = _expression(expression, before, step)
            lines.append(step if step in ENDS else test if step in FILTERS else expression)
        body = f"[{expression} for x in xs if {test}]" if test else expression
        shown = "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        answer = f"def f({argument}): return {f'sum({body})' if steps[-1] == 'sum' else body}"
        return Demonstration(thinking="\n".join(lines), answer=answer, way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        try:
            cases = [(given, expected) for given, expected in reference["cases"]]
        except (KeyError, TypeError, ValueError):
            return Verdict.ungradable("reference")
        try:
            function = Function(answer)
            right = all(_same(function.of(given), expected) for given, expected in cases)
        except Refused as error:
            return Verdict.wrong(str(error))
        return Verdict.right() if right else Verdict.wrong("different")

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        lines = lines_of(thinking)
        whole = len(lines) == len(problem.canonical.split()) - 1
        return "careful" if whole and all(LINE.fullmatch(line) for line in lines) else "other"


def _words(step: str, rng: random.Random) -> str:
    return rng.choice(ALONE.get(step) or WORDING[step[0]] if step not in ENDS else (step,)).format(step[1:])


def _expected(steps: list[str], given: Value) -> Value:
    """What the steps make of an input, number by number."""
    if not isinstance(given, list):
        for step in steps:
            given = _applied(step, given)
        return given
    first, *inner, end = steps
    made = [_expected(inner, number) for number in given if _kept(first, number)]
    return sum(made) if end == "sum" else made  # type: ignore[arg-type, return-value]


def _applied(step: str, value: int) -> int:
    number = int(step[1:])
    return {"+": value + number, "-": value - number, "~": number - value, "*": value * number, "^": value**2}[step[0]]


def _kept(step: str, value: int) -> bool:
    if step in ("even", "odd"):
        return value % 2 == (step == "odd")
    return value > int(step[1:]) if step[0] == ">" else value < int(step[1:])


def _expression(inner: str, before: str, step: str) -> str:
    """The expression after a step; `before` is the step that made `inner`."""
    number = step[1:]
    if step[0] in "+-":
        return f"{inner} {step[0]} {number}"
    closed = inner == "x" or (step[0] != "^" and before[:1] in ("*", "^"))
    inner = inner if closed else f"({inner})"
    return {"~": f"{number} - {inner}", "*": f"{inner} * {number}", "^": f"{inner} ** 2"}[step[0]]


def _same(value: Value, expected: Value) -> bool:
    return type(value) is type(expected) and value == expected
