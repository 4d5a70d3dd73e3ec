"""A reply whose tools the server runs itself: one exchange after another, told as one.

Knows: the loop, exchanges. Doesn't know: what the tools do, HTTP's shapes.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from thinkaloud.inference import Reply, Usage
from thinkaloud.rollouts.tools import Ran, Tool, ToolLimits, ToolLoop
from thinkaloud.serve.exchange import Exchange, Said, Wish
from thinkaloud.text import Piece


class Looped:
    """The one reply to a wish, and the calls that were made for it."""

    def __init__(
        self, ask: Callable[[Wish, str | None], Exchange], wish: Wish, tools: Sequence[Tool], limits: ToolLimits
    ) -> None:
        """`ask` puts a wish into the line, under the identifier of the first where there was one."""
        self._loop = ToolLoop(wish.messages, tools, limits)
        own = list(wish.settings.get("tools", ()))
        self._wish = replace(wish, settings={**wish.settings, "tools": [*own, *self._loop.definitions]})
        self._ask = ask
        self._exchange = ask(self._wish, None)
        self.id, self.created = self._exchange.id, self._exchange.created
        self._turns: list[Reply] = []

    @property
    def ran(self) -> Sequence[Ran]:
        """The calls so far."""
        return self._loop.ran

    async def opened(self) -> None:
        """Waits for the first turn."""
        await self._exchange.opened()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Said]]:
        """What is said and what is run, as it comes; at the end all turns as one reply."""
        while True:
            held: list[Piece] = []  # calls: whether they are run here is known at the end of the turn
            thought = any(turn.thinking for turn in self._turns)  # then a line end parts it from this turn's
            async for index, event in self._exchange:
                if isinstance(event, Reply):
                    self._turns.append(event)
                elif isinstance(event, Piece) and event.kind == "tool_call":
                    held.append(event)
                else:
                    if thought and isinstance(event, Piece) and event.kind == "thinking":
                        thought = False
                        yield index, Piece("thinking", "\n")
                    yield index, event
            told = len(self._loop.ran)
            messages = await asyncio.to_thread(self._loop.after, self._turns[-1])
            if messages is None:
                for piece in held:
                    yield 0, piece
                yield 0, merged(self._turns)
                return
            for ran in self._loop.ran[told:]:
                yield 0, ran
            settings = dict(self._wish.settings)
            if not self._loop.may_call:
                settings["tool_choice"] = "none"
            elif settings.get("tool_choice") not in (None, "none"):
                settings["tool_choice"] = "auto"  # what had to be called was called
            wish = replace(self._wish, messages=tuple(messages), settings=settings)
            self._exchange = self._ask(wish, self.id)

    async def replies(self) -> list[Reply]:
        """It alone, whole."""
        return [event async for _, event in self if isinstance(event, Reply)]


def merged(turns: Sequence[Reply]) -> Reply:
    """Several turns as one reply: all that was thought, said and paid."""
    last = turns[-1]
    usage = Usage(
        **{one.name: sum(getattr(turn.usage, one.name) for turn in turns) for one in dataclasses.fields(Usage)}
    )
    return replace(
        last,
        thinking="\n".join(turn.thinking for turn in turns if turn.thinking),
        answer="".join(turn.answer for turn in turns),
        usage=usage,
        tokens=tuple(token for turn in turns for token in turn.tokens),
    )
