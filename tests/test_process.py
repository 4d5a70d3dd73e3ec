"""Process rewards: which lines a family calls right, whose tokens they are, and what those then earn."""

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.problems import FAMILIES, Problem
from thinkaloud.problems.families.chains import GAINS
from thinkaloud.problems.families.gym_legs import LEGS_OF
from thinkaloud.problems.types import Verdict
from thinkaloud.rollouts import Rollout
from thinkaloud.text import ChatTemplate, Message, Tokenizer
from thinkaloud.train.process import checked_lines
from thinkaloud.train.rl import learnable
from thinkaloud.train.stages import RlSettings

CHECKED = ["chains", "cups", "gym_chain_sum", "gym_gcd", "gym_leg_counting", "pairs"]
"Families that check lines."


def sum_of(said: str) -> int:
    """What "7 + 3 - 2" comes to."""
    return sum(int(one) for one in re.sub(r"([+-]) ", r"\1", said).split(" "))


def by_hand(name: str, question: str, lines: Sequence[str]) -> list[bool]:
    """Each line against the question and the line before, read and computed here; none is after the end."""
    numbers = [int(number) for number in re.findall(r"[0-9]+", question)]
    found = []
    if name == "chains":
        clauses = re.findall(r"([a-z]+) ([0-9]+)", question.partition(":")[2])
        value, due = numbers[0], [("+ " if verb in GAINS else "- ") + size for verb, size in clauses]
        for line in lines:
            said, _, result = line.partition(" = ")
            taken = re.findall(r"[+-] [0-9]+", said)
            found.append(said == " ".join([str(value), *due[: len(taken)]]) and sum_of(said) == int(result))
            value, due = int(result), due[len(taken) :]
    elif name == "pairs":
        *given_numbers, target = numbers
        for line in lines:
            first, second, total = (int(number) for number in re.findall(r"[0-9]+", line))
            apart = first in given_numbers and second in given_numbers and first != second
            found.append(apart and first + second == total and line.endswith(" yes" if total == target else " no"))
    elif name == "gym_chain_sum":
        said = question.partition(": ")[2].removesuffix(" =")
        before = said[0]
        for line, due in zip(lines, re.findall(r" [+-] [0-9]", said), strict=True):
            work, _, after = line.partition(" = ")
            found.append(work == before + due and sum_of(work) == int(after))
            before = after
    elif name == "gym_gcd":
        left = numbers
        for line in lines:
            first, second, rest = (int(number) for number in line.replace("mod", "=").split(" = "))
            found.append([first, second] == left[:2] and 0 <= rest < second and (first - rest) % second == 0)
            left = [second, *([rest] if rest else []), *left[2:]]
    elif name == "cups":
        swaps = re.findall(r"\b[A-E][A-E]\b", question)
        balls = re.findall(r"under ([A-E])", question)
        for swap, line in zip(swaps, lines, strict=False):
            row = {cup: cup for cup in "ABCDE"}
            row[swap[0]], row[swap[1]] = swap[1], swap[0]
            found.append(line == f"{swap} {row[balls[0]]} {row[balls[1]]}")
            balls = line.split(" ")[1:]
    else:
        listed, before = question.rpartition(" you have ")[2].rstrip("?").split(", "), 0
        for each, line in zip(listed, lines, strict=False):
            count, _, animal = each.partition(" ")
            legs = LEGS_OF.get(animal, LEGS_OF.get(animal.removesuffix("s"), -1))
            product, total = (int(number) for number in re.findall(r"= ([0-9]+), total ([0-9]+)", line)[0])
            sound = line.startswith(f"{each} x {legs} = ") and product == int(count) * legs
            found.append(sound and total == before + product)
            before = total
    return found


def other_number(line: str, rng: random.Random) -> str:
    """A line with another number, place or word in it."""
    parts = line.split(" ")
    place = rng.choice([at for at, part in enumerate(parts) if re.fullmatch(r"[0-9]+,?|[A-E]|yes|no", part)])
    part = parts[place]
    if part in ("yes", "no"):
        parts[place] = "no" if part == "yes" else "yes"
    elif part in tuple("ABCDE"):
        parts[place] = rng.choice([cup for cup in "ABCDE" if cup != part])
    else:
        number = int(part.rstrip(","))
        parts[place] = part.replace(str(number), str(rng.choice([n for n in range(1, 10) if n != number])))
    return " ".join(parts)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_line_of_a_demonstration_is_wrong(name: str, seed: int) -> None:
    family, rng = FAMILIES[name], random.Random(seed)
    problem = family.generate(rng, rng.choice((*family.levels, *family.beyond)))
    for way in family.ways:
        lines = family.demonstrate(problem, way, rng).thinking.split("\n")
        found = family.check(problem, lines)
        assert len(found) == len(lines) and False not in found
        assert name not in CHECKED or way != "careful" or all(found)


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_wrong_lines_are_those_that_arithmetic_calls_wrong(name: str, seed: int) -> None:
    """Careful lines with one changed: what the question and the line before it say decides, computed apart."""
    family, rng = FAMILIES[name], random.Random(seed)
    problem = family.generate(rng, rng.choice(family.levels))
    lines = family.demonstrate(problem, "careful", rng).thinking.split("\n")
    at = rng.randrange(len(lines))
    lines[at] = other_number(lines[at], rng)
    found, expected = family.check(problem, lines), by_hand(name, problem.question, lines)
    assert len(found) == len(expected) == len(lines)
    assert [mine for mine in found if mine is not None] == [
        theirs for mine, theirs in zip(found, expected, strict=True) if mine is not None
    ]
    if name != "pairs":  # where a changed pair may be another that is right, or one met before
        assert found.count(None) == 0 and not found[at]


@pytest.mark.parametrize("name", sorted(FAMILIES))
@settings(max_examples=30, deadline=None)
@given(lines=st.lists(st.text(max_size=30), max_size=6), seed=st.integers(0, 1000))
def test_any_lines_are_checked_one_by_one(name: str, lines: list[str], seed: int) -> None:
    family, rng = FAMILIES[name], random.Random(seed)
    problem = family.generate(rng, family.levels[0])
    shown = family.demonstrate(problem, family.ways[-1], rng).thinking.split("\n")
    mixed = rng.sample([*lines, *shown], len(lines) + len(shown))
    assert len(family.check(problem, mixed)) == len(mixed)


@pytest.mark.parametrize("name", CHECKED)
def test_what_comes_after_the_end_earns_nothing(name: str) -> None:
    """Else a thought that goes on for ever would be worth most."""
    family, rng = FAMILIES[name], random.Random(3)
    for _ in range(50):
        problem = family.generate(rng, rng.choice(family.levels))
        lines = family.demonstrate(problem, "careful", rng).thinking.split("\n")
        assert family.check(problem, lines * 3)[len(lines) :] == [None] * (2 * len(lines))


def test_pairs_says_yes_once() -> None:
    problem = FAMILIES["pairs"].recognise("3 8 14 21 make 22: which two?")
    assert problem is not None
    lines = ["3 8 = 11 no", "8 3 = 11 no", "3 14 = 17 yes", "3 21 = 24 no", "guess"]
    assert FAMILIES["pairs"].check(problem, lines) == [True, None, False, None, None]
    assert FAMILIES["pairs"].check(problem, ["8 8 = 16 no", "8 14 = 22 no", "9 14 = 23 no"]) == [False, False, False]


# --- tokens ---


def template_of(name: str) -> ChatTemplate:
    """The template of a model that knows one family's words."""
    return ChatTemplate(Tokenizer.build(FAMILIES[name].words))


def replied(problem: Problem, template: ChatTemplate, thinking: str, answer: str, verdict: Verdict) -> Rollout:
    """A reply as if it had been sampled."""
    prompt = template.prompt(problem.messages, thinking=True)
    reply = template.reply(Message("assistant", answer, thinking=thinking), thinking=True)
    return Rollout(
        problem=problem,
        ids=(*prompt, *reply),
        sampled=(False,) * len(prompt) + (True,) * len(reply),
        logprobs=(0.0,) * (len(prompt) + len(reply)),
        thinking=thinking,
        answer=answer,
        verdict=verdict,
        way="other",
        thinking_tokens=0,
        prompt_tokens=len(prompt),
        prefix_tokens=0,
        finish="stop",
        version=0,
    )


def test_a_token_goes_by_its_line() -> None:
    problem = FAMILIES["chains"].recognise("Mia has 7 beads: finds 3, loses 2, buys 5. How many?")
    assert problem is not None
    template = template_of("chains")
    rollout = replied(problem, template, "7 + 3 = 10\n10 - 2 = 9\nguess", "14", Verdict.wrong("different"))
    lines, ids = checked_lines(rollout, template)
    assert lines[:3] == [True, False, None] and not any(lines[3:])
    said = {
        right: template.tokenizer.decode([i for i, one in zip(rollout.ids, ids, strict=True) if one is right])
        for right in (True, False)
    }
    assert said == {True: "7 + 3 = 10\n", False: "10 - 2 = 9\n"}
    settings = RlSettings(kind="rl", budget=1, advantage="centred", length="constant", process=0.5)
    sample, *others = learnable([rollout], [0.0], settings, [0.6], [ids])
    assert not others and sample.weight == 1.0
    assert set(sample.factors) == {0.5, -0.5, -0.6}
    assert [factor for factor, right in zip(sample.factors, ids, strict=True) if right is None] == [
        -0.6 for right in ids if right is None
    ]
    by_reply = settings.model_copy(update={"length": "sample"})
    assert learnable([rollout], [0.0], by_reply, [0.6], [ids])[0].weight == pytest.approx(1 / sum(rollout.sampled))


def test_a_known_reply_is_still_learnt_from_by_its_lines() -> None:
    problem = FAMILIES["chains"].recognise("Mia has 7 beads: finds 3, loses 2, buys 5. How many?")
    assert problem is not None
    template = template_of("chains")
    settings = RlSettings(kind="rl", budget=1, advantage="centred", length="constant", process=1.0)
    for thinking, kept in (("7 + 3 = 10", 1), ("guess", 0)):
        rollout = replied(problem, template, thinking, "13", Verdict.right())
        _, ids = checked_lines(rollout, template)
        assert len(learnable([rollout], [1.0], settings, [1.0], [ids])) == kept


def test_nothing_is_said_of_problems_of_no_family() -> None:
    template = template_of("chains")
    own = Problem(
        id="a",
        family="own",
        level=1,
        messages=(Message("user", "7 + 3"),),
        verifier="math",
        reference="10",
        canonical="a",
    )
    lines, ids = checked_lines(replied(own, template, "7 + 3 = 10", "10", Verdict.right()), template)
    assert set(lines) == set(ids) == {None}
