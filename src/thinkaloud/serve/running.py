"""A server from its first moment to its last: port, signals, draining. Knows uvicorn; doesn't know: what is served."""

import asyncio
import errno
import signal
import socket

import uvicorn
from fastapi import FastAPI

from thinkaloud.base.errors import UserError
from thinkaloud.serve.visit import Service

BACKLOG = 512
GRACE_SECONDS = 5
"For clients to hear that their replies were cut, before their connections are."


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. UserError for a port or a host that can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is taken: choose another with --port, or end what listens there") from None
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            raise UserError(f"port {port} may not be had: choose one above 1023 with --port") from None
        raise UserError(f"{host}:{port} can't be listened to ({error}): give an address of this machine") from None
    return listener


def address(listener: socket.socket) -> str:
    """Where it can be reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn that lets replies under way finish: the first signal closes the doors, a second one ends at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        config.timeout_graceful_shutdown = round(service.limits.drain_seconds) + GRACE_SECONDS
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal has come."""
        self.service.closing = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what is under way; what takes longer than it may is ended, and its clients are told."""
        cut = asyncio.create_task(self._cut())
        await super().shutdown(sockets)
        cut.cancel()

    async def _cut(self) -> None:
        await asyncio.sleep(self.service.limits.drain_seconds)
        await self.service.voice.stop()


def run(app: FastAPI, service: Service, listener: socket.socket) -> None:
    """Serve until a signal comes, and then until what is under way has ended, or its time is over."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises what it caught once more at its end
    Server(config, service).run(sockets=[listener])
