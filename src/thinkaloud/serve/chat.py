"""/v1/chat/completions: replies as OpenAI's chat completions and their chunks.

Knows: the shape of choices, deltas and usage. Doesn't know: who replies, HTTP.
"""

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from thinkaloud.inference import Reply
from thinkaloud.inference.replies import SaidToken
from thinkaloud.rollouts.tools import Ran
from thinkaloud.serve.checks import Checks
from thinkaloud.serve.exchange import Tokens, Wish
from thinkaloud.serve.measures import usage_details
from thinkaloud.serve.shapes import ChatBody
from thinkaloud.serve.visit import Replies, Service
from thinkaloud.text import Piece, ToolCall


class Chat:
    """One request's replies told in that shape."""

    def __init__(self, body: ChatBody, service: Service, wish: Wish) -> None:
        """`wish` is the first of those that the body asks for."""
        self.body, self.service = body, service
        self._checks = Checks(wish.messages, wish.settings, service.calibration) if body.verify else None

    async def whole(self, replies: Replies, found: Sequence[Reply]) -> dict[str, Any]:
        """The body of a response."""
        choices = [self._choice(index, reply) | await self._verdict(reply) for index, reply in enumerate(found)]
        for index, confidence in self._votes(found):
            choices[index]["confidence"] = confidence
        if replies.ran:
            choices[0]["message"]["server_tool_calls"] = [ran_of(one) for one in replies.ran]
        return {**self._head(replies, "chat.completion"), "choices": choices, "usage": usage_of(found)}

    def _head(self, replies: Replies, kind: str) -> dict[str, Any]:
        return {"id": replies.id, "object": kind, "created": replies.created, "model": self.service.name}

    def _choice(self, index: int, reply: Reply) -> dict[str, Any]:
        calls = [call_of(call) for call in reply.tool_calls]
        message: dict[str, Any] = {"role": "assistant", "content": reply.answer}
        message |= {"refusal": None, "reasoning_content": reply.thinking, "reasoning": reply.thinking}
        if calls:
            message |= {"tool_calls": calls, "content": reply.answer if reply.answer.strip() else None}
        return {"index": index, "message": message, "logprobs": self._logprobs(reply.tokens), **ending(reply)}

    async def chunks(self, replies: Replies) -> AsyncIterator[tuple[None, Any]]:
        """The stream's events, the last one too."""
        head = self._head(replies, "chat.completion.chunk")
        options = self.body.stream_options
        with_usage = bool(options and options.include_usage)
        if with_usage:
            head["usage"] = None
        begun: set[int] = set()
        calls: dict[int, int] = {}
        ended: dict[int, Reply] = {}
        tokens: dict[int, Tokens] = {}
        async for index, event in replies:
            choice: dict[str, Any] = {"index": index, "delta": {}, "logprobs": None, "finish_reason": None}
            if index not in begun:
                begun.add(index)
                yield None, head | {"choices": [choice | {"delta": {"role": "assistant", "content": ""}}]}
            if isinstance(event, tuple):
                tokens[index] = (*tokens.get(index, ()), *event)
                continue
            choice["logprobs"] = self._logprobs(tokens.pop(index, ()))
            if isinstance(event, Piece):
                choice["delta"] = _delta(event, calls.get(index, 0))
                calls[index] = calls.get(index, 0) + (event.kind == "tool_call")
            elif isinstance(event, Ran):
                choice["delta"] = {"server_tool_calls": [ran_of(event)]}
            else:
                self.service.measures.count(event)
                choice |= ending(event) | await self._verdict(event)
                ended[index] = event
            yield None, head | {"choices": [choice]}
        for index, confidence in self._votes([ended[index] for index in sorted(ended)]):
            late = {"index": index, "delta": {}, "finish_reason": None, "confidence": confidence}
            yield None, head | {"choices": [late]}
        if with_usage:
            yield None, head | {"choices": [], "usage": usage_of([ended[index] for index in sorted(ended)])}
        yield None, "[DONE]"

    async def _verdict(self, reply: Reply) -> dict[str, Any]:
        return {} if self._checks is None else await self._checks.verdict(reply)

    def _votes(self, replies: Sequence[Reply]) -> list[tuple[int, float]]:
        """The choices whose confidence their votes tell, once all have ended."""
        votes = [] if self._checks is None else self._checks.votes(replies)
        return [(index, one) for index, one in enumerate(votes) if one is not None]

    def _logprobs(self, tokens: Tokens) -> dict[str, Any] | None:
        """OpenAI's list for the answer, and one like it for the thought; null where nobody asked."""
        if not self.body.logprobs:
            return None
        hidden = self.service.template.markup.hidden
        told: dict[str, Any] = {"content": [], "refusal": None, "reasoning_content": []}
        for one in tokens:
            if one.token_id not in hidden:
                told["reasoning_content" if one.kind == "thinking" else "content"].append(self._logprob(one))
        return told

    def _logprob(self, one: SaidToken) -> dict[str, Any]:
        assert one.logprob is not None, "none is a prompt's"
        top = [self._token(token_id, logprob) for token_id, logprob in one.top]
        return self._token(one.token_id, one.logprob) | {"top_logprobs": top}

    def _token(self, token_id: int, logprob: float) -> dict[str, Any]:
        raw = self.service.template.tokenizer.bytes_of(token_id)
        return {"token": raw.decode(errors="replace"), "logprob": finite(logprob), "bytes": list(raw)}


def finite(logprob: float) -> float:
    """A log-prob as JSON can hold it: OpenAI's word for never is -9999."""
    return max(logprob, -9999.0)


def ending(reply: Reply) -> dict[str, Any]:
    """How a choice ended."""
    return {"finish_reason": finish_of(reply), "thought_end": reply.thought_end}


def _delta(piece: Piece, calls: int) -> dict[str, Any]:
    if piece.kind == "thinking":
        return {"reasoning_content": piece.text, "reasoning": piece.text}
    if piece.kind == "answer":
        return {"content": piece.text}
    if piece.kind == "taken_back":
        return {"reasoning_taken_back": piece.text}
    return {"tool_calls": [{"index": calls, **call_of(ToolCall.from_dict(json.loads(piece.text)))}]}


def ran_of(ran: Ran) -> dict[str, Any]:
    """A call that the server made itself, and what came of it."""
    return {"name": ran.call.name, "arguments": ran.call.arguments, "output": ran.output}


def call_of(call: ToolCall) -> dict[str, Any]:
    """A call with a handle."""
    return {"id": call.id or f"call_{secrets.token_hex(12)}", **call.to_dict()}


def finish_of(reply: Reply) -> str:
    """Why a reply ended, in OpenAI's words."""
    if reply.finish == "length":
        return "length"
    return "tool_calls" if reply.tool_calls else "stop"


def usage_of(replies: Sequence[Reply], prompts: int = 1) -> dict[str, Any]:
    """What the choices of one request cost, in their order: each prompt counts once, as OpenAI counts it.

    What was known of it is what its first choice found; the others find what that one has read.
    """
    each = len(replies) // prompts
    asked = [replies[start : start + each] for start in range(0, len(replies), each)]
    prompt = sum(group[0].usage.prompt_tokens for group in asked)
    cached = sum(min(reply.usage.cached_tokens for reply in group) for group in asked)
    spent = sum(reply.usage.completion_tokens for reply in replies)
    details = [usage_details(reply) for reply in replies]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": spent,
        "total_tokens": prompt + spent,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {kind: sum(one[kind] for one in details) for kind in details[0]},
    }
