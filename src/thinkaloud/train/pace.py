"""How fast stages go and how long is left. Knows what statuses say over time; does not know how it is shown."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkaloud.train.pipeline import StageStatus

Key = tuple[Any, str]
"A stage: its run and its name."
DEARER = {"rl": 1.5, "rft": 1.2, "distil": 1.5}
"Times that a training token takes as long as in fine-tuning, while no stage of the kind has told its speed: between \
what small models take (3 in recipes/smoke.toml) and larger ones (0.8 in docs/data/fraction)."
LEAST_SECONDS = 2.0
"A speed is told once it was measured over this long."


class Pace:
    """Speeds in training tokens a second, measured from what each stage logs; show it every list of statuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: dict[Key, tuple[float, float]] = {}
        self._running: dict[Key, float] = {}
        self._starts: list[float] = []
        self._measuring: dict[Key, float] = {}
        self._measured: dict[Key, float] = {}
        self._side_by_side = 1

    @property
    def elapsed(self) -> float:
        """Seconds since this command began."""
        return self._clock() - self._began

    def observe(self, statuses: Sequence["StageStatus"]) -> None:
        """Take note of where every stage stands."""
        for status in statuses:
            key = (status.run, status.name)
            if status.state == "training" and status.progress == 0:
                self._running.setdefault(key, self._clock())
            elif key in self._running:
                started = self._clock() - self._running.pop(key)
                self._starts += [started] if self._measured else []  # the first ones start their processes too
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
        if speed is None:
            plain = self._speed(statuses)
            if plain is None:
                return None
            speed = plain / DEARER.get(status.kind, 1.0)
        after = status.measuring / speed if measuring is None else measuring
        start = min(self._starts, default=0.0) if status.progress == 0 else 0.0
        return start + status.budget * (1 - status.progress) / speed + after

    def all_left(self, statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until all are done, as many side by side as ever were; None while no speed is known.

        Stages are thought to begin as they will: those that run go on, and one that waits begins once a place is free
        and all that it needs is done.
        """
        waiting, ends = dict[Key, tuple[float, set[Key]]](), dict[Key, float]()
        for status in statuses:
            key, left = (status.run, status.name), self.left(status, statuses)
            if left is None:
                return None
            if status.state == "waiting":
                waiting[key] = left, {(status.run, needed) for needed in status.needs}
            else:
                ends[key] = left
        now = 0.0
        while waiting:
            done = {key for key, end in ends.items() if end <= now}
            ready = [key for key, (_, needs) in waiting.items() if needs <= done]
            if ready and len(ends) - len(done) < self._side_by_side:
                ends[ready[0]] = now + waiting.pop(ready[0])[0]
            else:
                now = min((end for end in ends.values() if end > now), default=math.inf)
                if now == math.inf:  # what is waited for is none of these
                    return sum(left for left, _ in waiting.values()) + max(ends.values(), default=0.0)
        return max(ends.values(), default=0.0)

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
