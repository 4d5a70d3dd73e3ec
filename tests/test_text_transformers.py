"""Our files in `transformers`: the same ids, the same prompt."""

from pathlib import Path
from typing import Any

import pytest

from text_strategies import TEMPLATE, TOKENIZER
from thinkaloud.text import Message, ToolCall

TEXTS = ["Swap cups 12 AB.", "<think> é\n\n 漢🙂<|im_end|>", "  a\t\n b's </tool_call>", ""]
CALL = Message("assistant", "on it", "which tool?", (ToolCall("f", {"a": [1, {"b": "é"}]}), ToolCall("g", {})))
CHATS = [
    [Message("user", "hi")],
    [Message("system", "S"), Message("user", "hi"), Message("assistant", "yo", "hm"), Message("user", "and?")],
    [Message("user", "hi"), CALL, Message("tool", "1"), Message("tool", "2")],
    [
        Message("user", "hi"),
        CALL,
        Message("tool", "1"),
        Message("assistant", "x"),
        Message("user", "</think> <|im_end|>"),
    ],
    [Message("user", "a"), Message("assistant", "b\n", ""), Message("user", "c"), Message("assistant", "\n d", None)],
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "<é>"}}]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    transformers = pytest.importorskip("transformers")
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_are_equal(theirs: Any, text: str) -> None:
    ids = TOKENIZER.encode_trusted(text)
    assert theirs.encode(text) == ids
    assert theirs.decode(ids) == text == TOKENIZER.decode(ids)


def test_vocabulary_and_special_tokens_are_equal(theirs: Any) -> None:
    assert len(theirs) == TOKENIZER.vocab_size
    assert theirs.eos_token_id == TOKENIZER.id_of("<|im_end|>")
    assert theirs.pad_token_id == TOKENIZER.id_of("<|endoftext|>")


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("history", ["tools", "keep"])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_prompts_are_equal(theirs: Any, chat: list[Message], thinking: bool, history: Any, tools: Any) -> None:
    text = theirs.apply_chat_template(
        [message.to_dict() for message in chat],
        tools=tools,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=thinking,
        preserve_thinking=history == "keep",
    )
    assert TEMPLATE.prompt_text(chat, thinking=thinking, tools=tools, history=history) == text
    if not any(tag in message.content for message in chat for tag in TOKENIZER.added):
        assert TEMPLATE.prompt(chat, thinking=thinking, tools=tools, history=history) == theirs.encode(text)
