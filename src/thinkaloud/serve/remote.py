"""Another server as the voice: vLLM, or any that continues a prompt, led through the same thought by prefixes.

Knows: the other server's connection, whose turn it is. Doesn't know: our own shapes. Its model must be the one whose
tokenizer and template are at hand.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import httpx2

from thinkaloud.base.errors import UserError
from thinkaloud.inference.defaults import Defaults
from thinkaloud.serve.course import Course
from thinkaloud.serve.exchange import Exchange, Opened, Wish
from thinkaloud.serve.faults import Fault
from thinkaloud.serve.line import Limits, check_room
from thinkaloud.text import ChatTemplate

SECONDS = 3600.0
CONNECT_SECONDS = 10.0


class Remote:
    """A voice that asks `url` (its /v1) for the model `name`."""

    def __init__(self, url: str, name: str, template: ChatTemplate, defaults: Defaults, limits: Limits) -> None:
        self.url, self.name, self.template, self.defaults, self.limits = (
            url.rstrip("/"),
            name,
            template,
            defaults,
            limits,
        )
        self.waiting = self.running = 0
        self._courses: dict[tuple[str, int], Course] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._client: httpx2.AsyncClient | None = None
        self._rows = asyncio.Semaphore(limits.rows)

    def start(self) -> None:
        """Open the connections."""
        self._client = httpx2.AsyncClient(timeout=httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS))

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def ask(self, wishes: Sequence[Wish], who: str, identifier: str) -> Exchange:
        """Begin to ask."""
        check_room(self.limits, self.waiting, self.running, len(wishes))
        exchange = Exchange(wishes, who, identifier)
        for index in range(len(wishes)):
            self.waiting += 1
            task = asyncio.create_task(self._lead(exchange, index))
            self._tasks[exchange.id, index] = task
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Nobody listens any more."""
        for index in sorted(exchange.open):
            self._tasks[exchange.id, index].cancel()

    async def steer(self, identifier: str, index: int | None, action: str, **given: Any) -> bool:
        """Change the course of a reply; it is seen when the next piece comes."""
        keys = [key for key in self._tasks if key[0] == identifier and index in (None, key[1])]
        if action == "cancel":
            return any([self._tasks[key].cancel() for key in keys])
        return any([key in self._courses and self._courses[key].steer(action, **given) for key in keys])

    async def _lead(self, exchange: Exchange, index: int) -> None:
        """One reply from its turn to its end."""
        key, had_turn = (exchange.id, index), False
        try:
            async with self._rows:
                self.waiting, self.running, had_turn = self.waiting - 1, self.running + 1, True
                course = Course(self.template, self.defaults, exchange.wishes[index])
                self._courses[key] = course
                exchange.put(index, Opened())
                async for event in course.run(self.continued):
                    exchange.put(index, event)
        except asyncio.CancelledError:
            exchange.put(index, Fault("cancelled", status=499, code="cancelled"))
        except UserError as error:
            exchange.put(index, Fault(str(error)))
        except Fault as fault:
            exchange.put(index, fault)
        except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            said = f"the server behind this one failed ({type(error).__name__}: {error})"
            exchange.put(index, Fault(said, status=502, code="bad_gateway"))
        finally:
            self.running -= had_turn
            self.waiting -= not had_turn
            self._courses.pop(key, None)
            del self._tasks[key]

    async def continued(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """The choices of a completion's chunks, as they come; whoever leaves early ends it there too."""
        assert self._client is not None
        whole = {"model": self.name, "stream": True, **body}
        async with self._client.stream("POST", f"{self.url}/completions", json=whole) as response:
            if response.status_code != 200:
                said = (await response.aread()).decode(errors="replace")[:300]
                raise Fault(f"the server behind this one refuses: {response.status_code} {said}", status=502)
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line.strip() == "data: [DONE]":
                    continue
                for choice in json.loads(line[5:])["choices"]:
                    yield choice
