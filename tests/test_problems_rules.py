"""Programs, orders, calls: other readings of the question than the family's own, and hostile programs."""

import json
import random
import re
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thinkaloud.problems import FAMILIES, Problem, verify
from thinkaloud.problems.interpreter import Function, Refused
from thinkaloud.problems.verify import verify_all
from thinkaloud.text.markup import TOOL_CALL_CLOSE, TOOL_CALL_OPEN

seeds = st.integers(0, 2**32)


def a_problem(name: str, seed: int) -> Problem:
    rng = random.Random(seed)
    family = FAMILIES[name]
    return family.generate(rng, rng.choice(family.levels))


def solution(problem: Problem) -> str:
    return FAMILIES[problem.family].demonstrate(problem, "careful", random.Random(0)).answer


def right(problem: Problem, answer: str) -> bool:
    return FAMILIES[problem.family].verify(answer, problem.reference).label == "right"


# --- programs ---


def meant(question: str) -> Callable[[Any], Any]:
    """The function that a question asks for, read from its words."""
    argument, said = re.fullmatch(r"Write f\((xs?)\): (.*)\.", question).groups()  # type: ignore[union-attr]
    steps = said.split(", ")

    def number(value: int, steps: list[str]) -> int:
        for step in steps:
            *_, last = step.split()
            k = int(last) if last.isdigit() else 0
            value = {
                "add": value + k,
                "subtract": value - k,
                "take": k - value,
                "times": value * k,
                "double": value + value,
                "square": value * value,
            }[step.split()[0]]
        return value

    def numbers(values: list[int]) -> Any:
        keep, *inner, end = steps
        _, how, *rest = keep.split()
        wanted = {
            "even": lambda value: not value & 1,
            "odd": lambda value: value & 1,
            "above": lambda value: value > int(rest[0]),
            "below": lambda value: value < int(rest[0]),
        }[how]
        made = [number(value, inner) for value in values if wanted(value)]
        return sum(made) if end == "sum" else made

    return (lambda value: number(value, steps)) if argument == "x" else numbers


def by_python(source: str, value: Any) -> Any:
    names: dict[str, Any] = {}
    exec(source, names)
    return names["f"](value)


@settings(max_examples=300, deadline=None)
@given(seeds, st.data())
def test_programs_agree_with_python_and_with_the_words(seed: int, data: st.DataObject) -> None:
    problem = a_problem("programs", seed)
    function, source = meant(problem.question), solution(problem)
    on_list = "(xs)" in problem.question
    value = data.draw(st.lists(st.integers(-99, 99), max_size=9) if on_list else st.integers(-99, 99))
    assert Function(source).of(value) == by_python(source, value) == function(value)
    assert all(function(given) == expected for given, expected in problem.reference["cases"])


@settings(max_examples=300, deadline=None)
@given(seeds, seeds)
def test_another_program_is_right_only_where_it_is_the_same_function(seed: int, other_seed: int) -> None:
    ours, theirs = a_problem("programs", seed), a_problem("programs", other_seed)
    assume("(xs)" in ours.question or "(xs)" not in theirs.question)
    function, other = meant(ours.question), meant(theirs.question)
    if "(xs)" not in ours.question:
        same = all(function(value) == other(value) for value in range(-50, 50))
    else:
        lists = [[value] for value in range(-20, 21)] + [list(range(-9, 10))]
        same = "(xs)" in theirs.question and all(function(values) == other(values) for values in lists)
    assert right(ours, solution(theirs)) == same


def test_any_program_that_gives_the_values_is_right() -> None:
    family = FAMILIES["programs"]
    number = {"cases": [[value, (value + 3) * 2] for value in (-4, 0, 5, 11)]}
    for source in (
        "def f(x): return (x + 3) * 2",
        "def f(n):\n    n += 3\n    return n + n",
        "```python\ndef f(x):\n    y = x + 3\n    for i in range(1):\n        y = y * 2\n    return y\n```",
        "def f(x): return x * 2 + 6 if x > 0 else 6 - -x * 2",
    ):
        assert family.verify(source, number).label == "right"
    for source in ("def f(x): return x + 6", "def g(x): return (x + 3) * 2", "(x + 3) * 2", "def f(x): x * 2 + 6"):
        assert family.verify(source, number).label == "wrong"
    total = {"cases": [[[1, 2, 3], 12], [[], 0]]}
    loop = "def f(xs):\n    total = 0\n    for x in xs:\n        if x < 3 or not x == 2:\n            total += x * 2\n"
    for source in (
        loop + "    return total",
        "def f(xs): return sum(x * 2 for x in xs)",
        "def f(xs): return sum(xs) * 2",
    ):
        assert family.verify(source, total).label == "right"
    assert family.verify("def f(xs): return len(xs) == 3", {"cases": [[[1, 2, 3], 1]]}).label == "wrong", (
        "True is not 1"
    )


HOSTILE = [
    "def f(x): return __import__('os').system('true')",
    "def f(x): return x.__class__",
    "def f(x): return (lambda: x)()",
    "def f(x): return f(x)",
    "def f(x): return open(x)",
    "def f(x): return eval(x)",
    "def f(x):\n    while x == x: x += 1\n    return x",
    "def f(x):\n    global y\n    return x",
    "def f(x):\n    import os\n    return x",
    "def f(x): return 9 ** 9 ** 9 ** 9",
    "def f(x): return 9 ** 8 ** 8",
    "def f(x): return x" + " * 999999999" * 20,
    "def f(x): return 9" + "9" * 200,
    "def f(x): return range(10 ** 8 * 8)",
    "def f(x): return [1] * 10 ** 8",
    "def f(x): return sum([sum([sum(range(200)) for a in range(200)]) for b in range(200)])",
    "def f(x): return [a for a in range(200) for b in range(200)]",
    "def f(x): return " + "(" * 250 + "x",
    "def f(x): return " + "-" * 250 + "x",
    "def f(x): return " + "not " * 60 + "x",
    "def f(x=[]): return x",
    "def f(x, y): return x",
    "def f(*x): return x",
    "@f\ndef f(x): return x",
    "def f(x): return x\nf(3)",
    "def f(sum): return sum",
    "def f(x): return max([])",
    "def f(x): return x // 0",
    "def f(x): return 1 if x else y",
    "def f(x): return 1or x",
    "def f(x): return [x, [x]]",
    "async def f(x): return x",
    "class f: pass",
    "def f(x): return f'{x}'",
    "def f(x): return (x := 3)",
    "def f(x): return x.real",
    "\x00",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_programs_are_refused_at_once(source: str) -> None:
    began = time.monotonic()
    problem = a_problem("programs", 1)
    verdict = FAMILIES["programs"].verify(source, problem.reference)
    assert (verdict.label, verdict.score) == ("wrong", 0.0)
    assert time.monotonic() - began < 0.5


numbers = st.integers(0, 12).map(str)
expressions = st.recursive(
    numbers | st.just("x"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "**"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        st.tuples(inner, st.sampled_from(["<", "<=", "==", "!=", ">"]), inner, inner, inner).map(
            "({0[3]} if {0[0]} {0[1]} {0[2]} else {0[4]})".format
        ),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("(-{})".format),
        inner.map("abs({})".format),
        st.tuples(inner, inner).map("max({0[0]}, {0[1]})".format),
        st.tuples(st.sampled_from(["sum", "len", "max"]), inner, inner).map(
            "{0[0]}([{0[1]} for x in range(4) if {0[2]}])".format
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(expressions, st.integers(-9, 9))
def test_the_interpreter_agrees_with_python(expression: str, value: int) -> None:
    source = f"def f(x):\n    y = {expression}\n    for x in [1, 2]:\n        y += x\n    return y"
    try:
        found = Function(source).of(value)
    except Refused as error:
        if str(error) == "error":
            with pytest.raises((ZeroDivisionError, ValueError, AssertionError)):
                assert type(by_python(source, value)) is int and " ** " not in expression
        else:
            assert str(error) == "limit"
        return
    assert found == by_python(source, value)


def corrupted(source: str, rng: random.Random) -> str:
    tokens = re.findall(r"\w+|\*\*|==|\s+|.", source)
    for _ in range(rng.randint(0, 2)):
        index = rng.randrange(5, len(tokens))
        tokens[index] = rng.choice(["x", "2", "3", "+", "-", "*", "(", ")", "7", "", "xs", "sum", "%", ">"])
    return "".join(tokens)


@pytest.mark.slow
def test_the_interpreter_agrees_with_the_sandbox() -> None:
    """What is judged in this process is judged alike by the verifier of programs, in another."""
    rng, items, ours = random.Random(0), [], []
    for seed in range(300):
        problem = a_problem("programs", seed)
        source = corrupted(solution(problem), rng)
        cases = [[[given], expected] for given, expected in problem.reference["cases"]]
        items.append(("code", source, {"entry_point": "f", "cases": cases}))
        ours.append(FAMILIES["programs"].verify(source, problem.reference))
    theirs = verify_all(items)
    assert 60 < sum(one.label == "right" for one in ours) < 240
    for item, one, other in zip(items, ours, theirs, strict=True):
        assert one.label == other.label or one.reason == "not allowed", (item, one, other)


# --- orders ---


def obeys(question: str, said: str) -> bool:
    """Whether an answer does what the question says, order by order."""
    head, orders = re.fullmatch(r"Say (.*): (.*)\.", question).groups()  # type: ignore[union-attr]
    count, given = int(head.split()[0]), head.split(" of ")[1].split()
    words = said.split(", ") if "with commas" in orders else said.split(" ")
    if "follows" in orders:
        *words, last = words
        if last != str(int(orders.split("follows ")[1].split(",")[0]) + 1):
            return False
    if "in capitals" in orders:
        given = [name.upper() for name in given]
    every = 2 if "each twice" in orders else 1
    names = [words[index : index + every] for index in range(0, len(words), every)]
    if any(len(set(group)) != 1 or len(group) != every or group[0] not in given for group in names):
        return False
    chosen = [group[0].capitalize() for group in names]
    for order in orders.split(", "):
        one, *rest = order.split()
        if rest == ["first"] and chosen[0] != one:
            return False
        if rest == ["last"] and chosen[-1] != one:
            return False
        if one == "without" and rest[0] in chosen:
            return False
    return len(chosen) == count == len(set(chosen))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_orders_agree_with_trying_all_answers(seed: int) -> None:
    problem = a_problem("orders", seed)
    given = problem.question.split(" of ")[1].split(":")[0].split()
    separator = ", " if "with commas" in problem.question else " "
    words = [name.upper() for name in given] if "in capitals" in problem.question else given
    found = 0
    for length in (2, 3):
        for names in product(words, repeat=length):
            for every in (1, 2):
                said = [name for name in names for _ in range(every)]
                following = re.search(r"follows (\d+)", problem.question)
                for end in ([], [str(int(following[1]) + 1)] if following else ["3"]):
                    answer = separator.join(said + end)
                    assert right(problem, answer) == obeys(problem.question, answer), (problem.question, answer)
                    found += right(problem, answer)
    assert found


def test_orders_are_exact_in_what_was_ordered() -> None:
    names = ["Ada", "Ben", "Mia", "Tom", "Zoe"]
    plain = {"names": names, "count": 2, "orders": {"without": "Ben"}}
    for answer in ("Mia Tom", "Tom Mia", " Zoe Ada. ", "Mia\nTom"):
        assert verify("orders", answer=answer, reference=plain).label == "right"
    for answer in ("Mia Ben", "Mia", "Mia Mia", "MIA TOM", "Mia, Tom", "Mia Tom Zoe", "Mia and Tom", "Mia Tom 8", ""):
        assert verify("orders", answer=answer, reference=plain).label == "wrong"
    loud = {"names": names, "count": 2, "orders": {"capitals": "", "commas": "", "twice": "", "after": "7"}}
    assert verify("orders", answer="MIA, MIA, TOM, TOM, 8", reference=loud).label == "right"
    for answer in ("MIA MIA TOM TOM 8", "MIA, TOM, MIA, TOM, 8", "MIA, MIA, TOM, TOM", "MIA, MIA, TOM, TOM, 9"):
        assert verify("orders", answer=answer, reference=loud).label == "wrong"


# --- calls ---


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_a_call_holds_what_was_asked_for(seed: int) -> None:
    """The name and the parameters stand in the signatures, the values in the request."""
    problem = a_problem("calls", seed)
    tools, request = problem.question.removeprefix("Tools: ").split("). ")
    offered = {tool.split("(")[0]: set(tool.rstrip(")").split("(")[1].split(", ")) for tool in tools.split("), ")}
    answer = solution(problem)
    if answer == "none":
        assert problem.reference["ground_truth"] == [] and right(problem, " None. ")
        assert not right(problem, "") and not right(problem, "no call fits")
        return
    name = answer.split("(")[0]
    arguments = eval(answer, {name: lambda **given: given})
    assert set(arguments) == offered[name]
    said = re.findall(r"\w+", request)
    assert all(str(value) in said for value in arguments.values())
    others = [
        value for value in said if value[0].isupper() and value not in answer or value.isdigit() and value not in answer
    ]
    assert others == said[:1], "all that the request names is in the call"
    call = {"name": name, "arguments": arguments}
    assert right(problem, json.dumps(call)) and right(
        problem, f"{TOOL_CALL_OPEN}\n{json.dumps(call)}\n{TOOL_CALL_CLOSE}"
    )
    for parameter, value in arguments.items():
        assert not right(
            problem, json.dumps(call | {"arguments": arguments | {parameter: "Bo" if value != "Bo" else 7}})
        )
        left = {key: arguments[key] for key in arguments if key != parameter}
        assert not right(problem, json.dumps(call | {"arguments": left}))
    assert not right(problem, json.dumps(call | {"arguments": arguments | {"more": 1}}))
    assert not right(problem, json.dumps(call | {"name": "other"}))
    assert not right(problem, "none") and not right(problem, f"{answer}{' ' * 600}.")


@settings(max_examples=100, deadline=None)
@given(seeds, seeds)
def test_another_call_is_right_only_where_it_is_the_same(seed: int, other_seed: int) -> None:
    ours, theirs = a_problem("calls", seed), a_problem("calls", other_seed)
    alike = ours.reference["ground_truth"] == theirs.reference["ground_truth"]
    assert right(ours, solution(theirs)) == alike
