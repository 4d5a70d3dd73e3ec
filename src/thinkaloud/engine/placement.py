"""Where rows and prompts stand in the native step's cache: lines of its tables, blocks, and room that is promised.

A row is admitted when the blocks that it may come to need are there, so that no row ever has to be thrown out.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.blocks import BlockPool
from thinkaloud.engine.draft import Drafts
from thinkaloud.engine.row import Draw, Row

Tokens = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
"Ids, their positions, and the line of the tables that each belongs to."


class Prompt:
    """A prompt on its way into the cache, with the rows that wait for it."""

    def __init__(self, ids: tuple[int, ...], slot: int, owed: int) -> None:
        self.ids, self.slot, self.owed = ids, slot, owed
        self.rows: list[Row] = []
        self.blocks: list[int] = []
        self.done = 0
        self.begun = False


class Place:
    """Where a row stands: its line of the tables, its blocks, and how many more it was promised."""

    def __init__(self, slot: int, owed: int) -> None:
        self.slot, self.owed = slot, owed
        self.blocks: list[int] = []
        self.ahead: deque[Draw] = deque()  # drawn already, behind guesses that came true
        self.drafts: Drafts | None = None


class Placement:
    """Lines and blocks for `max_rows` rows of at most `longest` tokens; `copy` copies one block onto another."""

    def __init__(self, pool: BlockPool, copy: Callable[[int, int], None], *, max_rows: int, longest: int) -> None:
        self.pool, self.copy = pool, copy
        self.prefilled_tokens = 0
        self.promised = 0
        lines = 2 * max_rows  # rows, and prompts on their way
        self.free = list(range(lines))[::-1]
        self.tables = np.zeros((lines, -(-longest // pool.size)), dtype=np.int32)
        self.keys = np.zeros(lines, dtype=np.uint64)
        self.settings = np.zeros((lines, 4), dtype=np.float32)
        self.newest = np.zeros(lines, dtype=np.int32)
        self.positions = np.zeros(lines, dtype=np.int32)
        self.places: dict[int, Place] = {}
        self.prompts: deque[Prompt] = deque()
        self._fresh: dict[tuple[int, ...], Prompt] = {}  # prompts not begun, which rows may still join
        self.running: list[Row] = []
        self._resting: list[Row] = []  # paused, their blocks kept
        self._slots: NDArray[np.int32] | None = None  # of the running rows; None once those have changed

    def admit(self, row: Row) -> bool:
        """Take in a row if the blocks that it may come to need are there."""
        ids = row.request.prompt_ids
        waiting = self._fresh.get(ids)
        whole = len(ids) // self.pool.size
        owed = -(-row.most_tokens // self.pool.size) - whole
        for_prompt = 0 if waiting else -(-len(ids) // self.pool.size)
        if self.pool.available - self.promised < owed + for_prompt:
            return False
        if waiting is None:
            waiting = Prompt(ids, self.free.pop(), for_prompt)
            self.prompts.append(waiting)
            self._fresh[ids] = waiting
        waiting.rows.append(row)
        slot = self.free.pop()
        self.places[row.handle] = Place(slot, owed)
        self.promised += owed + for_prompt
        self._set(slot, row)
        return True

    def _set(self, slot: int, row: Row) -> None:
        request = row.request
        self.keys[slot] = row.key
        self.settings[slot] = (request.temperature, request.top_p, request.min_p, request.top_k)

    def release(self, row: Row) -> None:
        """A row is done: what it has come to stays known for those who continue it."""
        place = self.places.pop(row.handle)
        self.promised -= place.owed
        self.free.append(place.slot)
        for prompt in self.prompts:
            if row in prompt.rows:
                prompt.rows.remove(row)
                if not prompt.rows:
                    self.prompts.remove(prompt)
                    if not prompt.begun:
                        del self._fresh[prompt.ids]
                    self._end_prompt(prompt)
                return
        (self._resting if row in self._resting else self.running).remove(row)
        self._slots = None
        self.pool.remember((*row.request.prompt_ids, *row.ids[:-1]), place.blocks)
        self.pool.give(place.blocks)

    def grow(self, row: Row, tokens: int) -> bool:
        """Promise a row blocks for so many more tokens, if they are there."""
        more = -(-(row.most_tokens + tokens) // self.pool.size) - -(-row.most_tokens // self.pool.size)
        if row.handle in self.places:
            if self.pool.available - self.promised < more:
                return False
            self.places[row.handle].owed += more
            self.promised += more
        return True

    def steer(self, row: Row) -> None:
        """Go on from a row's own tokens."""
        place = self.places[row.handle]
        place.ahead.clear()
        place.drafts = None
        self._set(place.slot, row)
        if row.ids:
            self.newest[place.slot] = row.ids[-1]
            self.positions[place.slot] = row.next_position - 1

    def rest(self, row: Row) -> None:
        """Let a row rest or go on, once its prompt is through."""
        old, new = (self.running, self._resting) if row.paused else (self._resting, self.running)
        if row in old:
            old.remove(row)
            new.append(row)
            self._slots = None

    def _end_prompt(self, prompt: Prompt) -> None:
        self.pool.give(prompt.blocks)
        self.promised -= prompt.owed
        self.free.append(prompt.slot)

    def newest_tokens(self, ready: dict[int, Draw]) -> Tokens:
        """One token for each running row that is not ready, with a block to put it in."""
        rows = [row for row in self.running if row.handle not in ready] if ready else self.running
        if self._slots is None or ready:
            slots = np.array([self.places[row.handle].slot for row in rows], dtype=np.int32)
            self._slots = None if ready else slots
        else:
            slots = self._slots
        positions = self.positions[slots]
        for index in np.flatnonzero(positions % self.pool.size == 0).tolist():
            self.make_room(self.places[rows[index].handle], int(positions[index]))
        return self.newest[slots], positions, slots

    def make_room(self, place: Place, position: int) -> None:
        """Blocks for a row up to `position`."""
        while len(place.blocks) * self.pool.size <= position:
            block = self.pool.take()
            self.tables[place.slot, len(place.blocks)] = block
            place.blocks.append(block)
            place.owed -= 1
            self.promised -= 1

    def chunks(self, room: int) -> list[tuple[Prompt, int, int]]:
        """Which stretch of which prompt comes now, in the order in which they came."""
        chunks = []
        for prompt in self.prompts:
            if room <= 0:
                break
            if not prompt.begun:
                self._begin(prompt)
            last = min(len(prompt.ids), prompt.done + room)
            room -= last - prompt.done
            chunks.append((prompt, prompt.done, last))
        return chunks

    def _begin(self, prompt: Prompt) -> None:
        """Look up how much of a prompt is known; its last token is always processed, for its logits."""
        prompt.begun = True
        del self._fresh[prompt.ids]
        prompt.blocks = self.pool.find(prompt.ids[:-1])
        prompt.done = len(prompt.blocks) * self.pool.size
        for row in prompt.rows:
            row.cached = prompt.done
        self.tables[prompt.slot, : len(prompt.blocks)] = prompt.blocks
        self._pay(prompt, len(prompt.blocks))

    def _pay(self, prompt: Prompt, blocks: int) -> None:
        prompt.owed -= blocks
        self.promised -= blocks

    def chunk(self, prompt: Prompt, first: int, last: int) -> Tokens:
        """The tokens `first` to `last` of a prompt, with blocks to put them in."""
        while len(prompt.blocks) * self.pool.size < last:
            block = self.pool.take()
            self.tables[prompt.slot, len(prompt.blocks)] = block
            prompt.blocks.append(block)
            self._pay(prompt, 1)
        prompt.done = last
        self.prefilled_tokens += last - first
        return (
            np.array(prompt.ids[first:last], dtype=np.int32),
            np.arange(first, last, dtype=np.int32),
            np.full(last - first, prompt.slot, dtype=np.int32),
        )

    def start(self, prompt: Prompt) -> None:
        """A prompt is in the cache: its rows share its blocks, each with a last, partly filled one of its own."""
        self.prompts.remove(prompt)
        self.pool.remember(prompt.ids, prompt.blocks)
        for row in prompt.rows:
            self.places[row.handle].blocks = [self.pool.share(block) for block in prompt.blocks]
        self._end_prompt(prompt)
        for row in prompt.rows:
            place = self.places[row.handle]
            if len(prompt.ids) % self.pool.size and self.pool.shared(place.blocks[-1]):
                block = self.pool.take()
                place.owed -= 1
                self.promised -= 1
                self.copy(place.blocks[-1], block)
                self.pool.give(place.blocks[-1:])
                place.blocks[-1] = block
            self.tables[place.slot, : len(place.blocks)] = place.blocks
            self.positions[place.slot] = len(prompt.ids) - 1
            self.running.append(row)
            self._slots = None
