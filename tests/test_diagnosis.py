"""Alarms and diagnoses on metrics rows: a healthy course, and the same broken in one way at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.cli.main import run
from thinkaloud.reports.alarms import BEGINS, alarmed, history, together
from thinkaloud.reports.diagnosis import diagnose, examine

Rows = list[dict[str, Any]]
STEPS = 40


def healthy() -> Rows:
    """As a small run goes: the reward climbs from 0.5 to 0.95, entropy falls with it, a dev point every fourth step."""
    rows = []
    for step in range(1, STEPS + 1):
        share = step / STEPS
        jitter = 0.03 if step % 2 else -0.03
        reward = 0.5 + 0.45 * share + jitter
        rows.append(
            {
                "stage": "rl",
                "step": step,
                "progress": share,
                "reward": reward,
                "earned": reward,
                "entropy": 0.3 - 0.22 * share,
                "tokens": 25 + 6 * share,
                "truncated": 0.06 * (1 - share),
                "informative_groups": 0.9 - 0.6 * share,
                "all_right": 0.05 + 0.6 * share,
                "all_wrong": 0.05 * (1 - share),
                "agreed_wrong": 0.02,
                "unreadable": 0.02,
                "ungradable": 0.0,
                "looping": 0.0,
                "thoughtless": 0.02,
                "loss": 0.0,
                "gradient_norm": 1.3,
                "weight_norm": 30.0 + share,
                "logprob_gap_mean": 1e-6,
                "clipped": 0.01,
                "skipped": 0.0,
                "replayed": 0,
                **({"dev_accuracy": reward, "dev_problems": 200} if step % 4 == 1 else {}),
            }
        )
    return rows


def test_small_steps_say_little_until_they_are_put_together() -> None:
    rows = [{**row, "rollouts": 8 * row["step"]} for row in healthy()]
    for row in rows[-STEPS // 8 :]:
        row["reward"] = row["earned"] = 0.05
    assert alarmed(rows) is None, "forty replies are no course"
    large = [{**row, "rollouts": 64 * row["step"]} for row in rows]
    found = alarmed(large)
    assert found is not None and found.name == "fallen reward"
    put = together(rows)
    assert len(put) == STEPS // 4 and put[-1]["step"] == STEPS
    assert put[0]["reward"] == pytest.approx(sum(row["reward"] for row in rows[:4]) / 4)
    assert put[0]["dev_accuracy"] == rows[0]["dev_accuracy"]
    assert together(large) == large
    rows[-1]["weight_norm"] = None
    found = alarmed(rows)
    assert found is not None and found.name == "not finite", "what is broken is seen at once"


def changed(**change: Callable[[float, float], Any]) -> Rows:
    """The healthy course with keys changed: each from the share of the steps done and what it was."""
    return [
        {**row, **{key: new(row["progress"], row[key]) for key, new in change.items() if key in row}}
        for row in healthy()
    ]


def falls(to: float) -> Callable[[float, float], float]:
    """Down to `to` from a third of the stage on."""
    return lambda share, was: was if share < 0.35 else to


def always(value: Any) -> Callable[[float, float], Any]:
    return lambda share, was: value


STOPPED: dict[str, Rows] = {
    "not finite": changed(weight_norm=falls(None)),  # type: ignore[arg-type]
    "collapse": changed(entropy=falls(0.001), reward=falls(0.4), earned=falls(0.4)),
    "runaway length": changed(truncated=falls(0.95), reward=falls(0.05), earned=falls(0.05)),
    "vanishing length": changed(tokens=falls(3), reward=falls(0.3), earned=falls(0.3)),
    "repetition": changed(looping=falls(0.5), reward=falls(0.3), earned=falls(0.3)),
    "fallen reward": changed(reward=falls(0.2), earned=falls(0.2), dev_accuracy=falls(0.2)),
    "reward hacking": changed(dev_accuracy=falls(0.3)),
    "no thought": changed(thoughtless=falls(0.8)),
    "wrong reward": changed(earned=falls(1.0), reward=falls(0.1)),
    "ungradable": changed(ungradable=falls(0.4)),
}
HINDERED: dict[str, Rows] = {
    "truncation": changed(truncated=always(0.6)),
    "format": changed(unreadable=always(0.5)),
    "references": changed(reward=always(0.0), earned=always(0.0), agreed_wrong=always(0.9), all_wrong=always(1.0)),
    "too hard": changed(reward=always(0.03), earned=always(0.03), all_wrong=always(0.9), dev_accuracy=always(0.03)),
    "too easy": changed(all_right=always(0.9), reward=always(0.97), earned=always(0.97)),
    "ungradable": changed(ungradable=always(0.1)),
    "drift": changed(logprob_gap_mean=always(0.2)),
    "entropy": changed(entropy=always(0.01), informative_groups=always(0.1), reward=always(0.5), all_wrong=always(0.5)),
    "too fast": changed(clipped=always(0.5)),
    "too slow": changed(reward=always(0.5), entropy=always(0.3), informative_groups=always(0.9)),
    "skipped": changed(skipped=lambda share, was: float(share == 0.5)),
    "budget": changed(reward=lambda share, was: 0.2 + 0.5 * share, earned=lambda share, was: 0.2 + 0.5 * share),
}


def test_nothing_is_wrong_with_a_healthy_course() -> None:
    """At no step is an alarm raised, nor one that begins."""
    rows = healthy()
    assert diagnose(rows) == []
    for end in range(1, STEPS + 1):
        assert alarmed(rows[:end]) is None and alarmed(rows[:end], BEGINS) is None


@pytest.mark.parametrize("name", STOPPED)
def test_an_alarm_is_raised_where_it_should_and_not_before(name: str) -> None:
    rows = STOPPED[name]
    raised = [end for end in range(1, STEPS + 1) if (found := alarmed(rows[:end])) and found.name == name]
    fall = next(end for end, row in enumerate(rows) if row["progress"] >= 0.35)
    assert raised and raised[0] > fall and not any(alarmed(rows[:end]) for end in range(1, fall + 1))
    assert name in [one.name for one in diagnose(rows)]


@pytest.mark.parametrize("name", HINDERED)
def test_what_hinders_is_named_and_nothing_else(name: str) -> None:
    assert [one.name for one in diagnose(HINDERED[name])] == [name]
    assert not any(alarmed(HINDERED[name][:end]) for end in range(1, STEPS + 1))


def test_rejection_sampling_learns_after_its_replies_and_is_not_too_slow() -> None:
    """Its replies are drawn before the first update, so that their reward can't have moved."""
    updates = ("loss", "gradient_norm", "weight_norm", "skipped")
    flat = changed(reward=always(0.5), entropy=always(0.3), informative_groups=always(0.9), dev_accuracy=always(0.6))
    drawn = [{key: value for key, value in row.items() if key not in updates} for row in flat]
    learnt = [{"step": STEPS + row["step"], **{key: row[key] for key in updates}} for row in healthy()]
    assert diagnose(drawn + learnt) == []
    assert [one.name for one in diagnose(flat)] == ["too slow"]


def test_one_skipped_update_is_no_alarm_and_three_are() -> None:
    rows = healthy()
    for index in (20, 22, 24):
        rows[index]["skipped"] = 1.0
    assert alarmed(rows[:21]) is None and alarmed(rows[:23]) is None
    assert (alarmed(rows[:25]) or pytest.fail("no alarm")).name == "not finite"


def test_a_loss_that_explodes_is_one_and_a_new_round_is_none() -> None:
    falling = [{"step": step, "loss": 3.0 / step, "gradient_norm": 1.0, "weight_norm": 9.0} for step in range(1, 31)]
    up = [{**row, "loss": row["loss"] + 0.8} for row in falling[-10:]]
    worse = [{**row, "loss": row["loss"] + 2} for row in falling[-10:]]
    assert alarmed(falling + up) is None
    assert (alarmed(falling + worse) or pytest.fail("no alarm")).name == "diverged"


def test_learnt_to_the_end_is_no_collapse() -> None:
    """Entropy of nothing is what a solved task leaves."""
    rows = changed(entropy=falls(0.0001), reward=falls(1.0), earned=falls(1.0), tokens=falls(4), all_right=falls(1.0))
    assert not any(alarmed(rows[:end]) for end in range(1, STEPS + 1)) and diagnose(rows) == []


def test_a_memory_that_chooses_what_is_not_known_yet_is_no_collapse() -> None:
    """Reward falls a little and entropy to nothing, while dev accuracy holds."""

    def harder(share: float, was: float) -> float:
        return 0.97 if share < 0.5 else 0.84

    rows = changed(entropy=falls(0.002), reward=harder, earned=harder)
    assert not any(alarmed(rows[:end]) for end in range(1, STEPS + 1))
    down = [row | ({"dev_accuracy": 0.3} if "dev_accuracy" in row and row["progress"] > 0.5 else {}) for row in rows]
    assert "collapse" in [one.name for one in diagnose(down)]


def test_harder_problems_are_no_fall() -> None:
    """Where what is known is retired the reward sinks while dev accuracy rises."""
    rows = changed(reward=lambda share, was: 0.9 - 0.6 * share, earned=lambda share, was: 0.9 - 0.6 * share)
    assert not any(alarmed(rows[:end]) for end in range(1, STEPS + 1))


def test_what_was_taken_back_is_no_longer_held_against_a_stage() -> None:
    rows = STOPPED["collapse"]
    note = {"step": 30, "alarm": "collapse", "words": "entropy fell", "cure": "slower", "taken_back_to": 9}
    led = [*rows[:30], note, *healthy()[30:]]
    assert [row["step"] for row in history(led)] == [*range(1, 10), *range(31, 41)]
    assert alarmed(led) is None and [one.name for one in diagnose(led)] == ["collapse"]
    assert "went back to step 9" in diagnose(led)[0].words


def test_a_run_is_examined_stage_by_stage(tmp_path: Path) -> None:
    for stage, rows in {"good": healthy(), "bad": HINDERED["truncation"]}.items():
        (tmp_path / "checkpoints" / stage).mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "checkpoints" / stage / "metrics.jsonl").write_text(text)
    assert {stage: [one.name for one in found] for stage, found in examine(tmp_path).items()} == {
        "bad": ["truncation"],
        "good": [],
    }
    with pytest.raises(UserError, match="no stage that was trained"):
        examine(tmp_path / "nowhere")


def test_the_verb_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints" / "rl"
    folder.mkdir(parents=True)
    for rows, code, words in (
        (healthy(), 0, "nothing to complain of"),
        (HINDERED["truncation"], 1, "raise max_tokens"),
    ):
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert run(["doctor", str(tmp_path)]) == code
        assert words in capsys.readouterr().out
