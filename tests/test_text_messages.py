"""Messages and their OpenAI dictionaries."""

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.text import Message, ToolCall


def test_openai_shapes_are_read() -> None:
    assert Message.from_dict({"role": "assistant", "content": None}) == Message("assistant", "")
    assert Message.from_dict({"role": "developer", "content": "be brief"}) == Message("system", "be brief")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert Message.from_dict({"role": "user", "content": parts}).content == "ab"
    for name in ("reasoning_content", "reasoning", "thinking"):
        assert Message.from_dict({"role": "assistant", "content": "x", name: "why"}).thinking == "why"
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, null]}'}}
    read = Message.from_dict({"role": "assistant", "content": None, "tool_calls": [call]})
    assert read.tool_calls == (ToolCall("f", {"a": [1, None]}),)
    assert read.tool_calls[0].id == "call_1"


def test_dictionaries_come_back() -> None:
    message = Message("assistant", "é", "why", (ToolCall("f", {"a": {"b": "<think>"}}, "call_1"), ToolCall("g", {})))
    again = Message.from_dict(message.to_dict())
    assert again == message
    assert [call.id for call in again.tool_calls] == ["call_1", None]
    assert Message("user", "hi").to_dict() == {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "wizard", "content": "x"}, "unknown role 'wizard'"),
        ({"content": "x"}, "unknown role None"),
        ("hi", "must be an object"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "images"),
        ({"role": "user", "content": 3}, "must be text"),
        ({"role": "assistant", "content": "", "reasoning": 3}, "must be text"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "not JSON"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}, "JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "no function name"),
    ],
)
def test_a_mistake_is_named(message: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Message.from_dict(message)
