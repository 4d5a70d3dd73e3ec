"""Sets: distinct, split by canonical form, the same in every process; and the lazy import of the large library."""

import os
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.problems import FAMILIES, count_distinct, draw, split_of

OWN = ("cups", "chains", "bot", "pairs")
PINNED = {
    "cups": ("D E AB DE BC", "cups-310821796a70", "dev"),
    "chains": ("13 +5 -1 +4", "chains-90dc45e8d5dc", "train"),
    "bot": ("6 6 north right 4 3", "bot-69c6f4e82fd7", "train"),
    "pairs": ("13 25 28 29 = 57", "pairs-16f8a6cacb9a", "train"),
}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_splits_are_disjoint_and_distinct(name: str) -> None:
    sets = {split: draw(name, split, 40, seed=5) for split in ("train", "dev", "test")}
    forms = {split: {problem.canonical for problem in problems} for split, problems in sets.items()}
    assert all(len(forms[split]) == 40 for split in forms)
    assert not forms["train"] & forms["test"] and not forms["train"] & forms["dev"] and not forms["dev"] & forms["test"]
    assert all(split_of(form) == split for split in forms for form in forms[split])
    assert len({problem.id for problems in sets.values() for problem in problems}) == 120


def test_levels_are_uniform_and_a_small_set_is_a_prefix() -> None:
    problems = draw("cups", "train", 83, seed=1)
    assert problems[:20] == draw(FAMILIES["cups"], "train", 20, seed=1)
    assert problems[:20] != draw("cups", "train", 20, seed=2)
    counts = Counter(problem.level for problem in problems)
    assert set(counts) == set(FAMILIES["cups"].levels) and max(counts.values()) - min(counts.values()) <= 1
    assert {problem.level for problem in draw("cups", "test", 9, seed=1, levels=(4, 10))} == {4, 10}


def test_shares_of_the_splits() -> None:
    shares = Counter(split_of(str(number)) for number in range(20_000))
    assert abs(shares["train"] / 20_000 - 0.80) < 0.02
    assert abs(shares["dev"] / 20_000 - 0.05) < 0.01
    assert abs(shares["test"] / 20_000 - 0.15) < 0.02


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("cups", 4_900),
        ("chains", 4_950),
        ("bot", 4_900),
        ("pairs", 4_900),
        ("gym_chain_sum", 4_500),
        ("gym_gcd", 3_800),
        ("gym_leg_counting", 4_600),
    ],
)
def test_distinct_problems_among_5000_draws(name: str, least: int) -> None:
    assert count_distinct(name, 5_000, seed=0) >= least


def test_drawing_is_fast() -> None:
    start = time.process_time()
    for name in OWN:
        assert len(draw(name, "train", 5_000, seed=0)) == 5_000
    assert time.process_time() - start < 2.0


def test_the_same_in_every_process() -> None:
    code = (
        "import sys\n"
        "from thinkaloud.problems import draw\n"
        f"for name in {OWN!r}:\n"
        "    for problem in draw(name, 'test', 30, seed=7):\n"
        "        print(problem)\n"
        "assert 'reasoning_gym' not in sys.modules and 'torch' not in sys.modules\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    here = "".join(f"{problem}\n" for name in OWN for problem in draw(name, "test", 30, seed=7))
    assert outputs[0] == here


@pytest.mark.parametrize("name", OWN)
def test_ids_and_splits_never_move(name: str) -> None:
    """Sealed test sets stay sealed only while these values stand."""
    problem = FAMILIES[name].generate(random.Random(0), FAMILIES[name].levels[0])
    assert (problem.canonical, problem.id, split_of(problem.canonical)) == PINNED[name]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("cupz", "train", 1, 0), "cupz.*cups"),
        (("cups", "exam", 1, 0), "exam"),
        (("cups", "train", 1, 0, (2,)), "level 2"),
        (("cups", "train", 1, 0, ()), "levels"),
        (("cups", "train", -1, 0), "-1"),
        (("gym_gcd", "dev", 500, 0, (2,)), "only about"),
    ],
)
def test_users_mistakes_are_named(arguments: tuple, names: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=names):
        draw(*arguments)
