"""Every way of thinking with every form of answer: each cell is a valid reply."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import validate

from serving import QUESTION, Live, random_model
from thinkaloud.inference import load
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}
THINKING: dict[str, dict[str, Any]] = {
    "on": {"reasoning_effort": "high"},
    "off": {"reasoning_effort": "none"},
    "cut": {"thinking_budget": 5},
    "looping": {"temperature": 0.0, "thinking_budget": 60, "max_tokens": 400},
}
ONE = {"parallel_tool_calls": False}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    "object": {"response_format": {"type": "json_object"}},
    "tools": {**ONE, "tools": [TOOL], "tool_choice": "required"},
    "named": {**ONE, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "note"}}},
    "several": {"n": 3},
}
FAST = {
    ("on", "plain"),
    ("on", "named"),
    ("off", "schema"),
    ("off", "tools"),
    ("cut", "object"),
    ("cut", "several"),
    ("looping", "plain"),
    ("looping", "tools"),
}
"The cells of the fast tests: each way of thinking, each form of answer, two of them each."
CELLS = [
    pytest.param(thinking, form, marks=() if (thinking, form) in FAST else pytest.mark.slow)
    for thinking in THINKING
    for form in FORMS
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(own(load(random_model(tmp_path_factory.mktemp("random"))), "random", limits=Limits())) as one:
        yield one
        assert one.idle()


def whole(chunks: list[Any]) -> list[dict[str, Any]]:
    """The choices that the chunks of a stream add up to."""
    found: dict[int, dict[str, Any]] = {}
    for one in (choice for chunk in chunks for choice in chunk.choices):
        choice = found.setdefault(one.index, {"content": "", "thought": "", "calls": []})
        choice["content"] += one.delta.content or ""
        choice["thought"] += getattr(one.delta, "reasoning_content", "")
        choice["thought"] = choice["thought"].removesuffix(getattr(one.delta, "reasoning_taken_back", ""))
        choice["calls"] += [call.function for call in one.delta.tool_calls or ()]
        if one.finish_reason:
            choice |= {"finish": one.finish_reason, "end": one.thought_end}
    return [found[index] for index in sorted(found)]


def said(answer: Any) -> list[dict[str, Any]]:
    """The same of a body."""
    return [
        {
            "content": choice.message.content or "",
            "thought": choice.message.reasoning_content,
            "calls": [call.function for call in choice.message.tool_calls or ()],
            "finish": choice.finish_reason,
            "end": choice.thought_end,
        }
        for choice in answer.choices
    ]


@pytest.mark.parametrize(("thinking", "form"), CELLS)
def test_a_cell_is_valid(live: Live, thinking: str, form: str) -> None:
    settings = {**THINKING[thinking], **FORMS[form]}
    extra = {name: settings.pop(name) for name in ("thinking_budget",) if name in settings}
    ask = {"model": "random", "messages": QUESTION, "max_tokens": 300, "seed": 3, "extra_body": extra, **settings}
    create = live.client().chat.completions.create
    choices = said(create(**ask))
    streamed = whole(list(create(**ask, stream=True)))
    assert [one["content"].strip() for one in streamed] == [one["content"].strip() for one in choices]
    assert [one["thought"] for one in streamed] == [one["thought"] for one in choices]
    assert [one["end"] for one in streamed] == [one["end"] for one in choices]
    assert len(choices) == (3 if form == "several" else 1)
    for choice in choices:
        if thinking == "off":
            assert choice["thought"] == "" and choice["end"] == "none"
        else:
            free = form in ("plain", "several")  # where a model without sense may end its turn within the thought
            assert choice["end"] in ("natural", "budget", "early", "loop", *(["open"] if free else []))
        if form == "schema":
            validate(json.loads(choice["content"]), SCHEMA)
        if form == "object" and choice["finish"] == "stop":
            assert isinstance(json.loads(choice["content"]), dict)
        if form in ("tools", "named"):
            assert choice["calls"] and choice["content"].strip() == "", choice
            for call in choice["calls"]:
                assert call.name == "note"
                validate(json.loads(call.arguments), SCHEMA)
