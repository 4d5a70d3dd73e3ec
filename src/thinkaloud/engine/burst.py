"""Several tokens at once, in one call of the native step, for rows that nobody has to look at in between.

A step costs some microseconds a row outside the model; where the model is small, that is half of all. Knows rows and
where they stand. Does not know: who waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.placement import Placement
from thinkaloud.engine.row import Row

if TYPE_CHECKING:
    from thinkaloud.engine import _native

STEPS = 64
"Most tokens of a row in one call."
WORK = 4e10
"Most bytes of weights times rows in one call, but for a step: some tenths of a second, until which an interrupt waits."
_NEVER = 2**31 - 1
"An id that is never drawn."


def burst(native: _native.Model, at: Placement, rows: Sequence[Row], *, least: int, threads: int) -> int:
    """Draw for swift rows until they stop or fewer than `least` of them go on; how many tokens came.

    Where some may draw more than others, at most half of them wait for the rest.
    """
    steps = max(1, min(STEPS, int(WORK / (native.weight_bytes * len(rows)))))
    most = np.array([min(steps, row.free_tokens) for row in rows], dtype=np.int32)
    if most.min() < most.max():
        least = max(least, len(rows) // 2)
    places = [at.places[row.handle] for row in rows]
    slots = np.array([place.slot for place in places], dtype=np.int32)
    for place, last in zip(places, (at.positions[slots] + most - 1).tolist(), strict=True):
        place.drafts = None
        at.make_room(place, last)
    stops = np.full((len(rows), max(1, *(len(row.request.stop_ids) for row in rows))), -1, dtype=np.int32)
    for line, row in zip(stops, rows, strict=True):
        line[: len(row.request.stop_ids)] = [min(stop, _NEVER) for stop in row.request.stop_ids]
    drawn: NDArray[np.int32] = np.empty((len(rows), most.max()), dtype=np.int32)
    logprobs: NDArray[np.float32] = np.empty(drawn.shape, dtype=np.float32)
    counts = np.empty(len(rows), dtype=np.int32)
    native.burst(
        slots,
        at.newest[slots],
        at.positions[slots],
        at.tables,
        at.keys,
        at.settings,
        stops,
        most,
        drawn,
        logprobs,
        counts,
        least,
        threads,
    )
    at.newest[slots] = drawn[np.arange(len(rows)), counts - 1]
    at.positions[slots] += counts
    for row, count, ids, told in zip(rows, counts.tolist(), drawn, logprobs, strict=True):
        row.take(ids[:count].tolist(), told[:count].tolist())
    return int(counts.sum())
