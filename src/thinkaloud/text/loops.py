"""Whether a thought goes round in circles, read as it comes.

Knows: tokens and their bytes. Does not know: engines, what becomes of a thought that does.

Two signs: the same tokens over and over; and, for circles in other words, a stretch of text that a compressor makes
next to nothing of, once it has seen the stretch before it, and whose sentences come with the same values whenever they
come. Work that is alike line by line, as a table or a search, has other values in each line.
"""

import re
import zlib
from collections.abc import Callable

import numpy as np

LONGEST = 384
"The longest stretch of tokens whose repetition is looked for."
COPIES, LEAST, LEAST_OF_SHORT = 3, 192, 256
"How often, and over how many tokens, a stretch must come again after its first time; the last where it is short."
SHORT = 16
"Tokens of a stretch that may as well be a row of zeros or a ruled line."
WINDOW = 1024
"Bytes of a stretch of text that must say something new."
NOVELTY = 0.06
"Bytes that a byte of it comes to behind the stretch before it, below which it says nothing new."
VALUES = 1.3
"Sentences for each form of sentence, numbers and single letters left out, above which they are work on new values."
EVERY = 128
"Bytes from one look at the text to the next."
_PERIODS = np.arange(1, LONGEST + 1)
_NEEDED = np.maximum(COPIES * _PERIODS, np.where(_PERIODS < SHORT, LEAST_OF_SHORT, LEAST))


class LoopWatch:
    """Reads one thought: `feed` its tokens."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._begin(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), b"")

    def _begin(self, ids: np.ndarray, ends: np.ndarray, text: bytes) -> None:
        self._count = len(ids)
        self._ids = np.concatenate([ids, np.full(64, -1, dtype=np.int64)])
        self._ends = np.concatenate([ends, np.zeros(64, dtype=np.int64)])
        self._text = bytearray(text)
        self._runs = np.zeros(LONGEST, dtype=np.int64)  # by period - 1: how many tokens equal those a period before
        self._look = len(text) + 2 * WINDOW

    def feed(self, token_id: int) -> int | None:
        """The thought's next token. If it goes round in circles: how many of its tokens stand before they began."""
        at = self._count
        if at == len(self._ids):
            self._ids, self._ends = (np.concatenate([one, np.zeros_like(one)]) for one in (self._ids, self._ends))
        self._ids[at] = token_id
        self._text += self._bytes_of(token_id)
        self._ends[at] = len(self._text)
        self._count += 1
        back = min(at, LONGEST)
        equal = self._ids[at - back : at][::-1] == token_id
        self._runs[:back] = np.where(equal, self._runs[:back] + 1, 0)
        found = self._exact()
        if found is None and len(self._text) >= self._look:
            self._look = len(self._text) + EVERY
            found = self._in_other_words()
        return found

    def rewind(self, count: int) -> None:
        """Only the first `count` tokens still stand."""
        text = bytes(self._text[: self._ends[count - 1] if count else 0])
        self._begin(self._ids[:count].copy(), self._ends[:count].copy(), text)

    def _exact(self) -> int | None:
        looping = self._runs >= _NEEDED
        if not looping.any():
            return None
        return self._count - int(self._runs[int(looping.argmax())])

    def _in_other_words(self) -> int | None:
        start = len(self._text) - WINDOW
        if self._novelty(start) >= NOVELTY or self._has_values(start):
            return None
        while start >= 2 * WINDOW and self._novelty(start - WINDOW // 2) < NOVELTY:
            start -= WINDOW // 2
        line = self._text.rfind(b"\n", 0, start) + 1
        return int(np.searchsorted(self._ends[: self._count], line or start, side="right"))

    def _novelty(self, start: int) -> float:
        before, stretch = bytes(self._text[start - WINDOW : start]), bytes(self._text[start : start + WINDOW])
        return (len(zlib.compress(before + stretch, 9)) - len(zlib.compress(before, 9))) / len(stretch)

    def _has_values(self, start: int) -> bool:
        """Whether sentences of one form say different things."""
        text = self._text[start - WINDOW :].decode("utf-8", "replace")
        sentences = {one.strip() for one in re.split(r"[.!?:]\s|\n", text)[1:-1]}
        forms = {re.sub(r"\d+|\b\w\b", "#", one) for one in sentences}
        return len(sentences) > VALUES * max(len(forms), 1)
