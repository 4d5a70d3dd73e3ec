"""A run told while it is trained: its live page written anew, its numbers sent to a tracker.

Knows: statuses, how long is left. Doesn't know: how stages are run, what a page looks like.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from thinkaloud.base.errors import UserError, is_disk_full
from thinkaloud.reports.live import Standing, write_live
from thinkaloud.train.pace import Pace
from thinkaloud.train.recipe import RunSettings
from thinkaloud.train.tracking import Tracking

if TYPE_CHECKING:
    from thinkaloud.train.status import StageStatus

EVERY = 3.0
"Seconds between two looks; ten times as long as a look takes, where that is more."

NOTES = {"alarm", "taken_back_to"}
"Keys of rows that only say what was done at a step."


def follow(rows: list[dict[str, Any]], fresh: "Sequence[dict[str, Any]]") -> None:
    """Add rows; a step that comes again, as after a kill from the last checkpoint, takes the older one's place."""
    for row in fresh:
        if rows and rows[-1]["step"] >= row["step"] and not NOTES & row.keys():
            rows[:] = [one for one in rows if one["step"] < row["step"]]
        rows.append(row)


class Telling:
    """Tells one run as long as its `with` lasts; `look` often, it keeps its own pace."""

    def __init__(self, settings: RunSettings, statuses: "Sequence[StageStatus]") -> None:
        self.run, self.statuses = settings.dir, statuses
        self._tracking = Tracking(settings.track, settings.dir)
        self._pace = Pace()
        self._rows: dict[str, list[dict[str, Any]]] = {status.name: [] for status in statuses}
        self._next = 0.0
        self._stood: list[str] = []

    def look(self) -> None:
        """Take note of where every stage stands; now and then tell it, if anything has moved."""
        self._pace.observe(self.statuses)
        states = [status.state for status in self.statuses]
        running = any(state in ("training", "measuring") for state in states)
        if time.monotonic() >= self._next and (running or states != self._stood):
            self._stood = states
            self._tell()

    def _tell(self, ended: str = "") -> None:
        began = time.monotonic()
        for status in self.statuses:
            fresh, status.fresh = status.fresh, []
            follow(self._rows[status.name], fresh)
            self._tracking.send(status.name, fresh)
        standings = [
            Standing(
                name=status.name,
                kind=status.kind,
                state=status.state,
                progress=status.progress,
                seconds=status.seconds,
                left=self._pace.left(status, self.statuses),
                rows=self._rows[status.name],
                folder=status.folder,
            )
            for status in self.statuses
        ]
        try:
            write_live(self.run, standings, left=self._pace.all_left(self.statuses), ended=ended)
        except OSError as error:
            if not is_disk_full(error):
                raise  # else the page of before stays: a stage that needs room says so, and how much
        now = time.monotonic()
        self._next = now + max(EVERY, 10 * (now - began))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        again = "The same command again goes on from the last checkpoint."
        if kind is None:
            words = "It is finished: report.html tells the whole of it."
        else:
            words = f"It was stopped: {error}." if isinstance(error, UserError) else f"It was interrupted. {again}"
        self._tell(words)
        self._tracking.close()
