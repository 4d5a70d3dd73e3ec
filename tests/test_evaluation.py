"""Evaluations: asked of a model or a server, kept on disk, stopped and gone on with, told, compared."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from thinkaloud.base import endpoint
from thinkaloud.base.errors import UserError
from thinkaloud.cli.main import run
from thinkaloud.problems import Problem
from thinkaloud.problems.types import ProblemSet
from thinkaloud.reports.compare import compare, load_side
from thinkaloud.reports.evaluation import load_evaluation, numbers, pass_curve
from thinkaloud.reports.load import evaluation_of
from thinkaloud.rollouts import Said, Sampling, Task
from thinkaloud.rollouts.plan import Evaluation, Plan
from thinkaloud.serve import client
from thinkaloud.text import Message
from thinkaloud.text.language import mixes_languages
from thinkaloud.text.thought import split_thought

ROOT = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "fixtures" / "published"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = benchmark("oracle")


def problem(number: int) -> Problem:
    return Problem(
        id=f"set-{number}",
        family="set",
        level=0,
        messages=(Message("user", f"Question {number}."),),
        verifier="math",
        reference=str(number),
        canonical=str(number),
    )


SET = ProblemSet(name="set", problems=tuple(map(problem, range(30))), source="here", licence="ours")


def plan(**settings: Any) -> Plan:
    given = {"model": "stand-in", "weights": "1", "sets": (SET,), "sampling": Sampling(samples=2)}
    return Plan(**{**given, **settings})


class Draws:
    """Right with probability p, by a seed; every task that it is asked is noted."""

    def __init__(self, right: float, seed: int = 0, fails_after: int | None = None) -> None:
        self.right, self.random, self.fails_after = right, np.random.default_rng(seed), fails_after
        self.asked: list[tuple[str, int, int | None]] = []

    def respond(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
        for task in tasks:
            if len(self.asked) == self.fails_after:
                raise UserError("the server is gone")
            self.asked.append((task.problem.id, task.sample, task.budget))
            value = task.problem.reference if self.random.random() < self.right else "-1"
            yield task, Said(thinking="hm", answer=f"\\boxed{{{value}}}", thinking_tokens=2, tokens=5, finish="stop")


def evaluated(folder: Path | None, respondent: Draws, **settings: Any) -> Evaluation:
    with Evaluation(plan(**settings), folder) as one:
        list(one.run(respondent))
    return one


# --- on disk ---


def test_every_sample_is_on_disk_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    broken = Draws(0.5, fails_after=25)
    with pytest.raises(UserError, match="gone"):
        evaluated(tmp_path, broken)
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 25
    second = Draws(0.5, seed=1)
    evaluated(tmp_path, second)
    assert len(broken.asked) == 25 and len(second.asked) == 35 and not set(broken.asked) & set(second.asked)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {(row["problem"], row["sample"]) for row in rows} == {(f"set-{n}", s) for n in range(30) for s in range(2)}
    assert len(rows) == 60
    assert {"thinking", "answer", "stated", "verdict", "reason", "tokens", "finish", "mixed"} <= set(rows[0])
    third = Draws(0.5)
    evaluated(tmp_path, third)
    assert third.asked == []
    openings = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [one["replies_left"] for one in openings] == [60, 35]
    assert openings[0]["sha256"] == {"set": SET.sha256}


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    evaluated(tmp_path, Draws(1.0))
    file = tmp_path / "samples.jsonl"
    whole = file.read_bytes()
    torn = whole[: whole.rstrip(b"\n").rfind(b"\n") + 20]
    file.write_bytes(torn)
    again = Draws(1.0)
    evaluated(tmp_path, again)
    assert len(again.asked) == 1
    assert len(load_evaluation(tmp_path).by_budget[None].problems) == 30
    assert all(json.loads(line) for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": Sampling(samples=3)}, "samples 2, not 3"),
        ({"seed": 9}, "seed 1, not 9"),
        ({"weights": "2"}, "weights"),
        ({"budgets": (8,)}, "budgets"),
        ({"sets": (ProblemSet(name="set", problems=SET.problems[:9], source="here", licence="ours"),)}, "sets"),
    ],
)
def test_another_evaluation_is_not_mixed_in(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    evaluated(tmp_path, Draws(1.0))
    with pytest.raises(UserError, match=said):
        evaluated(tmp_path, Draws(1.0), **change)


def test_a_folder_with_something_else_or_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="--out"):
        evaluated(tmp_path, Draws(1.0))
    (tmp_path / "mine.txt").unlink()
    with Evaluation(plan(), tmp_path), pytest.raises(UserError, match="in use"):
        evaluated(tmp_path, Draws(1.0))


DIES = """
import os, signal, sys
from thinkaloud.base.evaluations import Samples
from thinkaloud.cli.main import run

add = Samples.add

def dying(self, row):
    add(self, row)
    if len(self.rows) == 100:
        os.write(self._journal._file.fileno(), b'{"problem": "torn')
        os.kill(os.getpid(), signal.SIGKILL)

Samples.add = dying
run(sys.argv[1:])
"""


def test_after_sigkill_nothing_is_lost_and_nothing_done_twice(tmp_path: Path) -> None:
    words = ["eval", "--on", "cups", "--count", "30", "--samples", "10", "--max-tokens", "64", "--out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", DIES, *words, str(tmp_path / "e")]
    killed = subprocess.run(command, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    samples = tmp_path / "e" / "samples.jsonl"
    before = samples.read_bytes()
    assert before.endswith(b'{"problem": "torn')
    kept = before[: before.rfind(b"\n") + 1]
    assert 100 <= kept.count(b"\n") < 300
    assert run([*words, str(tmp_path / "e")]) == 0
    after = samples.read_bytes()
    assert after.startswith(kept)
    keys = [(row["problem"], row["sample"]) for row in map(json.loads, after.splitlines())]
    assert len(keys) == len(set(keys)) == 300
    assert run([*words, str(tmp_path / "whole")]) == 0
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("e", "whole")]
    assert summaries[0] == summaries[1], "stopped and gone on with, it is the same evaluation"


# --- numbers ---


def entry(number: int, right: list[int], **values: Any) -> dict[str, Any]:
    return {"id": str(number), "family": "set", "level": 0, "right": right, **values}


def test_pass_at_k_is_unbiased_and_grows() -> None:
    found = evaluation_of("m", {"samples": 4, "problems": [entry(0, [1, 0, 0, 0]), entry(1, [0, 0, 0, 0])]})
    assert {k: one.mean for k, one in pass_curve(found).items()} == pytest.approx({1: 0.125, 2: 0.25, 4: 0.5})


def test_shares_of_what_went_wrong() -> None:
    found = evaluation_of(
        "m",
        {
            "samples": 2,
            "problems": [
                entry(0, [0, 0], reason=["no answer", "limit"], finish=["stop", "length"], mixed=[True, False]),
                entry(
                    1, [1, 0], reason=["", "unsupported"], finish=["stop", "stop"], mixed=[False] * 2, ungradable=[0, 1]
                ),
            ],
        },
    )
    measured = numbers(found)
    assert (measured["no_answer"], measured["cut_off"], measured["mixed"], measured["ungradable"]) == (
        0.25,
        0.25,
        0.25,
        1,
    )
    assert measured["accuracy"] == 0.5 and measured["n"] == 2


def test_majority_goes_by_what_answers_state_and_not_by_their_words(tmp_path: Path) -> None:
    texts = ["so \\boxed{7}", "it is \\boxed{7.0}", "clearly \\boxed{8}", "\\boxed{9}", "I think \\boxed{9}"]

    class Says:
        def respond(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
            for task in tasks:
                cut = task.sample > 3
                yield (
                    task,
                    Said(
                        thinking="",
                        answer=texts[task.sample],
                        thinking_tokens=0,
                        tokens=3,
                        finish="length" if cut else "stop",
                    ),
                )

    only = ProblemSet(name="set", problems=(problem(7),), source="", licence="")
    with Evaluation(plan(sets=(only,), sampling=Sampling(samples=5)), tmp_path) as one:
        list(one.run(Says()))
    measured = numbers(load_evaluation(tmp_path).by_budget[None])
    assert measured["majority"] == 1.0 and measured["accuracy"] == 0.4 and measured["cut_off"] == 0.2


def test_the_interval_holds_the_oracles_accuracy_as_often_as_it_says() -> None:
    """200 evaluations at each of two accuracies, with one sample a problem and four: about 95 % hold p."""
    for samples, right in ((1, 0.3), (1, 0.7), (4, 0.3), (4, 0.7)):
        random = np.random.default_rng(samples * 100 + round(10 * right))
        held = 0
        for _ in range(200):
            grades = (random.random((100, samples)) < right).astype(int).tolist()
            raw = {"samples": samples, "problems": [entry(number, row) for number, row in enumerate(grades)]}
            low, high = numbers(evaluation_of("m", raw))["ci95"]
            held += low <= right <= high
        assert 180 <= held <= 199, (samples, right, held)


@pytest.mark.parametrize(
    ("question", "reply", "mixed"),
    [
        ("How many?", "Seven, naïve α β π ≤ 3", False),
        ("How many?", "So 七个 of them", True),
        ("有多少?", "七个 apples", False),
        ("有多少?", "семь", True),
        ("How many?", "the symbol \u4e03 alone", False),
    ],
)
def test_language_mixing(question: str, reply: str, mixed: bool) -> None:
    assert mixes_languages(question, reply) == mixed


# --- servers ---


ANSWERS = {f"Question {number}.": (f"\\boxed{{{number}}}", "\\boxed{-1}") for number in range(30)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "WAIT_SECONDS", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", *endpoint.KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("shape", oracle.SHAPES)
def test_a_server_is_asked_and_its_thoughts_are_told_from_its_answers(shape: str, tmp_path: Path) -> None:
    server = oracle.Oracle(ANSWERS, 0.5, shape=shape, faults={1: 429, 5: 503, 6: 500})
    with server as url:
        asked = client.Server(url, concurrency=4).asked(Sampling(samples=2, max_tokens=99), seed=3)
        evaluated(tmp_path, asked)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 60 and len(server.requests) == 63
    assert {row["thinking"] for row in rows} == {"Let me see. It could be 3, or 17."}
    assert all(row["answer"].startswith("\\boxed") and 6 <= row["thinking_tokens"] <= 10 for row in rows)
    for row in rows:
        seed = next(
            body["seed"]
            for body in server.requests
            if body["seed"] == client.noise_seed(3, row["problem"], row["sample"]) >> 32
        )
        drawn = server.draw(f"Question {row['problem'].removeprefix('set-')}.", seed)
        assert row["verdict"] == ("right" if drawn else "wrong")
    assert server.requests[0]["max_tokens"] == 99 and "thinking_budget" not in server.requests[0]


def test_the_key_goes_along_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    server = oracle.Oracle(ANSWERS, 1.0)
    with server as url:
        evaluated(tmp_path, client.Server(url).asked(Sampling(samples=2), seed=1))  # type: ignore[arg-type]
    assert set(server.keys) == {"Bearer s3cret"}
    assert not [path for path in tmp_path.iterdir() if b"s3cret" in path.read_bytes()]


def test_a_server_that_refuses_or_is_gone_is_a_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TRIES", 2)
    with oracle.Oracle(ANSWERS, 1.0, faults={7: 401}) as url:
        asked = client.Server(url, concurrency=1).asked(Sampling(samples=2), seed=1)
        with pytest.raises(UserError, match="401 not now; put its key into THINKALOUD_API_KEY"):
            evaluated(tmp_path, asked)  # type: ignore[arg-type]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 6
    with pytest.raises(UserError, match="failed 2 times"):
        client.Server(url)
    for wrong in ("http://", "https://user:pass@host/v1"):
        with pytest.raises(UserError, match="no server's address"):
            client.Server(wrong, "m")


def test_who_stops_does_not_wait_for_the_server(tmp_path: Path) -> None:
    slow = oracle.Oracle(ANSWERS, 1.0)
    reply, waited = slow.reply, threading.Event()

    def replies(body: Any) -> Any:
        if len(slow.requests) > 5:
            held.append(waited.wait(60))
        return reply(body)

    held: list[bool] = []
    slow.reply = replies
    with slow as url, Evaluation(plan(), tmp_path) as one:
        rows = one.run(client.Server(url, concurrency=2).asked(Sampling(samples=2), seed=1))
        assert {next(rows)["verdict"] for _ in range(3)} == {"right"}
        rows.close()
        assert held == [], "no reply that is under way has come"
        waited.set()


def test_budgets_and_no_thinking_go_along() -> None:
    server = client.Server("http://localhost:1/v1", "m")
    asked = server.asked(Sampling(thinking=False, top_k=20), seed=1)
    body = asked.body(Task(problem=problem(1), sample=0, budget=64))
    assert body["thinking_budget"] == 64 and body["top_k"] == 20
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_tool_call_is_what_the_verifier_reads() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    said = client.said_in({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    assert json.loads(said.answer) == [{"name": "f", "arguments": {"a": 1}}] and said.finish == "stop"


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>\na\n</think>\n\nb", "a", "b"),
        ("a\n</think>\n\nb", "a", "b"),
        ("b", "", "b"),
        ("<think>never closed", "never closed", ""),
    ],
)
def test_a_thought_is_split_off(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


# --- the command ---


def test_eval_of_a_server_on_a_published_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--on", "gsm8k", "--data", str(FIXTURES), "--samples", "2", "--out"]
    with oracle.Oracle(oracle.gsm8k(FIXTURES), 0.6) as url:
        assert run(["eval", url, *words, str(tmp_path / "a"), "--budgets", "8,none", "--limit", "10"]) == 0
        said = capsys.readouterr()
        assert "gsm8k: 10 problems from" in said.err and "MIT" in said.err and "40 of 40 replies" in said.err
        assert "avg@2 %" in said.out and "thoughts of at most 8 tokens" in said.out
        assert run(["eval", url, *words, str(tmp_path / "b"), "--json"]) == 0
        measured = json.loads(capsys.readouterr().out)
    assert measured["families"]["gsm8k"]["n"] == 20 and measured["model"].startswith("oracle at http")
    report = (tmp_path / "a" / "report.html").read_text()
    assert report.count("<svg") >= 2 and "http" not in report.replace("http://127.0.0.1", "").replace(
        "https://www.w3", ""
    )
    (tmp_path / "a" / "report.html").unlink()
    assert run(["report", str(tmp_path / "a")]) == 0
    assert (tmp_path / "a" / "report.html").read_text() == report
    assert "Openings of the problems: 1 (" in report and measured["sets"]["gsm8k"]["sha256"]
    assert run(["eval", url, *words, str(tmp_path / "b"), "--temperature", "0.1", "--model-name", "oracle"]) == 2
    assert "temperature 0.6, not 0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "gsm9k"], "did you mean gsm8k"),
        (["--on", "gsm8k", "--family", "cups"], "both given"),
        (["--on", "cups", "--budget", "3", "--budgets", "4"], "both given"),
        (["--budgets", "3,many"], "no list of numbers"),
        (["http://localhost:1/v1"], "--on gsm8k"),
        (["--on", ","], "no problems are named"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


# --- comparing ---


def test_compare_claims_what_the_sample_shows_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {name: tmp_path / name for name in ("low", "high", "alike")}
    for name, right in (("low", 0.2), ("high", 0.9), ("alike", 0.25)):
        evaluated(folders[name], Draws(right, seed=len(name)), model=name)
    assert run(["compare", str(folders["low"]), str(folders["high"])]) == 0
    assert "set: high is better than low, +" in capsys.readouterr().out
    assert run(["compare", str(folders["high"]), str(folders["low"]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["comparisons"][0]["claim"] == -1 and "high is better than low" in told["words"][0]
    assert run(["compare", str(folders["low"]), str(folders["alike"])]) == 0
    said = capsys.readouterr().out
    assert "no claim, the interval touches zero" in said and "four times in five" in said
    few = ProblemSet(name="set", problems=SET.problems[:9], source="", licence="")
    evaluated(tmp_path / "few", Draws(1.0), sets=(few,), sampling=Sampling(samples=2, temperature=0.5))
    assert run(["compare", str(folders["low"]), str(tmp_path / "few")]) == 0
    said = capsys.readouterr().out
    assert "no claim, too few problems" in said and "temperature is 1.0 in low and 0.5 in few" in said
    assert "another hash" in said


def test_compare_pairs_the_same_problems_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tuple(Problem(**{**vars(one), "messages": (Message("user", f"Another {one.id}"),)}) for one in SET.problems)
    evaluated(tmp_path / "a", Draws(1.0))
    evaluated(tmp_path / "b", Draws(0.0), sets=(ProblemSet(name="set", problems=other, source="", licence=""),))
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "share no problem" in capsys.readouterr().err
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 2


def test_the_difference_that_could_be_shown_is_shown_four_times_in_five() -> None:
    """At the detectable difference the verdict is 'better' in about 80 % of samples."""
    random = np.random.default_rng(5)
    base, problems, found, detectable = 0.5, 200, 0, []

    def side(name: str, right: float) -> Any:
        grades = (random.random((problems, 1)) < right).astype(int).tolist()
        raw = {"problems": [entry(number, row) for number, row in enumerate(grades)]}
        return load_side.__globals__["Side"](name=name, by_budget={"none": evaluation_of(name, raw)}, settings={})

    for _ in range(20):
        detectable.append(compare(side("a", base), side("b", base))[0].detectable)
    step = float(np.mean(detectable))
    assert 0.11 < step < 0.17
    for _ in range(200):
        found += compare(side("a", base - step / 2), side("b", base + step / 2))[0].claim == 1
    assert 0.72 < found / 200 < 0.88
