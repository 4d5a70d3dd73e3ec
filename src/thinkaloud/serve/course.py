"""A reply's way through another server, when all that can be had there is "continue from here".

Knows: how a thought is bounded, closed and steered by prefixes alone. Doesn't know: connections, HTTP's shapes.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from thinkaloud.engine.row import WARMTH
from thinkaloud.inference import Reply, Usage
from thinkaloud.inference.asking import ANSWER_FLOOR, EFFORTS
from thinkaloud.inference.defaults import Defaults
from thinkaloud.serve.exchange import Wish
from thinkaloud.serve.faults import Fault
from thinkaloud.text import ChatTemplate, Piece, StopStrings, StreamParser
from thinkaloud.text.stream import PlainLayout, ReplyLayout

Continue = Callable[[Mapping[str, Any]], AsyncGenerator[Mapping[str, Any], None]]
"The choices of a completion's chunks, for the body of a request."
SILENT = 4
"Answers that say nothing and are gone on from, before one is taken as it is."
NOT_HERE = {"bias": "logit_bias"} | {name: name for name in ("top_logprobs", "logprobs", "max_accuracy_loss")}
"Settings that can't be had through another server, and their fields."


class Course:
    """One reply: what has been said, what it may still cost, and the wishes of whoever watches."""

    def __init__(self, template: ChatTemplate, defaults: Defaults, wish: Wish) -> None:
        """UserError and Fault for what can't be had."""
        settings = dict(wish.settings)
        for name in NOT_HERE:
            if settings.get(name):
                raise Fault(f"{NOT_HERE[name]} can't be had through another server", param=NOT_HERE[name])
        choice, effort = settings.get("tool_choice", "auto"), settings.get("effort", "medium")
        if choice not in ("auto", "none"):
            raise Fault("tool_choice can only be auto or none through another server", param="tool_choice")
        self._tokenizer, self._settings = template.tokenizer, settings
        self._max_tokens: int = settings.get("max_tokens") or defaults.max_tokens
        thinking = effort != "off"
        self._bare = wish.prompt is not None
        if wish.prompt is None:
            tools = settings.get("tools") if choice != "none" else None
            history = settings.get("history", "tools")
            self._prompt = template.prompt(wish.messages, thinking=thinking, tools=tools, history=history)
            self._layout: ReplyLayout = template
        else:
            text = wish.prompt
            self._prompt = self._tokenizer.encode(text) if isinstance(text, str) else list(text)
            self._layout, thinking = PlainLayout(template), False
        self._parser = StreamParser(self._layout, thinking)
        share, budget = EFFORTS[effort], settings.get("thinking_budget")
        if budget is None and share is not None:
            budget = int(share * self._max_tokens)
        self._policy = template.policy(thinking=thinking, budget=budget, rescue=True)
        self._room = self._max_tokens - min(ANSWER_FLOOR, self._max_tokens)
        self._budget = self._room if budget is None else min(budget, self._room)
        self._thinks = self._policy.starts_thinking and wish.prompt is None
        self._end = "open" if self._thinks else "none"
        self._watch = self._policy.watch() if self._thinks else None
        self._fixed = self._rescues = 0  # ids that the client put in stand; how often the thought went round in circles
        self._said: list[int] = []
        self._pieces: list[Piece] = []
        self._stops, self._answer_text = StopStrings(settings.get("stop", ())), ""
        self._thought = self._answer = self._forced = self._discarded = 0
        self._ends = self._silent = 0  # ids that end a turn, of what was asked last; answers that said nothing
        self._stop_ids = template.markup.stop
        self._answer_now = self._changed = False
        self._going = asyncio.Event()
        self._going.set()

    def steer(self, action: str, text: str | None = None, tokens: int | None = None) -> bool:
        """A wish, heard when the next piece comes; whether it can be had."""
        if action == "pause":
            self._going.clear()
        elif action == "resume":
            self._going.set()
        elif not self._thinks:
            return False
        elif action == "answer_now":
            self._answer_now = True
        elif action == "think_on":
            if self._budget >= self._room:
                return False
            self._budget = min(self._budget + (tokens or 1), self._room)
        else:
            self._force(self._tokenizer.encode(f"\n{text}\n"))
        self._changed = True
        return True

    async def run(self, ask: Continue) -> AsyncGenerator[Piece | Reply, None]:
        """Its pieces, and at the end the whole of it."""
        finish = ""
        while not finish:
            await self._going.wait()
            self._changed, self._ends = False, 0
            if self._thinks and (self._answer_now or self._rescues > 1 or self._thought >= self._budget):
                self._end = "client" if self._answer_now else "loop" if self._rescues > 1 else "budget"
                self._thinks = False
                self._force(self._policy.forced_close)
            if self._thinks:
                left, stop = self._budget - self._thought, [self._close_tag]
            else:
                left, stop = self._left, list(self._settings.get("stop", ()))
            async with aclosing(ask(self._body(left, stop))) as choices:
                async for choice in choices:
                    went_back = self._take(choice)
                    for piece in self._taken():
                        yield piece
                    finish = "" if went_back else self._ended(choice)
                    if finish or self._changed:
                        break
        self._say(self._parser.finish())
        self._tell(self._stops.finish())
        for piece in self._taken():
            yield piece
        yield self._reply(finish)

    @property
    def _close_tag(self) -> str:
        assert self._policy.close_id is not None
        return self._tokenizer.bytes_of(self._policy.close_id).decode()

    def _body(self, left: int, stop: Sequence[str]) -> dict[str, Any]:
        """The request for what comes next; the names are OpenAI's and vLLM's."""
        settings = self._settings
        body = {
            "prompt": [*self._prompt, *self._said],
            "max_tokens": left,
            "stop": stop or None,
            "seed": ((settings.get("seed", 0) + settings.get("sample", 0)) ^ (0x5EED * (self._rescues > 0))) % 2**63,
            "min_tokens": 0 if self._thinks or self._spoken else 1,
            "skip_special_tokens": False,
            "return_token_ids": True,
        }
        body |= {name: settings.get(name) for name in ("temperature", "top_p", "top_k", "min_p")}
        if self._thinks and self._rescues and body["temperature"] is not None:
            body["temperature"] = max(body["temperature"], WARMTH)
        if not self._thinks and settings.get("schema") is not None:
            body["structured_outputs"] = {"json": settings["schema"] or {"type": "object"}}
        return {name: value for name, value in body.items() if value is not None}

    def _take(self, choice: Mapping[str, Any]) -> bool:
        """What a piece says; whether the thought went back instead."""
        ids = list(choice.get("token_ids") or self._tokenizer.encode_trusted(choice.get("text") or ""))
        while ids and ids[-1] in self._stop_ids:
            ids.pop()
            self._ends += 1
        self._said += ids
        if self._thinks:
            self._thought += len(ids)
        else:
            self._answer += len(ids)
        self._say(self._parser.feed(ids))
        kept = self._circles(ids)
        if kept is not None:
            self._take_back(kept)
        return kept is not None

    def _circles(self, ids: Sequence[int]) -> int | None:
        """If the thought goes round in circles with these: how many of its ids still stand."""
        for token in ids if self._thinks else ():
            start = None if self._watch is None or token == self._policy.close_id else self._watch.feed(token)
            if start is not None:
                return max(start, self._fixed, 1)
        return None

    def _take_back(self, kept: int) -> None:
        """Go back to before the circles; what is taken back is paid for by the budget and by `max_tokens`."""
        assert self._watch is not None
        before, count = self._parser.message.thinking or "", len(self._said) - kept
        del self._said[kept:]
        self._watch.rewind(kept)
        self._parser = StreamParser(self._layout)
        self._parser.feed(self._said)
        lost = before[len(self._parser.message.thinking or "") :]
        self._pieces += [Piece("taken_back", lost)] if lost else []
        self._thought, self._discarded = self._thought - count, self._discarded + count
        self._budget, self._room = max(self._budget - count, self._thought), self._room - count
        self._rescues, self._changed = self._rescues + 1, True

    def _say(self, pieces: Sequence[Piece]) -> None:
        """Hand on what stands before a stop string of the answer."""
        for piece in pieces:
            if piece.kind == "answer":
                self._tell(self._stops.feed(piece.text))
            else:
                self._tell(self._stops.finish() if piece.kind == "tool_call" else "")
                self._pieces += [] if self._stops.found else [piece]

    def _tell(self, text: str) -> None:
        if text:
            self._answer_text += text
            self._pieces.append(Piece("answer", text))

    def _force(self, ids: Sequence[int]) -> None:
        self._said += ids
        self._forced += len(ids)
        self._say(self._parser.feed(ids))
        if self._thinks and self._watch is not None:
            self._fixed = len(self._said)
            for token in ids:
                self._watch.feed(token)

    def _taken(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _ended(self, choice: Mapping[str, Any]) -> str:
        """Why the reply is done, or nothing while it goes on."""
        reason = choice.get("finish_reason")
        if self._stops.found is not None:
            return "stop"
        if reason is None:
            return ""
        if not self._thinks:
            if reason == "length" or self._spoken or self._silent == SILENT or self._left <= self._ends:
                self._answer += self._ends
                return "length" if reason == "length" else "stop"
            self._discarded, self._silent, self._changed = self._discarded + self._ends, self._silent + 1, True
            return ""
        self._discarded += self._ends
        if reason == "length":
            self._thought = max(self._thought, self._budget)
        else:
            if choice.get("stop_reason", self._close_tag) is None:  # the model ended its turn within the thought
                self._force(self._policy.forced_close)
            elif self._policy.close_id not in self._said:
                self._take({"token_ids": [self._policy.close_id]})
            self._thinks, self._end = False, "natural"
        self._changed = True
        return ""

    @property
    def _left(self) -> int:
        return self._max_tokens - self._thought - self._answer - self._discarded

    @property
    def _spoken(self) -> bool:
        """Whether the answer says something, or need not."""
        return bool(self._bare or self._answer_text.strip() or self._parser.message.tool_calls)

    def _reply(self, finish: str) -> Reply:
        message = self._parser.message
        return Reply(
            thinking=message.thinking or "",
            answer=self._answer_text,
            tool_calls=message.tool_calls,
            usage=Usage(
                prompt_tokens=len(self._prompt),
                thinking_tokens=self._thought,
                forced_tokens=self._forced,
                answer_tokens=self._answer,
                discarded_tokens=self._discarded,
            ),
            finish=finish,
            thought_end=self._end,
        )
