"""How fast stages go and how long is left. Knows what statuses say over time; does not know how it is shown."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from thinkaloud.train.pipeline import StageStatus

LEAST_SECONDS = 2.0
"A speed is told once it was measured over this long."


class Pace:
    """Speeds in training tokens a second, measured from what each stage logs; show it every list of statuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: dict[tuple[Path, str], tuple[float, float]] = {}
        self._measuring: dict[tuple[Path, str], float] = {}
        self._measured: dict[tuple[Path, str], float] = {}
        self._side_by_side = 1

    @property
    def elapsed(self) -> float:
        """Seconds since this command began."""
        return self._clock() - self._began

    def observe(self, statuses: Sequence["StageStatus"]) -> None:
        """Take note of where every stage stands."""
        for status in statuses:
            key = (status.run, status.name)
            if status.progress > 0 and status.seconds > 0:
                self._first.setdefault(key, (status.progress, status.seconds))
            if status.state == "measuring":
                self._measuring.setdefault(key, self._clock())
            elif status.state == "done" and key in self._measuring:
                self._measured[key] = self._clock() - self._measuring.pop(key)
        running = sum(status.state in ("training", "measuring") for status in statuses)
        self._side_by_side = max(self._side_by_side, running)

    def left(self, status: "StageStatus", statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until a stage is done once it runs, its measuring included; None while no speed is known."""
        if status.state == "done":
            return 0.0
        measuring = sum(self._measured.values()) / len(self._measured) if self._measured else None
        since = self._measuring.get((status.run, status.name))
        if since is not None:
            return max(0.0, (measuring or 0.0) - (self._clock() - since))
        speed = self._speed([status]) or self._speed([s for s in statuses if s.kind == status.kind])
        speed = speed or self._speed(statuses)
        if speed is None:
            return None
        after = status.measuring / speed if measuring is None else measuring
        return status.budget * (1 - status.progress) / speed + after

    def all_left(self, statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until all are done, as many side by side as ever were; None while no speed is known."""
        lefts = [self.left(status, statuses) for status in statuses]
        known = [seconds for seconds in lefts if seconds is not None]
        if len(known) < len(lefts):
            return None
        return max(sum(known) / self._side_by_side, max(known, default=0.0))

    def _speed(self, statuses: Sequence["StageStatus"]) -> float | None:
        work = seconds = 0.0
        for status in statuses:
            progress, spent = self._first.get((status.run, status.name), (0.0, 0.0))
            if progress >= 1.0:  # done before this command began
                progress = spent = 0.0
            if status.seconds > spent and status.progress > progress:
                work += status.budget * (status.progress - progress)
                seconds += status.seconds - spent
        return work / seconds if seconds >= LEAST_SECONDS else None
