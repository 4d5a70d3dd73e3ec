"""Responses that are kept for a while, so that later ones can go on from them.

Knows: whose they are, how many may stay. Doesn't know: HTTP, how a response is told. It is lost with the process.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinkaloud.serve.faults import Fault, printable
from thinkaloud.text import Message

MOST_CHARACTERS = 64_000_000
"Of all that is kept together; a conversation counts once for each response in it."


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A response, and what it ended."""

    who: str
    "the key that asked for it: nobody else finds it"
    messages: tuple[Message, ...]
    "the conversation, the reply and its thought included, instructions left out"
    body: Mapping[str, Any]
    "the response as it was told"

    @property
    def size(self) -> int:
        """Its characters, about."""
        return sum(len(repr(one)) for one in self.messages) + len(json.dumps(self.body))


class Memory:
    """At most so many responses; the oldest go first."""

    def __init__(self, most: int, characters: int = MOST_CHARACTERS) -> None:
        self._most, self._characters = most, characters
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()
        self._size = 0

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._most > 0

    def keep(self, kept: Kept) -> None:
        """One more."""
        size = kept.size
        self._kept[kept.body["id"]] = kept, size
        self._size += size
        while len(self._kept) > self._most or self._size > self._characters:
            _, (_, gone) = self._kept.popitem(last=False)
            self._size -= gone

    def find(self, identifier: str, who: str) -> Kept:
        """The response of that name. Fault 404 where there is none, or it is another key's."""
        kept, _ = self._kept.get(identifier, (None, 0))
        if kept is None or kept.who != who:
            said = f"the response {printable(identifier)!r} is not kept here: it was never stored, or is forgotten"
            raise Fault(said, status=404)
        return kept

    def drop(self, identifier: str, who: str) -> None:
        """Forget it; Fault 404 as for `find`."""
        self.find(identifier, who)
        self._size -= self._kept.pop(identifier)[1]
