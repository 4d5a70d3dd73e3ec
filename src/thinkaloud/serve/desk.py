"""The desk: one thread owns the model. Wishes come in from the event loop, tokens go out to it.

Knows: the model, whose turn it is. Doesn't know: HTTP's shapes. A fault of one reply never takes another along, and one
of the engine's step ends the replies under way, not the server.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from thinkaloud.base.errors import UserError
from thinkaloud.inference import ReasoningModel, Reply
from thinkaloud.inference.replies import ReplyStream
from thinkaloud.serve.exchange import Event, Exchange, Opened, Wish
from thinkaloud.serve.faults import Fault, fault_of
from thinkaloud.serve.line import Limits, Line, check_room

MORE_TOKENS = 64
"How far a thought may go on where nobody says how far."
ENDED = "the server was shut down before this reply ended"
LOG = logging.getLogger("thinkaloud")
Value = TypeVar("Value")


@dataclass(eq=False)
class Talk:
    """One reply of an exchange."""

    exchange: Exchange
    "to whom it is told"
    index: int
    "which of its replies"
    stream: ReplyStream | None = None
    "what the model says; None while it waits"
    told: int = 0
    "of how many of its tokens the log-probs have been told"


class Desk:
    """`desk.start()` in a running loop; then `ask`, `cancel` and `steer` from it, and `stop` at the end."""

    def __init__(self, model: ReasoningModel, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.waiting = 0
        "replies without a row yet, as the loop sees it"
        self.running = 0
        "replies with one"
        self._commands = SimpleQueue[tuple[Callable[[], Any], Future[Any]]]()
        self._line = Line[Talk]()
        self._talks: dict[tuple[str, int], Talk] = {}
        self._running: list[Talk] = []
        self._mail: list[tuple[Exchange, int, Event]] = []
        self._ending = self._stopped = False
        self._thread = Thread(target=self._work, name="desk", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- in the loop ---

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End what is under way, and the thread."""
        if not self._ending:
            self._ending = True
            self._do(self._close)
        await asyncio.to_thread(self._thread.join)

    def ask(self, wishes: Sequence[Wish], who: str, identifier: str) -> Exchange:
        """Put wishes into the line. Fault 429 where it is full, 503 at the end."""
        if self._ending:
            raise Fault(ENDED, status=503)
        check_room(self.limits, self.waiting, self.running, len(wishes))
        exchange = Exchange(wishes, who, identifier)
        self.waiting += len(wishes)
        talks = [Talk(exchange, index) for index in range(len(wishes))]
        self._do(lambda: self._enter(talks))
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Nobody listens any more: its replies end, and their rows are free."""
        if exchange.open:
            self._do(lambda: [self._cancel((exchange.id, index)) for index in sorted(exchange.open)])

    async def steer(self, identifier: str, index: int | None, action: str, **given: Any) -> bool:
        """Change the course of a reply under way; false where there is none to change."""
        return not self._ending and await self._do(lambda: self._steer(identifier, index, action, given))

    def _do(self, work: Callable[[], Value]) -> asyncio.Future[Value]:
        """Have the thread do something."""
        future = Future[Value]()
        self._commands.put((work, future))
        return asyncio.wrap_future(future)

    def _deliver(self, mail: list[tuple[Exchange, int, Event]]) -> None:
        for exchange, index, event in mail:
            if index in exchange.waiting:
                self.waiting -= 1
                self.running += isinstance(event, Opened)
            elif isinstance(event, Reply | Fault):
                self.running -= 1
            exchange.put(index, event)

    # --- in the thread ---

    def _work(self) -> None:
        while not self._stopped:
            self._obey()
            self._admit()
            if self.model.engine.busy:
                self._step()
            self._post()

    def _obey(self) -> None:
        """Do what was asked for; with nothing else to do, wait for it."""
        try:
            while not self._stopped:
                idle = not (self.model.engine.busy or self._mail or (len(self._line) and self._has_room))
                work, future = self._commands.get(block=idle)
                result = attempt(work)
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        except Empty:
            return

    def _enter(self, talks: Sequence[Talk]) -> None:
        for talk in talks:
            self._talks[talk.exchange.id, talk.index] = talk
            self._line.add(talk.exchange.who, talk)

    @property
    def _has_room(self) -> bool:
        """Whether one more may run: the engine's own queue would know no turns."""
        return len(self._running) < self.limits.rows and not self.model.engine.waiting

    def _admit(self) -> None:
        """Rows for those whose turn it is."""
        while self._has_room and (talk := self._line.next()) is not None:
            stream = attempt(self._open, talk.exchange.wishes[talk.index])
            if isinstance(stream, Exception):
                self._end(talk, fault_of(stream))
                continue
            talk.stream = stream
            self._running.append(talk)
            self._tell(talk, Opened())

    def _step(self) -> None:
        """A token for every reply under way."""
        come = attempt(self.model.engine.step)
        if isinstance(come, Exception):
            self._fail(come)
            return
        faults = {one.handle: attempt(self.model.hear, one) for one in come}
        for talk in list(self._running):
            assert talk.stream is not None
            fault = faults.get(talk.stream.handle)
            if isinstance(fault, Exception):
                attempt(talk.stream.cancel)
                self._end(talk, fault_of(fault))
            else:
                self._take(talk)

    def _open(self, wish: Wish) -> ReplyStream:
        stream, most = wish.open(self.model), self.limits.prompt_tokens
        if most is not None and stream.prompt_tokens > most:
            stream.cancel()
            raise Fault(f"the conversation has {stream.prompt_tokens} tokens, and this server's limit is {most}")
        if wish.scored:
            scored = attempt(stream.tell_prompt)
            if isinstance(scored, Exception):
                stream.cancel()
                raise scored
        return stream

    def _take(self, talk: Talk) -> None:
        """What a reply has said since."""
        assert talk.stream is not None
        pieces = talk.stream.take_pieces()
        talk.told = min(talk.told, len(talk.stream.tokens))  # some may have been taken back
        tokens = tuple(talk.stream.tokens[talk.told :])
        if tokens and (pieces or talk.stream.reply):
            talk.told += len(tokens)
            self._tell(talk, tokens)
        for piece in pieces:
            self._tell(talk, piece)
        if talk.stream.reply is not None:
            self._end(talk, talk.stream.reply)

    def _fail(self, fault: Exception) -> None:
        """The engine's step has failed: nobody knows for whom, so all replies under way end, and nothing is kept."""
        for talk in list(self._running):
            assert talk.stream is not None
            attempt(talk.stream.cancel)
            self._end(talk, fault_of(fault))
        attempt(self.model.engine.forget)

    def _cancel(self, key: tuple[str, int]) -> bool:
        """End a reply, whether it waits or runs; false where there is none."""
        talk = self._talks.get(key)
        if talk is None:
            return False
        if talk.stream is None:
            self._line.remove(talk.exchange.who, talk)
            self._end(talk, Fault("cancelled before its turn", status=499, code="cancelled"))
        else:
            ended = attempt(talk.stream.cancel)
            self._end(talk, fault_of(ended)) if isinstance(ended, Exception) else self._take(talk)
        return True

    def _steer(self, identifier: str, index: int | None, action: str, given: dict[str, Any]) -> bool:
        keys = [key for key in self._talks if key[0] == identifier and index in (None, key[1])]
        if action == "cancel":
            return any([self._cancel(key) for key in keys])
        streams = [self._talks[key].stream for key in keys]
        return any([one is not None and steer(one, action, **given) for one in streams])

    def _tell(self, talk: Talk, event: Event) -> None:
        self._mail.append((talk.exchange, talk.index, event))

    def _end(self, talk: Talk, event: Reply | Fault) -> None:
        del self._talks[talk.exchange.id, talk.index]
        if talk in self._running:
            self._running.remove(talk)
        self._tell(talk, event)

    def _post(self) -> None:
        """Carry what has come over to the loop, once a step."""
        if self._mail:
            mail, self._mail = self._mail, []
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._deliver, mail)

    def _close(self) -> None:
        for talk in list(self._talks.values()):
            if talk.stream is not None:
                attempt(talk.stream.cancel)
            self._end(talk, Fault(ENDED, status=503))
        self._post()
        self._stopped = True


def steer(stream: ReplyStream, action: str, text: str | None, tokens: int | None) -> bool:
    """Tell a reply's stream what is wished; whether it can be had."""
    if action == "add":
        return stream.add(text or "")
    if action == "think_on":
        return stream.think_on(tokens or MORE_TOKENS)
    return {"answer_now": stream.answer_now, "pause": stream.pause, "resume": stream.resume}[action]()


def attempt(work: Callable[..., Value], *given: Any) -> Value | Exception:
    """What a piece of work gives, or how it failed: one reply's fault must not end the thread that all live from."""
    try:
        return work(*given)
    except Exception as error:
        if not isinstance(error, UserError | Fault):
            LOG.error("a fault at the desk", exc_info=error)
        return error
