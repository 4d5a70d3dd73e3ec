"""reasoning-gym behind our interface: exact scoring, refusals, silence, independent solvers."""

import random
from math import gcd
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.errors import UserError
from thinkaloud.problems import FAMILIES, verify
from thinkaloud.problems.families import gym_legs, gym_library

GYM = ("gym_chain_sum", "gym_gcd", "gym_leg_counting", "gym_spell_backward")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GYM), st.integers(0, 2**32))
def test_generation_depends_on_the_generator_alone(name: str, seed: int) -> None:
    family = FAMILIES[name]
    assert family.generate(random.Random(seed), family.levels[0]) == family.generate(
        random.Random(seed), family.levels[0]
    )


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(GYM), st.integers(0, 2**32))
def test_last_step_reaches_the_librarys_answer(name: str, seed: int) -> None:
    family = FAMILIES[name]
    rng = random.Random(seed)
    problem = family.generate(rng, rng.choice(family.levels))
    metadata, answer = problem.reference["metadata"], problem.reference["answer"]
    lines = family.demonstrate(problem, "careful", rng).thinking.split("\n")
    if name == "gym_chain_sum":
        assert all(eval(line.replace("=", "==")) for line in lines)
        assert lines[-1].split(" = ")[1] == answer == str(eval(metadata["expression"]))
    elif name == "gym_gcd":
        assert all(eval(line.replace("=", "==").replace("mod", "%")) for line in lines)
        assert lines[-1].split(" mod ")[1].split(" = ") == [answer, "0"] and int(answer) == gcd(*metadata["numbers"])
    elif name == "gym_spell_backward":
        first, last = (line.replace(" ", "") for line in lines)
        assert first == metadata["word"] == "".join(last[place] for place in range(len(last) - 1, -1, -1))
        assert last == answer
    else:
        assert lines[-1].split(" total ")[1] == answer == str(metadata["total_legs"])
        assert all(
            eval(line.split(",")[0].split(" ", 1)[0] + "*" + line.split(" x ")[1].split(",")[0].replace("=", "=="))
            for line in lines
        )


def test_our_leg_table_is_the_librarys() -> None:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    assert gym_legs.LEGS_OF == ANIMALS


@pytest.mark.parametrize("name", sorted(gym_library.BLOCKED))
def test_unsound_datasets_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is refused: it|{name} is refused: one"):
        gym_library.gym_dataset(name)


def test_an_unknown_dataset_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="chain_summ"):
        gym_library.gym_dataset("chain_summ")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("12", "right"),
        (" 12.\n", "right"),
        ("**12**", "right"),
        ("1,2", "wrong"),
        ("12.0", "wrong"),
        ("the answer is 12", "wrong"),
        ("12 12", "wrong"),
        ("1", "wrong"),
        ("", "wrong"),
        ("NaN", "wrong"),
        ("é", "wrong"),
    ],
)
@pytest.mark.parametrize("name", GYM)
def test_part_of_the_reward_is_no_reward(name: str, answer: str, label: str) -> None:
    reference = {"answer": "12", "metadata": {}}
    assert verify(name, answer=answer, reference=reference).label == label


def test_an_error_of_the_librarys_scorer_is_the_answers_fault() -> None:
    dataset = gym_library.gym_dataset("prime_factorization")
    entry: dict[str, Any] = dataset[0]
    assert gym_library.exact_score(dataset, entry["answer"], entry).label == "right"
    with pytest.raises(ValueError):
        dataset.score_answer("two", entry)
    assert gym_library.exact_score(dataset, "two", entry).label == "wrong"


def test_the_library_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    gym_library._dataset.cache_clear()
    for name in GYM:
        FAMILIES[name].generate(random.Random(0), FAMILIES[name].levels[0])
    with gym_library._silence():
        print("dots")
    assert capsys.readouterr().out == ""
