"""Calibration: budgets mean what they promise, a file fits its weights or is not used, a stopped run goes on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from thinkaloud.base.errors import UserError
from thinkaloud.cli.calibrate import _brought
from thinkaloud.cli.main import run
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.inference.calibration import (
    FILE,
    POOLED,
    Calibration,
    ExitRule,
    Kind,
    as_json,
    calibration_of,
    digest_of,
)
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.problems import draw
from thinkaloud.reports.calibration import budget_plot, effort_table, exit_table
from thinkaloud.rollouts import Sampling
from thinkaloud.rollouts.calibrate import How, Measurement, by_kind, effort_budgets, point, vote_knots
from thinkaloud.rollouts.traces import Cut, Trace

torch.set_num_threads(1)
BUDGETS = [0, 10, 20, 30, 40]


def trace(needs: int, *, kind: str = "toy", right: bool = True, votes: tuple[bool, ...] = ()) -> Trace:
    """A thought of 35 tokens whose answer is right as soon as a budget gives it `needs`."""
    cuts = tuple(Cut(budget=one, right=right and one >= needs, tokens=one + 5) for one in BUDGETS if one < 35)
    return Trace(
        problem=f"{kind}-{needs}-{right}",
        kind=kind,
        right=right,
        thinking_tokens=35,
        tokens=38,
        trials=(),
        cuts=cuts,
        votes=tuple(("7" if one else "8", one) for one in votes),
        closing=2,
    )


def test_efforts_are_the_smallest_budgets_that_keep_their_promise() -> None:
    traces = [trace(0)] * 200 + [trace(10)] * 640 + [trace(20)] * 125 + [trace(30)] * 35
    # right: 20 % at 0, 84 % at 10, 96.5 % at 20, 100 % at 30: gains of 80, 95.6 and 100 %
    assert effort_budgets(traces, BUDGETS) == {"low": 10, "medium": 20, "high": 30}
    serial = [trace(40)] * 500
    assert effort_budgets(serial, BUDGETS) == {"low": 40, "medium": 40, "high": 40}, "the thought itself is 35 long"
    never = [trace(0)] * 500
    assert set(effort_budgets(never, BUDGETS).values()) == {0}, "thinking gains nothing"
    assert effort_budgets([trace(20)] * 20, BUDGETS)["high"] is None, "20 problems show no loss below a point"


def test_a_point_is_paired_with_the_whole_thought() -> None:
    found = point([trace(10)] * 3 + [trace(30)], 20)
    assert (found.accuracy, found.thinking_tokens) == (0.75, 20.0) and found.low < 0.75 < found.high
    assert point([trace(10)], None).thinking_tokens == 35


def test_votes_are_calibrated_by_their_number() -> None:
    agreed, split = (True,) * 4, (True, False, False, True)
    traces = [trace(0, votes=agreed)] * 6 + [trace(0, votes=split)] * 2 + [trace(0, votes=(False,) * 4)] * 2
    knots = vote_knots(traces)
    assert set(knots) == {1, 2, 4} and knots[1] == [(1.0, 0.8)]
    assert knots[4] == [(0.5, 0.8125)] or len(knots[4]) >= 1
    kind = Kind(budgets={}, votes=knots, problems=10)
    calibration = Calibration(weights="", temperature=1.0, max_tokens=9, probe_tokens=9, kinds={POOLED: kind})
    assert calibration.confidence(1.0, 1) == 0.8 and calibration.confidence(1.0, 3) == dict(knots[2])[knots[2][-1][0]]
    assert calibration.confidence(1.0, 0) is None and vote_knots([trace(0)]) == {}


def test_pooled_weighs_kinds_alike() -> None:
    found = by_kind([trace(0, kind="a")] * 5 + [trace(0, kind="b")] * 2)
    assert {name: len(traces) for name, traces in found.items()} == {POOLED: 4, "a": 5, "b": 2}


def test_rules_are_looked_up_by_risk_and_kind() -> None:
    rules = [ExitRule(risk=0.01, confidence=0.99), ExitRule(risk=0.05, confidence=0.5)]
    serial = Kind(budgets={}, exits=[ExitRule(risk=0.01, confidence=None)], problems=1)
    pooled = Kind(budgets={}, exits=rules, problems=1)
    found = Calibration(
        weights="", temperature=1.0, max_tokens=9, probe_tokens=9, kinds={POOLED: pooled, "cups": serial}
    )
    assert found.rule(0.001) is None and found.rule(0.01) == rules[0]
    assert found.rule(0.04) == rules[0] and found.rule(1.0, "unheard of") == rules[1]
    assert found.rule(0.01, "cups") is None


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model without its calibration."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(BUNDLED, folder, ignore=shutil.ignore_patterns(FILE))
    return folder


def test_a_calibration_fits_its_weights_only(copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(copy, folder)
    assert calibration_of(folder, "float32") is None
    kind = Kind(budgets={"low": 3, "medium": 5, "high": None}, problems=1)
    made = Calibration(
        weights=digest_of(folder), temperature=0.6, max_tokens=256, probe_tokens=32, kinds={POOLED: kind}
    )
    (folder / FILE).write_text(as_json(made))
    assert calibration_of(folder, "bfloat16") == made and calibration_of(folder, "int8") is None
    model = load(folder, dtype="float32")
    question = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
    assert model.ask(question, effort="low").usage.thinking_tokens == 3
    assert model.ask(question, thinking_budget=4, effort="low").usage.thinking_tokens == 4
    assert model.ask(question, effort="high").thought_end == "natural"
    assert model.ask(question, effort="off").usage.thinking_tokens == 0
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert calibration_of(folder, "float32") is None
    (folder / FILE).write_text(as_json(made).replace('"weights"', '"wheights"'))
    with pytest.raises(UserError, match="weights"):
        calibration_of(folder, "float32")


def measurement(model: ReasoningModel, folder: Path | None, seed: int = 1) -> Measurement:
    dev, sealed = (draw("chains", split, 24, 0, [3, 4]) for split in ("dev", "test"))
    return Measurement(model, dev, sealed, How(sampling=Sampling(max_tokens=64), votes=2, seed=seed), folder)


def test_a_stopped_calibration_goes_on(copy: Path, tmp_path: Path) -> None:
    model = load(copy, dtype="float32")
    with measurement(model, None) as one:
        whole = list(one.run())
        made = one.calibration()
    with measurement(model, tmp_path / "work") as one:
        for _, _ in zip(range(5), one.run(), strict=False):
            pass
    with (tmp_path / "work" / "dev.jsonl").open("a") as file:
        file.write('{"cut off')
    with measurement(model, tmp_path / "work") as one:
        assert one.done == 5
        assert one.traces("dev") + list(one.run()) == whole and one.calibration() == made
    with pytest.raises(UserError, match="another model or other settings"), measurement(model, tmp_path / "work", 2):
        pass
    kind = made.of("chains")
    assert kind.problems == 24 and kind.curve[0].budget == 0 and kind.curve[-1].budget is None
    assert set(kind.sealed) == {"low", "medium", "high", "unlimited"} and set(kind.votes) == {1, 2}


def test_the_command_writes_it_beside_the_weights(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(copy), "--family", "chains=3", "--count", "20", "--sealed", "20", "--votes", "0"]
    assert run([*words, "--max-tokens", "48", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "medium" in told and "never" in told and str(copy / FILE) in told
    found = json.loads((copy / FILE).read_text())
    assert found == json.loads((tmp_path / FILE).read_text()) and found["weights"] == digest_of(copy)
    assert (tmp_path / "calibration.svg").read_text().startswith("<svg")
    assert load(copy).calibration is not None
    (copy / FILE).unlink()
    assert {run(["calibrate", str(copy), "--family", f"chains={word}"]) for word in ("x", "\u00b2")} == {2}
    assert run(["calibrate", str(copy), "--family", "chains", "--problems", "x.jsonl"]) == 2


def test_own_problems_are_halved(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.jsonl"
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1), "verifier": "math"} for n in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["calibrate", str(copy), "--problems", str(file)]) == 2
    assert "at least 200" in capsys.readouterr().err
    file.write_text("".join(json.dumps(row | {"question": f"{n} + 1?"}) + "\n" for n, row in enumerate(rows * 5)))
    for instruction, ending in (("", "?"), ("Be brief.", "?\n\nBe brief.")):
        halves = _brought(file, instruction)
        assert [len(half) for half in halves] == [100, 100]
        assert all(one.question.endswith(f"+ 1{ending}") for half in halves for one in half), "as `ask` asks them"


def test_the_bundled_calibration_is_of_the_bundled_weights() -> None:
    found = calibration_of(BUNDLED, "float32")
    assert found is not None, "the bundled model has changed: run thinkaloud calibrate"
    low, high = (found.of(None).sealed[effort] for effort in ("low", "unlimited"))
    assert low.accuracy < high.accuracy and low.thinking_tokens < high.thinking_tokens
    raw = found.model_dump(mode="json")
    assert len(effort_table(raw)) > 4 and len(exit_table(raw)) > 4 and budget_plot(raw) is not None
