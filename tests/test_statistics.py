"""The statistics against brute force: every subset, every resample, every vote, spelled out slowly."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.statistics import (
    average_at_k,
    bootstrap_mean,
    hierarchical_bootstrap,
    hierarchical_paired_bootstrap,
    majority_vote,
    paired_bootstrap,
    paired_differences,
    pass_at_k,
    problem_means,
    resampled_means,
    wilson_estimate,
    wilson_interval,
)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_equals_the_share_of_subsets_with_a_right_sample(samples: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    grades = [1] * correct + [0] * (samples - correct)
    subsets = list(itertools.combinations(grades, k))
    assert pass_at_k(samples, correct, k)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_vectorised_and_checks_its_input() -> None:
    np.testing.assert_allclose(pass_at_k([8, 8, 4], [0, 8, 1], 4), [0.0, 1.0, 1.0])
    assert pass_at_k([], [], 3).shape == (0,)
    assert pass_at_k(10_000, 1, 5_000)[0] == pytest.approx(0.5)  # no overflow
    for samples, correct, k in ((3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)):
        with pytest.raises(ValueError):
            pass_at_k(samples, correct, k)


def test_average_leaves_ungraded_samples_out() -> None:
    right = [[1, 0, 1], [0, 0, 1], [1, 1, 1]]
    graded = [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    means = problem_means(right, graded)
    assert means[:2].tolist() == pytest.approx([1 / 2, 1 / 3])
    assert math.isnan(means[2])
    assert average_at_k(right, graded) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert average_at_k(right) == pytest.approx((2 / 3 + 1 / 3 + 1) / 3)
    assert math.isnan(average_at_k([[1]], [[0]]))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9))
def test_majority_vote_takes_the_first_among_the_most_frequent(answers: list[str]) -> None:
    winner = majority_vote(answers)
    most = max(Counter(answers).values())
    assert winner == next(index for index, answer in enumerate(answers) if answers.count(answer) == most)


def test_majority_vote_breaks_ties_by_first() -> None:
    assert majority_vote(["b", "a", "a", "b"]) == 0
    assert majority_vote(["c", "a", "b", "b", "a"]) == 1
    with pytest.raises(ValueError):
        majority_vote([])


@given(st.integers(1, 500), st.data())
def test_wilson_ends_solve_the_score_equation(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    share = successes / trials
    low, high = (float(end) for end in wilson_interval(successes, trials))
    assert 0 <= low <= share <= high <= 1
    for end, fixed in ((low, successes == 0), (high, successes == trials)):
        if not fixed:  # |share - end| is exactly 1.96 standard errors at `end`
            assert abs(share - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / trials))


def test_wilson_known_values() -> None:
    estimate = wilson_estimate(8, 10)
    assert [estimate.low, estimate.high] == pytest.approx([0.490162, 0.943318], abs=1e-6)
    assert [float(end) for end in wilson_interval(0, 0)] == [0.0, 1.0]
    with pytest.raises(ValueError):
        wilson_estimate(0, 0)


def test_resampled_means_follow_the_exact_bootstrap_distribution() -> None:
    values = [0.0, 0.0, 1.0, 3.0]
    exact = [sum(drawn) / 4 for drawn in itertools.product(values, repeat=4)]
    ours = resampled_means(values, 40_000, np.random.default_rng(1))
    for mean in sorted(set(exact)):
        expected = exact.count(mean) / len(exact)
        assert float(np.isclose(ours, mean).mean()) == pytest.approx(expected, abs=0.012), mean


def test_bootstrap_mean_against_a_slow_loop() -> None:
    random = np.random.default_rng(5)
    values = random.normal(0.3, 1, size=60)
    slow = np.array([values[random.integers(60, size=60)].mean() for _ in range(20_000)])
    estimate = bootstrap_mean(values, draws=20_000, seed=3)
    assert estimate.mean == pytest.approx(values.mean())
    assert [estimate.low, estimate.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist(), abs=0.02)
    assert estimate.count == 60


def test_hierarchical_bootstrap_against_a_slow_loop() -> None:
    random = np.random.default_rng(6)
    groups = [random.normal(shift, 1, size=size) for shift, size in ((0.0, 30), (0.6, 50), (1.5, 20))]
    slow = []
    for _ in range(20_000):
        seeds = random.integers(3, size=3)
        slow.append(np.mean([random.choice(groups[seed], groups[seed].size).mean() for seed in seeds]))
    estimate = hierarchical_bootstrap(groups, draws=20_000, seed=4)
    assert estimate.mean == pytest.approx(np.mean([group.mean() for group in groups]))
    assert [estimate.low, estimate.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist(), abs=0.04)
    pooled = bootstrap_mean(np.concatenate(groups), draws=20_000)
    assert estimate.high - estimate.low > 1.5 * (pooled.high - pooled.low)  # the spread of seeds counts


def test_pairing_follows_problem_ids_and_narrows_the_interval() -> None:
    random = np.random.default_rng(7)
    before = {f"p{index}": float(random.random() < 0.5) for index in range(400)}
    after = {key: max(value, float(random.random() < 0.1)) for key, value in reversed(before.items())}
    estimate = paired_bootstrap(after, before)
    assert estimate.mean == pytest.approx(np.mean([after[key] - before[key] for key in before]))
    assert estimate.direction == 1
    assert estimate.high - estimate.low < 0.07  # unpaired it would be about 0.14
    assert paired_differences({"a": 1.0, "b": math.nan, "c": 1.0}, {"a": 0.5, "b": 0.0, "d": 0.0}).tolist() == [0.5]


def test_hierarchical_pairing_keeps_seeds_apart() -> None:
    after = [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}]
    before = [{"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 1.0}]
    estimate = hierarchical_paired_bootstrap(after, before)
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    assert estimate.direction == 0
    with pytest.raises(ValueError):
        hierarchical_paired_bootstrap(after, before[:1])


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.integers(0, 5))
def test_intervals_are_seeded_and_ordered(values: list[float], seed: int) -> None:
    first = bootstrap_mean(values, draws=300, seed=seed)
    assert first == bootstrap_mean(values, draws=300, seed=seed)
    assert min(values) <= first.low <= first.high <= max(values)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(8)
    hits = 0
    for trial in range(300):
        estimate = bootstrap_mean(random.random(150) < 0.3, draws=400, seed=trial)
        hits += estimate.low <= 0.3 <= estimate.high
    assert 0.90 <= hits / 300 <= 0.99


@pytest.mark.parametrize("groups", [[], [[]], [[1.0], []], [[math.nan]], [[[1.0]]]])
def test_a_bootstrap_refuses_what_it_cannot_answer(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        hierarchical_bootstrap(groups)
