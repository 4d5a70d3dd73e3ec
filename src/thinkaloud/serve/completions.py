"""/v1/completions: prompts that go on as they stand, in OpenAI's older shape. Doesn't know: who replies, HTTP."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from thinkaloud.inference import Reply
from thinkaloud.serve.chat import finish_of, finite, usage_of
from thinkaloud.serve.exchange import Tokens, Wish
from thinkaloud.serve.shapes import CompletionBody
from thinkaloud.serve.visit import Replies, Service
from thinkaloud.text import Piece


class Completions:
    """One request's continuations told in that shape."""

    def __init__(self, body: CompletionBody, service: Service, wishes: Sequence[Wish]) -> None:
        self.body, self.service, self.wishes = body, service, wishes

    async def whole(self, replies: Replies, found: Sequence[Reply]) -> dict[str, Any]:
        """The body of a response."""
        choices = [
            {
                "index": index,
                "text": self._echo(index) + reply.answer,
                "logprobs": self._logprobs(reply.tokens, 0),
                "finish_reason": finish_of(reply),
            }
            for index, reply in enumerate(found)
        ]
        return self._head(replies) | {"choices": choices, "usage": self._usage(found)}

    def _usage(self, found: Sequence[Reply]) -> dict[str, Any]:
        return usage_of(found, len(found) // (self.body.n or 1))

    def _head(self, replies: Replies) -> dict[str, Any]:
        return {"id": replies.id, "object": "text_completion", "created": replies.created, "model": self.service.name}

    def _echo(self, index: int) -> str:
        prompt = self.wishes[index].prompt if self.body.echo else ""
        return prompt if isinstance(prompt, str) else self.service.template.tokenizer.decode(prompt or ())

    async def chunks(self, replies: Replies) -> AsyncIterator[tuple[None, Any]]:
        """The stream's events."""
        head = self._head(replies)
        begun: set[int] = set()
        ended: dict[int, Reply] = {}
        tokens: dict[int, Tokens] = {}
        told: dict[int, int] = {}
        async for index, event in replies:
            if isinstance(event, tuple):
                tokens[index] = (*tokens.get(index, ()), *event)
                continue
            text = "" if index in begun else self._echo(index)
            begun.add(index)
            choice: dict[str, Any] = {"index": index, "text": text, "finish_reason": None}
            choice["logprobs"] = self._logprobs(tokens.pop(index, ()), told.get(index, 0))
            if isinstance(event, Piece):
                choice["text"] += event.text
            elif isinstance(event, Reply):
                ended[index] = event
                self.service.measures.count(event)
                choice["finish_reason"] = finish_of(event)
            told[index] = told.get(index, 0) + len(choice["text"])
            yield None, head | {"choices": [choice]}
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield None, head | {"choices": [], "usage": self._usage([ended[index] for index in sorted(ended)])}
        yield None, "[DONE]"

    def _logprobs(self, tokens: Tokens, offset: int) -> dict[str, Any] | None:
        """The older shape of log-probs: four lists; `offset` is where the first token's text begins."""
        if self.body.logprobs is None:
            return None
        spell = self.service.template.tokenizer.bytes_of
        told: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for one in tokens:
            text = spell(one.token_id).decode(errors="replace")
            told["tokens"].append(text)
            top = {spell(ident).decode(errors="replace"): finite(p) for ident, p in one.top}
            told["token_logprobs"].append(None if one.logprob is None else finite(one.logprob))
            told["top_logprobs"].append(None if one.logprob is None else top)
            told["text_offset"].append(offset)
            offset += len(text)
        return told
