"""/v1/responses: a reply as items (thought, message, calls) and as the events in which they grow.

Knows: the shape of items and the order of events. Doesn't know: who replies, HTTP.
"""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from typing import Any

from thinkaloud.inference import Reply
from thinkaloud.serve.chat import usage_of
from thinkaloud.serve.exchange import Wish
from thinkaloud.serve.faults import Fault
from thinkaloud.serve.memory import Kept
from thinkaloud.serve.response_shapes import ResponseBody
from thinkaloud.serve.visit import Replies, Service
from thinkaloud.text import Message, Piece

Event = tuple[str, dict[str, Any]]
ECHOED = ("instructions", "max_output_tokens", "metadata", "model", "previous_response_id", "temperature", "top_p")


def earlier(body: ResponseBody, service: Service, who: str) -> Sequence[Message]:
    """What was said before, where a response goes on from one that was stored. Fault 400 where that is not kept."""
    if body.previous_response_id is None:
        return ()
    try:
        return service.memory.find(body.previous_response_id, who).messages
    except Fault as fault:
        said = f"{fault}; send the items of earlier turns along"
        raise Fault(said, param="previous_response_id", code="previous_response_not_found") from None


class Responses:
    """One request's reply told in that shape."""

    def __init__(self, body: ResponseBody, service: Service, wish: Wish, who: str) -> None:
        """`wish` is what the body asks for, `who` the key that asks."""
        self.body, self.service, self.wish, self.who = body, service, wish, who

    async def whole(self, replies: Replies, found: Sequence[Reply]) -> dict[str, Any]:
        """The body of a response."""
        items = Items(self.summary)
        pieces = [Piece("thinking", found[0].thinking), Piece("answer", found[0].answer)]
        calls = [{"name": call.name, "arguments": call.arguments} for call in found[0].tool_calls]
        pieces += [Piece("tool_call", json.dumps(call, ensure_ascii=False)) for call in calls]
        for piece in pieces:
            if piece.text:
                list(items.take(piece))
        list(items.end(_status(found[0])))
        return self._kept(self._response(replies, items.items, found[0]), found[0])

    @property
    def summary(self) -> str | None:
        """What shall be told of the thought, beside itself."""
        return self.body.reasoning.summary if self.body.reasoning else None

    def _response(self, replies: Replies, output: list[Any], reply: Reply | None) -> dict[str, Any]:
        body = self.body.model_dump(mode="json", by_alias=True)
        response = {name: body[name] for name in ECHOED} | {
            "id": replies.id,
            "object": "response",
            "created_at": replies.created,
            "model": self.service.name,
            "status": "in_progress" if reply is None else _status(reply),
            "error": None,
            "incomplete_details": None,
            "output": output,
            "store": self._stores,
            "parallel_tool_calls": body["parallel_tool_calls"] is not False,
            "reasoning": body["reasoning"] or {"effort": None, "summary": None},
            "text": body["text"] or {"format": {"type": "text"}},
            "tool_choice": body["tool_choice"] or "auto",
            "tools": body["tools"] or [],
            "usage": None,
        }
        if reply is not None:
            usage = usage_of([reply])
            response["usage"] = {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"] | {"cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": usage["completion_tokens_details"],
                "total_tokens": usage["total_tokens"],
            }
            response["thought_end"] = reply.thought_end
            if reply.finish == "length":
                response["incomplete_details"] = {"reason": "max_output_tokens"}
        return response

    @property
    def _stores(self) -> bool:
        return self.body.store is not False and self.service.memory.keeps

    def _kept(self, response: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The response; what may go on from it is kept, unless that was not wished."""
        if self._stores and reply.finish != "cancelled":
            said = self.wish.messages[bool(self.body.instructions) :]
            turn = Message("assistant", reply.answer, reply.thinking or None, reply.tool_calls)
            self.service.memory.keep(Kept(who=self.who, messages=(*said, turn), body=response))
        return response

    async def events(self, replies: Replies) -> AsyncIterator[tuple[str, Any]]:
        """The stream's events, numbered."""
        number, items = count(), Items(self.summary)

        def told(kind: str, more: dict[str, Any]) -> Event:
            return kind, {"type": kind, "sequence_number": next(number), **more}

        for kind in ("response.created", "response.in_progress"):
            yield told(kind, {"response": self._response(replies, [], None)})
        try:
            async for _, event in replies:
                if isinstance(event, Piece):
                    for one in items.take(event):
                        yield told(*one)
                if not isinstance(event, Reply):
                    continue
                self.service.measures.count(event)
                for one in items.end(_status(event)):
                    yield told(*one)
                response = self._kept(self._response(replies, items.items, event), event)
                yield told(f"response.{response['status']}", {"response": response})
        except Fault as fault:
            error = {"code": "server_error", "message": fault.body["error"]["message"]}
            response = self._response(replies, items.items, None) | {"status": "failed", "error": error}
            yield told("response.failed", {"response": response})


def _status(reply: Reply) -> str:
    return "incomplete" if reply.finish == "length" else "completed"


class Items:
    """Items that grow by pieces, and the events that tell of it."""

    def __init__(self, summary: str | None) -> None:
        self.items: list[dict[str, Any]] = []
        "the items that are whole"
        self._summary = summary
        self._item: dict[str, Any] | None = None
        self._text = ""

    def take(self, piece: Piece) -> Iterator[Event]:
        """One more piece."""
        if piece.kind == "tool_call":
            yield from self.end("completed")
            yield from self._call(piece.text)
            return
        if piece.kind == "taken_back":  # OpenAI's events know no word for it: the text at the end is what stands
            self._text = self._text.removesuffix(piece.text)
            return
        kind = "reasoning" if piece.kind == "thinking" else "message"
        if self._item is None or self._item["type"] != kind:
            yield from self.end("completed")
            yield from self._begin(kind)
        self._text += piece.text
        yield self._event(f"{self._name}.delta", delta=piece.text, **self._logprobs)

    def end(self, status: str) -> Iterator[Event]:
        """The item under way is whole."""
        if self._item is None:
            return
        item, text = self._item, self._text
        part = self._part(text)
        yield self._event(f"{self._name}.done", text=text, **self._logprobs)
        yield self._event("response.content_part.done", part=part)
        item |= {"content": [part], "status": status}
        if item["type"] == "reasoning" and self._summary is not None:
            yield from self._summarise(item, text)
        yield "response.output_item.done", {"output_index": len(self.items), "item": item}
        self.items.append(item)
        self._item, self._text = None, ""

    def _begin(self, kind: str) -> Iterator[Event]:
        prefix = "rs" if kind == "reasoning" else "msg"
        self._item = {"id": f"{prefix}_{secrets.token_hex(12)}", "type": kind, "status": "in_progress", "content": []}
        self._item |= {"summary": list[Any]()} if kind == "reasoning" else {"role": "assistant"}
        yield "response.output_item.added", {"output_index": len(self.items), "item": dict(self._item)}
        yield self._event("response.content_part.added", part=self._part(""))

    @property
    def _thinks(self) -> bool:
        assert self._item is not None
        return bool(self._item["type"] == "reasoning")

    @property
    def _name(self) -> str:
        return "response.reasoning_text" if self._thinks else "response.output_text"

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {} if self._thinks else {"logprobs": []}

    def _part(self, text: str) -> dict[str, Any]:
        if self._thinks:
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _event(self, kind: str, **more: Any) -> Event:
        assert self._item is not None
        return kind, {"item_id": self._item["id"], "output_index": len(self.items), "content_index": 0, **more}

    def _summarise(self, item: dict[str, Any], text: str) -> Iterator[Event]:
        """The summary of a thought: its last line, or all of it."""
        lines = [line for line in text.splitlines() if line.strip()]
        words = lines[-1].strip() if self._summary == "concise" and lines else text
        where = {"item_id": item["id"], "output_index": len(self.items), "summary_index": 0}
        name, part = "response.reasoning_summary", {"type": "summary_text", "text": words}
        yield f"{name}_part.added", where | {"part": part | {"text": ""}}
        yield f"{name}_text.delta", where | {"delta": words}
        yield f"{name}_text.done", where | {"text": words}
        yield f"{name}_part.done", where | {"part": part}
        item["summary"] = [part]

    def _call(self, text: str) -> Iterator[Event]:
        call = json.loads(text)
        arguments = call["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        item = {
            "id": f"fc_{secrets.token_hex(12)}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": f"call_{secrets.token_hex(12)}",
            "name": call["name"],
            "arguments": "",
        }
        where = {"item_id": item["id"], "output_index": len(self.items)}
        yield "response.output_item.added", {"output_index": len(self.items), "item": dict(item)}
        yield "response.function_call_arguments.delta", where | {"delta": arguments}
        yield "response.function_call_arguments.done", where | {"arguments": arguments, "name": item["name"]}
        item |= {"arguments": arguments, "status": "completed"}
        yield "response.output_item.done", {"output_index": len(self.items), "item": item}
        self.items.append(item)
