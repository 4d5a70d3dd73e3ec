"""The door that every request comes through: its key, the size and form of its body, its count.

Knows: ASGI. Doesn't know: what is asked. A body is read whole before anyone sees it: what can't be JSON ends here.
"""

import asyncio
import json
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkaloud.serve.faults import Fault
from thinkaloud.serve.line import Gate, Limits
from thinkaloud.serve.measures import Measures

BODY_SECONDS = 60.0
"How long a client may take to send its body."
DEEPEST = 100
"How many lists and objects of a body may lie in one another."
LOCKED = ("/v1", "/api", "/metrics")
"What a key is asked for, where there are keys: not the page itself, nor whether the server is well."
NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class Door:
    """ASGI around the application."""

    def __init__(self, app: ASGIApp, gate: Gate, limits: Limits, measures: Measures) -> None:
        self.app, self.gate, self.limits, self.measures = app, gate, limits, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                message["headers"] = headers if NO_SNIFFING in headers else [*headers, NO_SNIFFING]
                self.measures.requests.labels(_endpoint(scope), str(message["status"])).inc()
            await send(message)

        try:
            if scope["path"].startswith(LOCKED):
                headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
                scope.setdefault("state", {})["who"] = self.gate.who(headers.get(b"authorization"))
            inner = receive
            if scope["method"] in ("POST", "PUT", "PATCH"):
                inner = await self._read(receive)
        except Fault as fault:
            await fault.response(scope, receive, told)
            return
        await self.app(scope, inner, told)

    async def _read(self, receive: Receive) -> Receive:
        """The body, read and looked at, and then handed on."""
        pieces: list[Message] = []
        size, more = 0, True
        while more:
            try:
                message = await asyncio.wait_for(receive(), BODY_SECONDS)
            except TimeoutError:
                raise Fault(f"the body did not come within {BODY_SECONDS:.0f} s", status=408) from None
            pieces.append(message)
            size += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if size > self.limits.body_bytes:
                limit = self.limits.body_bytes
                raise Fault(f"the body has more than {limit:,} bytes, which is this server's limit", status=413)
        check_json(b"".join(message.get("body", b"") for message in pieces))

        async def again() -> Message:
            return pieces.pop(0) if pieces else await receive()

        return again


def check_json(body: bytes) -> None:
    """Fault for a body that Python would read as JSON although it is none that could be told on."""
    try:
        value = json.loads(body, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Fault("the body holds half a surrogate pair (\\ud800 to \\udfff): no text can hold that") from None
    except RecursionError:
        raise Fault(f"the body is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise Fault(f"the body is not JSON: {error}") from None
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        if not level:
            return
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [each for one in inner for each in one]
    raise Fault(f"the body is nested more than {DEEPEST} deep")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _endpoint(scope: Scope) -> str:
    """The path as a label: those of no route are one, so that nobody can fill the memory with made-up ones."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "other"
