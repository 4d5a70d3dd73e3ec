"""Data-to-target ratios: the arithmetic against closed forms, the intervals against known truth, the study as told."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist, median
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies import FAMILIES, HOPED, SIZES, in_little, invented, true_needs, write_runs
from thinkaloud.base.errors import UserError
from thinkaloud.base.ratios import (
    drawn_seeds,
    estimate,
    expanded_tail,
    fewest,
    first_reached,
    geometric_mean,
    lower_bound,
    median_over_seeds,
    need_ratio,
    over_seeds,
    resampled_cells,
    running_mean,
    student_quantile,
)
from thinkaloud.cli.main import run
from thinkaloud.reports.compact import Data, compact, is_study, load_data, write_compact
from thinkaloud.reports.ratio_report import BEGIN, END, markdown, write_page
from thinkaloud.reports.ratio_tables import Table, findings, tables
from thinkaloud.reports.ratios import OVERALL, Analysis

INFINITE = math.inf


# --- the arithmetic ---


def test_draws_keep_seeds_arms_and_problems_together() -> None:
    random = np.random.default_rng(0)
    shares = random.integers(0, 5, size=(3, 40, 2)) / 4
    shares[1, :, 1] = np.nan
    chosen = drawn_seeds(3, draws=6000, seed=1)
    cells = resampled_cells(shares, chosen, seed=2)
    assert cells.shape == (6001, 3, 2)
    np.testing.assert_allclose(cells[0], shares.mean(axis=1))
    assert (np.isnan(cells[:, :, 1]) == (chosen == 1)).all()
    same = np.array([one for one, row in zip(cells[:, :, 0], chosen, strict=True) if len(set(row)) == 1])
    assert (np.ptp(same, axis=1) == 0).all()  # a seed drawn thrice answers the draw's problems once
    alike = resampled_cells(np.repeat(shares[:1, :, :1], 3, axis=0), chosen, seed=2)[1:, 0, 0]
    slow = [shares[0, random.integers(40, size=40), 0].mean() for _ in range(6000)]
    assert np.quantile(alike, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]), abs=0.02)


def test_means_and_medians_over_seeds_leave_gaps_out_and_keep_infinities() -> None:
    rows = [[1.0, 4.0, math.nan], [1.0, INFINITE, 4.0], [2.0, 8.0, INFINITE], [math.nan] * 3, [1.0, INFINITE, INFINITE]]
    values = np.array(rows)
    np.testing.assert_allclose(median_over_seeds(values), [2.0, 4.0, 8.0, math.nan, INFINITE])
    np.testing.assert_allclose(over_seeds(values[[0, 3]]), [2.5, math.nan])


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9))
def test_the_median_over_seeds_is_the_median_of_logarithms(values: list[float]) -> None:
    expected = math.exp(median(map(math.log, values)))
    assert median_over_seeds(np.array([values]))[0] == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 1))
def test_the_fewest_problems_are_the_first_size_that_reaches(accuracy: list[float], target: float) -> None:
    sizes = [4.0 * 2**index for index in range(len(accuracy))]
    arguments = (np.array([accuracy]), np.array(sizes), np.array([target]))
    first = next((index for index, one in enumerate(accuracy) if one >= target), None)
    assert fewest(*arguments)[0] == (INFINITE if first is None else sizes[first])
    inside = fewest(*arguments, between=True)[0]
    if first is None or first == 0:
        assert inside == (sizes[0] if first == 0 else INFINITE)
    else:
        assert sizes[first - 1] <= inside <= sizes[first] * (1 + 1e-9)
        share = (math.log(inside) - math.log(sizes[first - 1])) / math.log(2)
        assert accuracy[first - 1] + share * (accuracy[first] - accuracy[first - 1]) == pytest.approx(target, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_curve_reaches_a_target_where_it_first_crosses_it(curve: list[float], targets: list[float]) -> None:
    costs = np.arange(len(curve)) * 10.0
    for target, cost in zip(targets, first_reached(costs, np.array(curve), np.array(targets)), strict=True):
        if max(curve) < target:
            assert cost == INFINITE
        elif curve[0] >= target:
            assert cost == 10.0
        else:
            first = next(index for index, one in enumerate(curve) if one >= target)
            assert costs[first - 1] <= cost <= costs[first]
            assert np.interp(cost, costs, curve) == pytest.approx(target, abs=1e-6)


def test_curves_are_smoothed_over_three_points() -> None:
    np.testing.assert_allclose(running_mean(np.array([1.0, 2.0, 6.0, 4.0])), [1.5, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(running_mean(np.array([7.0])), [7.0])


def test_who_never_arrives_is_never_favoured() -> None:
    ours, theirs = np.array([2.0, INFINITE, 2.0, INFINITE]), np.array([8.0, 8.0, INFINITE, INFINITE])
    assert need_ratio(ours, theirs, 100.0).tolist() == [0.25, INFINITE, 0.02, INFINITE]
    assert geometric_mean([np.array([0.25, 2.0]), np.array([1.0, INFINITE])]).tolist() == [0.5, INFINITE]


def test_tails_are_those_of_student() -> None:
    known = {1: 12.7062, 2: 4.3027, 4: 2.7764, 7: 2.3646, 30: 2.0423}  # any table
    assert {n: round(student_quantile(0.975, n), 4) for n in known} == known
    assert student_quantile(0.05, 7) == pytest.approx(-1.8946, abs=1e-4)
    assert expanded_tail(10_000, 0.025) == pytest.approx(0.025, abs=1e-4)
    assert expanded_tail(1, 0.025) == 0.025


@pytest.mark.parametrize("seeds", [5, 8, 12])
def test_the_interval_of_a_mean_is_students(seeds: int) -> None:
    values = np.array([NormalDist().inv_cdf((index + 0.5) / seeds) for index in range(seeds)])
    draws = np.concatenate([[0.0], np.random.default_rng(3).choice(values, size=(200_000, seeds)).mean(axis=1)])
    half = student_quantile(0.975, seeds - 1) * values.std(ddof=1) / math.sqrt(seeds)
    assert estimate(draws, seeds, seeds).high == pytest.approx(half, rel=0.09)
    one_sided = student_quantile(0.95, seeds - 1) * values.std(ddof=1) / math.sqrt(seeds)
    assert -lower_bound(draws, seeds) == pytest.approx(one_sided, rel=0.09)


def test_ends_may_be_infinite_and_unknown_draws_count_against() -> None:
    draws = np.array([0.5, *[0.5] * 960, *[INFINITE] * 40])
    assert estimate(draws, 8, 1).high == INFINITE
    assert estimate(np.array([0.5, *[0.5] * 960, *[math.nan] * 40]), 8, 1).low == -INFINITE


# --- the study ---


@pytest.fixture(scope="module")
def hoped() -> Data:
    return invented(np.random.default_rng(7))


@pytest.fixture(scope="module")
def analysis(hoped: Data) -> Analysis:
    return Analysis(hoped, draws=1000)


def without(data: Data, **changes: object) -> Data:
    """The study with other stages for some seeds, or another plan."""
    return replace(data, **changes)  # type: ignore[arg-type]


def cells_of(found: list[Table], title: str) -> list[list[str]]:
    """The rows of the table that is so called."""
    (one,) = [one for one in found if one.title == title]
    return [list(row) for row in one.rows]


def test_the_hoped_study_meets_its_goals(analysis: Analysis) -> None:
    goals = {(goal.what, goal.baseline): goal for goal in analysis.goals()}
    assert {key: goal.verdict for key, goal in goals.items()} == {
        ("problems", "b0"): "stretch met",
        ("rollouts", "b0"): "stretch met",
        ("accuracy", "b0"): "met",
        ("problems", "b1"): "stretch met",
        ("rollouts", "b1"): "stretch met",
        ("accuracy", "b1"): "met",
    }
    for family in FAMILIES:
        grid, between, rollouts = (
            ours / theirs
            for ours, theirs in zip(true_needs("ours", "b0", family), true_needs("b0", "b0", family), strict=True)
        )
        for ratio, true in (
            (analysis.problems_ratio("ours", "b0"), grid),
            (analysis.problems_ratio("ours", "b0", between=True), between),
            (analysis.costs("ours", "b0", "rollouts"), rollouts),
        ):
            assert ratio[family].estimate.low <= true <= ratio[family].estimate.high
    said = " ".join(one.headline for one in findings(analysis))
    assert "ours reaches the target of b0 with 0.0625 times its unique problems" in said
    assert "ours with 64 problems is not worse than b0 with 4,096, to within 1 point" in said


def test_an_arm_against_itself_is_one_and_nothing_is_said(hoped: Data) -> None:
    alike = {
        seed: {
            **one,
            **{(family, "ours", size): one[family, "b0", size] for family in FAMILIES for size in SIZES},
        }
        for seed, one in hoped.seeds.items()
    }
    same = Analysis(without(hoped, seeds=alike), draws=300)
    for ratio in (same.problems_ratio("ours", "b0"), same.costs("ours", "b0", "seconds")):
        one = ratio[OVERALL].estimate
        assert (one.mean, one.low, one.high) == pytest.approx((1, 1, 1))
    change = same.difference(("ours", 4096), ("b0", 4096))[OVERALL]
    assert (change.low, change.high) == (0, 0) and same.not_worse(("ours", 4096), ("b0", 4096))[1]
    assert [goal.verdict for goal in same.goals() if goal.baseline == "b0"] == ["not met"] * 3
    assert not [one for one in findings(same) if "target of b0" in one.headline]


def test_an_arm_that_never_arrives_is_infinite_and_its_seeds_are_named() -> None:
    needs = {**HOPED, "ours": (300.0, 9000.0, 0.5)}
    lost = Analysis(invented(np.random.default_rng(2), needs=needs, problems=200), draws=300)
    assert lost.problems_ratio("ours", "b0")[OVERALL].estimate.low == INFINITE
    assert lost.costs("ours", "b0", "rollouts")[OVERALL].ours == INFINITE
    assert lost.censored("ours", "b0", "chains") == ([str(seed) for seed in range(1, 9)], 8)
    costs = cells_of(tables(lost), "What it costs to reach the target of b0, on 4,096 problems")
    assert ["ours", "chains", "never", "0 of 8 (not 1, 2, 3, 4, 5, 6, 7, 8)"] in [row[:4] for row in costs]
    assert {goal.verdict for goal in lost.goals()} == {"not met"}
    assert any("ours does not reach the target of b0" in one.headline for one in findings(lost))
    assert any("ours ends less accurate than b0" in one.headline for one in findings(lost))


def test_the_smallest_size_gives_an_upper_bound_only() -> None:
    needs = {**HOPED, "ours": (0.1, 1200.0, 0.8)}
    found = Analysis(invented(np.random.default_rng(2), needs=needs, problems=200), draws=300)
    ratio = found.problems_ratio("ours", "b0")[OVERALL]
    assert ratio.at_most and ratio.ours == pytest.approx(4)
    rows = cells_of(tables(found), "Unique problems to the target of b0")
    assert next(row for row in rows if row[:2] == ["ours", OVERALL])[5].startswith("at most 0.0")


def test_few_seeds_and_more_rollouts_claim_nothing(hoped: Data) -> None:
    few = Analysis(without(hoped, seeds=dict(list(hoped.seeds.items())[:4])), draws=200)
    assert {goal.verdict for goal in few.goals()} == {"not told: 4 seeds, fewer than 5"}
    assert findings(few) == [] and not few.not_worse(("ours", 4096), ("b0", 4096))[1]
    dear = {
        seed: {
            key: replace(one, ledger={**one.ledger, "rollouts": 1.1 * one.ledger["rollouts"]})
            if key[1] == "ours"
            else one
            for key, one in stages.items()
        }
        for seed, stages in hoped.seeds.items()
    }
    goals = Analysis(without(hoped, seeds=dear), draws=200).goals()
    assert {goal.verdict for goal in goals if goal.what == "accuracy"} == {"not told: ours had more rollouts"}


def test_without_the_declared_size_there_is_no_target(hoped: Data) -> None:
    short = Analysis(without(hoped, plan=hoped.plan.model_copy(update={"sizes": (*SIZES, 8192)})), draws=50)
    assert short.goals() == [] and findings(short) == [] and short.target("b0") == {}
    assert "Accuracy, chains" in [one.title for one in tables(short)]


def test_parts_and_controls_stand_beside_ours() -> None:
    needs = {**HOPED, "ours_no_memory": (8.0, 1200.0, 0.72), "random": HOPED["ours"]}
    found = Analysis(invented(np.random.default_rng(3), needs=needs, problems=200), draws=500)
    assert found.others == ["ours_no_memory", "random"]
    (said,) = [one for one in findings(found) if one.topic == "parts"]
    assert said.headline == "Worse than ours: ours_no_memory." and said.tone == "yes"
    assert len(found.by_seed(("random", 4096), ("ours", 4096))) == 8


# --- on disk ---


def test_run_folders_and_small_files_tell_the_same(tmp_path: Path) -> None:
    data = invented(np.random.default_rng(5), seeds=2, problems=20)
    write_runs(tmp_path / "try-study", data)
    assert is_study(tmp_path / "try-study")
    declared = "[study]\nmargin = 0.02\nsizes = [4096, 4]\nbaselines = []\n[study.arms.ours]\n[study.arms.b1]\n"
    for seed in data.seeds:
        (tmp_path / "try-study" / "seeds" / seed / "recipe.toml").write_text(declared)
    whole = load_data(tmp_path / "try-study")
    assert whole.plan.margin == 0.02 and whole.plan.baselines == ("b0", "b1") and whole.samples == 4
    assert whole.plan.arms == ("ours", "b1") and Analysis(whole, draws=5).arms == ["ours", "b1", "b0"]
    for seed, stages in data.seeds.items():
        for key, one in stages.items():
            read = whole.seeds[seed][key]
            np.testing.assert_array_equal(read.test, one.test)
            np.testing.assert_array_equal(read.beyond, one.beyond)
            np.testing.assert_allclose(read.curve, one.curve)
            assert read.ledger == one.ledger
    assert run(["compare", str(tmp_path / "try-study"), "--compact", str(tmp_path / "little")]) == 0
    assert (tmp_path / "try-study" / "report.html").exists()
    little = load_data(tmp_path / "little")
    assert tables(Analysis(little, draws=50)) == tables(Analysis(whole, draws=50))


def test_only_what_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_runs(tmp_path, invented(np.random.default_rng(5), seeds=1, problems=5))
    seed = tmp_path / "seeds" / "1"
    first = compact(seed)
    changed = seed / "evaluations" / "chains.ours.16.json"
    text = changed.read_text()
    for file in seed.rglob("*.json"):
        if file != changed:
            os.utime(file, (1, 1))
    os.utime(seed / "compact.json", (10, 10))
    changed.write_text(text.replace("[0, 0, 0, 0]", "[1, 1, 1, 1]").replace("[1, 0, 0, 0]", "[1, 1, 1, 1]"))
    (seed / "evaluations" / "chains.ours.4.json").write_text("no longer read")
    os.utime(seed / "evaluations" / "chains.ours.4.json", (1, 1))
    second = compact(seed)
    differing = {name for name in first["stages"] if first["stages"][name] != second["stages"][name]}
    assert differing == {"chains.ours.16"}


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    small = in_little(invented(np.random.default_rng(5), seeds=2, problems=5))

    def faulty(change: Mapping[str, object], stage: str = "pairs.b0.16") -> str:
        for seed, raw in small.items():
            write_compact(tmp_path / f"{seed}.json", raw)
        raw = json.loads(json.dumps(small["2"]))
        raw["stages"][stage]["test"] |= change
        write_compact(tmp_path / "2.json", raw)
        with pytest.raises(UserError) as caught:
            load_data(tmp_path)
        return str(caught.value)

    assert "pairs.b0.16 of seed 2 answered other problems" in faulty({"problems": "1" * 16})
    assert "pairs.b0.16 of seed 2 answered other problems" in faulty({"samples": 2})
    for seed, raw in small.items():
        write_compact(tmp_path / f"{seed}.json", raw)
    write_compact(tmp_path / "2.json", {**small["2"], "study": {**small["2"]["study"], "margin": 0.05}})
    with pytest.raises(UserError, match="declared differently"):
        load_data(tmp_path)
    kept = {name: one for name, one in small["2"]["stages"].items() if not name.endswith(".16")}
    kept["cups.b0.4"]["test"]["ungradable"] = 3
    write_compact(tmp_path / "2.json", {**small["2"], "stages": kept})
    data = load_data(tmp_path)
    assert "Seed 2 is incomplete: it lacks chains.b0.16, chains.b1.16, chains.ours.16 and 6 more." in data.remarks
    assert "Seed 2: 3 replies were ungradable and count as wrong." in data.remarks
    assert Analysis(data, draws=20).accuracy(("ours", 16))[OVERALL].count == 15  # of one seed


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert run(["compare", str(tmp_path), str(tmp_path), "--plots", str(tmp_path)]) == 2
    assert "are for a study" in capsys.readouterr().err
    for seed, raw in in_little(invented(np.random.default_rng(5), seeds=1, problems=5)).items():
        write_compact(tmp_path / f"{seed}.json", raw)
    (tmp_path / "DATA.md").write_text("# Data\n")
    assert run(["compare", str(tmp_path), "--into", str(tmp_path / "DATA.md")]) == 2
    assert "add them where the study is to be told" in capsys.readouterr().err


@pytest.mark.slow
def test_a_page_is_filled_between_its_marks(
    tmp_path: Path, hoped: Data, analysis: Analysis, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, raw in in_little(hoped).items():
        write_compact(tmp_path / "data" / "fraction" / f"{seed}.json", raw)
    page, folder = tmp_path / "DATA.md", str(tmp_path / "data" / "fraction")
    page.write_text(f"# Data\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    assert run(["compare", folder, "--into", str(page)]) == 0
    assert run(["compare", folder, "--into", str(page), "--plots", folder]) == 0  # once more, now with plots
    text = page.read_text()
    assert text.startswith(f"# Data\n\n{BEGIN}\n8 seeds, 900 sealed problems") and text.endswith(f"{END}\n\nAfter.\n")
    assert text.count("### What was to be shown") == 1 and "old" not in text
    assert "(data/fraction/problems-overall.svg)" in text
    for file in (tmp_path / "data" / "fraction").glob("*.svg"):
        drawn = ElementTree.fromstring(file.read_text())
        assert drawn.tag == "{http://www.w3.org/2000/svg}svg" and "--card:" in file.read_text()
    assert len(list((tmp_path / "data" / "fraction").glob("*.svg"))) == 8
    capsys.readouterr()
    assert run(["compare", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["title"] == "What was to be shown"
    html = write_page(tmp_path, analysis).read_text()
    assert "Unique problems to the target of b0" in html and "<svg" in html
    assert markdown(analysis, {}).count("![") == 0


# --- coverage ---


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.04])
def test_intervals_cover_the_truth_about_as_often_as_they_say(spread: float) -> None:
    studies, held, wrongly = 60, dict.fromkeys(("between", "rollouts", "difference"), 0), 0
    needs = {**HOPED, "worse": (HOPED["b0"][0], 4000.0, HOPED["b0"][2] - 0.0101)}
    truth = {
        what: math.exp(
            np.mean(
                [
                    math.log(true_needs("ours", "b0", family)[index] / true_needs("b0", "b0", family)[index])
                    for family in FAMILIES
                ]
            )
        )
        for index, what in ((1, "between"), (2, "rollouts"))
    }
    big = Analysis(invented(np.random.default_rng(999), needs=needs, seeds=60, problems=4000, spread=0.0), draws=2)
    true_change = big.difference(("ours", 4096), ("b0", 4096))[OVERALL].mean
    for number in range(studies):
        found = Analysis(invented(np.random.default_rng(number), needs=needs, spread=spread), draws=1000)
        for what, one in (
            ("between", found.problems_ratio("ours", "b0", between=True)[OVERALL].estimate),
            ("rollouts", found.costs("ours", "b0", "rollouts")[OVERALL].estimate),
        ):
            held[what] += one.low <= truth[what] <= one.high
        change = found.difference(("ours", 4096), ("b0", 4096))[OVERALL]
        held["difference"] += change.low <= true_change <= change.high
        wrongly += found.not_worse(("worse", 4096), ("b0", 4096))[1]
    print({what: count / studies for what, count in held.items()}, wrongly / studies)
    assert all(count >= 0.88 * studies for count in held.values()), held
    assert wrongly <= 0.1 * studies
