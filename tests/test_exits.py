"""Early exit: the risk is kept, the saving is counted with all that it costs, and what was measured is what is run."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thinkaloud.base.conformal import calibration_error, isotonic, least_cautious, looked_up
from thinkaloud.base.errors import UserError
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.inference.calibration import POOLED, Calibration, ExitRule, Kind
from thinkaloud.inference.exits import Trial, Watch, line_ends
from thinkaloud.problems import draw
from thinkaloud.rollouts import Sampling
from thinkaloud.rollouts.collect import noise_seed
from thinkaloud.rollouts.exits import (
    CONFIDENCES,
    at_all_confidences,
    by_agreement,
    by_mean_confidence,
    by_rule,
    oracle,
    saving,
    settle,
    whole,
)
from thinkaloud.rollouts.traces import Judged, Trace, Tracer, as_row, from_row

torch.set_num_threads(1)

# --- risks and confidences ---


def test_the_boldest_setting_within_the_risk_is_taken() -> None:
    losses = np.zeros((99, 3))
    losses[:5, 0] = 1
    assert least_cautious(losses, 0.01) == 1, "(0 + 1) / 100 is within it, (5 + 1) / 100 is not"
    assert least_cautious(losses, 0.06) == 0
    assert least_cautious(losses, 0.009) is None, "99 problems can't vouch for less than 1 %"
    losses[0] = (0, 0, 1)  # wrong again at the most cautious setting: that counts at all of them
    assert least_cautious(losses, 0.01) is None and least_cautious(losses, 0.02) == 1
    with pytest.raises(ValueError):
        least_cautious([[2.0]], 0.1)


def test_the_risk_is_kept_on_average_over_calibration_sets() -> None:
    random = np.random.default_rng(0)
    settings = np.linspace(0, 1, 21)
    lost = []
    for _ in range(2000):
        hard = random.random((61, 1))  # lost where the setting is bolder than the problem is hard
        losses = (settings[None, :] < hard * 0.5).astype(float)
        index = least_cautious(losses[:60], 0.1)
        lost.append(0.0 if index is None else losses[60, index])
    assert np.mean(lost) <= 0.1 + 2 * np.std(lost) / math.sqrt(len(lost))
    assert np.mean(lost) > 0.03, "a rule that never dares keeps every risk"


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_isotonic_rises_and_keeps_the_mean(pairs: list[tuple[int, bool]]) -> None:
    said, right = [one / 8 for one, _ in pairs], [float(two) for _, two in pairs]
    knots = isotonic(said, right)
    assert knots == sorted(knots) and all(a[1] < b[1] for a, b in zip(knots, knots[1:], strict=False))
    assert np.mean([looked_up(knots, one) for one in said]) == pytest.approx(np.mean(right))


def test_calibration_error_is_the_gap() -> None:
    assert calibration_error([0.9] * 10, [1] * 9 + [0]) == pytest.approx(0)
    assert calibration_error([1.0] * 10, [1] * 5 + [0] * 5) == pytest.approx(0.5)


# --- a rule over one thought ---


def trial(place: int, *probabilities: float, ids: tuple[int, ...] = (5, 1), finished: bool = True) -> Trial:
    said = probabilities or (1.0,) * len(ids)
    return Trial(place=place, ids=ids, logprobs=tuple(math.log(one) for one in said), finished=finished)


def rule(**changes: object) -> ExitRule:
    return ExitRule(**{"risk": 0.01, "confidence": 0.9, **changes})  # type: ignore[arg-type]


def test_a_watch_wants_agreement_confidence_and_an_end() -> None:
    watch = Watch(rule(run=2))
    assert not watch.take(trial(6)) and watch.take(trial(12))
    watch = Watch(rule(run=2))
    assert not watch.take(trial(6)) and not watch.take(trial(12, ids=(6, 1))), "another answer"
    assert not watch.take(trial(18, 0.99, 0.5, ids=(6, 1))), "a doubt breaks the run"
    assert not watch.take(trial(24, ids=(6, 1))) and watch.take(trial(30, ids=(6, 1)))
    assert not Watch(rule()).take(trial(6, finished=False)) and Watch(rule()).take(trial(6))


def test_trials_are_apart_and_begin_late() -> None:
    watch = Watch(rule(gap=10, skip=12))
    assert [watch.due(place) for place in (6, 12)] == [False, True]
    watch.take(trial(12, 0.1, 1))
    assert [watch.due(place) for place in (18, 22)] == [False, True]


def test_a_trial_is_given_up_at_its_first_doubtful_token() -> None:
    assert trial(6, 0.5, 0.99).tokens_until(0.9) == 1
    assert trial(6, 0.95, 0.5).tokens_until(0.9) == 2 == trial(6).tokens_until(0.9)
    assert line_ends(["a", "\n", "b", ".\n\n", "c"]) == [2, 4]


# --- traces made by hand: a line is 6 tokens, an answer 2, the close 2 ---


def trace(*right: bool, sure: tuple[float, ...] | None = None, whole_right: bool = True, name: str = "x") -> Trace:
    """A thought of one line a flag; whether the answer after each would be right, and how sure it is."""
    sure = sure or tuple(0.99 if one else 0.5 for one in right)
    trials = tuple(
        Judged(trial=trial(6 * (i + 1), p, 1.0, ids=(7 if ok else 20 + i, 1)), right=ok)
        for i, (ok, p) in enumerate(zip(right, sure, strict=True))
    )
    length = 6 * len(right) + 1
    return Trace(
        problem=name,
        kind="toy",
        right=whole_right,
        thinking_tokens=length,
        tokens=length + 3,
        trials=trials,
        cuts=(),
        votes=(("7", True), ("8", False)),
        closing=2,
    )


def test_the_oracle_ends_where_the_answer_stays_right() -> None:
    one = trace(False, True, False, True, True, True)
    assert oracle(one).tokens == 24 + 2 + 2 and oracle(one).right and oracle(one).early
    assert oracle(trace(False, False)) == whole(trace(False, False))
    wrong = trace(True, True, whole_right=False)
    assert oracle(wrong) == whole(wrong)


def test_all_that_a_rule_costs_is_counted() -> None:
    one = trace(False, False, True, True, True, True)
    gone = by_rule(rule())(one)  # two trials given up at their first token, the third is the answer
    assert (gone.tokens, gone.probe_tokens, gone.read_tokens) == (18 + 2 + 2 + 2, 2, 4)
    agreed = by_rule(rule(run=2))(one)  # the third is paid in full and not used
    assert (agreed.tokens, agreed.probe_tokens) == (24 + 2 + 2 + 4, 4)
    never = by_rule(rule(confidence=0.999))(one)
    assert not never.early and never.tokens == one.tokens + 6 and by_rule(rule(confidence=None))(one) == whole(one)
    assert by_agreement(run=3, gap=1)(one).tokens == 30 + 2 + 2 + 8
    assert by_mean_confidence(0.95)(one).tokens == 18 + 2 + 2 + 4


def test_all_confidences_at_once_are_each_by_itself() -> None:
    random = np.random.default_rng(2)
    for _ in range(60):
        right = [bool(one) for one in random.random(9) < 0.6]
        one = trace(*right, sure=tuple(float(p) for p in random.choice([0.4, 0.75, 0.96, 0.9995], 9)))
        for shape in ((1, 1, 0), (2, 1, 12), (3, 10, 0)):
            run, gap, skip = shape
            alone = [by_rule(rule(confidence=c, run=run, gap=gap, skip=skip))(one) for c in CONFIDENCES]
            lost, tokens = at_all_confidences([one], shape)
            assert lost.tolist() == [[float(each.lost(one)) for each in alone]]
            assert tokens.tolist() == [[float(each.tokens) for each in alone]]


def test_what_is_lost_is_what_was_right() -> None:
    unlucky = trace(False, True, sure=(0.99, 0.99))
    assert by_rule(rule())(unlucky).lost(unlucky)
    lucky = trace(True, False, whole_right=False)
    assert by_rule(rule())(lucky).right and not by_rule(rule())(lucky).lost(lucky)


def test_rules_save_what_is_redundant_and_nothing_of_what_is_serial() -> None:
    random = np.random.default_rng(0)
    redundant = [trace(*[False] * int(random.integers(1, 4)), *[True] * 8) for _ in range(600)]
    rules = settle(redundant, [0.005, 0.01, 0.05])
    assert [one.risk for one in rules] == [0.005, 0.01, 0.05] and all(one.confidence for one in rules)
    best = saving(redundant, oracle)
    assert saving(redundant, by_rule(rules[1])) > 0.8 * best > 0.4
    serial = [trace(*[False] * int(random.integers(2, 9)), True, sure=None) for _ in range(600)]
    assert all(one.confidence is None for one in settle(serial))
    bluff = [trace(*[False] * 8, True, True, sure=(0.99,) * 10) for _ in range(600)]  # sure whatever it says
    chosen = settle(bluff)[1]
    assert sum(by_rule(chosen)(one).lost(one) for one in bluff) <= 0.01 * len(bluff)
    assert all(one.confidence is None for one in settle(redundant[:60], [0.01])), "30 problems can't vouch for 1 %"


def test_a_trace_survives_its_file() -> None:
    one = trace(False, True, True)
    assert from_row(as_row(one)) == one


# --- what was measured is what is run ---


@pytest.fixture(scope="module")
def model() -> ReasoningModel:
    return load(dtype="float32")


def calibrated(model: ReasoningModel, **changes: object) -> ReasoningModel:
    kind = Kind(budgets={"low": 8, "medium": 16, "high": None}, exits=[rule(**changes)], problems=1)
    model.calibration = Calibration(
        weights="", temperature=model.defaults.temperature, max_tokens=96, probe_tokens=16, kinds={POOLED: kind}
    )
    return model


@pytest.mark.parametrize(
    "changes", [{"confidence": 0.6}, {"confidence": 0.3, "run": 2}, {"gap": 9, "skip": 8}], ids=str
)
def test_a_reply_ends_where_its_trace_says(model: ReasoningModel, changes: dict[str, object]) -> None:
    wish = model.defaults
    sampling = Sampling(max_tokens=96, temperature=wish.temperature, top_p=wish.top_p)
    problems = [one for family in ("cups", "chains") for one in draw(family, "dev", 12, 3)]
    traces = Tracer(model.engine, model.template, sampling, seed=1, probe_tokens=16).traces(problems)
    calibrated(model, **changes)
    early = 0
    for problem, one in zip(problems, traces, strict=True):
        expected = by_rule(rule(**changes))(one)
        stream = model.stream(problem.question, max_accuracy_loss=0.01, max_tokens=96, seed=noise_seed(1, problem.id))
        pieces = list(stream)
        reply = stream.reply
        assert reply is not None and (reply.thought_end == "early") == expected.early
        usage = reply.usage
        assert usage.completion_tokens == expected.tokens and usage.probe_tokens == expected.probe_tokens
        assert "".join(piece.text for piece in pieces if piece.kind == "answer") == reply.answer
        early += expected.early
    assert early > 0
    assert not model.engine.busy


def test_max_tokens_and_a_close_hold_where_a_thought_may_end_early(model: ReasoningModel) -> None:
    calibrated(model, confidence=0.0)
    ends = set()
    for problem in draw("stories", "test", 6, 3):
        for most in (18, 24, 40):
            reply = model.ask(problem.question, max_accuracy_loss=0.01, max_tokens=most)
            usage = reply.usage
            assert usage.thinking_tokens + usage.answer_tokens <= most and reply.answer.strip()
            ends.add(reply.thought_end)
    assert ends >= {"early", "budget"}, "a thought that its budget closes is not tried on the way"


def test_without_a_rule_nothing_is_tried(model: ReasoningModel) -> None:
    question = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
    plain = model.ask(question, effort="high", seed=4)
    calibrated(model, confidence=None)
    assert model.ask(question, max_accuracy_loss=0.05, seed=4) == plain
    calibrated(model, risk=0.02)
    assert model.ask(question, max_accuracy_loss=0.01, seed=4) == plain, "no rule is within that risk"


def test_a_risk_needs_a_calibration_that_holds(model: ReasoningModel) -> None:
    calibrated(model)
    for settings, words in (
        ({"max_accuracy_loss": 1.5}, "0 to 1"),
        ({"max_accuracy_loss": 0.01, "temperature": 1.4}, "temperature"),
    ):
        with pytest.raises(UserError, match=words):
            model.ask("Where now?", **settings)  # type: ignore[arg-type]
    model.calibration = None
    with pytest.raises(UserError, match="thinkaloud calibrate"):
        model.ask("Where now?", max_accuracy_loss=0.01)


def test_a_cancelled_reply_leaves_no_trial_behind(model: ReasoningModel) -> None:
    calibrated(model, confidence=0.99999, run=3)
    for steps in range(1, 30, 3):
        stream = model.stream("Red under A, blue under B. Swap AC BD CE. Where now?", max_accuracy_loss=0.01)
        for _ in range(steps):
            model.advance()
        reply = stream.cancel()
        assert reply.finish in ("cancelled", "stop") and not model.engine.busy


def test_traces_name_what_they_are_made_of() -> None:
    assert replace(trace(True), kind="other").kind == "other"
