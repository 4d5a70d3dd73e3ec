"""The server asked by OpenAI's own client, and what it says to bodies that are none."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from serving import QUESTION, Live, random_model
from thinkaloud.cli.serve import _serve
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.problems import draw
from thinkaloud.rollouts import Sampling, Task
from thinkaloud.rollouts.verified import kind_of
from thinkaloud.serve.client import Server
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own
from thinkaloud.serve.running import listen

SHORT = {"thinking_budget": 4}
CHAINS = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    """A random model at a server."""
    with Live(own(load(folder), "random", limits=Limits(choices=4, body_bytes=20_000, max_tokens=500))) as one:
        yield one
        assert one.idle()


@pytest.fixture(scope="module")
def bundled() -> Iterator[Live]:
    """The bundled model at a server."""
    with Live(own(load(), "thinkaloud", limits=Limits())) as one:
        yield one
        assert one.idle()


@pytest.fixture(scope="module")
def offline() -> ReasoningModel:
    return load()


def post(live: Live, body: Any, path: str = "/chat/completions", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    return httpx2.post(live.url + path, content=content, headers=headers, timeout=60)


def streamed(live: Live, body: dict[str, Any], path: str = "/chat/completions") -> list[dict[str, Any]]:
    lines = post(live, body | {"stream": True}, path).text.splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data: {")]


def test_a_chat_is_what_the_model_says_offline(bundled: Live, offline: ReasoningModel) -> None:
    ask = [{"role": "user", "content": CHAINS}]
    said = bundled.client().chat.completions.create(model="thinkaloud", messages=ask, seed=3, n=3, temperature=1.3)
    for index, choice in enumerate(said.choices):
        reply = offline.ask(ask, seed=3, sample=index, temperature=1.3, kind=kind_of(ask))
        assert (choice.message.content, choice.message.reasoning_content) == (reply.answer, reply.thinking)
        assert choice.message.reasoning == choice.message.reasoning_content
        assert (choice.finish_reason, choice.thought_end) == ("stop", reply.thought_end)
    details = said.usage.completion_tokens_details
    parts = (details.reasoning_tokens, details.answer_tokens, details.forced_tokens)
    assert sum(parts) + details.probe_tokens + details.discarded_tokens == said.usage.completion_tokens > 0
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert said.usage.prompt_tokens_details.cached_tokens >= 0


def test_a_stream_is_the_same_in_pieces(bundled: Live, offline: ReasoningModel) -> None:
    ask = [{"role": "user", "content": CHAINS}]
    options = {"stream": True, "stream_options": {"include_usage": True}, "seed": 4, "n": 2}
    chunks = list(bundled.client().chat.completions.create(model="thinkaloud", messages=ask, **options))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    for index in range(2):
        choices = [one for chunk in chunks for one in chunk.choices if one.index == index]
        assert choices[0].delta.role == "assistant"
        text = "".join(one.delta.content or "" for one in choices)
        thought = "".join(getattr(one.delta, "reasoning_content", "") for one in choices)
        reply = offline.ask(ask, seed=4, sample=index, kind=kind_of(ask))
        assert (text, thought) == (reply.answer, reply.thinking)
        assert [one.finish_reason for one in choices if one.finish_reason] == ["stop"]
        assert choices[-1].thought_end == reply.thought_end


def test_thinking_is_off_or_cut_on_request(bundled: Live) -> None:
    create, ask = bundled.client().chat.completions.create, [{"role": "user", "content": CHAINS}]
    off = create(model="thinkaloud", messages=ask, reasoning_effort="none")
    assert off.choices[0].message.reasoning_content == "" and off.choices[0].thought_end == "none"
    assert create(model="thinkaloud", messages=ask, extra_body=SHORT).choices[0].thought_end == "budget"
    kwargs = {"chat_template_kwargs": {"enable_thinking": False}}
    assert create(model="thinkaloud", messages=ask, extra_body=kwargs).choices[0].thought_end == "none"


def test_a_thought_may_come_back_and_is_kept_on_request(live: Live) -> None:
    turns = [*QUESTION, {"role": "assistant", "content": "Red", "reasoning_content": "1 2 3 4 5 6 7"}, *QUESTION]
    tokens = {}
    for history in ("drop", "tools", "keep"):
        said = post(live, {"messages": turns, "max_tokens": 20, "history": history})
        tokens[history] = said.json()["usage"]["prompt_tokens"]
    assert tokens["drop"] == tokens["tools"] < tokens["keep"]


def test_log_probs_stand_beside_their_tokens(bundled: Live) -> None:
    create, ask = bundled.client().chat.completions.create, [{"role": "user", "content": CHAINS}]
    settings = {"model": "thinkaloud", "messages": ask, "seed": 1, "logprobs": True, "top_logprobs": 3}
    told = create(**settings).choices[0].logprobs
    assert "".join(one.token for one in told.content).strip() == "13"
    assert all(len(one.top_logprobs) == 3 and one.logprob <= 0 for one in told.content)
    pieces = [chunk.choices[0].logprobs for chunk in create(**settings, stream=True)]
    streamed = [one for piece in pieces if piece for one in piece.content]
    assert [one.token for one in streamed] == [one.token for one in told.content]
    # other work in the batch may change the last bits
    for one, other in zip(streamed, told.content, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_log_probs_go_on_behind_a_thought_that_was_taken_back(live: Live) -> None:
    tokenizer = live.service.template.tokenizer
    ask = {"messages": QUESTION, "seed": 1, "logprobs": True, "max_tokens": 500, "reasoning_effort": "high"}
    ask["logit_bias"] = {str(tokenizer.encode("Blue")[0]): 100}
    whole = post(live, ask).json()
    assert whole["choices"][0]["thought_end"] == "loop"
    pieces = [chunk["choices"][0]["logprobs"] for chunk in streamed(live, ask)]
    told = [one for piece in pieces if piece for one in piece["content"]]
    assert [one["token"] for one in told] == [one["token"] for one in whole["choices"][0]["logprobs"]["content"]]


def test_a_prompt_is_paid_for_once(live: Live) -> None:
    """Also where several are asked at once, and what the first choice has read is known to the others only."""
    new = [{"role": "user", "content": "9 8 7 6 5 4 3 2 1 0 Blue Red Blue Red 1 1 2 2 3 3"}]
    used = post(live, {"messages": new, "max_tokens": 2, "n": 3}).json()["usage"]
    assert used["prompt_tokens"] > 16 == used["prompt_tokens_details"]["cached_tokens"] + 16
    ask: dict[str, Any] = {"prompt": [[5, 6, 7], [8]], "n": 2, "max_tokens": 2, "seed": 1}
    used = post(live, ask, "/completions").json()["usage"]
    assert (used["prompt_tokens"], used["completion_tokens"]) == (4, 8)
    ask |= {"stream_options": {"include_usage": True}}
    assert streamed(live, ask, "/completions")[-1]["usage"] == used


def test_tools_are_called_as_they_must_be(live: Live) -> None:
    create = live.client().chat.completions.create
    settings = {"model": "random", "messages": QUESTION, "tools": [ADD], "max_tokens": 90, "extra_body": SHORT}
    for choice in ("required", {"type": "function", "function": {"name": "add"}}):
        said = create(**settings, tool_choice=choice, parallel_tool_calls=False).choices[0]
        assert said.finish_reason == "tool_calls" and len(said.message.tool_calls) == 1
        assert said.message.content is None
        assert said.message.tool_calls[0].function.name == "add"
        assert 0 <= json.loads(said.message.tool_calls[0].function.arguments)["a"] <= 9
    chunks = list(create(**settings, tool_choice="required", stream=True))
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.index for call in calls] == list(range(len(calls))) and calls
    assert len({call.id for call in calls}) == len(calls)
    result = [*QUESTION, {"role": "assistant", "tool_calls": [calls[0].model_dump()]}]
    result += [{"role": "tool", "tool_call_id": calls[0].id, "content": "3"}]
    assert create(model="random", messages=result, tools=[ADD], max_tokens=20).choices[0].message


def test_an_answer_has_the_form_that_it_must_have(live: Live) -> None:
    create = live.client().chat.completions.create
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    schema["additionalProperties"] = False
    form = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
    said = create(model="random", messages=QUESTION, response_format=form, max_tokens=100, extra_body=SHORT)
    assert set(json.loads(said.choices[0].message.content)) == {"ok"}
    with pytest.raises(openai.BadRequestError, match="schema"):
        create(model="random", messages=QUESTION, response_format={"type": "json_schema"})


def test_a_stop_string_ends_the_answer(live: Live) -> None:
    create = live.client().chat.completions.create
    settings = {"model": "random", "messages": QUESTION, "reasoning_effort": "none", "max_tokens": 60, "seed": 2}
    whole = create(**settings).choices[0].message.content
    stop = whole[3:5]
    cut = create(**settings, stop=[stop]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_responses_are_items(bundled: Live) -> None:
    client = bundled.client()
    settings = {"model": "thinkaloud", "input": CHAINS, "extra_body": {"seed": 1}}
    said = client.responses.create(**settings, reasoning={"effort": "high", "summary": "concise"})
    assert [item.type for item in said.output] == ["reasoning", "message"]
    assert said.output_text == "13" and said.status == "completed"
    assert said.output[0].summary[0].text == said.output[0].content[0].text.splitlines()[-1]
    assert said.usage.output_tokens_details.reasoning_tokens > 0
    again = client.responses.create(model="thinkaloud", input=[*said.output, {"role": "user", "content": CHAINS}])
    assert again.status in ("completed", "incomplete")
    short = client.responses.create(**settings, max_output_tokens=1)
    assert short.status == "incomplete" and short.incomplete_details.reason == "max_output_tokens"


def test_the_events_of_a_response_come_in_their_order(bundled: Live) -> None:
    with bundled.client().responses.stream(model="thinkaloud", input=CHAINS, reasoning={"summary": "auto"}) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed" and kinds.count("response.output_item.done") == 2
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == final.output_text
    done = next(event for event in events if event.type == "response.reasoning_text.done")
    assert done.text == "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")


def test_responses_call_tools(live: Live) -> None:
    tool = {"type": "function", **ADD["function"]}
    settings = {"model": "random", "tools": [tool], "tool_choice": "required", "max_output_tokens": 90}
    said = live.client().responses.create(input="Red", **settings, parallel_tool_calls=False, extra_body=SHORT)
    call = next(item for item in said.output if item.type == "function_call")
    assert call.name == "add" and 0 <= json.loads(call.arguments)["a"] <= 9
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "3"}
    turn = {"role": "user", "content": "Red"}
    again = live.client().responses.create(model="random", input=[turn, call, result], max_output_tokens=20)
    assert again.output


def test_a_prompt_goes_on(bundled: Live, offline: ReasoningModel) -> None:
    create = bundled.client().completions.create
    said = create(model="thinkaloud", prompt=["7 + 3 =", "2 + 2 ="], max_tokens=4, seed=5, echo=True, logprobs=2)
    for choice, prompt in zip(said.choices, ("7 + 3 =", "2 + 2 ="), strict=True):
        stream = offline.go_on(prompt, max_tokens=4, seed=5)
        assert choice.text == prompt + "".join(piece.text for piece in stream)
        assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) >= 1
    ids = offline.tokenizer.encode("7 + 3 =")
    told = said.choices[0].logprobs
    assert told.token_logprobs[: len(ids)] == [None, *map(pytest.approx, offline.logprobs([ids])[0])]
    assert "".join(told.tokens) == said.choices[0].text and told.text_offset[len(ids)] == len("7 + 3 =")
    assert told.top_logprobs[0] is None and {len(one) for one in told.top_logprobs[1:]} == {2}
    assert create(model="thinkaloud", prompt=ids, max_tokens=4, seed=5).choices[0].text == said.choices[0].text[7:]
    pieces = list(create(model="thinkaloud", prompt=ids, max_tokens=4, seed=5, stream=True, echo=True, logprobs=2))
    streamed = [one for piece in pieces if piece.choices[0].logprobs for one in piece.choices[0].logprobs.text_offset]
    assert streamed == told.text_offset
    chunks = create(model="thinkaloud", prompt="7 + 3 =", max_tokens=4, seed=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == said.choices[0].text[7:]


def test_the_models_tell_what_they_can(bundled: Live) -> None:
    client = bundled.client()
    (model,) = client.models.list().data
    assert model.id == "thinkaloud" == client.models.retrieve("thinkaloud").id
    assert {"cups", "chains", "talk"} <= {one["name"] for one in model.thinkaloud["families"]}
    assert model.thinkaloud["turns"] == 1 and model.thinkaloud["context"] == 336
    with pytest.raises(openai.NotFoundError, match="does not exist here"):
        client.models.retrieve("gpt")
    with pytest.raises(openai.NotFoundError, match="does not exist here"):
        client.chat.completions.create(model="gpt", messages=QUESTION)


def test_a_model_is_asked_what_was_sent_and_its_instruction_is_told(
    live: Live, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = Path(shutil.copytree(folder, tmp_path / "taught"))
    (taught / "thinkaloud.json").write_text(json.dumps({"instruction": "Blue 9"}))
    model, ask = load(taught), {"messages": QUESTION, "max_tokens": 2}
    assert (
        model.ask(QUESTION, max_tokens=2).usage.prompt_tokens
        > model.ask(QUESTION, max_tokens=2, instruction="").usage.prompt_tokens
    )
    with Live(own(model, "taught", limits=Limits())) as other:
        assert post(other, ask).json()["usage"]["prompt_tokens"] == post(live, ask).json()["usage"]["prompt_tokens"]
        (told,) = other.client().models.list().data
        assert told.thinkaloud["instruction"] == "Blue 9"
        monkeypatch.setattr("thinkaloud.serve.running.run", lambda *given: None)
        with listen("127.0.0.1", 0) as listener:
            _serve(other.service, listener, None)
    assert "clients must send them: Blue 9)" in capsys.readouterr().err


FAULTS = [
    (b"", "not JSON", None),
    (b"{", "not JSON", None),
    (b"[]", "must be a JSON object", None),
    (b'"\\ud800"', "surrogate", None),
    (b"[" * 100_00, "nested", None),
    (b'{"a":' * 200 + b"1" + b"}" * 200, "nested", None),
    (b"\xff", "not JSON", None),
    (b'{"messages": [], "temperature": NaN}', "NaN", None),
    ({"messages": QUESTION, "temprature": 1}, "did you mean temperature?", "temprature"),
    ({"messages": [{"role": "user", "contents": "x"}]}, "did you mean content?", "messages.0.contents"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role", "messages.0.role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "a part of type 'image_url' can't be read here: send text only",
        "messages.0.content.0",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}]},
        "did you mean text?",
        "messages.0.content.0.txt",
    ),
    ({"messages": QUESTION, "max_tokens": "5"}, "valid integer", "max_tokens"),
    ({"messages": QUESTION, "max_tokens": 501}, "limit is 500", "max_tokens"),
    ({"messages": QUESTION, "temperature": -1}, "temperature", "temperature"),
    ({"messages": QUESTION, "n": 5}, "limit of 4", "n"),
    ({"messages": QUESTION, "stop": [1]}, "stop", "stop.0"),
    ({"messages": QUESTION, "stop": ["a"] * 17}, "at most 16", "stop"),
    ({"messages": QUESTION, "tools": [ADD, ADD]}, "two tools", "tools"),
    ({"messages": QUESTION, "tool_choice": "required"}, "no tools", "tool_choice"),
    ({"messages": QUESTION, "tool_choice": "maybe"}, "'none', 'auto' or 'required'", "tool_choice"),
    ({"messages": QUESTION, "top_logprobs": 2}, "needs logprobs", "top_logprobs"),
    ({"messages": QUESTION, "logit_bias": {"99999": 1}}, "vocabulary", "logit_bias"),
    ({"messages": QUESTION, "server_tools": ["rm"]}, "no tool 'rm'", "server_tools"),
    ({"messages": [{"role": "user", "content": "1 2 3 " * 2000}]}, "shorten it", None),
    ({}, "messages is missing", "messages"),
    ({"input": []}, "at least 1 item", "input"),
    ({"input": ["x"]}, "an item's type is one of message, reasoning", "input.0"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "an item's type is one of message, reasoning", "input.0"),
    ({"input": [{"role": "king", "content": "x"}]}, "'developer', 'user' or", "input.0.role"),
    ({"input": [{"role": "user"}]}, "input.0.content is missing", "input.0.content"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "a part of type 'input_image' can't be read here: send text only",
        "input.0.content.0",
    ),
]


@pytest.mark.parametrize(("body", "words", "param"), FAULTS)
def test_a_mistake_is_named_in_openais_body(live: Live, body: Any, words: str, param: str | None) -> None:
    to_responses = isinstance(body, dict) and "input" in body
    answer = post(live, body, "/responses" if to_responses else "/chat/completions")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert words in error["message"] and error["param"] == param


def test_other_faults_have_that_body_too(live: Live) -> None:
    for answer, status in (
        (post(live, {"messages": [{"role": "user", "content": "x" * 30_000}]}), 413),
        (httpx2.get(live.url + "/nothing"), 404),
        (httpx2.get(live.url + "/chat/completions"), 405),
        (httpx2.post(live.url + "/chat/completions", content=b"{}"), 400),
        (post(live, {"id": "none", "action": "jump"}, "/chat/completions/control"), 400),
    ):
        assert answer.status_code == status and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_fields_that_mean_nothing_here_are_named(live: Live) -> None:
    body = {"messages": QUESTION, "max_tokens": 2, "user": "me", "frequency_penalty": 1, "store": False}
    answer = post(live, body)
    assert answer.status_code == 200
    assert answer.headers["x-thinkaloud-ignored"] == "frequency_penalty, user, store"
    within = {"input": "Red", "max_output_tokens": 2, "text": {"verbosity": "low"}, "reasoning": {"context": "auto"}}
    assert post(live, within, "/responses").headers["x-thinkaloud-ignored"] == "reasoning.context, text.verbosity"
    assert "x-thinkaloud-ignored" not in post(live, {"messages": QUESTION, "max_tokens": 2}).headers


def test_it_is_looked_at(live: Live) -> None:
    assert httpx2.get(live.root + "/health").json()["status"] == "ok"
    told = httpx2.get(live.root + "/metrics").text
    assert 'thinkaloud_tokens_total{kind="answer"}' in told
    assert 'thinkaloud_requests_total{endpoint="/v1/chat/completions",status="200"}' in told
    schema = httpx2.get(live.root + "/openapi.json", timeout=60).json()
    assert {"/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/models"} <= set(schema["paths"])
    assert httpx2.get(live.root + "/").headers["x-content-type-options"] == "nosniff"


def test_an_answer_comes_checked(bundled: Live) -> None:
    create = bundled.client().chat.completions.create
    ask = {"model": "thinkaloud", "messages": [{"role": "user", "content": CHAINS}], "seed": 1}
    (choice,) = create(**ask, extra_body={"verify": True}).choices
    assert (choice.message.content, choice.verified, choice.confidence) == ("13", True, 1.0)
    wrong = create(**ask, max_tokens=1, extra_body={"verify": True}).choices[0]
    assert (wrong.verified, wrong.confidence) == (False, 0.0)
    unknown = create(model="thinkaloud", messages=QUESTION, extra_body={"verify": True}).choices[0]
    assert unknown.verified is None
    last = [one for one in create(**ask, stream=True, extra_body={"verify": True}) if one.choices[0].finish_reason]
    assert last[0].choices[0].verified is True


def test_an_early_exit_needs_a_calibration(live: Live) -> None:
    refused = post(live, {"messages": QUESTION, "max_accuracy_loss": 0.01})
    assert refused.status_code == 400 and "thinkaloud calibrate" in refused.json()["error"]["message"]


def test_our_own_evaluation_asks_it(bundled: Live, offline: ReasoningModel) -> None:
    server = Server(bundled.url)
    assert server.model == "thinkaloud"
    tasks = [Task(problem=problem, sample=0, budget=None) for problem in draw("chains", "test", 3, 7)]
    asked = server.asked(Sampling(max_tokens=96, temperature=1.0), seed=1)
    for task, said in asked.respond(tasks):
        body = asked.body(task)
        alike = {name: body[name] for name in ("max_tokens", "temperature", "top_p", "seed")}
        assert offline.ask(body["messages"], **alike, kind="chains").answer == said.answer != ""
