"""Who may ask, how much, and whose turn it is. Knows keys, limits, the queue; doesn't know: models, HTTP."""

import hashlib
import hmac
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from thinkaloud.base.errors import UserError
from thinkaloud.serve.faults import Fault

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server allows."""

    requests_a_minute: int | None = None
    "of one key; None: as many as it likes"
    concurrent: int | None = None
    "requests of one key under way, waiting ones included; None: as many as it likes"
    queue: int = 256
    "replies that may wait for a row, of all keys together"
    rows: int = 64
    "replies that run at a time"
    body_bytes: int = 4_000_000
    "of a request"
    prompt_tokens: int | None = None
    "of a conversation; None: as many as the model's context takes"
    max_tokens: int | None = None
    "most that one reply may ask for; None: as many as the context takes"
    choices: int = 16
    "replies that one request may ask for"
    kept: int = 1000
    "responses kept for those that go on from them; 0: none"
    drain_seconds: float = 30.0
    "how long replies under way may go on once the server is told to stop"
    tool_rounds: int = 8
    "rounds of calls that the server's own tools may take in one reply"
    tool_seconds: float = 20.0
    "wall time of one call of such a tool"


class Gate:
    """Lets a request in or refuses it: its key, and how much that key has asked for."""

    def __init__(self, keys: Iterable[str], limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Without `keys` everyone may ask, and is one and the same."""
        self._keys = {_digest(key): f"key {number}" for number, key in enumerate(keys, 1)}
        self._limits, self._clock = limits, clock
        self._asked: dict[str, deque[float]] = {}
        self._under_way: dict[str, int] = {}

    @property
    def locked(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._keys)

    def who(self, authorization: str | None) -> str:
        """The name of the key that a header carries. Fault 401 for one that is unknown."""
        if not self._keys:
            return "anyone"
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        names = [name for known, name in self._keys.items() if hmac.compare_digest(known, given)]
        if scheme.lower() != "bearer" or not names:
            raise Fault("the API key is missing or unknown: send it as Authorization: Bearer KEY", status=401)
        return names[0]

    def enter(self, who: str) -> None:
        """A request begins; Fault 429 where its key has had its share. Each is followed by `leave`."""
        now, limits = self._clock(), self._limits
        asked = self._asked.setdefault(who, deque())
        while asked and asked[0] <= now - 60:
            asked.popleft()
        if limits.requests_a_minute is not None and len(asked) >= limits.requests_a_minute:
            raise too_many(f"{limits.requests_a_minute} requests a minute are allowed", asked[0] + 60 - now)
        if limits.concurrent is not None and self._under_way.get(who, 0) >= limits.concurrent:
            raise too_many(f"{limits.concurrent} requests at a time are allowed", 1)
        if limits.requests_a_minute is not None:
            asked.append(now)
        self._under_way[who] = self._under_way.get(who, 0) + 1

    def leave(self, who: str) -> None:
        """A request has ended."""
        self._under_way[who] -= 1


def check_room(limits: Limits, waiting: int, running: int, more: int) -> None:
    """Fault 429 where so many more replies would find neither a row nor a place in the queue; an idle server tries."""
    if waiting + running and waiting + running + more > limits.rows + limits.queue:
        raise too_many(f"{waiting} replies wait already", 1 + waiting // max(1, limits.rows))


def too_many(said: str, seconds: float) -> Fault:
    """A refusal that says when to come again."""
    wait = max(1, int(seconds + 0.999))
    headers = {"Retry-After": str(wait)}
    return Fault(f"{said}: ask again in {wait} s", status=429, code="rate_limit_exceeded", headers=headers)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def read_keys(text: str, source: str) -> list[str]:
    """The keys of a file: one a line, empty lines and comments left out."""
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        raise UserError(f"{source} holds no key: write one a line")
    return keys


class Line(Generic[Item]):
    """Who waits, by key: the keys take turns, and within a key the first that came is the first that goes."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, who: str, item: Item) -> None:
        """One more waits."""
        self._waiting.setdefault(who, deque()).append(item)

    def remove(self, who: str, item: Item) -> bool:
        """It waits no longer; false where it did not."""
        queue = self._waiting.get(who, deque())
        if item not in queue:
            return False
        queue.remove(item)
        if not queue:
            del self._waiting[who]
        return True

    def next(self) -> Item | None:
        """Whose turn it is."""
        if not self._waiting:
            return None
        who, queue = self._waiting.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._waiting[who] = queue  # behind the other keys
        return item
