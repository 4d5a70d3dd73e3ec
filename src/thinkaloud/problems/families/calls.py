"""Calls: given the signatures of some tools and a request, make the right call, or say that none fits.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits, nor how
calls are compared: that is the verifier's of the Berkeley leaderboard, here as there.
"""

import random
import re
from dataclasses import dataclass
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique
from thinkaloud.problems.verifiers.calls import Calls as LeaderboardCalls

NAMES = ("Mia", "Ben", "Zoe", "Tom", "Ada", "Max", "Eva", "Sam")
PLACES = ("Oslo", "Rome", "Lima", "Cairo", "Paris", "Delhi")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")
OBJECTS = ("beads", "cards", "coins", "shells", "stamps", "nuts")
HASTY_LINES = 1
MOST_CHARACTERS = 500
NONE = "none"
Tool = tuple[str, dict[str, str]]
"Its name, and what it takes -> the parameter's name, in the order of its signature."
LINE = re.compile(r"\w+ \w+")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of tool: what it may be called, what it takes, how it is asked for."""

    names: tuple[str, ...]
    "names that it may have"
    parameters: dict[str, tuple[str, ...]]
    "what it takes -> names that the parameter may have"
    request: str
    "the request, with the values' places"


KINDS = (
    Kind(
        names=("send", "post", "mail"),
        parameters={"count": ("count", "number", "many"), "thing": ("what", "item"), "who": ("to", "who", "person")},
        request="Send {count} {thing} to {who}",
    ),
    Kind(
        names=("wake", "alarm", "rouse"),
        parameters={"who": ("who", "person", "name"), "hour": ("hour", "time")},
        request="Wake {who} at {hour}",
    ),
    Kind(
        names=("weather", "sky", "forecast"),
        parameters={"place": ("place", "city", "where"), "day": ("day", "when")},
        request="Will it rain in {place} on {day}",
    ),
    Kind(
        names=("trip", "travel", "ticket"),
        parameters={"who": ("who", "person", "name"), "place": ("place", "city", "goal"), "day": ("day", "when")},
        request="Take {who} to {place} on {day}",
    ),
    Kind(
        names=("price", "cost", "quote"),
        parameters={"count": ("count", "number", "many"), "thing": ("what", "item")},
        request="How much are {count} {thing}",
    ),
)
VALUES: dict[str, tuple[str, ...]] = {"who": NAMES, "place": PLACES, "day": DAYS, "thing": OBJECTS}
VALUES |= {"count": tuple(map(str, range(2, 21))), "hour": tuple(map(str, range(1, 13)))}
NUMERIC = ("count", "hour")


class Calls(Family):
    """The level is the number of tools: "Tools: wake(time, who), price(item, count). Wake Ben at 7."

    Names of tools and parameters vary, so that they have to be read. From level 2 one request in six is for a tool that
    is not there, and the answer is `none`. The verdict is BFCL's: a call in Python, JSON or tool-call markup, arguments
    in any order, all of them there and of the right type. Ways: `careful` writes the tool, then a line a
    parameter; `hasty` one line and then guess.
    """

    name = "calls"
    levels = (1, 2, 3, 4)
    ways = ("careful", "hasty")
    words = unique(
        ["Tools", ":", ",", ".", "(", ")", "),", ").", "=", '="', '",', '")', "\n", "guess", NONE, "tool"]
        + [" " + word for kind in KINDS for word in re.sub(r"\{\w+\}", "", kind.request).split()]
        + [space + word for kind in KINDS for word in kind.names for space in ("", " ")]
        + [
            space + word
            for kind in KINDS
            for names in kind.parameters.values()
            for word in names
            for space in ("", " ")
        ]
        + [space + value for values in VALUES.values() for value in values for space in ("", " ")]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        kinds = rng.sample(KINDS, level)
        missing = level > 1 and rng.random() < 1 / 6
        wanted = rng.choice([kind for kind in KINDS if kind not in kinds]) if missing else kinds[0]
        tools = [_signature(kind, rng) for kind in kinds]
        values = {what: rng.choice(VALUES[what]) for what in wanted.parameters}
        call = None if missing else (tools[0], values)
        return self._worded(rng.sample(tools, level), wanted.request.format(**values), call)

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The tools, and the parameters of each, in another order: the same call is right."""
        said, request = problem.question.removeprefix("Tools: ").split("). ", 1)
        tools = [_shuffled(tool, rng) for tool in rng.sample(said.split("), "), problem.level)]
        question = f"Tools: {', '.join(tools)}. {request}"
        return self.problem(
            level=problem.level, question=question, reference=problem.reference, canonical=problem.canonical
        )

    def _worded(self, tools: list[Tool], request: str, call: tuple[Tool, dict[str, str]] | None) -> Problem:
        truth = []
        if call is not None:
            (name, parameters), values = call
            truth = [{name: {parameters[what]: [_value(what, value)] for what, value in sorted(values.items())}}]
        signatures = [f"{name}({', '.join(parameters.values())})" for name, parameters in tools]
        alike = sorted(f"{name}({', '.join(sorted(parameters.values()))})" for name, parameters in tools)
        return self.problem(
            level=len(tools),
            question=f"Tools: {', '.join(signatures)}. {request}.",
            reference={
                "functions": [_schema(*tool) for tool in sorted(tools, key=lambda tool: tool[0])],
                "ground_truth": truth,
            },
            canonical=f"{' '.join(alike)} {request}",
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        lines, answer = [NONE], NONE
        for truth in problem.reference["ground_truth"]:
            ((name, values),) = truth.items()
            order = re.search(rf"\b{name}\((.*?)\)", problem.question)
            assert order is not None
            given = {parameter: values[parameter][0] for parameter in order[1].split(", ")}
            lines = [f"tool {name}", *(f"{parameter} {value}" for parameter, value in given.items())]
            spelt = (
                f'{parameter}="{value}"' if isinstance(value, str) else f"{parameter}={value}"
                for parameter, value in given.items()
            )
            answer = f"{name}({', '.join(spelt)})"
        shown = "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        return Demonstration(thinking="\n".join(lines), answer=answer, way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        verdict = LeaderboardCalls().judge(answer[:MOST_CHARACTERS], reference, False)
        if verdict.label == "right" and len(answer) > MOST_CHARACTERS:
            return Verdict.wrong("limit")
        if verdict.label == "right" and not reference["ground_truth"] and answer.strip(" \n.").lower() != NONE:
            return Verdict.wrong("no answer")
        return verdict

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        truths = [values for truth in problem.reference["ground_truth"] for values in truth.values()]
        lines = lines_of(thinking)
        if not truths:
            return "careful" if lines == [NONE] else "other"
        return "careful" if len(lines) == 1 + len(truths[0]) and all(map(LINE.fullmatch, lines)) else "other"


def _signature(kind: Kind, rng: random.Random) -> Tool:
    """A tool of that kind."""
    taken = rng.sample(list(kind.parameters), len(kind.parameters))
    return rng.choice(kind.names), {what: rng.choice(kind.parameters[what]) for what in taken}


def _shuffled(tool: str, rng: random.Random) -> str:
    name, parameters = tool.rstrip(")").split("(")
    order = parameters.split(", ")
    return f"{name}({', '.join(rng.sample(order, len(order)))})"


def _value(what: str, value: str) -> str | int:
    return int(value) if what in NUMERIC else value


def _schema(name: str, parameters: dict[str, str]) -> dict[str, Any]:
    """The tool as BFCL describes one; parameters in the order of the alphabet, since theirs is wording."""
    types = {parameter: {"type": "integer" if what in NUMERIC else "string"} for what, parameter in parameters.items()}
    properties = dict(sorted(types.items()))
    return {"name": name, "parameters": {"type": "dict", "properties": properties, "required": list(properties)}}
