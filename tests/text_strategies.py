"""Hypothesis strategies for chats: any text, with special tokens strewn in."""

from hypothesis import strategies as st

from thinkaloud.text import ChatTemplate, Message, Tokenizer, ToolCall
from thinkaloud.text.markup import SPECIAL_TOKENS

TOKENIZER = Tokenizer.build(("cups", " cups", " 12", " AB", "Swap", ".", " ="))
TEMPLATE = ChatTemplate(TOKENIZER)

texts = st.lists(
    st.text(max_size=8) | st.sampled_from([*SPECIAL_TOKENS, "\n", "\n\n", " ", " cups", "é漢🙂", "\ue000"]), max_size=6
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
tool_calls = st.builds(ToolCall, texts, st.dictionaries(texts, json_values, max_size=3), st.none() | st.just("call_1"))
call_tuples = st.lists(tool_calls, max_size=3).map(tuple)


def assistants(thinking: bool = True) -> st.SearchStrategy[Message]:
    """Any assistant message, without a thought where thinking is off."""
    thoughts = st.none() | texts if thinking else st.none()
    return st.builds(Message, st.just("assistant"), texts, thoughts, call_tuples)


others = st.builds(Message, st.sampled_from(["system", "user", "tool"]), texts)
