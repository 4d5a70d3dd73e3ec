"""One request from its arrival to its end: whose it is, its replies, and whether its client is still there.

Knows: HTTP. Doesn't know: the shape of what is said.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from thinkaloud.base.errors import UserError
from thinkaloud.inference import Reply
from thinkaloud.inference.calibration import Calibration
from thinkaloud.rollouts.tools import Ran, Tool
from thinkaloud.serve.exchange import Exchange, Said, Wish
from thinkaloud.serve.faults import Fault, fault_of, printable
from thinkaloud.serve.line import Gate, Limits
from thinkaloud.serve.measures import Measures
from thinkaloud.serve.memory import Memory
from thinkaloud.text import ChatTemplate

Value = TypeVar("Value")

KEEP_ALIVE_SECONDS = 15.0
"After so long without a token a stream says a comment, so that no proxy takes it for dead."
LOG = logging.getLogger("thinkaloud")
GONE = 499
"The status of a request whose client has left: nobody sees it but the counts."


class Voice(Protocol):
    """Who replies: a model of ours at its desk, or another server."""

    waiting: int
    running: int

    def start(self) -> None:
        """Begin, in the running loop."""

    async def stop(self) -> None:
        """End all that is under way; may be called again."""

    def ask(self, wishes: Sequence[Wish], who: str, identifier: str) -> Exchange:
        """Put wishes into the line; Fault 429 where it is full."""

    def cancel(self, exchange: Exchange) -> None:
        """Nobody listens any more."""

    async def steer(self, identifier: str, index: int | None, action: str, **given: Any) -> bool:
        """Change the course of a reply under way."""


@dataclass(kw_only=True)
class Service:
    """What all routes share."""

    voice: Voice
    "who replies"
    name: str
    "the model's name"
    about: Mapping[str, Any]
    "what the page is told of the model"
    limits: Limits
    "what is allowed"
    template: ChatTemplate
    "how its chats are spelled"
    gate: Gate
    "who may ask"
    measures: Measures
    "what is counted"
    calibration: Calibration | None
    "what is known of its thinking"
    tools: Mapping[str, Tool]
    "what the server itself can run, by name"
    created: int
    "when the server started, in Unix seconds"
    memory: Memory
    "responses that others may go on from"
    closing: bool = False
    "whether it takes no more requests"
    under_way: int = 0
    "requests that have not ended"

    def check_model(self, name: str | None) -> None:
        """Fault 404 for a model that is not this one."""
        if name is not None and name != self.name:
            said = f"the model {printable(name)!r} does not exist here: this server has {self.name!r}"
            raise Fault(said, status=404, param="model", code="model_not_found")


class Visit:
    """A request that has been let in; `close` is called once, whatever happens."""

    def __init__(self, service: Service, request: Request) -> None:
        if service.closing:
            raise Fault("the server is shutting down", status=503, headers={"Retry-After": "5"})
        self.service, self.request = service, request
        self.who: str = request.state.who
        service.gate.enter(self.who)
        service.under_way += 1
        self._exchanges: list[Exchange] = []

    def ask(self, wishes: Sequence[Wish], identifier: str) -> Exchange:
        """Put wishes into the line."""
        exchange = self.service.voice.ask(wishes, self.who, identifier)
        self._exchanges.append(exchange)
        return exchange

    def close(self) -> None:
        """The request has ended: what is still said for it ends too."""
        measures = self.service.measures
        for exchange in self._exchanges:
            self.service.voice.cancel(exchange)
            if exchange.first is not None:
                measures.first.observe(exchange.first - exchange.begun)
        if self._exchanges:
            measures.whole.observe(time.monotonic() - self._exchanges[0].begun)
        self.service.gate.leave(self.who)
        self.service.under_way -= 1


class Replies(Protocol):
    """Replies to one request, however many exchanges they take."""

    id: str
    created: int

    async def opened(self) -> None:
        """Waits for their turn; raises the fault of a request that can't be served."""

    @property
    def ran(self) -> Sequence[Ran]:
        """Calls that the server made."""

    def __aiter__(self) -> AsyncIterator[tuple[int, Said]]:
        """What comes, by choice."""

    async def replies(self) -> list[Reply]:
        """All of them, each whole."""


Whole = Callable[[Replies, Sequence[Reply]], Awaitable[Mapping[str, Any]]]
Stream = Callable[[Replies], AsyncIterator[tuple[str | None, Any]]]


async def respond(
    service: Service,
    request: Request,
    ask: Callable[[Visit], Replies],
    *,
    whole: Whole,
    stream: Stream | None,
    headers: Mapping[str, str],
) -> Response:
    """The response to a request: `whole` makes a body of the replies, `stream` events where events are asked for."""
    with ExitStack() as stack:
        visit = Visit(service, request)
        stack.callback(visit.close)
        gone = asyncio.create_task(_gone(request))
        stack.callback(gone.cancel)
        replies = ask(visit)
        await _before(gone, replies.opened())
        if stream is not None:
            return Events(stack.pop_all(), _lines(stream(replies)), headers)
        found = await _before(gone, replies.replies())
        for reply in found:
            service.measures.count(reply)
        return JSONResponse(await whole(replies, found), headers=dict(headers))


async def _gone(request: Request) -> None:
    """Waits until the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _before(gone: asyncio.Task[None], work: Coroutine[Any, Any, Value]) -> Value:
    """What `work` gives; Fault if the client leaves before."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Fault("the client has left", status=GONE)
        return task.result()
    finally:
        task.cancel()


class Events(StreamingResponse):
    """Server-sent events; whatever becomes of the client, the visit is closed."""

    media_type = "text/event-stream"

    def __init__(self, stack: ExitStack, lines: AsyncIterator[str], headers: Mapping[str, str]) -> None:
        super().__init__(lines, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        with self._stack:
            await super().__call__(scope, receive, send)


async def _lines(events: AsyncIterator[tuple[str | None, Any]]) -> AsyncIterator[str]:
    """Events as they go over the wire: a name where there is one, and JSON; a fault is the last of them."""
    while True:
        task = asyncio.ensure_future(anext(events))
        try:
            while not (await asyncio.wait((task,), timeout=KEEP_ALIVE_SECONDS))[0]:
                yield ": still here\n\n"
        finally:
            task.cancel()
        error = task.exception()
        if isinstance(error, StopAsyncIteration):
            return
        if error is not None:
            if not isinstance(error, UserError | Fault):
                LOG.error("a fault in a stream", exc_info=error)
            yield f"data: {json.dumps(fault_of(error).body)}\n\n"
            return
        name, value = task.result()
        data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
