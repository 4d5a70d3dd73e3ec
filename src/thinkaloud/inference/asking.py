"""What may be asked of a loaded model, and in which words. Knows names and shares; doesn't know: engines, models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from thinkaloud.text import Message
from thinkaloud.text.messages import followed
from thinkaloud.text.template import History, Tool

EFFORTS: dict[str, float | None] = {"off": 0.0, "low": 1 / 8, "medium": 1 / 2, "high": None}
"""Share of max_tokens that an effort lets the thought take; None: as much as it likes. These are plain shares, for
models without a calibration; with one an effort is a measured budget."""
ANSWER_FLOOR = 16
"Tokens always kept for an answer; half of max_tokens, at most 512, for one that must keep to a grammar."
SOFT_FROM = 0.75
"Share of the budget from which on a careful thought is asked to end."
Conversation = str | Sequence[Message | dict[str, object]]
"A question, or messages: ours or OpenAI's dictionaries."


class AskSettings(TypedDict, total=False):
    """The settings of `ReasoningModel.stream`, where their meaning and defaults stand."""

    effort: str
    thinking_budget: int | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    max_accuracy_loss: float | None
    kind: str | None
    seed: int
    sample: int
    stop: Sequence[str]
    tools: Sequence[Tool] | None
    tool_choice: str
    parallel: bool
    schema: Mapping[str, Any] | None
    history: History
    instruction: str | None
    thought: str
    bias: Mapping[int, float] | None
    logprobs: bool
    top_logprobs: int
    careful: bool


def conversation_of(messages: Conversation) -> list[Message]:
    """As messages of ours."""
    if isinstance(messages, str):
        return [Message("user", messages)]
    return [message if isinstance(message, Message) else Message.from_dict(message) for message in messages]


def instructed(messages: list[Message], instruction: str) -> list[Message]:
    """The conversation with an instruction behind its first question, unless that ends with it already."""
    place = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    if place is None or messages[place].content.rstrip().endswith(instruction):
        return messages
    first = replace(messages[place], content=followed(messages[place].content, instruction))
    return [*messages[:place], first, *messages[place + 1 :]]
