"""The engine's step in native code: one call runs prompts' chunks and decoding rows alike, and draws.

Keys and values lie in blocks. Rows of one prompt share its blocks by reference; a block that a row is to write is its
own. What a thread has come to stays known by its ids until the weights change, so that continuing it is cheap.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinkaloud.base.machine import allowed_cores
from thinkaloud.engine.backend import Source
from thinkaloud.engine.blocks import BlockPool
from thinkaloud.engine.burst import burst
from thinkaloud.engine.draft import Drafts
from thinkaloud.engine.placement import Place, Placement
from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.steered import draw_steered
from thinkaloud.model import ModelConfig
from thinkaloud.model.memory import cache_bytes, parameter_shapes

try:
    from thinkaloud.engine import _native
    from thinkaloud.engine.native_weights import can_fill, fill, make_native
except ImportError:  # built without a compiler
    _native = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from thinkaloud.model import Transformer

_CACHE_BYTES = 1 << 30
"Default size of the cache; memory is touched only as it is used."
_DRAFT_ROWS = 4
"Rows up to which reading the weights costs more than a few more tokens do."
_DRAFTS = {"float32": 3, "bfloat16": 5, "int8": 4, "int4": 3}
"Guessed tokens a row that cost about nothing where they are wrong."


def native_available() -> bool:
    """Whether the extension was built."""
    return _native is not None


def native_runs(model: Transformer | ModelConfig) -> bool:
    """Whether it can run this model, or one of this shape: on the CPU, and with no part it does not know."""
    if isinstance(model, ModelConfig):
        return can_fill(parameter_shapes(model))
    return model.head.device.type == "cpu" and can_fill(name for name, _ in model.named_parameters())


def own_cache(weights: str) -> str:
    """The format of keys and values beside such weights, if nobody says otherwise."""
    return "float32" if weights == "float32" else "bfloat16"


def memory_bandwidth() -> float:
    """Bytes a second that all threads together read from memory: what decoding a single row is bound by."""
    return _native.read_bandwidth(256 << 20, threads_here())


def threads_here() -> int:
    """The threads that PyTorch uses; where it is not loaded, those that it would."""
    told = getattr(sys.modules.get("torch"), "get_num_threads", None)  # none while it is being imported, too
    if told is not None:
        return int(told())
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return int(wished) if wished.isdecimal() and int(wished) > 0 else allowed_cores()


class NativeBackend:
    """Runs `model` packed as `weights`, with keys and values kept as `cache`; `prefill_tokens` prompt tokens a step.

    `source` gives the weights, by their published names, of a model that is a shape alone.
    """

    name = "native"

    def __init__(
        self,
        model: Transformer | ModelConfig,
        *,
        weights: str = "float32",
        max_rows: int = 512,
        prefill_tokens: int = 512,
        cache: str = "auto",
        cache_tokens: int | None = None,
        path: str = "auto",
        source: Source | None = None,
    ) -> None:
        self.config = config = model if isinstance(model, ModelConfig) else model.config
        cache = own_cache(weights) if cache == "auto" else cache
        self.model, self.weights, self.cache, self.prefill_limit = model, weights, cache, prefill_tokens
        longest = config.max_position_embeddings
        if cache_tokens is None:
            cache_tokens = min(max(longest, _CACHE_BYTES // cache_bytes(config, cache)), max_rows * longest)
        blocks = -(-cache_tokens // _native.BLOCK) + 1
        self.pool = pool = BlockPool(blocks, _native.BLOCK, keep=blocks // 2)
        self.native = make_native(config, weights=weights, cache=cache, blocks=blocks, path=path)
        self._stale = source is None
        if source is not None:
            fill(self.native, source, weights=weights, threads=threads_here())
        self.draft_rows = _DRAFT_ROWS
        self.placement = Placement(pool, self.native.copy_block, max_rows=max_rows, longest=longest)

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens really processed so far."""
        return self.placement.prefilled_tokens

    def capacity(self) -> int:
        """How many tokens a single thread may have."""
        return (self.pool.blocks - 1) * self.pool.size

    def admit(self, row: Row) -> bool:
        """Take in a row if the blocks that it may come to need are there."""
        return self.placement.admit(row)

    def grow(self, row: Row, tokens: int) -> bool:
        """Keep room for so many more tokens of a row, if it is there."""
        return self.placement.grow(row, tokens)

    def steer(self, row: Row) -> None:
        """A row's plan, noise or tokens have changed: what was drawn ahead is void."""
        self.placement.steer(row)

    def rest(self, row: Row) -> None:
        """A row pauses or has been woken."""
        self.placement.rest(row)

    def release(self, row: Row) -> None:
        """A row is done: what it has come to stays known for those who continue it."""
        self.placement.release(row)

    def forget(self) -> None:
        """Drop every cached prefix."""
        self.pool.forget()

    def refresh(self, source: Source | None = None) -> None:
        """The weights have changed: pack those of `source` now, or the model's own when they are next needed."""
        assert isinstance(self.model, ModelConfig) == (source is not None), "a shape alone needs a source"
        self._stale = source is None
        if source is not None:
            fill(self.native, source, weights=self.weights, threads=threads_here())
        self.pool.forget()

    # --- the step ---

    def ahead(self, rows: Sequence[Row], waiting: int) -> int:
        """Several tokens of each row in one call, unless a prompt or a row wants a step; how many came in all.

        Others that wait come in once half of the rows have ended. A few rows go by steps: guesses serve them better.
        """
        at = self.placement
        at_once = len(rows) == len(at.running) > self.draft_rows and not (self._stale or at.prompts)
        if not at_once or not all(row.swift and not at.places[row.handle].ahead for row in rows):
            return 0
        least = len(rows) // 2 if waiting else 0
        return burst(self.native, at, rows, least=max(self.draft_rows + 1, least), threads=threads_here())

    def step(self, rows: Sequence[Row]) -> list[Draw | None]:
        """Chunks of prompts and the newest tokens of running rows through the model in one call, and draw."""
        threads = threads_here()
        if self._stale:
            assert not isinstance(self.model, ModelConfig)
            fill(self.native, self.model.named_parameters(), weights=self.weights, threads=threads)
            self._stale = False
        at = self.placement
        if not at.prompts and len(at.running) <= self.draft_rows:
            draws = self._step_ahead(threads)
        else:
            draws = self._step_all(threads)
        return [draws.get(row.handle) for row in rows]

    def _step_all(self, threads: int) -> dict[int, Draw]:
        """A token for each running row, and chunks of prompts beside them."""
        at, ready = self.placement, {}
        for row in at.running:
            place = at.places[row.handle]
            place.drafts = None
            if place.ahead:
                ready[row.handle] = self._catch_up(row, place)
        ids, positions, lines = at.newest_tokens(ready)
        drawing = [row for row in at.running if row.handle not in ready]
        sources = list(range(len(drawing)))
        finished = []
        slots = lines
        if at.prompts:
            parts = [(ids, positions, lines)]
            start = len(sources)
            for prompt, first, last in at.chunks(self.prefill_limit):
                parts.append(at.chunk(prompt, first, last))
                start += last - first
                if last == len(prompt.ids):
                    finished.append(prompt)
                    drawing += prompt.rows
                    sources += [start - 1] * len(prompt.rows)
            ids, positions, lines = (np.concatenate(column) for column in zip(*parts, strict=True))
            slots = np.array([at.places[row.handle].slot for row in drawing], dtype=np.int32)
        forced = [row.force() for row in drawing]
        drawn, logprobs, own = self._run(ids, positions, lines, sources, slots, forced, threads, drawing)
        for prompt in finished:
            at.start(prompt)
        at.newest[slots] = drawn
        at.positions[slots] += 1
        draws = {
            row.handle: Draw(token, logprob, force is None)
            for row, token, logprob, force in zip(drawing, drawn.tolist(), logprobs.tolist(), forced, strict=True)
        }
        return ready | draws | own

    def _step_ahead(self, threads: int) -> dict[int, Draw]:
        """A token for each of a few rows: drawn ahead, or now, together with some behind guessed tokens."""
        at = self.placement
        draws: dict[int, Draw] = {}
        work: list[tuple[Row, Place, list[int], int | None]] = []
        for row in at.running:
            place = at.places[row.handle]
            if place.ahead:
                draws[row.handle] = self._catch_up(row, place)
                continue
            if place.drafts is None:
                place.drafts = Drafts((*row.request.prompt_ids, *row.ids))
            elif row.ids:
                place.drafts.add(row.ids[-1])
            forced = row.force()
            most = min(_DRAFTS[self.weights], row.free_tokens - 1) if forced is None else 0
            work.append((row, place, place.drafts.guess(most), forced))
        if not work:
            return draws
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        force: list[int | None] = []
        for _, place, guess, forced in work:
            first = int(at.positions[place.slot])
            at.make_room(place, first + len(guess))
            ids += [int(at.newest[place.slot]), *guess]
            positions += range(first, first + 1 + len(guess))
            slots += [place.slot] * (1 + len(guess))
            force += [forced, *[None] * len(guess)]
        lines = np.array(slots, dtype=np.int32)
        behind = [row for row, _, guess, _ in work for _ in range(1 + len(guess))]
        tokens, logprobs, own = self._run(
            np.array(ids, dtype=np.int32),
            np.array(positions, dtype=np.int32),
            lines,
            range(len(ids)),
            lines,
            force,
            threads,
            behind,
        )
        drawn = list(zip(tokens.tolist(), logprobs.tolist(), strict=True))
        start = 0
        for row, place, guess, forced in work:
            draws[row.handle] = own.get(row.handle) or Draw(drawn[start][0], drawn[start][1], forced is None)
            at.newest[place.slot] = drawn[start][0]
            at.positions[place.slot] += 1
            for index, guessed in enumerate(guess):
                if drawn[start + index][0] != guessed:
                    break
                token, logprob = drawn[start + index + 1]
                place.ahead.append(Draw(token, logprob, True))
            start += 1 + len(guess)
        return draws

    def _catch_up(self, row: Row, place: Place) -> Draw:
        """The row's next token was drawn ahead."""
        forced = row.force()
        assert forced is None
        if place.drafts is not None:
            place.drafts.add(row.ids[-1])
        draw = place.ahead.popleft()
        at = self.placement
        at.newest[place.slot] = draw.token_id
        at.positions[place.slot] += 1
        return draw

    def _run(
        self,
        ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        lines: NDArray[np.int32],
        sources: Sequence[int],
        slots: NDArray[np.int32],
        forced: Sequence[int | None],
        threads: int,
        rows: Sequence[Row],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], dict[int, Draw]]:
        """The call: tokens in, draws behind those at `sources` out, `rows` the row of each; and those of steered rows,
        made here."""
        at = self.placement
        drawn = np.empty(len(sources), dtype=np.int32)
        logprobs = np.empty(len(sources), dtype=np.float32)
        steered = [index for index, row in enumerate(rows) if not row.plain and row.steered]
        logits = np.empty((len(steered), self.config.vocab_size), dtype=np.float32)
        kept = np.full(len(sources), -1, dtype=np.int32)
        kept[steered] = range(len(steered))
        self.native.step(
            ids,
            positions,
            lines,
            at.tables,
            np.array(sources, dtype=np.int32),
            slots,
            np.array([-1 if token is None else token for token in forced], dtype=np.int32),
            at.keys,
            at.settings,
            drawn,
            logprobs,
            threads,
            *((kept, logits) if steered else ()),
        )
        own = {}
        for line, index in enumerate(steered):
            row = rows[index]
            own[row.handle] = draw_steered(row, logits[line], forced[index])
            drawn[index] = own[row.handle].token_id
        return drawn, logprobs, own
