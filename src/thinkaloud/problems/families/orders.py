"""Orders: say some of several names as one is told to: instruction following, judged by rule.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import random
import re
from typing import Any

from thinkaloud.problems.answers import cut_short, guesses, lines_of
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, unique

NAMES = ("Mia", "Ben", "Zoe", "Tom", "Ada", "Max", "Eva", "Sam")
GIVEN = 4
HASTY_LINES = 1
KINDS = ("without", "first", "last", "capitals", "commas", "twice", "after")
LINE = re.compile(r"[A-Za-z0-9, ]+")
QUESTION = re.compile(r"Say ([23]) of (\w+ \w+ \w+ \w+): ([\w, ]+)\.")
ORDERS = {
    "without": r"without (\w+)",
    "first": r"(\w+) first",
    "last": r"(\w+) last",
    "capitals": r"in capitals()",
    "commas": r"with commas()",
    "twice": r"each twice()",
    "after": r"then what follows ([1-9]|1[0-9]|20)",
}


class Orders(Family):
    """The level is the number of orders: "Say 2 of Mia Ben Zoe Tom: without Ben, in capitals, then what follows 7."

    Any choice and order of names that obeys is right. Orders: a name left out, put first or last; capitals; commas;
    each name twice; the number after a given one at the end. Ways: `careful` writes who is left, who is chosen in which
    order, and the whole after each order that changes how it is written; `hasty` one such line and then guess.
    """

    name = "orders"
    levels = (1, 2, 3, 4)
    beyond = (5,)
    ways = ("careful", "hasty")
    words = unique(
        ["Say", " of", ":", ",", ".", "\n", "guess", " without", " first", " last", " in", " capitals", " with"]
        + [" commas", " each", " twice", " then", " what", " follows"]
        + [space + spelt for name in NAMES for spelt in (name, name.upper()) for space in ("", " ")]
        + [space + str(number) for space in ("", " ") for number in range(22)]
    )

    def generate(self, rng: random.Random, level: int) -> Problem:
        names = rng.sample(NAMES, GIVEN)
        apart = rng.sample(names, 3)
        orders = {}
        for kind in rng.sample(KINDS, level):
            orders[kind] = {"without": apart[0], "first": apart[1], "last": apart[2]}.get(kind, "")
            if kind == "after":
                orders[kind] = str(rng.randint(1, 20))
        return self._worded(names, rng.choice((2, 3)), orders)

    def variant(self, problem: Problem, rng: random.Random) -> Problem:
        """The names and the orders in another order: the same answers obey."""
        names, orders = problem.reference["names"], list(problem.reference["orders"].items())
        return self._worded(
            rng.sample(names, len(names)), problem.reference["count"], dict(rng.sample(orders, len(orders)))
        )

    def recognise(self, question: str) -> Problem | None:
        found = QUESTION.fullmatch(question)
        if found is None:
            return None
        names, orders = found[2].split(), dict(filter(None, map(_read, found[3].split(", "))))
        named = [orders[kind] for kind in ("without", "first", "last") if kind in orders]
        sound = len(set(names)) == GIVEN and set(names) <= set(NAMES) and set(named) <= set(names)
        if not orders or not sound or len(set(named)) < len(named):
            return None
        problem = self._worded(names, int(found[1]), orders)
        return problem if problem.question == question else None

    def _worded(self, names: list[str], count: int, orders: dict[str, str]) -> Problem:
        said = ", ".join(_words(kind, value) for kind, value in orders.items())
        return self.problem(
            level=len(orders),
            question=f"Say {count} of {' '.join(names)}: {said}.",
            reference={"names": sorted(names), "count": count, "orders": dict(sorted(orders.items()))},
            canonical=" ".join([str(count), *sorted(names), *(f"{kind}={orders[kind]}" for kind in sorted(orders))]),
        )

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        orders, count = problem.reference["orders"], problem.reference["count"]
        given = problem.question.split(" of ")[1].split(":")[0].split()
        left = [name for name in given if name != orders.get("without")]
        first, last = ([orders[end]] if end in orders else [] for end in ("first", "last"))
        free = [name for name in left if name not in first + last]
        said = first + free[: count - len(first + last)] + last
        lines = [" ".join(left), " ".join(said)]
        if "capitals" in orders:
            said = [name.upper() for name in said]
            lines.append(" ".join(said))
        if "twice" in orders:
            said = [name for name in said for _ in range(2)]
            lines.append(" ".join(said))
        if "after" in orders:
            said = [*said, str(int(orders["after"]) + 1)]
            lines.append(" ".join(said))
        shown = "careful"
        if way == "hasty":
            lines, shown = cut_short(lines, HASTY_LINES)
        answer = (", " if "commas" in orders else " ").join(said)
        return Demonstration(thinking="\n".join(lines), answer=answer, way=shown)

    def verify(self, answer: str, reference: Any) -> Verdict:
        try:
            names, count, orders = set(reference["names"]), int(reference["count"]), dict(reference["orders"])
            following = [str(int(orders["after"]) + 1)] if "after" in orders else []
        except (KeyError, TypeError, ValueError):
            return Verdict.ungradable("reference")
        text = answer.strip(" \t\r\n*'\"`").rstrip(".!")
        said = re.split(r"[ \n]*,[ \n]*" if "commas" in orders else r"[ \n]+", text)
        if following and said[-1:] != following:
            return Verdict.wrong("number")
        said = said[: len(said) - len(following)]
        if "twice" in orders:
            if said[::2] != said[1::2]:
                return Verdict.wrong("twice")
            said = said[::2]
        spelt = {name.upper() if "capitals" in orders else name: name for name in names}
        if any(name not in spelt for name in said):
            return Verdict.wrong("word")
        said = [spelt[name] for name in said]
        if len(said) != count or len(set(said)) != count:
            return Verdict.wrong("count")
        if orders.get("without") in said:
            return Verdict.wrong("without")
        if orders.get("first", said[0]) != said[0] or orders.get("last", said[-1]) != said[-1]:
            return Verdict.wrong("place")
        return Verdict.right()

    def way_of(self, problem: Problem, thinking: str) -> str:
        if guesses(thinking):
            return "hasty"
        lines = lines_of(thinking)
        steps = 2 + len({"capitals", "twice", "after"} & set(problem.reference["orders"]))
        return "careful" if len(lines) == steps and all(LINE.fullmatch(line) for line in lines) else "other"


def _read(order: str) -> tuple[str, str] | None:
    """The kind and the value of an order; None where it is none."""
    found = ((kind, re.fullmatch(pattern, order)) for kind, pattern in ORDERS.items())
    return next(((kind, match[1]) for kind, match in found if match), None)


def _words(kind: str, value: str) -> str:
    said = {"without": "without {}", "first": "{} first", "last": "{} last", "capitals": "in capitals"}
    said |= {"commas": "with commas", "twice": "each twice", "after": "then what follows {}"}
    return said[kind].format(value)
