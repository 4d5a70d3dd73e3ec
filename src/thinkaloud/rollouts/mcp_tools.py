"""Tools of MCP servers: processes that are started, asked what they offer, and called.

Knows: the mcp SDK. Doesn't know: who calls. One thread with a loop of its own holds the sessions, so that any thread
may call.
"""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any

from thinkaloud.base.errors import UserError
from thinkaloud.rollouts.tools import Failed, Tool

if TYPE_CHECKING:
    from mcp import Client

PAUSE = 1.0
"Seconds before a server that could not be started again is tried once more."
START_SECONDS = 120.0
"How long the servers may take until all have said what they offer."


class McpServers:
    """`with McpServers(["python server.py"]) as servers: servers.tools`."""

    def __init__(self, commands: Sequence[str]) -> None:
        """UserError for a command that is none, and where the SDK is not installed."""
        if find_spec("mcp") is None:
            raise UserError("MCP servers need the mcp SDK: pip install 'thinkaloud[mcp]'")
        self.tools: list[Tool] = []
        try:
            self._commands = [shlex.split(command) for command in commands]
        except ValueError as error:
            raise UserError(f"an MCP server's command can't be read ({error}): quote it as in a shell") from None
        if not all(self._commands):
            raise UserError('an MCP server\'s command is empty: give it as in --mcp "python server.py"')
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._stop = asyncio.Event()
        self._ended: Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> "McpServers":
        ready = Future[list[Tool]]()

        def ended(future: Future[None]) -> None:
            if not ready.done() and not future.cancelled():
                ready.set_exception(future.exception() or EOFError("it has ended"))

        self._thread.start()
        self._ended = asyncio.run_coroutine_threadsafe(self._hold(ready), self._loop)
        self._ended.add_done_callback(ended)
        try:
            fault = ready.exception(START_SECONDS)
        except TimeoutError:
            fault = TimeoutError(f"no answer within {START_SECONDS:.0f} s")
        if fault is not None:
            self.close()
            said = f"{type(_first(fault)).__name__}: {_first(fault)}"
            raise UserError(f"an MCP server does not start ({said}): try its command in a shell")
        self.tools = ready.result()
        names = [tool.name for tool in self.tools]
        if len(set(names)) < len(names):
            self.close()
            raise UserError("two tools of the MCP servers have one name: leave one of the servers out")
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the servers."""
        if self._thread.is_alive():
            if self._task is not None:
                self._loop.call_soon_threadsafe(self._stop.set if self.tools else self._task.cancel)
            wait([self._ended] if self._ended else [], START_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _hold(self, ready: "Future[list[Tool]]") -> None:
        """Hold all sessions until the end, each in a task of its own: the SDK wants it left where it was entered."""
        self._task = asyncio.current_task()
        async with asyncio.TaskGroup() as group:
            held = [_Held(command, self._loop) for command in self._commands]
            for one in held:
                group.create_task(one.hold(self._stop))
            ready.set_result([tool for one in held for tool in await one.offered])


class _Held:
    """One server: its process and its session, begun anew where they have ended."""

    def __init__(self, command: Sequence[str], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.offered: asyncio.Future[list[Tool]] = loop.create_future()
        self._command, self._broken = command, asyncio.Event()
        self._client: Client | None = None

    async def hold(self, stop: asyncio.Event) -> None:
        """Until `stop`; what goes wrong before it has offered its tools is raised."""
        from mcp.shared.exceptions import MCPError

        while not stop.is_set():
            try:
                await self._once(stop)
            except (OSError, MCPError, BaseExceptionGroup):
                if not self.offered.done():
                    raise
                await asyncio.sleep(PAUSE)

    async def _once(self, stop: asyncio.Event) -> None:
        """One process of it, from its start to its end."""
        from mcp import Client, StdioServerParameters

        program, *arguments = self._command
        self._broken.clear()
        async with Client(StdioServerParameters(command=program, args=arguments)) as client:
            if not self.offered.done():
                tools = (await client.list_tools()).tools
                self.offered.set_result([McpTool(self, one) for one in tools])
            self._client = client
            ends = [asyncio.create_task(event.wait()) for event in (stop, self._broken)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for one in ends:
                one.cancel()

    async def call(self, name: str, arguments: dict[str, Any], seconds: float) -> Any:
        """A tool's result. Failed where there is none; a server that has ended is then started again."""
        from mcp.shared.exceptions import MCPError
        from mcp.types import CONNECTION_CLOSED

        if self._client is None:
            raise Failed("the tool's server has ended, and is being started again")
        try:
            return await asyncio.wait_for(self._client.call_tool(name, arguments), seconds)
        except TimeoutError:
            raise Failed(f"no result within {seconds:g} s") from None
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._client = None
                self._broken.set()
            raise Failed(f"{type(error).__name__}: {error}") from None


class McpTool:
    """One tool of a server."""

    def __init__(self, server: _Held, offered: Any) -> None:
        self.name: str = offered.name
        self.description: str = offered.description or ""
        self.parameters: Mapping[str, Any] = offered.input_schema
        self._server = server

    def run(self, arguments: Mapping[str, Any], seconds: float) -> str:
        """The texts of its result."""
        from mcp.types import TextContent

        call = self._server.call(self.name, dict(arguments), seconds)
        future = asyncio.run_coroutine_threadsafe(call, self._server.loop)
        error = future.exception()
        if error is not None:
            raise error if isinstance(error, Failed) else Failed(f"{type(error).__name__}: {error}")
        result = future.result()
        text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
        if result.is_error:
            raise Failed(text or "the tool failed")
        return text


def _first(error: BaseException) -> BaseException:
    """The error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
