"""What a server withstands: clients that leave or dawdle, too many of them, faults of its own, the end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest

from serving import QUESTION, Live, random_model, until
from thinkaloud.base.errors import UserError
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.serve.faults import Fault
from thinkaloud.serve.line import Gate, Limits, Line, check_room, read_keys
from thinkaloud.serve.opening import name_of, own
from thinkaloud.serve.running import listen
from thinkaloud.text.grammar import TokenGrammar


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ReasoningModel:
    return load(random_model(tmp_path_factory.mktemp("random")))


@pytest.fixture
def live(model: ReasoningModel) -> Iterator[Live]:
    """Two rows and a short queue."""
    with Live(own(model, "random", limits=Limits(rows=2, queue=2))) as one:
        yield one
        assert one.idle()


def body(model: ReasoningModel, tokens: int = 3000, **more: Any) -> dict[str, Any]:
    """A request whose reply does not end before its tokens do."""
    bias = {str(one): -100 for one in model.template.stop_ids}
    return {"messages": QUESTION, "max_tokens": tokens, "logit_bias": bias, **more}


@contextmanager
def asking(live: Live, asked: dict[str, Any]) -> Iterator[None]:
    """A client that has asked, reads nothing, and leaves at the end of the block."""
    content = json.dumps(asked).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(live.root.removeprefix("http://").split(":")) as client:
        client.sendall(head.encode() + content)
        yield


@contextmanager
def standing(live: Live, model: ReasoningModel) -> Iterator[None]:
    """Both rows are taken, by replies that get no further until the end of the block."""
    whole = model.engine.step

    def step() -> list[Any]:
        if live.service.voice.running < 2:
            return whole()
        time.sleep(0.01)
        return []

    with patch.object(model.engine, "step", step), asking(live, body(model, n=2)):
        assert until(lambda: live.service.voice.running == 2)
        yield


def test_a_client_that_leaves_frees_its_row(live: Live, model: ReasoningModel) -> None:
    with httpx2.stream("POST", live.url + "/chat/completions", json=body(model, stream=True), timeout=60) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines)[5:])["choices"]
        assert live.service.voice.running == 1
    assert live.idle() and not model.engine.busy
    with asking(live, body(model)):
        assert until(lambda: live.service.voice.running == 1)
    assert live.idle() and not model.engine.busy


def test_who_waits_may_leave_too(live: Live, model: ReasoningModel) -> None:
    with standing(live, model):
        with asking(live, body(model)):
            assert until(lambda: live.service.voice.waiting == 1)
        assert until(lambda: live.service.voice.waiting == 0)
        assert live.service.voice.running == 2


def test_who_dawdles_holds_nobody_up(live: Live, model: ReasoningModel) -> None:
    with asking(live, body(model, 400, stream=True)):
        for _ in range(3):
            answer = httpx2.post(live.url + "/chat/completions", json=body(model, 20), timeout=60)
            assert answer.json()["usage"]["completion_tokens"] >= 20
        assert live.service.voice.waiting == 0


def test_a_full_queue_says_when_to_come_again(live: Live, model: ReasoningModel) -> None:
    with standing(live, model), asking(live, body(model, n=2)):
        assert until(lambda: live.service.voice.waiting == 2)
        refused = httpx2.post(live.url + "/chat/completions", json=body(model, 5), timeout=60)
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


def test_rows_that_are_free_are_no_queue() -> None:
    limits = Limits(rows=2, queue=0)
    check_room(limits, waiting=0, running=0, more=16)  # an idle server takes a request of any size
    check_room(limits, waiting=1, running=0, more=1)
    for waiting, running in ((0, 2), (2, 0), (1, 1)):
        with pytest.raises(Fault, match="replies wait already"):
            check_room(limits, waiting=waiting, running=running, more=1)


def test_keys_take_turns() -> None:
    line = Line[str]()
    for who, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
        line.add(who, item)
    assert line.remove("a", "a2") and not line.remove("a", "a2") and not line.remove("d", "x")
    assert [line.next() for _ in range(6)] == ["a1", "b1", "c1", "a3", "b2", None]


def test_a_crowd_of_one_key_does_not_keep_another_waiting(model: ReasoningModel) -> None:
    ended: list[str] = []
    with Live(own(model, "random", limits=Limits(rows=1), keys=["one", "two"])) as live:

        def ask(key: str, tokens: int = 800) -> None:
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx2.post(live.url + "/chat/completions", json=body(model, tokens), headers=headers, timeout=60)
            assert answer.status_code == 200
            ended.append(key)

        crowd = [threading.Thread(target=ask, args=("one",)) for _ in range(6)]
        for thread in crowd:
            thread.start()
        while live.service.voice.waiting < 5:
            time.sleep(0.005)
        ask("two", 5)
        place = len(ended)
        for thread in crowd:
            thread.join()
    assert place <= 3 and len(ended) == 7


def test_a_key_is_asked_for(model: ReasoningModel) -> None:
    limits = Limits(requests_a_minute=2)
    with Live(own(model, "random", limits=limits, keys=["secret"])) as live:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            refused = httpx2.get(live.url + "/models", headers=headers)
            assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
        assert httpx2.get(live.root + "/health").status_code == 200
        client = live.client(api_key="secret")
        for _ in range(2):
            client.chat.completions.create(model="random", messages=QUESTION, max_tokens=2)
        with pytest.raises(Exception, match="2 requests a minute"):
            client.chat.completions.create(model="random", messages=QUESTION, max_tokens=2)


def test_a_gate_counts() -> None:
    now = [0.0]
    gate = Gate(["k1", "k2"], Limits(requests_a_minute=2, concurrent=1), clock=lambda: now[0])
    one, two = gate.who("Bearer k1"), gate.who("bearer k2")
    assert one != two
    gate.enter(one)
    with pytest.raises(Fault, match="1 requests at a time"):
        gate.enter(one)
    gate.enter(two)
    gate.leave(one)
    gate.enter(one)
    gate.leave(one)
    with pytest.raises(Fault, match="ask again in 60 s"):
        gate.enter(one)
    now[0] = 60.0
    gate.enter(one)
    assert read_keys("# ours\nk1\n\n k2 \n", "file") == ["k1", "k2"]
    with pytest.raises(UserError, match="holds no key"):
        read_keys("\n", "file")


def test_the_fault_of_one_reply_takes_no_other_along(
    live: Live, model: ReasoningModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, heard = model.hear, []

    def hear(progress: Any) -> None:
        heard.append(progress.handle)
        if progress.handle == heard[0] and len(heard) > 5:
            raise ZeroDivisionError("made up")
        whole(progress)

    monkeypatch.setattr(model, "hear", hear)
    with ThreadPoolExecutor(2) as pool:
        url = live.url + "/chat/completions"
        asked = [pool.submit(httpx2.post, url, json=body(model, 60, seed=seed), timeout=60) for seed in (1, 2)]
        answers = [one.result() for one in asked]
    assert sorted(one.status_code for one in answers) == [200, 500]
    failed = next(one for one in answers if one.status_code == 500)
    assert failed.json()["error"]["type"] == "server_error" and "ZeroDivisionError" in failed.json()["error"]["message"]
    monkeypatch.undo()
    good = next(one for one in answers if one.status_code == 200)
    seed = 1 + answers.index(good)
    assert (
        good.json()["choices"]
        == httpx2.post(live.url + "/chat/completions", json=body(model, 60, seed=seed), timeout=60).json()["choices"]
    )


def test_a_fault_within_the_engines_step_takes_no_other_along(
    live: Live, model: ReasoningModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, form = live.url + "/chat/completions", {"type": "json_object"}
    other = body(model, 200, seed=1)
    alone = httpx2.post(url, json=other, timeout=60).json()["choices"]

    def advance(grammar: TokenGrammar, token_id: int) -> None:
        raise ZeroDivisionError("made up")

    monkeypatch.setattr(TokenGrammar, "advance", advance)
    held = {"messages": QUESTION, "max_tokens": 100, "thinking_budget": 20, "response_format": form}
    with ThreadPoolExecutor(2) as pool:
        going = pool.submit(httpx2.post, url, json=other, timeout=60)
        failed = httpx2.post(url, json=held, timeout=60)
        stream = httpx2.post(url, json=held | {"stream": True}, timeout=60).text
        whole = going.result()
    assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
    assert "ZeroDivisionError" in json.loads(stream.strip().splitlines()[-1][5:])["error"]["message"]
    assert whole.json()["choices"] == alone
    monkeypatch.undo()
    assert httpx2.post(url, json=held, timeout=60).status_code == 200


def test_a_fault_of_the_engine_ends_what_is_under_way_and_not_the_server(
    live: Live, model: ReasoningModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = model.engine.step, []

    def step() -> Any:
        steps.append(1)
        if len(steps) == 20:
            raise MemoryError("made up")
        return whole()

    monkeypatch.setattr(model.engine, "step", step)
    answer = httpx2.post(live.url + "/chat/completions", json=body(model, 60), timeout=60)
    assert answer.status_code == 500
    assert not model.engine.busy
    said = httpx2.post(live.url + "/chat/completions", json=body(model, 60, stream=True), timeout=60).text
    assert said.endswith("data: [DONE]\n\n") and '"error"' not in said
    steps.clear()
    said = httpx2.post(live.url + "/chat/completions", json=body(model, 60, stream=True), timeout=60).text
    assert json.loads(said.strip().splitlines()[-1][5:])["error"]["type"] == "server_error"


def test_a_verdict_that_is_slow_or_fails_takes_no_other_along(
    live: Live, model: ReasoningModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked, going_on = live.url + "/chat/completions", body(model, 60, seed=1), threading.Event()
    alone = httpx2.post(url, json=asked, timeout=60).json()["choices"]
    checks = iter([lambda reply: going_on.wait(60), lambda reply: 1 // 0, lambda reply: 1 // 0])
    monkeypatch.setattr("thinkaloud.serve.checks.check_for", lambda problem, tests: (next(checks), "made up"))
    monkeypatch.setattr("thinkaloud.serve.checks.checked", lambda check, reply: check(reply))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx2.post, url, json=asked | {"verify": True}, timeout=60)
        while not live.service.under_way:
            time.sleep(0.01)
        assert httpx2.post(url, json=asked, timeout=60).json()["choices"] == alone
        assert httpx2.post(url, json=asked | {"verify": True}, timeout=60).status_code == 500
        stream = httpx2.post(url, json=asked | {"verify": True, "stream": True}, timeout=60).text
        assert "ZeroDivisionError" in json.loads(stream.strip().splitlines()[-1][5:])["error"]["message"]
        assert httpx2.post(url, json=asked, timeout=60).json()["choices"] == alone and not slow.done()
        going_on.set()
        assert slow.result().json()["choices"][0]["verified"] is True


def test_slow_tools_keep_no_verdict_waiting(model: ReasoningModel) -> None:
    going_on, begun = threading.Event(), []

    class Waits:
        name, description = "waits", "Waits."
        parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

        def run(self, arguments: Mapping[str, Any], seconds: float) -> str:
            begun.append(arguments)
            going_on.wait(60)
            return "done"

    threads = min(32, 4 + (os.cpu_count() or 1))  # of asyncio's own
    call = {"messages": QUESTION, "max_tokens": 120, "thinking_budget": 4, "server_tools": ["waits"]}
    call |= {"tool_choice": "required", "parallel_tool_calls": False}
    with (
        Live(own(model, "random", limits=Limits(tool_rounds=1), tools=[Waits()])) as live,
        ThreadPoolExecutor(threads) as pool,
    ):
        url = live.url + "/chat/completions"
        calls = [pool.submit(httpx2.post, url, json=call, timeout=60) for _ in range(threads)]
        while len(begun) < threads:
            time.sleep(0.01)
        told = httpx2.post(url, json=body(model, 20, verify=True), timeout=20).json()
        going_on.set()
        assert told["choices"][0]["verified"] is None
        assert all("done" in one.result().text for one in calls)


def test_a_thought_is_led_from_outside(live: Live, model: ReasoningModel) -> None:
    url = live.url + "/chat/completions"

    def control(identifier: str, action: str, **more: Any) -> bool:
        answer = httpx2.post(url + "/control", json={"id": identifier, "action": action, **more}, timeout=60)
        assert answer.status_code == 200 and answer.json()["id"] == identifier
        return bool(answer.json()["done"])

    ask = body(model, 2500, stream=True, thinking_budget=2400, seed=7)
    ask["logit_bias"][str(model.template.markup.think_close)] = -100
    with httpx2.stream("POST", url, json=ask, timeout=60) as answer:
        lines = (line[5:] for line in answer.iter_lines() if line.startswith("data:"))
        identifier = json.loads(next(lines))["id"]
        assert not control("chatcmpl-none", "answer_now")
        assert control(identifier, "pause") and control(identifier, "resume")
        assert control(identifier, "add", text="Red Red Blue") and control(identifier, "think_on", tokens=5)
        assert control(identifier, "think_on", tokens=1000) and not control(identifier, "think_on", tokens=5)
        assert control(identifier, "answer_now", index=0)
        assert not control(identifier, "answer_now", index=1)
        choices = []
        for line in lines:
            choices += json.loads(line)["choices"]
            if choices and choices[-1]["delta"].get("content"):
                break
        assert control(identifier, "cancel") and not control(identifier, "cancel")
        choices += [one for line in lines if line.strip() != "[DONE]" for one in json.loads(line)["choices"]]
    thought = "".join(one["delta"].get("reasoning_content", "") for one in choices)
    assert "\nRed Red Blue\n" in thought and choices[-1]["thought_end"] == "client"
    missing = httpx2.post(url + "/control", json={"id": identifier, "action": "add"}, timeout=60)
    assert missing.status_code == 400 and missing.json()["error"]["param"] == "text"


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="is taken: choose another with --port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="address of this machine"):
        listen("192.0.2.1", 0)


def test_a_model_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "demo" / "model").mkdir(parents=True)
    assert name_of(None, tmp_path) == "thinkaloud"
    assert name_of(str(tmp_path / "demo"), tmp_path / "demo" / "model") == "demo"
    assert name_of("Qwen/QwQ-32B", tmp_path) == "Qwen/QwQ-32B"


def doors_close(root: str) -> bool:
    """Whether a server soon refuses connections; one that it had not yet taken when it closed is reset meanwhile."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx2.get(root + "/health")
        except httpx2.ConnectError:
            return True
        except httpx2.TransportError:
            pass
    return False


def test_a_signal_closes_the_doors_and_lets_replies_end(model: ReasoningModel) -> None:
    with Live(own(model, "random", limits=Limits())) as live:
        ask = body(model, 1000, stream=True)
        with httpx2.stream("POST", live.url + "/chat/completions", json=ask, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            live.server.handle_exit(signal.SIGTERM, None)
            live.server._captured_signals.clear()  # the tests' own process is not to end
            assert doors_close(live.root)
            assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_not_over_in_time_is_told_so(model: ReasoningModel, stream: bool) -> None:
    with Live(own(model, "random", limits=Limits(drain_seconds=0.2))) as live, ThreadPoolExecutor(1) as pool:
        ask = body(model, 3500, stream=stream, reasoning_effort="high")
        answer = pool.submit(httpx2.post, live.url + "/chat/completions", json=ask, timeout=60)
        while not live.service.voice.running:
            time.sleep(0.01)
        live.server.should_exit = True
        said = answer.result()
        assert said.status_code == (200 if stream else 503)
        error = json.loads(said.text.strip().splitlines()[-1].removeprefix("data: "))["error"]
        assert "was shut down before this reply ended" in error["message"]


@pytest.mark.slow
def test_sigterm_lets_replies_end(tmp_path: Path, model: ReasoningModel) -> None:
    command = [sys.executable, "-m", "thinkaloud", "serve", str(model.path), "--port", "0", "--name", "random"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            root = re.search(r"http://127.0.0.1:\d+", said)
            assert root, said
            url = root[0] + "/v1/chat/completions"
            ask = body(model, 1500, stream=True)
            with httpx2.stream("POST", url, json=ask, timeout=60) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert doors_close(root[0])
                assert [line for line in lines if line][-1] == "data: [DONE]"
            assert process.wait(20) == 0
        finally:
            process.kill()
