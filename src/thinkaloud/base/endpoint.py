"""An address that takes and gives JSON, as OpenAI-compatible servers do: one call, asked again where that may help.

Knows: requests, time limits, retries, the key. Doesn't know: what is asked, nor what an answer means.
"""

import json
import os
import random
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from threading import Event
from typing import Any

from thinkaloud.base.errors import UserError

KEYS = ("THINKALOUD_API_KEY", "OPENAI_API_KEY")
"Environment variables that may hold the server's key, the first that is set counts; it is never written anywhere."
TRIES = 8
WAIT_SECONDS, LONGEST_WAIT = 1.0, 60.0
"Pause after a first failure, doubled each time; with up to half of it left to chance, so that requests spread."
REPLY_SECONDS = 3600.0
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"Statuses after which the same request may succeed."


class Stopped(Exception):
    """Whoever asked does not want the answer any more."""


class Failed(UserError):
    """A server failed as often as it was asked; later it may not."""


class Endpoint:
    """`Endpoint("http://127.0.0.1:8000/v1").call("/models")`; may be called from several threads."""

    def __init__(self, url: str, *, tries: int | None = None, seconds: float = REPLY_SECONDS) -> None:
        """`tries` a call (None: TRIES), `seconds` that one reply may take; UserError for what is no address."""
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query:
            shown = f"{parts.hostname} with a password or a query" if parts.hostname else url
            raise UserError(f"{shown} is no server's address: write it as http://HOST:PORT/v1, the key in {KEYS[0]}")
        self.url, self.tries, self.seconds = url.rstrip("/"), tries or TRIES, seconds

    def call(self, path: str, body: Mapping[str, Any] | None = None, stop: Event | None = None) -> Any:
        """What the server says; asked again after failures that may pass (`Failed`). UserError for those that won't."""
        stop = stop or Event()
        said = ""
        for attempt in range(self.tries):
            if stop.is_set():
                raise Stopped
            try:
                return self._once(path, body)
            except urllib.error.HTTPError as error:
                said = f"{error.code} {_reason(error)}"
                if error.code not in AGAIN:
                    raise UserError(f"{self.url} refuses the request: {said}{_hint(error.code)}") from None
                pause = _asked_to_wait(error)
            except (OSError, HTTPException, ValueError) as error:
                said, pause = f"{type(error).__name__}: {error}", None
            if attempt + 1 < self.tries:
                doubled = min(LONGEST_WAIT, WAIT_SECONDS * 2**attempt)
                stop.wait(doubled * random.uniform(0.5, 1.0) if pause is None else pause)
        raise Failed(
            f"{self.url} failed {self.tries} times ({said}): see to the server, then give the same command again"
        )

    def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=self.seconds) as response:
            return json.loads(response.read())


def _reason(error: urllib.error.HTTPError) -> str:
    """What a server says of a failure, in one line."""
    text = error.read(4000).decode(errors="replace")
    try:
        said = json.loads(text)
        text = str(said["error"]["message"] if isinstance(said["error"], dict) else said["error"])
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:300]


def _hint(status: int) -> str:
    hints = {401: f"; put its key into {KEYS[0]}", 404: "; most addresses end in /v1, and the model must be one of its"}
    return hints.get(status, "")


def _asked_to_wait(error: urllib.error.HTTPError) -> float | None:
    """The seconds that a server asks for."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(error.headers.get("Retry-After", ""))))
    except ValueError:
        return None
