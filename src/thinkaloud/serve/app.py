"""The routes of a server, put together. Knows paths and which room answers each; doesn't know: models, processes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from thinkaloud.base.errors import UserError
from thinkaloud.rollouts.tools import ToolLimits
from thinkaloud.serve.chat import Chat
from thinkaloud.serve.completions import Completions
from thinkaloud.serve.doors import Door
from thinkaloud.serve.exchange import Exchange, Wish, new_id
from thinkaloud.serve.faults import Fault, of_body, of_status, printable
from thinkaloud.serve.looped import Looped
from thinkaloud.serve.pages import page_router
from thinkaloud.serve.response_shapes import ResponseBody
from thinkaloud.serve.responses import Responses, earlier
from thinkaloud.serve.runs import runs_router
from thinkaloud.serve.shapes import ChatBody, CompletionBody, ControlBody
from thinkaloud.serve.visit import Replies, Service, Visit, respond
from thinkaloud.serve.wishes import chat_wishes, completion_wishes, response_wishes

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")},
        }
    },
}
BODIES = {"chat_completions": ChatBody, "responses": ResponseBody, "completions": CompletionBody}


def build(service: Service, runs: Path | None = None) -> FastAPI:
    """The application; it starts the voice and stops it. `runs` is a folder of runs to be looked at."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.voice.start()
        yield
        await service.voice.stop()

    app = FastAPI(title="thinkaloud", lifespan=life, docs_url=None, redoc_url=None)
    app.add_middleware(Door, gate=service.gate, limits=service.limits, measures=service.measures)
    _tell_faults(app)
    _routes(app, service)
    _look(app, service)
    app.include_router(page_router())
    if runs is not None:
        app.include_router(runs_router(runs))
    return app


def _tell_faults(app: FastAPI) -> None:
    """Everything that goes wrong is told in OpenAI's body."""

    @app.exception_handler(Fault)
    async def fault(request: Request, error: Fault) -> Response:
        return error.response

    @app.exception_handler(UserError)
    async def mistake(request: Request, error: UserError) -> Response:
        return Fault(str(error)).response

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, error: RequestValidationError) -> Response:
        return of_body(BODIES.get(request.scope["endpoint"].__name__, ControlBody), error.errors()).response

    @app.exception_handler(HTTPException)
    async def status(request: Request, error: HTTPException) -> Response:
        return of_status(error.status_code, error.detail, error.headers).response

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return Fault(f"the server failed on this request ({type(error).__name__})", status=500).response


def _routes(app: FastAPI, service: Service) -> None:
    """Where replies are asked for."""
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": words, "content": {"application/json": {"schema": ERROR}}}
        for status, words in ((400, "a mistake"), (401, "no key"), (404, "no such model"), (429, "too much at once"))
    }

    @app.post("/v1/chat/completions", responses=errors)
    async def chat_completions(body: ChatBody, request: Request) -> Response:
        """A reply to a conversation, thought first."""
        service.check_model(body.model)
        wishes = chat_wishes(body, service)
        shape = Chat(body, service, wishes[0])
        return await respond(
            service,
            request,
            lambda visit: _asked(visit, wishes, body.server_tools),
            whole=shape.whole,
            stream=shape.chunks if body.stream else None,
            headers=_ignored(body.ignored),
        )

    @app.post("/v1/responses", responses=errors)
    async def responses(body: ResponseBody, request: Request) -> Response:
        """The same as items."""
        service.check_model(body.model)
        wishes = response_wishes(body, service, earlier(body, service, request.state.who))
        shape = Responses(body, service, wishes[0], request.state.who)
        return await respond(
            service,
            request,
            lambda visit: visit.ask(wishes, new_id("resp")),
            whole=shape.whole,
            stream=shape.events if body.stream else None,
            headers=_ignored(body.ignored),
        )

    @app.get("/v1/responses/{identifier}", responses=errors)
    async def response(identifier: str, request: Request) -> dict[str, Any]:
        """A response that was stored."""
        return dict(service.memory.find(identifier, request.state.who).body)

    @app.delete("/v1/responses/{identifier}", responses=errors)
    async def forget(identifier: str, request: Request) -> dict[str, Any]:
        """Forget it."""
        service.memory.drop(identifier, request.state.who)
        return {"id": identifier, "object": "response", "deleted": True}

    @app.post("/v1/completions", responses=errors)
    async def completions(body: CompletionBody, request: Request) -> Response:
        """A text that goes on."""
        service.check_model(body.model)
        wishes = completion_wishes(body, service)
        shape = Completions(body, service, wishes)
        return await respond(
            service,
            request,
            lambda visit: visit.ask(wishes, new_id("cmpl")),
            whole=shape.whole,
            stream=shape.chunks if body.stream else None,
            headers=_ignored(body.ignored),
        )

    @app.post("/v1/chat/completions/control", responses=errors)
    async def control(body: ControlBody) -> dict[str, Any]:
        """Change the course of a reply under way."""
        if body.action == "add" and not body.text:
            raise Fault("add needs text", param="text", code="missing_required_parameter")
        given = {"text": body.text, "tokens": body.tokens}
        done = await service.voice.steer(body.id, body.index, body.action, **given)
        return {"id": body.id, "done": done}


def _look(app: FastAPI, service: Service) -> None:
    """What can be looked at."""
    entry = {"id": service.name, "object": "model", "created": service.created, "owned_by": "thinkaloud"}
    entry["thinkaloud"] = dict(service.about)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model of this server."""
        return {"object": "list", "data": [entry]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """It alone."""
        service.check_model(name)
        return entry

    @app.get("/health")
    async def health() -> Response:
        """Whether it takes requests."""
        words = {"status": "closing" if service.closing else "ok", "model": service.name}
        counts = {"waiting": service.voice.waiting, "running": service.voice.running}
        return JSONResponse(words | counts, 503 if service.closing else 200)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts for Prometheus."""
        service.measures.waiting.set(service.voice.waiting)
        service.measures.running.set(service.voice.running)
        return PlainTextResponse(service.measures.text(), media_type=PROMETHEUS)


def _asked(visit: Visit, wishes: Sequence[Wish], named: Sequence[str] | None) -> Replies:
    """The replies to a chat's wishes: plain, or with the server's own tools between its turns."""
    if not named:
        return visit.ask(wishes, new_id("chatcmpl"))
    service = visit.service
    for name in named:
        if name not in service.tools:
            known = ", ".join(service.tools) or "none: see thinkaloud serve --help"
            raise Fault(f"the server has no tool {printable(name)!r} (it has {known})", param="server_tools")
    if len(wishes) > 1:
        raise Fault("server_tools go with one reply a request: leave n out", param="n")
    limits = ToolLimits(rounds=service.limits.tool_rounds, seconds=service.limits.tool_seconds)

    def ask(wish: Wish, identifier: str | None) -> Exchange:
        return visit.ask([wish], identifier or new_id("chatcmpl"))

    return Looped(ask, wishes[0], [service.tools[name] for name in named], limits)


def _ignored(names: list[str]) -> Mapping[str, str]:
    """The header that names the fields which mean nothing here."""
    return {"x-thinkaloud-ignored": ", ".join(names)} if names else {}
