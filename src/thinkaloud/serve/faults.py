"""What goes wrong with a request, told as OpenAI's API tells it. Knows bodies and statuses; doesn't know: models."""

import difflib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from thinkaloud.base.errors import UserError

KINDS = {401: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error", 500: "server_error"}
CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
WIDEST = 500
"Characters of a message at most: what a user sent is quoted in part only."


class Fault(Exception):
    """A request that gets no reply, and why."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code or CODES.get(status), headers

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error body."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": printable(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def fault_of(error: BaseException) -> Fault:
    """What its client is told of a failure."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, UserError):
        return Fault(str(error))
    return Fault(f"the server failed on this request ({type(error).__name__})", status=500)


def printable(what: object) -> str:
    """A text as it can go into a body, whatever a user sent."""
    text = str(what).encode("utf-8", "replace").decode()
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Fault:
    """The fault of a status that the framework gives by itself (no such path, no such method), or a route."""
    words = {404: "there is nothing at this path: see /openapi.json", 405: "this path knows other methods only"}
    said = words.get(status, detail) if detail == HTTPStatus(status).phrase else detail
    return Fault(said, status=400 if status == 422 else status, headers=headers)


def of_body(schema: Any, errors: Sequence[Mapping[str, Any]]) -> Fault:
    """The fault of a body that its schema refuses.

    What a shape says in its own words goes before all others, then an unknown name, then the deepest error; of those
    last one about a value, for one about a type may be of a member of a union that nobody meant.
    """
    first = max(errors, key=_weight)
    path, known = _walk(schema, [part for part in first["loc"] if part not in ("body", "query", "path")])
    name = ".".join(map(str, path)) or None
    if first["type"] == "json_invalid":
        return Fault(f"the body is not JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.0)
        hint = f": did you mean {near[0]}?" if near else ""
        return Fault(f"unknown field {name}{hint}", param=name, code="unknown_parameter")
    if first["type"] == "missing":
        what = (
            f"the field {name} is missing" if name else "the request has no JSON body (Content-Type: application/json)"
        )
        return Fault(what, param=name, code="missing_required_parameter")
    if name is None:
        return Fault("the body must be a JSON object, sent as Content-Type: application/json")
    said = first["msg"].removeprefix("Value error, ")
    return Fault(f"{name}: {said[:1].lower()}{said[1:]}", param=name, code="invalid_value")


def _weight(error: Mapping[str, Any]) -> tuple[bool, bool, int, bool]:
    kind = error["type"]
    return kind == "value_error", kind == "extra_forbidden", len(error["loc"]), not kind.endswith("_type")


def _walk(schema: Any, location: Sequence[str | int]) -> tuple[list[str | int], list[str]]:
    """The user's own path of an error, and the names known where it lies.

    A location also holds the member of a union that was tried, which no user wrote: such parts are left out.
    """
    path: list[str | int] = []
    known: list[str] = []
    for part in location:
        options = _members(schema)
        models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        lists = [one for one in options if get_origin(one) is list]
        if isinstance(part, int):
            schema = get_args(lists[0])[0] if lists else Any
        elif any(part == one.__name__ for one in models) and len(options) > 1:
            schema = next(one for one in models if one.__name__ == part)
            continue
        elif len(options) > 1:  # the name of a plain type that was tried
            schema = lists[0] if part.startswith("list") and lists else Any
            continue
        elif models:
            known = [name for one in models for name in one.model_fields]
            fields = [one.model_fields[part] for one in models if part in one.model_fields]
            schema = fields[0].annotation if fields else Any
        path.append(part)
    return path, known


def _members(schema: Any) -> list[Any]:
    """The types that a field may have, without null and without what is said of them."""
    if get_origin(schema) is Annotated:
        return _members(get_args(schema)[0])
    if get_origin(schema) in (Union, UnionType):
        return [each for one in get_args(schema) if one is not NoneType for each in _members(one)]
    return [schema]
