"""What the published recipes need besides: a judge behind an address, replies of another stage, R1's rewards."""

import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from thinkaloud.base import endpoint
from thinkaloud.base.config import load_settings, parse_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.base.ledger import Ledger
from thinkaloud.base.run import read_json, read_jsonl, write_text
from thinkaloud.model import load_model
from thinkaloud.problems import Verdict, draw
from thinkaloud.rollouts import Rollout
from thinkaloud.rollouts.judge import Judge, JudgeSettings, judge_of, read
from thinkaloud.text.language import consistency
from thinkaloud.train import rft
from thinkaloud.train.pipeline import train
from thinkaloud.train.recipe import Recipe, check
from thinkaloud.train.rl import _Run
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.stages import RlSettings
from thinkaloud.train.worker import run_stage

torch.set_num_threads(1)


def _oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parents[1] / "benchmarks" / "oracle.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _oracle()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "WAIT_SECONDS", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", *endpoint.KEYS):
        monkeypatch.delenv(name, raising=False)


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


def judging(reply: Callable[[str], str], faults: dict[int, int] | None = None) -> Any:
    """A judge whose score is made of the prompt that it was sent."""
    server = oracle.Oracle({}, 1.0, faults=faults)
    server.reply = lambda body: said(reply(body["messages"][-1]["content"]))
    return server


def rollout(answer: str, verdict: Verdict, *, finish: str = "stop", family: str = "orders") -> Rollout:
    problem = draw(family, "train", 1, 1)[0]
    return Rollout(
        problem=problem,
        ids=(1, 2),
        sampled=(False, True),
        logprobs=(0.0, -1.0),
        thinking="",
        answer=answer,
        verdict=verdict,
        way="other",
        thinking_tokens=0,
        prompt_tokens=1,
        prefix_tokens=0,
        finish=finish,
        version=0,
    )


RIGHT, WRONG = Verdict.right(), Verdict.wrong("different")


def test_a_judge_has_its_share_of_the_reward() -> None:
    """Equal replies are asked once; cut-off, ungradable and other families' replies are not asked at all."""
    group = [
        rollout("good", RIGHT),
        rollout("good", RIGHT),
        rollout("bad", WRONG),
        rollout("good", WRONG, finish="length"),
        rollout("good", Verdict.ungradable("reference")),
        rollout("good", RIGHT, family="calls"),
    ]
    with judging(lambda prompt: "8" if "good" in prompt else "Score: 2.5/10") as url:
        ledger = Ledger()
        judge = judge_of(JudgeSettings(url=url, weight=0.25, families=["orders"]))
        assert judge is not None
        (judged,) = judge.judged([group], ledger)
    assert [one.verdict.score for one in judged] == pytest.approx([0.95, 0.95, 0.0625, 0, 0, 1])
    assert [one.verdict.label for one in judged] == [one.verdict.label for one in group]
    assert (ledger.judge_calls, ledger.judge_tokens) == (2, 22)
    assert judge_of(None) is None and judge_of(JudgeSettings()) is None


def test_a_failed_judgement_is_ungradable() -> None:
    """Silent, unreadable or refused as often as it was asked: the reply never trains."""
    group = [rollout(answer, RIGHT) for answer in ("silly", "good", "fine")]
    with judging(lambda prompt: "I say 7 or 8" if "silly" in prompt else "10", faults={3: 503, 4: 503}) as url:
        judge = Judge(JudgeSettings(url=url, weight=1.0, tries=2, concurrency=1))
        (judged,) = judge.judged([group], Ledger())
    assert [one.verdict.label for one in judged] == ["ungradable", "right", "ungradable"]
    with judging(lambda prompt: "no") as url, pytest.raises(UserError, match="gave no score to any of 3"):
        Judge(JudgeSettings(url=url)).judged([group], Ledger())
    with (
        judging(lambda prompt: "5", faults={1: 404}) as url,
        pytest.raises(UserError, match="refuses the request: 404"),
    ):
        Judge(JudgeSettings(url=url, concurrency=1)).judged([group], Ledger())
    with pytest.raises(UserError, match="would grade nothing"):
        Judge(JudgeSettings(url="http://localhost:1/v1", prompt="How good?"))


def test_a_late_judgement_fails() -> None:
    waited = threading.Event()

    def slowly(prompt: str) -> str:
        if "slow" in prompt:
            waited.wait(5)
        return "9"

    with judging(slowly) as url:
        judge = Judge(JudgeSettings(url=url, weight=1.0, tries=1, seconds=0.3))
        (judged,) = judge.judged([[rollout("slow", RIGHT), rollout("quick", RIGHT)]], Ledger())
        waited.set()
    assert [one.verdict.label for one in judged] == ["ungradable", "right"]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("7", 0.7),
        (" 10. ", 1.0),
        ("**9**", 0.9),
        ("Score: 8/10", 0.8),
        ("8.5", 0.85),
        ("<think>\n3 or 4?\n</think>\n\n4", 0.4),
        ("11", None),
        ("10.5", None),
        ("-3 4", None),
        ("7 8", None),
        ("seven", None),
        ("", None),
        ("I give it 7", None),
    ],
)
def test_scores_are_read(text: str, score: float | None) -> None:
    assert read(said(text)) == (score, 11)


@pytest.mark.parametrize("answer", [None, {}, {"choices": []}, {"choices": [{"message": {"content": None}}]}, "x"])
def test_what_is_no_completion_has_no_score(answer: Any) -> None:
    assert read(answer)[0] is None


def test_braces_of_a_reply_are_data() -> None:
    seen = []
    with judging(lambda prompt: seen.append(prompt) or "5") as url:  # type: ignore[func-returns-value]
        Judge(JudgeSettings(url=url)).judged([[rollout("{question} {0}", RIGHT)]], Ledger())
    assert "{question} {0}" in seen[0]


def test_consistency_is_a_share_of_words() -> None:
    assert consistency("How many?", "7 + 3 = 10\n10") == 1
    assert consistency("How many?", "so это 10 да") == 0.5
    assert consistency("Сколько?", "so это 10 да") == 1
    assert consistency("How many?", "") == 1


# --- stages ---

SMALL = {"batch_tokens": 600, "max_tokens": 40}


def small_recipe(run: Path, url: str | None = None) -> Recipe:
    raw = {
        "run": {"name": "small", "dir": str(run), "result": "rl"},
        "model": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 64,
        },
        "families": {"orders": {"train": 40, "levels": [1]}, "chains": {"train": 40, "levels": [3]}},
        "stages": {
            "base": {"kind": "sft", "budget": 20_000, **SMALL},
            "rl": {
                "kind": "rl",
                "init": "base",
                "budget": 3_000,
                "problems": 2,
                "samples": 4,
                "form": 0.5,
                "language": 0.5,
                "families": ["orders"],
                "judge": {"url": url, "weight": 0.5} if url else {},
                **SMALL,
            },
            "again": {
                "kind": "rft",
                "init": "base",
                "source": "rl",
                "families": ["chains"],
                "shown": ["orders"],
                "shown_share": 0.5,
                "budget": 30_000,
                **SMALL,
            },
        },
        "evaluation": {"test": 8, "dev": 4, "points": 2, "everything": True},
    }
    recipe = parse_settings(Recipe, raw, "test")
    check(recipe)
    write_text(run / "recipe.toml", to_toml(recipe))
    return recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose second stage is judged by a server that likes short answers."""
    run = tmp_path_factory.mktemp("recipes") / "run"
    with judging(lambda prompt: "9" if len(prompt) % 2 else "4") as url:
        small_recipe(run, url)
        for name in ("base", "rl"):
            run_stage(run, name)
    yield run


def test_a_judged_stage_keeps_its_account(trained: Path) -> None:
    rows, ledger = (
        read_jsonl(stage_folder(trained, "rl") / "rollouts.jsonl"),
        read_json(stage_folder(trained, "rl") / "ledger.json"),
    )
    stopped = {(row["problem"], row["answer"], row["step"]) for row in rows if row["finish"] == "stop"}
    assert 0 < ledger["judge_calls"] == len(stopped) and ledger["judge_tokens"] == 11 * ledger["judge_calls"]
    rewards = [row["reward"] for row in read_jsonl(stage_folder(trained, "rl") / "metrics.jsonl")]
    assert any(0 < reward < 1 for reward in rewards)


def test_every_family_is_measured_where_that_is_asked(trained: Path) -> None:
    measured = read_json(trained / "evaluations" / "rl.json")["problems"]
    assert {entry["family"] for entry in measured} == {"orders", "chains"}


def test_replies_come_from_the_source_and_demonstrations_beside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[Any] = []
    whole = rft.fine_tune_step
    monkeypatch.setattr(rft, "PROBLEMS_A_STEP", 8)
    monkeypatch.setattr(importlib.import_module("thinkaloud.rollouts.collect"), "verdict_on", lambda *given: RIGHT)
    monkeypatch.setattr(
        rft,
        "fine_tune_step",
        lambda stage, samples, salt: learnt.append((stage, samples)) or whole(stage, samples, salt),
    )
    run_stage(trained, "again")
    stage, samples = learnt[0]
    source = dict(stage.sampler.model.named_parameters())
    assert stage.sampler is not stage.engine
    theirs = load_model(stage_folder(trained, "rl") / "model")
    assert all(torch.equal(source[name], value) for name, value in theirs.named_parameters())
    kept = len(stage.extra["kept"])
    assert len(samples) - kept == min(40, kept) > 0
    families = {row["family"] for row in read_jsonl(stage.folder / "rollouts.jsonl")}
    assert families == {"chains"}


def test_rewards_of_format_and_language_are_added(tmp_path: Path) -> None:
    class OfSettings:
        settings = RlSettings(kind="rl", budget=1, form=0.5, language=0.25)

    reward = _Run._reward
    run: Any = OfSettings()
    assert reward(run, rollout("8", RIGHT)) == 1.75
    assert reward(run, rollout("8", WRONG)) == 0.75
    assert reward(run, replace(rollout("8", WRONG), thinking="да")) == 0.625
    assert reward(run, rollout("8", WRONG, finish="length")) == reward(run, rollout(" ", WRONG)) == 0


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"kind": "rft", "source": "none"}, "starts from none"),
        ({"kind": "rft", "shown": ["cups"]}, "names the family cups"),
        ({"kind": "sft", "families": ["cups"]}, "names the family cups"),
    ],
)
def test_what_a_stage_names_must_be_there(tmp_path: Path, stage: dict[str, Any], words: str) -> None:
    recipe = small_recipe(tmp_path).model_dump(mode="json", exclude_none=True)
    recipe["stages"]["base"] = {"budget": 1, **stage}
    with pytest.raises(UserError, match=words):
        check(parse_settings(Recipe, recipe, "test"))


# --- the recipes themselves ---

ROOT = Path(__file__).parents[1]
LITTLE = ["model.hidden_size=32", "model.num_hidden_layers=1", "evaluation.test=40", "evaluation.dev=16"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "judged"), [("qwq", "general"), ("r1", "rl2")])
def test_the_published_recipes_run_from_end_to_end(tmp_path: Path, name: str, judged: str) -> None:
    """With a fiftieth of their budgets, and a judge turned on by one override."""
    path = ROOT / "recipes" / f"{name}.toml"
    whole = load_settings(Recipe, path)
    check(whole)
    little = [f"stages.{stage}.budget={settings.budget / 50}" for stage, settings in whole.stages.items()]
    with judging(lambda prompt: str(len(prompt) % 11)) as url:
        changes = [f"run.dir={tmp_path / name}", *LITTLE, *little, f"stages.{judged}.judge.url={url}"]
        changes += [f"stages.{judged}.guard.problems=20"] * (whole.stages[judged].guard is not None)
        for _ in train([load_settings(Recipe, path, changes)]):
            pass
    assert set(read_json(tmp_path / name / "summary.json")["models"]) == set(whole.stages)
    assert read_json(stage_folder(tmp_path / name, judged) / "ledger.json")["judge_calls"] > 0
