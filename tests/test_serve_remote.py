"""A thought led through another server, scripted: what it is asked, and what becomes of what it says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from serving import QUESTION, Live, random_model
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import behind
from thinkaloud.text import Tokenizer
from thinkaloud.text.tokenizer import TURN_CLOSE

CLOSE = "</think>"


class Scripted:
    """A server that continues prompts: one script for what comes before the closing tag, one for what comes after."""

    def __init__(self, thought: list[str], answer: list[str], *, gate: threading.Event | None = None) -> None:
        self.thought, self.answer, self.gate = thought, answer, gate
        self.closes = True
        self.asked: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "Scripted":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.gate is not None:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def pieces(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A choice a token, and the last with its reason."""
        thinks = CLOSE in (body.get("stop") or ())
        script = self.thought if thinks else self.answer
        for piece in script[: body["max_tokens"]]:
            yield {"index": 0, "text": piece, "finish_reason": None}
        if thinks and self.closes and len(script) < body["max_tokens"]:
            yield {"index": 0, "text": "", "finish_reason": "stop", "stop_reason": CLOSE}
        else:
            reason = "length" if len(script) >= body["max_tokens"] else "stop"
            yield {"index": 0, "text": "", "finish_reason": reason, "stop_reason": None}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                script.asked.append(body)
                self.send_response(400 if body["model"] == "broken" else 200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                try:
                    for index, choice in enumerate(script.pieces(body)):
                        if index == 2 and script.gate is not None:
                            script.gate.wait(10)
                        self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
                        self.wfile.flush()
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    pass

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


def ask(live: Live, **more: Any) -> dict[str, Any]:
    answer = httpx2.post(live.url + "/chat/completions", json={"messages": QUESTION, "max_tokens": 100, **more})
    return {"status": answer.status_code, **answer.json()}


def test_a_thought_that_ends_by_itself_goes_on_into_the_answer(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    script = Scripted([" 1", " 2", " 3"], [" 4", " 5"])
    with script as other, Live(behind(other.url, str(folder), "big", limits=Limits())) as live:
        said = ask(live, seed=5, temperature=0.5, top_k=3)
    choice = said["choices"][0]
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == (" 1 2 3", " 4 5")
    assert (choice["thought_end"], choice["finish_reason"]) == ("natural", "stop")
    first, second = other.asked
    assert first["stop"] == [CLOSE] and first["max_tokens"] == 50 and first["model"] == "big"
    assert (first["seed"], first["temperature"], first["top_k"]) == (5, 0.5, 3)
    assert second["prompt"][: len(first["prompt"])] == first["prompt"]
    assert tokenizer.decode(second["prompt"][len(first["prompt"]) :]).startswith(" 1 2 3")
    assert second["prompt"][-1] == tokenizer.id_of(CLOSE) and second["max_tokens"] == 96
    assert said["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4
    assert said["usage"]["completion_tokens_details"]["answer_tokens"] == 2


def test_a_budget_closes_the_thought(folder: Path) -> None:
    with Scripted([" 1"] * 90, [" 4"]) as other, Live(behind(other.url, str(folder), None, limits=Limits())) as live:
        said = ask(live, thinking_budget=7)
    choice = said["choices"][0]
    assert choice["message"]["reasoning_content"] == " 1" * 7 and choice["thought_end"] == "budget"
    assert said["usage"]["completion_tokens_details"]["forced_tokens"] > 0
    assert other.asked[0]["max_tokens"] == 7 and Tokenizer.load(folder).id_of(CLOSE) in other.asked[1]["prompt"]


def test_thinking_off_a_form_and_a_bare_prompt(folder: Path) -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with Scripted([" 1"], ["{", "}"]) as other, Live(behind(other.url, str(folder), None, limits=Limits())) as live:
        off = ask(live, reasoning_effort="none", response_format=form, stop=["x"])
        assert off["choices"][0]["message"]["content"] == "{}" and off["choices"][0]["thought_end"] == "none"
        assert len(other.asked) == 1 and other.asked[0]["structured_outputs"] == {"json": schema}
        assert other.asked[0]["stop"] == ["x"]
        bare = httpx2.post(live.url + "/completions", json={"prompt": "Red", "max_tokens": 5}).json()
        assert bare["choices"][0]["text"] == "{}"
        assert other.asked[1]["prompt"] == Tokenizer.load(folder).encode("Red")


def test_a_turn_that_ends_within_the_thought_is_answered_all_the_same(folder: Path) -> None:
    with Scripted([" 1", TURN_CLOSE], [" 4"]) as other:
        other.closes = False
        with Live(behind(other.url, str(folder), None, limits=Limits())) as live:
            said = ask(live)
    choice, counts = said["choices"][0], said["usage"]["completion_tokens_details"]
    assert (choice["message"]["reasoning_content"].strip(), choice["message"]["content"]) == ("1", " 4")
    assert (choice["thought_end"], choice["finish_reason"]) == ("natural", "stop")
    assert counts["discarded_tokens"] == 1 and counts["forced_tokens"] > 0
    assert [one["min_tokens"] for one in other.asked] == [0, 1] and other.asked[1]["max_tokens"] == 98


def test_a_thought_that_goes_round_in_circles_is_taken_back_then_closed(folder: Path) -> None:
    script = [" 9", *[" 1", " 2"] * 400]
    with Scripted(script, [" 4"]) as other, Live(behind(other.url, str(folder), None, limits=Limits())) as live:
        said = ask(live, max_tokens=2000, thinking_budget=1500, temperature=0.1, seed=3)
    choice, counts = said["choices"][0], said["usage"]["completion_tokens_details"]
    assert (choice["message"]["content"], choice["thought_end"]) == (" 4", "loop")
    assert choice["message"]["reasoning_content"].startswith(" 9") and counts["reasoning_tokens"] < 40
    assert counts["discarded_tokens"] > 256 and len(other.asked) == 3
    first, second, last = other.asked
    assert (first["temperature"], second["temperature"], last["temperature"]) == (0.1, 0.7, 0.1)
    assert first["seed"] == 3 != second["seed"]
    spent = counts["reasoning_tokens"] + counts["discarded_tokens"]
    assert last["max_tokens"] == 2000 - spent and second["max_tokens"] <= 1500 - counts["discarded_tokens"] // 2


def test_an_answer_of_nothing_is_gone_on_from(folder: Path) -> None:
    """Four times at most, each end of a turn discarded."""
    with (
        Scripted([" 1"], ["\n", TURN_CLOSE]) as other,
        Live(behind(other.url, str(folder), None, limits=Limits())) as live,
    ):
        said = ask(live)
        assert said["choices"][0]["message"]["content"].strip() == "" and len(other.asked) == 6
        assert said["usage"]["completion_tokens_details"]["discarded_tokens"] == 4
        assert said["usage"]["completion_tokens_details"]["answer_tokens"] == 6
        bare = httpx2.post(live.url + "/completions", json={"prompt": "Red", "max_tokens": 5}).json()
        assert bare["choices"][0]["text"].strip() == "" and len(other.asked) == 7


def test_a_stop_string_does_not_stand_in_the_answer(folder: Path) -> None:
    """Not even where the server behind sends all ids, and however they are cut."""
    with (
        Scripted([" 1"], [" 4", " 5", " 6"]) as other,
        Live(behind(other.url, str(folder), None, limits=Limits())) as live,
    ):
        said = ask(live, stop=["5 6"])
    assert said["choices"][0]["message"]["content"] == " 4 " and said["choices"][0]["finish_reason"] == "stop"


def test_a_thought_is_led_there_too(folder: Path) -> None:
    gate = threading.Event()
    script = Scripted([" 1"] * 40, [" 4"], gate=gate)
    with script as other, Live(behind(other.url, str(folder), None, limits=Limits())) as live:
        asked = {"messages": QUESTION, "max_tokens": 100, "stream": True}
        with httpx2.stream("POST", live.url + "/chat/completions", json=asked) as answer:
            lines = (line[5:] for line in answer.iter_lines() if line.startswith("data:"))
            identifier = json.loads(next(lines))["id"]
            wishes = [("think_on", True), ("think_on", False), ("add", True), ("answer_now", True)]
            for action, done in wishes:
                body = {"id": identifier, "action": action, "text": "Red", "tokens": 90}
                assert httpx2.post(live.url + "/chat/completions/control", json=body).json()["done"] == done
            gate.set()
            choices = [one for line in lines if "[DONE]" not in line for one in json.loads(line)["choices"]]
    thought = "".join(one["delta"].get("reasoning_content", "") for one in choices)
    assert "Red" in thought and choices[-1]["thought_end"] == "client"
    assert "".join(one["delta"].get("content", "") for one in choices) == " 4"


def test_what_can_not_be_had_there_is_named(folder: Path) -> None:
    with Scripted([], []) as other:
        with Live(behind(other.url, str(folder), "broken", limits=Limits())) as live:
            assert ask(live)["status"] == 502
            assert ask(live, logprobs=True)["error"]["param"] == "logprobs"
        with Live(behind("http://127.0.0.1:9/v1", str(folder), None, limits=Limits())) as live:
            gone = ask(live)
            assert gone["status"] == 502 and "behind this one" in gone["error"]["message"]
