"""Chats to ids and replies back: the chat template.

Knows: how messages become a prompt, how an assistant's reply is spelled, and which ids end it. Does not know: models,
sampling, problems. A published checkpoint's own Jinja source is rendered as `transformers` renders it, from messages in
the form that this source can say in full (`forms`).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, get_args

from thinkaloud.base.errors import UserError
from thinkaloud.text import markup as spelling
from thinkaloud.text.forms import Chat, Form
from thinkaloud.text.messages import Message
from thinkaloud.text.policy import ThinkingPolicy, Words
from thinkaloud.text.render import TEMPLATE_ERRORS, compile_template, map_strings, strings_of, unused_character
from thinkaloud.text.stream import Markup, StreamParser
from thinkaloud.text.tokenizer import Tokenizer

REMEMBERED = 8192
"Prompts kept: problems are asked again and again."
History = Literal["drop", "tools", "keep"]
"Which earlier thoughts a prompt shows: none, those of a running tool loop, or all."
Tool = Mapping[str, Any]


class ChatTemplate:
    """Renders chats for one tokenizer and reads replies: `template.prompt([Message("user", "hi")])` gives ids.

    Laws, held by tests: `parse(reply(message)) == message`; the prompt to train on is the prompt to generate from;
    with `history="keep"` the next turn's prompt starts with this turn's prompt and reply (our own template); what
    messages say never becomes a special token.
    """

    def __init__(self, tokenizer: Tokenizer, source: str | None = None, *, end_ids: Iterable[int] = ()) -> None:
        """`source` is Jinja; by default what came with the tokenizer, else our own. `end_ids` end a reply as well."""
        self.tokenizer = tokenizer
        if not (source or tokenizer.chat_template) and tokenizer.id_of(spelling.TURN_CLOSE) is None:
            raise UserError(
                "the model brings no chat template, and its tokenizer does not know the tokens of ours: put its "
                "maker's chat_template.jinja into its folder"
            )
        self.source = source or tokenizer.chat_template or spelling.DEFAULT_TEMPLATE
        self._template = compile_template(self.source)
        markup = Markup.of(tokenizer)
        self.markup = replace(markup, stop=markup.stop.union(end_ids))
        if not self.markup.stop:
            raise UserError("the tokenizer names no token that ends a turn: set eos_token in its tokenizer_config.json")
        self._tails: dict[bool, str] = {}
        self._prompts: dict[tuple[tuple[Message, ...], bool, History], list[int]] = {}

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        return self.markup.stop

    def starts_thinking(self, thinking: bool) -> bool:
        """Whether a prompt rendered with this switch ends inside an open thought."""
        return self.markup.think_close is not None and self._tail(thinking).endswith(spelling.THINK_OPEN)

    def may_open(self, thinking: bool) -> bool:
        """Whether it is left to the model to open a thought: the prompt neither opens nor closes one."""
        if self.markup.think_open is None or self.markup.think_close is None:
            return False
        return not self._tail(thinking).endswith((spelling.THINK_OPEN, spelling.THINK_CLOSE))

    def _tail(self, thinking: bool) -> str:
        """The end of a prompt rendered with this switch."""
        if thinking not in self._tails:
            self._tails[thinking] = self.prompt_text([Message("user")], thinking=thinking).rstrip()[-40:]
        return self._tails[thinking]

    def prompt_text(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool = True,
        tools: Sequence[Tool] | None = None,
        history: History = "tools",
    ) -> str:
        """The generation prompt as text. `history` says which earlier thoughts are shown."""
        text, mark = self._render(messages, thinking, tools, history)
        return text.replace(mark, "")

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool = True,
        tools: Sequence[Tool] | None = None,
        history: History = "tools",
    ) -> list[int]:
        """The ids that a reply is sampled after; special tokens come from the template, never from the messages."""
        if tools or "strftime" in self.source or any(one.tool_calls for one in messages):
            return self._encode(*self._render(messages, thinking, tools, history))
        asked = (tuple(messages), thinking, history)
        if asked not in self._prompts:
            if len(self._prompts) >= REMEMBERED:
                self._prompts.clear()
            self._prompts[asked] = self._encode(*self._render(messages, thinking, None, history))
        return list(self._prompts[asked])

    def reply(self, message: Message, *, thinking: bool = True) -> list[int]:
        """The ids that follow the prompt, up to the id that ends the turn: what fine-tuning trains on.

        Where the prompt leaves no thought open (`thinking=False`), the message's thought is left out.
        """
        if message.role != "assistant":
            raise UserError(f"only an assistant replies, but the message is from {message.role!r}")
        thought = self._thought(message.thinking, thinking)
        lead = spelling.AFTER_CLOSE if thought else ""
        return [*thought, *self._answer(lead, message), self._end_id]

    def parse(self, ids: Sequence[int], *, thinking: bool = True) -> Message:
        """The message that a reply's ids spell, also where it was cut off or has tags out of place."""
        parser = StreamParser(self, thinking)
        parser.feed(ids)
        parser.finish()
        return parser.message

    def begin_thought(self, text: str, *, thinking: bool = True) -> list[int]:
        """The ids that put a beginning of the thought behind the prompt, its opening tag too where that is missing."""
        opening = self.markup.think_open
        if self.starts_thinking(thinking):
            return self.tokenizer.encode(text)
        if not self.may_open(thinking) or opening is None:
            raise UserError("there is no thought to begin: this prompt leaves no room for one")
        return [opening, *self.tokenizer.encode(spelling.AFTER_OPEN + text)]

    def policy(
        self,
        *,
        thinking: bool = True,
        budget: int | None = None,
        answer_floor: int = 16,
        begun: bool = False,
        soft_from: float | None = None,
        must_answer: bool = False,
        rescue: bool = False,
    ) -> ThinkingPolicy:
        """The plan of a thought: at most `budget` tokens of it, and `answer_floor` tokens kept for the answer.

        `begun`: the prompt goes on into the thought, as `begin_thought` has it. The last three: see ThinkingPolicy.
        """
        if budget is not None and budget < 0:
            raise UserError(
                f"a thinking budget of {budget} makes no sense: give 0 or more tokens, or none for no limit"
            )
        if answer_floor < 1:
            raise UserError(f"an answer floor of {answer_floor} leaves no answer: give 1 token or more")
        close, opens = self.markup.think_close, self.may_open(thinking) and not begun
        if close is None or not (opens or begun or self.starts_thinking(thinking)):
            return ThinkingPolicy(
                starts_thinking=False,
                close_id=None,
                budget=None,
                forced_close=(),
                answer_floor=answer_floor,
                must_answer=must_answer,
                words=self._words if must_answer else None,
            )
        before, after = self.tokenizer.encode(spelling.BEFORE_CLOSE), self.tokenizer.encode(spelling.AFTER_CLOSE)
        return ThinkingPolicy(
            starts_thinking=not opens,
            open_id=self.markup.think_open if opens else None,
            close_id=close,
            budget=budget,
            forced_close=(*before, close, *after),
            answer_floor=answer_floor,
            soft_from=soft_from,
            must_answer=must_answer,
            rescue=rescue,
            words=self._words if soft_from is not None or must_answer or rescue else None,
        )

    @cached_property
    def _words(self) -> Words:
        """What a policy must know of the tokens' text."""
        size, hidden = self.tokenizer.vocab_size, self.markup.hidden | self.markup.stop
        return Words(
            bytes_of=lambda token_id: b"" if token_id in hidden else self.tokenizer.bytes_of(token_id),
            blank=hidden.union(one for one in range(size) if not self.tokenizer.decode([one]).strip()),
            vocabulary=size,
            tool_call=(self.markup.tool_call_open, self.markup.tool_call_close),
        )

    @property
    def _end_id(self) -> int:
        """The id that closes an assistant's turn."""
        for token in (self.tokenizer.special_names.get("eos_token"), *spelling.END_TOKENS):
            identifier = None if token is None else self.tokenizer.id_of(token)
            if identifier is not None:
                return identifier
        return min(self.stop_ids)

    def _thought(self, text: str | None, thinking: bool) -> list[int]:
        """Ids of the thought up to the tag that closes it; none where the reply has no room for one."""
        opening, closing = self.markup.think_open, self.markup.think_close
        if closing is None:
            return []
        if self.starts_thinking(thinking):
            if text is None:  # an empty line, as in a thinking-off prompt
                return [*self.tokenizer.encode(spelling.BEFORE_CLOSE), closing]
            if text == "":  # nothing at all, so that it is not taken for None
                return [closing]
            return [*self.tokenizer.encode(text + spelling.BEFORE_CLOSE), closing]
        if thinking and text is not None and opening is not None:  # the template leaves the opening to the model
            after_open = spelling.AFTER_OPEN + (text and text + spelling.BEFORE_CLOSE)
            return [opening, *self.tokenizer.encode(after_open), closing]
        return []

    def _answer(self, lead: str, message: Message) -> list[int]:
        """Ids of the answer and its tool calls, after the text `lead`."""
        text = lead + message.content
        ids: list[int] = []
        for index, call in enumerate(message.tool_calls):
            if message.content or index:
                text += spelling.BEFORE_TOOL_CALL
            body = {"name": call.name, "arguments": call.arguments}
            ids += self.tokenizer.encode(text) + self.tokenizer.encode_trusted(spelling.TOOL_CALL_OPEN)
            ids += self.tokenizer.encode("\n" + json.dumps(body, ensure_ascii=False) + "\n")
            ids += self.tokenizer.encode_trusted(spelling.TOOL_CALL_CLOSE)
            text = ""
        return ids + self.tokenizer.encode(text)

    def _render(
        self, messages: Sequence[Message], thinking: bool, tools: Sequence[Tool] | None, history: History
    ) -> tuple[str, str]:
        """The prompt's text with a mark before each special token that came from outside, and that mark."""
        if not messages:
            raise UserError("there is nothing to reply to: give at least one message")
        if history not in get_args(History):
            raise UserError(f"the history {history!r} is unknown: use one of {', '.join(get_args(History))}")
        if history == "drop":
            messages = [replace(one, thinking=None) for one in messages]
        form = self._form if any(one.thinking is not None or one.tool_calls for one in messages) else Form()
        given: Any = list(tools) if tools else None
        plain = form.dictionaries(messages)
        slot = unused_character(self.source, *strings_of(plain), *strings_of(given))
        mark = unused_character(slot, self.source, *strings_of(plain), *strings_of(given))
        protect = self.tokenizer.added_pattern.sub

        def marked(text: str) -> str:
            return protect(lambda found: mark + found[0], text)

        thoughts = self._lost_thoughts(messages, form, history)
        held = [
            replace(one, content=f"{slot}{index}{slot}{one.content}") if index in thoughts else one
            for index, one in enumerate(messages)
        ]
        chat: Chat = map_strings(form.dictionaries(held), marked)
        text = self._run(chat, map_strings(given, marked), thinking, history)
        for index, thought in thoughts.items():
            words = marked(thought) + spelling.BEFORE_CLOSE if thought else ""
            block = f"{spelling.THINK_OPEN}{spelling.AFTER_OPEN}{words}{spelling.THINK_CLOSE}{spelling.AFTER_CLOSE}"
            bare = "\n*" if not messages[index].content else ""  # what leads from words to a tool call
            text = re.sub(f"{slot}{index}{slot}{bare}", lambda _, block=block: block, text)  # type: ignore[misc]
        return text, mark

    def _lost_thoughts(self, messages: Sequence[Message], form: Form, history: History) -> dict[int, str]:
        """The thoughts that belong into the prompt and that this template does not show, by the message's index.

        Those of a running tool loop always belong there: without them the model forgets between two calls why it made
        the first, and no prompt extends the one before it.
        """
        if self.markup.think_open is None or self.markup.think_close is None:
            return {}
        last = max((index for index, one in enumerate(messages) if one.role == "user"), default=-1)
        lost = {}
        for index, message in enumerate(messages):
            wanted = index > last or history == "keep"
            shown = form.shows_thoughts if index > last else form.keeps_thoughts
            has_room = not (form.null_content and message.tool_calls and not message.content)
            if message.thinking is not None and wanted and not shown and has_room:
                lost[index] = message.thinking
        return lost

    @cached_property
    def _form(self) -> Form:
        def probe(chat: Chat) -> str | None:
            try:
                return self._run(chat, None, True, "keep")
            except UserError:
                return None

        return Form.of(probe)

    def _run(self, chat: Chat, tools: Any, thinking: bool, history: History) -> str:
        try:
            return self._template.render(
                messages=chat,
                tools=tools,
                documents=None,
                add_generation_prompt=True,
                enable_thinking=thinking,
                preserve_thinking=history == "keep",
                **self.tokenizer.special_names,
            )
        except TEMPLATE_ERRORS as error:
            raise UserError(f"the chat template does not take these messages: {error}") from error

    def _encode(self, text: str, mark: str) -> list[int]:
        """Ids of rendered text, in which a special token after the mark is plain text."""
        if mark not in text:
            return self.tokenizer.encode_trusted(text)
        ids: list[int] = []
        plain = ""
        position = 0
        for found in re.finditer(f"({mark}?)({self.tokenizer.added_pattern.pattern})", text):
            plain += text[position : found.start()]
            position = found.end()
            if found[1]:
                plain += found[2]
            else:
                ids += [*self.tokenizer.encode(plain.replace(mark, "")), self.tokenizer.added[found[2]]]
                plain = ""
        return ids + self.tokenizer.encode((plain + text[position:]).replace(mark, ""))
