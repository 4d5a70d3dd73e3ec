"""What is asked of a model, and the replies as they come. Knows event loops; doesn't know: who replies, HTTP."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thinkaloud.inference import ReasoningModel, Reply
from thinkaloud.inference.replies import ReplyStream, SaidToken
from thinkaloud.rollouts.tools import Ran
from thinkaloud.serve.faults import Fault
from thinkaloud.text import Message, Piece


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One reply that is asked for: to a conversation, or the continuation of a prompt."""

    messages: tuple[Message, ...] = ()
    "the conversation"
    prompt: str | tuple[int, ...] | None = None
    "instead of it: what goes on as it stands"
    settings: Mapping[str, Any] = field(default_factory=dict)
    "how: as `ReasoningModel.stream` takes it, or `ReasoningModel.go_on` for a prompt"

    scored: bool = False
    "whether the prompt's own tokens are told too, with their log-probs"

    def open(self, model: ReasoningModel) -> ReplyStream:
        """Ask a model of ours just what was sent. UserError for what it can't take."""
        if self.prompt is None:
            return model.stream(self.messages, instruction="", **self.settings)
        return model.go_on(self.prompt, **self.settings)


def new_id(prefix: str) -> str:
    """The name of a reply, which nobody can guess."""
    return f"{prefix}-{secrets.token_hex(12)}"


class Opened:
    """A reply has its turn, and its request is one that the model can take."""


Tokens = tuple[SaidToken, ...]
"Tokens with their log-probs, told before the piece that they make."
Said = Piece | Tokens | Ran | Reply
"What a reply tells: pieces, its tokens where they are asked for, calls that the server made; the whole at its end."
Event = Opened | Said | Fault


class Exchange:
    """The replies to one request under way, filled by whoever speaks and read by one coroutine."""

    ran: Sequence[Ran] = ()

    def __init__(self, wishes: Sequence[Wish], who: str, identifier: str) -> None:
        self.id = identifier
        self.created = int(time.time())
        self.wishes, self.who = tuple(wishes), who
        self.begun = time.monotonic()
        self.first: float | None = None
        "when the first token came"
        self._events = asyncio.Queue[tuple[int, Event]]()
        self._held: list[tuple[int, Event]] = []
        self.waiting = set(range(len(self.wishes)))
        "those that have not had their turn"
        self.open = set(range(len(self.wishes)))
        "those that have not ended"

    def put(self, index: int, event: Event) -> None:
        """Something has come; called in the loop only."""
        self.waiting.discard(index)
        if self.first is None and isinstance(event, Piece):
            self.first = time.monotonic()
        if isinstance(event, Reply | Fault):
            self.open.discard(index)
        self._events.put_nowait((index, event))

    async def opened(self) -> None:
        """Waits until every reply has had its turn; a fault that comes before is raised."""
        left = set(range(len(self.wishes)))
        while left:
            index, event = await self._events.get()
            if isinstance(event, Fault):
                raise event
            left.discard(index)
            if not isinstance(event, Opened):
                self._held.append((index, event))

    async def __aiter__(self) -> AsyncIterator[tuple[int, Said]]:
        """What comes, until the last reply; a fault ends all."""
        left = len(self.wishes)
        while left:
            index, event = self._held.pop(0) if self._held else await self._events.get()
            if isinstance(event, Fault):
                raise event
            if isinstance(event, Opened):
                continue
            left -= isinstance(event, Reply)
            yield index, event

    async def replies(self) -> list[Reply]:
        """All replies, each whole."""
        found: dict[int, Reply] = {}
        async for index, event in self:
            if isinstance(event, Reply):
                found[index] = event
        return [found[index] for index in range(len(self.wishes))]
