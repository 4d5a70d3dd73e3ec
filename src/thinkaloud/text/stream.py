"""A reply's ids read back as text, as they come.

Knows: how a reply is laid out (thought, answer, tool calls) and how characters are cut across tokens. Does not know:
how a prompt is rendered, engines.
"""

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from thinkaloud.base.errors import UserError
from thinkaloud.text.markup import (
    AFTER_CLOSE,
    AFTER_OPEN,
    BEFORE_CLOSE,
    BEFORE_TOOL_CALL,
    END_TOKENS,
    SPECIAL_TOKENS,
    THINK_CLOSE,
    THINK_OPEN,
    TOOL_CALL_CLOSE,
    TOOL_CALL_OPEN,
)
from thinkaloud.text.messages import Message, ToolCall
from thinkaloud.text.tokenizer import Tokenizer

PieceKind = Literal["thinking", "answer", "tool_call", "taken_back"]


@dataclass(frozen=True)
class Piece:
    """A stretch of a reply: `Piece("thinking", "17*2")`."""

    kind: PieceKind
    "Which part of the reply it belongs to."
    text: str
    "New text of that part; a tool call's is the whole call, as JSON; what is taken back is the thought's end."


@dataclass(frozen=True, kw_only=True)
class Markup:
    """The ids that structure a reply; None where the tokenizer has no such token."""

    think_open: int | None
    "Opens a thought."
    think_close: int | None
    "Closes it."
    tool_call_open: int | None
    "Opens a tool call."
    tool_call_close: int | None
    "Closes it."
    hidden: frozenset[int]
    "Every id that is never shown as text, the ones above included."
    stop: frozenset[int]
    "Ids that end the reply."

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Markup":
        """What of it a tokenizer has."""
        tags = {name: tokenizer.added.get(name) for name in SPECIAL_TOKENS}
        ends = (tokenizer.special_names.get("eos_token"), *END_TOKENS)
        stop = (tokenizer.added.get(token) for token in ends if token is not None)
        return cls(
            think_open=tags[THINK_OPEN],
            think_close=tags[THINK_CLOSE],
            tool_call_open=tags[TOOL_CALL_OPEN],
            tool_call_close=tags[TOOL_CALL_CLOSE],
            hidden=tokenizer.special_ids | {tag for tag in tags.values() if tag is not None},
            stop=frozenset(token_id for token_id in stop if token_id is not None),
        )


class ReplyLayout(Protocol):
    """What a parser needs of a chat template."""

    tokenizer: Tokenizer
    markup: Markup

    def starts_thinking(self, thinking: bool) -> bool:
        """Whether the prompt ends inside an open thought."""

    def may_open(self, thinking: bool) -> bool:
        """Whether it is left to the model to open one."""


class PlainLayout:
    """Of a reply that has no parts: all of it is answer. Special tokens are still never shown."""

    def __init__(self, template: ReplyLayout) -> None:
        self.tokenizer = template.tokenizer
        self.markup = replace(
            template.markup, think_open=None, think_close=None, tool_call_open=None, tool_call_close=None
        )

    def starts_thinking(self, thinking: bool) -> bool:
        """It has no thought."""
        return False

    def may_open(self, thinking: bool) -> bool:
        """Nor may it have one."""
        return False


class StreamParser:
    """Turns a reply's ids into pieces: joined, their texts are the parts of `message`, however the ids are cut."""

    def __init__(self, template: ReplyLayout, thinking: bool = True) -> None:
        self._tokenizer = template.tokenizer
        self._markup = template.markup
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pieces: list[Piece] = []
        self._state: Literal["thinking", "answer", "tool_call", "done"] = "answer"
        if template.starts_thinking(thinking):
            self._state = "thinking"
        self._may_open = template.may_open(thinking)
        self._thought: str | None = "" if self._state == "thinking" else None
        self._content = ""
        self._calls: list[ToolCall] = []
        self._held = ""  # text that belongs to the layout if a tag follows it, and to the reply if text follows
        self._separator = ""  # what of the blank line between thought and answer is still expected
        self._call_text = ""

    @property
    def message(self) -> Message:
        """The reply as read so far; whole after `finish`."""
        return Message("assistant", self._content, self._thought, tuple(self._calls))

    @property
    def kind(self) -> PieceKind:
        """The part of the reply that the next id belongs to."""
        return self._state if self._state != "done" else "answer"

    def feed(self, ids: Iterable[int]) -> list[Piece]:
        """Read more ids, and return what they add."""
        run: list[bytes] = []  # of ids that are text, read at once
        for token_id in ids:
            if self._state == "done":
                break
            if token_id not in self._markup.stop and token_id not in self._markup.hidden:
                run.append(self._tokenizer.bytes_of(token_id))
                continue
            self._read(run)
            run.clear()
            if token_id in self._markup.stop:
                self._end()
            else:
                self._text(self._decoder.decode(b"", final=True))
                self._tag(token_id)
        self._read(run)
        return self._take()

    def _read(self, run: list[bytes]) -> None:
        if run:
            self._text(self._decoder.decode(b"".join(run)))

    def finish(self) -> list[Piece]:
        """Say that no more ids come, and return what was held back."""
        if self._state != "done":
            self._end()
        return self._take()

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _emit(self, kind: PieceKind, text: str) -> None:
        if not text:
            return
        if kind == "thinking":
            self._thought = (self._thought or "") + text
        elif kind == "answer":
            self._content += text
        if kind != "tool_call" and self._pieces and self._pieces[-1].kind == kind:
            text = self._pieces.pop().text + text
        self._pieces.append(Piece(kind, text))

    def _text(self, text: str) -> None:
        """Take decoded text; a line end that a tag may follow is held back."""
        if self._state == "tool_call":
            self._call_text += text
            return
        while text and self._separator:
            if not text.startswith(self._separator[0]):
                self._separator = ""
                break
            text, self._separator = text[1:], self._separator[1:]
        if not text:
            return
        text, self._held = self._held + text, ""
        if self._calls and text.isspace():  # nothing but space between tool calls
            self._held = text
            return
        before_tag = BEFORE_CLOSE if self._state == "thinking" else BEFORE_TOOL_CALL
        if text.endswith(before_tag):
            text, self._held = text[: -len(before_tag)], before_tag
        self._emit("thinking" if self._state == "thinking" else "answer", text)

    def _tag(self, token_id: int) -> None:
        """Change the state at a tag; tags out of place are dropped."""
        if self._state == "thinking":
            if token_id == self._markup.think_close:
                if self._held and not self._thought:
                    self._thought = None  # an empty line: no thought at all
                self._answer_after_thought()
        elif self._state == "tool_call":
            if token_id in (self._markup.tool_call_close, self._markup.tool_call_open):
                self._close_call()
            if token_id == self._markup.tool_call_open:
                self._state = "tool_call"
        elif token_id == self._markup.tool_call_open:
            self._held, self._separator, self._state = "", "", "tool_call"
        elif token_id == self._markup.think_open and self._may_open:  # once, wherever it stands, as the policy has it
            self._state, self._thought, self._held, self._separator = "thinking", "", "", AFTER_OPEN
            self._may_open = False

    def _answer_after_thought(self) -> None:
        self._state, self._held, self._separator = "answer", "", AFTER_CLOSE

    def _close_call(self) -> None:
        text, self._call_text, self._state = self._call_text.strip("\n"), "", "answer"
        call = _read_call(text)
        if call is None:
            self._emit("answer", text)
        else:
            self._calls.append(call)
            self._emit("tool_call", text)

    def _end(self) -> None:
        self._text(self._decoder.decode(b"", final=True))
        if self._state == "tool_call":
            self._close_call()
        elif not (self._calls and self._held.isspace()):
            self._emit("thinking" if self._state == "thinking" else "answer", self._held)
        self._held, self._state = "", "done"


def _read_call(text: str) -> ToolCall | None:
    """The tool call that `text` spells as JSON; None if it spells none."""
    try:
        call = json.loads(text)
        return ToolCall.from_dict(call) if isinstance(call, dict) else None
    except (UserError, ValueError, RecursionError):
        return None
