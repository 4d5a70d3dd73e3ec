"""What is said in a chat: messages and tool calls, and their OpenAI dictionaries.

Knows: roles, thoughts, tool calls. Does not know: tokens, templates, models.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from thinkaloud.base.errors import UserError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
_SAME_ROLE = {"developer": "system", "function": "tool"}
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")


def followed(question: str, instruction: str) -> str:
    """A question with an instruction behind it, as prompts have it; an empty one says nothing."""
    return f"{question}\n\n{instruction}" if instruction else question


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to run a tool: `ToolCall("add", {"a": 1, "b": 2})`."""

    name: str
    "The tool's name."
    arguments: dict[str, Any] = field(default_factory=dict)
    "The tool's arguments, a JSON object."
    id: str | None = field(default=None, compare=False)
    "The server's handle for this call; the model never sees it, so two calls that differ only here are equal."

    @classmethod
    def from_dict(cls, call: Mapping[str, Any]) -> "ToolCall":
        """Read OpenAI's `{"id", "type", "function": {"name", "arguments"}}`, or the bare function."""
        function = call.get("function", call)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise UserError('a tool call has no function name: give {"function": {"name": ..., "arguments": ...}}')
        name = function["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except ValueError as error:
                raise UserError(f"the arguments of the tool call {name!r} are not JSON: {error}") from None
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise UserError(f"the arguments of the tool call {name!r} must be a JSON object, not {arguments!r}")
        identifier = call.get("id")
        return cls(name, arguments, None if identifier is None else str(identifier))

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's dictionary; the arguments become a JSON string, as on the wire."""
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        call: dict[str, Any] = {"type": "function", "function": {"name": self.name, "arguments": arguments}}
        return call if self.id is None else {"id": self.id, **call}


@dataclass(frozen=True)
class Message:
    """One turn of a chat: `Message("assistant", "391", thinking="17*23 = 391")`."""

    role: Role
    "Who speaks."
    content: str = ""
    "What is said: for an assistant the answer alone, for a tool its result."
    thinking: str | None = None
    "An assistant's inner monologue; None: it answered without one (an empty string is a thought with no words)."
    tool_calls: tuple[ToolCall, ...] = ()
    "The tools that an assistant asks for, in order."

    @property
    def spoken(self) -> str:
        """What a verifier reads: the content, and tool calls as JSON."""
        if not self.tool_calls:
            return self.content
        calls = [{"name": call.name, "arguments": call.arguments} for call in self.tool_calls]
        return json.dumps(calls, ensure_ascii=False)

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> "Message":
        """Read OpenAI's dictionary.

        Null content becomes the empty string, text parts are joined, and a thought is accepted as `reasoning_content`,
        `reasoning` or `thinking`. Raises `UserError` for an unknown role or content that is not text.
        """
        if not isinstance(message, Mapping):
            raise UserError(f'a message must be an object such as {{"role": "user", "content": "hi"}}, not {message!r}')
        role = message.get("role")
        role = _SAME_ROLE.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise UserError(f"a message has the unknown role {role!r}: use one of {', '.join(ROLES)}")
        thinking = next((message[name] for name in _THINKING_FIELDS if message.get(name) is not None), None)
        if thinking is not None and not isinstance(thinking, str):
            raise UserError(f"the thinking of a message must be text, not {type(thinking).__name__}")
        calls = tuple(ToolCall.from_dict(call) for call in message.get("tool_calls") or ())
        return cls(cast(Role, role), _text_of(message.get("content")), thinking, calls)

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's dictionary; `reasoning_content` and `tool_calls` only where there are any."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.thinking is not None:
            message["reasoning_content"] = self.thinking
        if self.tool_calls:
            message["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return message


def _text_of(content: Any) -> str:
    """The text of OpenAI's content: a string, null, or a list of text parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts: list[Any] = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    raise UserError(
        "the content of a message must be text or a list of text parts: images and sound are not understood"
    )
