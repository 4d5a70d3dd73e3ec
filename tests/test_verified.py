"""Answers with a check attached: nothing is called verified that no exact check passed."""

import random
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.errors import UserError
from thinkaloud.inference import ReasoningModel, Reply, Usage, load
from thinkaloud.inference.calibration import POOLED, Calibration, Kind
from thinkaloud.problems import FAMILIES
from thinkaloud.problems.recognise import false_claims, recognised
from thinkaloud.problems.types import Problem
from thinkaloud.rollouts.verified import ask_verified, kind_of

torch.set_num_threads(1)
READ_BACK = tuple(name for name in FAMILIES if name not in ("calls", "talk"))
QUESTION = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"

# --- questions read back ---


def told(problem: Problem) -> tuple[Any, ...]:
    """All of a problem but what the library behind some families notes beside its answer."""
    reference = problem.reference["answer"] if problem.family.startswith("gym") else problem.reference
    return problem.id, problem.level, problem.question, problem.verifier, problem.canonical, reference


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(READ_BACK), st.integers(0, 2**32))
def test_recognise_inverts_the_wording(name: str, seed: int) -> None:
    rng = random.Random(seed)
    family = FAMILIES[name]
    problem = family.generate(rng, rng.choice(family.levels + family.beyond))
    for _ in range(3):
        found = recognised(problem.question)
        assert found is not None and found == family.recognise(problem.question)
        assert told(found) == told(problem)
        assert kind_of(problem.question) == name
        others = [one.recognise(problem.question) for other, one in FAMILIES.items() if other != name]
        assert others == [None] * len(others)
        demonstration = family.demonstrate(found, "careful", random.Random(seed))
        assert demonstration == family.demonstrate(problem, "careful", random.Random(seed))
        assert family.verify(demonstration.answer, found.reference).label == "right"
        problem = family.variant(problem, rng)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(("calls", "talk")), st.integers(0, 2**32))
def test_what_cannot_be_read_back_is_taken_for_nothing_else(name: str, seed: int) -> None:
    rng = random.Random(seed)
    question = FAMILIES[name].generate(rng, rng.choice(FAMILIES[name].levels)).question
    assert [family.recognise(question) for family in FAMILIES.values()] == [None] * len(FAMILIES)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(READ_BACK), st.integers(0, 2**32), st.data())
def test_a_changed_question_is_another_problem_or_none(name: str, seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    problem = FAMILIES[name].generate(rng, rng.choice(FAMILIES[name].levels))
    place = data.draw(st.integers(0, len(problem.question) - 1))
    letter = data.draw(st.sampled_from("A0 9,x."))
    changed = problem.question[:place] + letter + problem.question[place + 1 :]
    found = recognised(changed)
    assert found is None or found.question == changed.strip()
    if found is not None and found.canonical == problem.canonical:
        assert told(found)[-1] == told(problem)[-1]


@pytest.mark.parametrize(
    "text",
    [
        "Mia has 7 beads: finds 3, loses 12. How many?",
        "Mia has 2 beads: loses 3. How many?",
        "Red under A, blue under A. Swap AC. Where now?",
        "Red under A, blue under B. Swap CA. Where now?",
        "3 8 14 make 60: which two?",
        "3 3 14 make 6: which two?",
        "8 3 weigh 11: which two?",
        "Say 2 of Mia Ben Zoe Tom: without Ada.",
        "Write f(x): sum.",
        "Mia has 5 eggs. Then he finds 3 more. How many now?",
        "Mia has 5 eggs. She finds 3 more. How many pens are left?",
        "Mia has 5 eggs. She gives 3 to Mia. How many now?",
        "Mia has 5 eggs. She gives 6 to Ben. How many now?",
        "Mia has 5 eggs. She eats 3. How many now?",
        "Mia has 5 eggs. How many now?",
        "Ann is left of Bo, Cy is left of Dee. Who stands where?",
        "Ann is left of Bo, Bo is left of Ann. Who stands where?",
        "Ann is left of Bo, Bo is left of Cy. What is the order?",
        "Ann is left of Bo, Bo is left of Cy. Dee is left of Ann. Who stands where?",
        "Make 97 from 2 5 3.",
        "Make 5 from 2 5 3.",
        "Find the Greatest Common Divisor (GCD) of these numbers: 12, 61. Give only the GCD as your final answer.",
        "State the final answer to the following arithmetic problem: 4 + 33 - 1 =",
        "What is 24/7?",
        "What is 2024-05-01?",
        "What is 1 / 0?",
        "What is love?",
        "What is (1 + 2?",
        "",
        f"{QUESTION} And why?",
    ],
)
def test_what_is_not_certain_is_not_recognised(text: str) -> None:
    assert recognised(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("What is 17 * 23?", "391"),
        ("7 - 10 =", "-3"),
        ("Compute: (1 + 2) × 3", "9"),
        ("How much is 1 / 3 + 1.5?", "11/6"),
    ],
)
def test_plain_sums_are_worked_exactly(text: str, value: str) -> None:
    found = recognised(text)
    assert found is not None and (found.verifier, found.reference, found.family) == ("math", value, "sum")


def test_false_sums_are_named_and_true_ones_not() -> None:
    assert false_claims("7 + 3 = 10\n10 - 2 = 9\nso 2 * 3 + 1 = 7, 0.1 + 0.2 = 0.3") == ["10 - 2 = 9"]
    for text in (
        "x - 3 + 5 = 2",
        "2^3 + 1 = 9",
        "3 + 4 = 7x",
        "1 + 1 = 2 + 0",
        "3 8 = 11 no",
        "(3 + 4 = 8",
        "1 + 1 = 2.0",
    ):
        assert false_claims(text) == []


# --- answers ---


class Speaker:
    """Says what it is told to, reply by reply, and counts."""

    def __init__(self, *answers: str, calibration: Calibration | None = None) -> None:
        self.answers, self.calibration, self.asked = answers, calibration, 0

    def stream(self, messages: Any, *, seed: int = 0, **settings: Any) -> Any:
        answer = self.answers[seed % len(self.answers)]
        self.asked += 1
        usage = Usage(prompt_tokens=9, thinking_tokens=4, forced_tokens=0, answer_tokens=2)
        finish, text = ("length", answer[1:]) if answer.startswith("~") else ("stop", answer)
        reply = Reply(
            thinking="7 + 3 = 11" if "?" in text else "7 + 3 = 10",
            answer=text,
            tool_calls=(),
            usage=usage,
            finish=finish,
            thought_end="natural",
        )
        return type("Stream", (), {"__iter__": lambda self: iter(()), "reply": reply})()


def model_of(*answers: str, calibration: Calibration | None = None) -> tuple[ReasoningModel, Speaker]:
    speaker = Speaker(*answers, calibration=calibration)
    return cast(ReasoningModel, speaker), speaker


VOTES = {1: [(1.0, 0.7)], 2: [(0.5, 0.4), (1.0, 0.9)], 4: [(0.25, 0.2), (0.75, 0.8), (1.0, 0.95)]}
KNOWN = Calibration(
    weights="",
    temperature=0.6,
    max_tokens=64,
    probe_tokens=9,
    kinds={POOLED: Kind(budgets={"high": None}, votes=VOTES, problems=100)},
)


def test_replies_are_drawn_until_one_passes() -> None:
    model, speaker = model_of("12", "14", "13", "13")
    found = ask_verified(model, QUESTION, samples=4)
    assert (found.verified, found.answer, found.check, found.confidence) == (True, "13", "chains", 1.0)
    assert found.drawn == speaker.asked == 4 and found.completion_tokens == 24, "waves of 1, 1 and 2"
    model, speaker = model_of("13")
    assert ask_verified(model, QUESTION, samples=8).drawn == speaker.asked == 1


def test_what_fails_the_check_is_false_and_never_true() -> None:
    model, _ = model_of("12", "14", "14")
    found = ask_verified(model, QUESTION, samples=3, abstain_below=0.5)
    assert (found.verified, found.confidence, found.reply.answer, found.answer) == (False, 0.0, "14", None)
    model, _ = model_of("~13")
    assert ask_verified(model, QUESTION, samples=2).verified is False, "it was cut off"


def test_without_a_check_nothing_is_verified_and_the_vote_says_how_sure() -> None:
    model, _ = model_of("Paris", "paris.", "Rome", "Paris", calibration=KNOWN)
    found = ask_verified(model, "The capital of France?", samples=4)
    assert (found.verified, found.check, found.share, found.confidence) == (None, "none", 0.75, 0.8)
    assert found.answer == "Paris" and not found.abstained
    assert ask_verified(model, "The capital of France?", samples=4, abstain_below=0.9).answer is None
    assert ask_verified(model, "The capital of France?", samples=1).confidence == 0.7
    assert ask_verified(model, "The capital of France?", samples=4, effort="low").confidence is None


def test_a_false_sum_gives_way_to_a_clean_thought() -> None:
    model, _ = model_of("x?", "X?", "y", "y")
    found = ask_verified(model, "Which?", samples=4)
    assert found.false_claims == ("7 + 3 = 11",) or found.answer == "y"
    model, _ = model_of("~a", "y")
    assert ask_verified(model, "Which?", samples=2).answer in ("y", "a")


def test_sums_and_programs_are_checked() -> None:
    model, _ = model_of("392", "so it is \\boxed{391}")
    found = ask_verified(model, [{"role": "user", "content": "What is 17 * 23?"}], samples=4)
    assert (found.verified, found.check, found.drawn) == (True, "sum", 2)
    talk = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "What is 17 * 23?"}]
    assert ask_verified(model, talk, samples=1).verified is None, "what was said before may change the question"


def test_given_tests_judge_programs() -> None:
    tests = {"tests": "assert add(2, 3) == 5", "entry_point": "add"}
    model, _ = model_of("def add(a, b): return a - b", "def add(a, b): return a + b")
    found = ask_verified(model, "Add two numbers.", samples=2, tests=tests)
    assert (found.verified, found.check, found.drawn) == (True, "tests", 2)


def test_wishes_that_mean_nothing_are_refused() -> None:
    model, _ = model_of("x")
    for wish, words in (({"samples": 0}, "samples"), ({"abstain_below": 2.0}, "abstain_below")):
        with pytest.raises(UserError, match=words):
            ask_verified(model, "Which?", **wish)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="thinkaloud calibrate"):
        ask_verified(model, "Which?", abstain_below=0.5)


def test_the_bundled_model_is_checked_as_it_answers() -> None:
    model = load(dtype="float32")
    rng = random.Random(5)
    for _ in range(4):
        problem = FAMILIES["chains"].generate(rng, 4)
        found = ask_verified(model, problem.question, samples=4, seed=3)
        judged = FAMILIES["chains"].verify(found.reply.answer, problem.reference).label == "right"
        assert found.verified == judged and found.drawn <= 4
