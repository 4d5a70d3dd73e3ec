"""What people say to a model that is not one of its problems: the inputs of the family talk, put together at random.

Knows: greetings, thanks, questions about the model, questions of the wide world, other languages, noise, and what is
almost a problem. Doesn't know: what is answered.
"""

import functools
import random
import string
import tomllib
from pathlib import Path

from thinkaloud.problems.families.stories import made_up

FILE = Path(__file__).with_suffix(".toml")
ASKING = ("What is ", "What's ", "", "Calculate ", "How much is ")


@functools.cache
def texts() -> dict[str, list[str]]:
    """The parts, by what they are."""
    return tomllib.loads(FILE.read_text("utf-8"))


def greeting(rng: random.Random) -> str:
    """Hello, or how are you."""
    both = rng.choice(texts()["greetings"]) + (
        rng.choice((", ", " ", "! ")) + rng.choice(texts()["greetings"]) if rng.random() < 0.2 else ""
    )
    both = both.replace("{}", made_up(rng).capitalize())
    return _said(both + _called(rng, texts()["to_whom"]), rng)


def goodbye(rng: random.Random) -> str:
    """The end of a conversation."""
    before = rng.choice(("", "", "", "ok, ", "well, ", "thanks, ", "now "))
    return _said(before + rng.choice(texts()["goodbyes"]) + _called(rng, texts()["to_whom"]), rng)


def thanks(rng: random.Random) -> str:
    """Thanks and praise."""
    both = rng.choice(texts()["thanks"]) + (
        rng.choice((", ", ". ", " ")) + rng.choice(texts()["thanks"]) if rng.random() < 0.3 else ""
    )
    return _said(both + _called(rng, texts()["after_thanks"]), rng)


def about(rng: random.Random) -> str:
    """Questions about the model itself."""
    ends = ("", "", ", please", ", thinkaloud", ", model", " exactly", " really", ", my friend", f", {made_up(rng)}")
    return _said(rng.choice(texts()["before_about"]) + rng.choice(texts()["about"]) + rng.choice(ends), rng)


def world(rng: random.Random) -> str:
    """Questions and sentences about anything else."""
    return _said(_filled(rng.choice(texts()["world"]), rng), rng)


def language(rng: random.Random) -> str:
    """The same in other languages."""
    return _said(_filled(rng.choice(texts()["languages"]), rng), rng)


def near_miss(rng: random.Random) -> str:
    """Almost a problem of some family: too large, too many, something missing, or of another kind."""
    names = texts()["names"]
    name, things = rng.choice(names), rng.choice(texts()["things"])
    low, high, big = rng.randint(2, 20), rng.randint(10, 999), rng.randint(10_000, 10**9)
    many = " ".join(str(rng.randint(1, 30)) for _ in range(rng.randint(5, 9)))
    swaps = " ".join("".join(rng.sample("ABCDEFGH", 2)) for _ in range(rng.randint(3, 8)))
    changes = ", ".join(
        f"{rng.choice(('finds', 'loses', 'buys'))} {rng.randint(1, 9)}" for _ in range(rng.randint(11, 16))
    )
    words = f"{name} has {low} {things}: finds 3, loses 2. How many?".split()
    return rng.choice(
        (
            f"{rng.choice(ASKING)}{big} {rng.choice('+-x')} {rng.randint(10_000, 10**9)}?",
            f"{rng.choice(ASKING)}{low} - {low + high}{rng.choice(('', '?', ' ='))}",
            f"{rng.choice(ASKING)}{low} + {high} + {rng.randint(2, 99)}",
            f"Multiply {high} by {rng.randint(11, 999)}.",
            f"{rng.choice(ASKING)}{high} {rng.choice(('/', 'divided by', ':', '^', 'mod'))} {low}?",
            f"What is {low}.{rng.randint(1, 99)} {rng.choice('+-x')} {high}.{rng.randint(1, 9)}?",
            f"{rng.choice(ASKING)}{high} {rng.choice('x*')} {rng.randint(11, 999)}?",
            f"What is the {rng.choice(('square root', 'sine', 'half', 'logarithm', 'cube'))} of {high}?",
            f"What is {low} % of {high}?",
            f"Solve {low}{rng.choice('xyz')} + {high} = {big}",
            f"Integrate x^{low} from 0 to {high}",
            f"{name} has {low} {things}.",
            f"How many {things} does {name} have?",
            f"{name} has {low} {things}: {changes}. How many?",
            f"{name} has {low} {things} and {rng.choice(texts()['names'])} has twice as many. How many together?",
            f"{name} shares {high} {things} among {low} friends. How many does each get?",
            f"Red under A, blue under B, green under C. Swap {swaps}. Where now?",
            f"Swap {swaps}. Where now?",
            f"Make {big} from {many}.",
            f"Make {low} from {many}.",
            f"{many}: which three make {high}?",
            f"Sort {many}",
            f"What is the mean of {many}?",
            f"{name} is left of {rng.choice(texts()['names'])}.",
            f"Who is the tallest of {', '.join(rng.sample(texts()['names'], 3))}?",
            f"Is {high} a prime number?",
            f"Convert {high} to {rng.choice(('binary', 'miles', 'euros', 'hours', 'Roman numerals'))}",
            f"Count to {high}",
            f"Write f(x): {made_up(rng)} it, then {made_up(rng)}.",
            f"Spell {made_up(rng)}",
            " ".join(rng.sample(words, len(words))),
            " ".join(words[: rng.randint(2, 4)]),
        )
    )


def noise(rng: random.Random) -> str:
    """Keys struck at random, single words, numbers, code, signs."""
    kind = rng.randrange(7)
    if kind == 0:
        return "".join(rng.choices(string.ascii_lowercase + " ", k=rng.randint(3, 25))).strip() or "x"
    if kind == 1:
        return " ".join(made_up(rng) for _ in range(rng.randint(1, 5)))
    if kind == 2:
        return " ".join(str(rng.randint(0, 10 ** rng.randint(1, 5))) for _ in range(rng.randint(1, 5)))
    if kind == 3:
        return "".join(rng.choices(string.printable[:94], k=rng.randint(2, 20)))
    if kind == 4:
        return _filled(rng.choice(texts()["snippets"]), rng)
    if kind == 5:
        return rng.choice(texts()["topics"]) + rng.choice(texts()["ends"])
    return "".join(rng.choices("🙂😀🎉🚀❤🤖é€ß漢字あ한", k=rng.randint(1, 5)))


def long(rng: random.Random) -> str:
    """Several of those on lines or in a row."""
    parts = [
        rng.choice((world, world, language, noise, near_miss, greeting))(rng)
        for _ in range(rng.choice((2, 2, 3, 4, 7)))
    ]
    parts[0] = world(rng)
    return rng.choice((" ", "\n", ". ", "\n\n")).join(parts)


def _called(rng: random.Random, names: list[str]) -> str:
    return f" {made_up(rng).capitalize()}" if rng.random() < 0.25 else rng.choice(names)


def _filled(template: str, rng: random.Random) -> str:
    while "{}" in template:
        filler = made_up(rng) if rng.random() < 0.35 else rng.choice(texts()["topics"])
        template = template.replace("{}", filler, 1)
    return template


def _said(text: str, rng: random.Random) -> str:
    """In any case, with any end, now and then with a slip of the keys."""
    kind = rng.random()
    if kind < 0.3:
        text = text.lower()
    elif kind < 0.35:
        text = text.upper()
    elif kind < 0.8:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.12 and len(text) > 5:
        place = rng.randrange(1, len(text) - 1)
        text = text[:place] + rng.choice(
            (text[place + 1 :], text[place] + text[place:], rng.choice("aeimnrst ") + text[place:])
        )
    return (text + rng.choice(texts()["ends"])).strip()
