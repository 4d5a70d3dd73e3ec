"""How fast stages go and how long is left. Knows what statuses say over time; does not know how it is shown.

What a stage has not told yet is reckoned from what others have: seconds a trained token, seconds and length of a reply
on dev problems, and by how much stages like it took longer than that.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thinkaloud.base.ledger import GENERATED

if TYPE_CHECKING:
    from thinkaloud.train.status import StageStatus, Work

LEAST_SECONDS = 2.0
"A speed is told once it was measured over this long."
BESIDES = 1.2
"Times that a stage takes as long as its tokens and replies alone, while none of its kind has told: what a step and a \
checkpoint cost whatever their size. In tests/fixtures it was 0.8 to 1.5."


@dataclass(frozen=True, kw_only=True)
class _Speeds:
    """What stages have told."""

    trained: float
    "seconds a trained token"
    reply: float | None
    "seconds a reply on dev problems; None: no stage has answered any"
    tokens: float
    "tokens of such a reply; infinite where none is known"

    def length(self, work: "Work") -> float:
        """Tokens of a stage's replies."""
        return min(self.tokens, work.longest)

    def of_reply(self, work: "Work") -> float:
        """Seconds of a stage's reply; where none was timed, a token of it takes a third of a trained one's."""
        return self.length(work) * GENERATED * self.trained if self.reply is None else self.reply

    def training(self, work: "Work") -> float:
        """Seconds that a stage trains."""
        compute, replies = self.spent(work)
        return compute * (1 - work.sampling) * self.trained + replies * self.of_reply(work)

    def spent(self, work: "Work") -> tuple[float, float]:
        """Compute in training tokens, and replies sampled on the way, those of the learning curve too."""
        compute, reply = work.budget, GENERATED * self.length(work)
        if work.rollouts is not None:
            compute = min(compute, work.rollouts * reply / work.sampling)
        return compute, compute * work.sampling / reply + work.looks


class Pace:
    """Times measured from what each stage logs; show it every list of statuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: dict[Path, tuple[float, float]] = {}
        self._running: dict[Path, float] = {}
        self._starts: list[float] = []
        self._measuring: dict[Path, float] = {}
        self._measured: dict[Path, tuple[float, int]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since this command began."""
        return self._clock() - self._began

    def observe(self, statuses: Sequence["StageStatus"]) -> None:
        """Take note of where every stage stands."""
        for status in statuses:
            key = status.folder
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
                self._measured[key] = self._clock() - self._measuring.pop(key), status.work.measuring

    def left(self, status: "StageStatus", statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until a stage is done once it runs, its measuring included; None while no speed is known."""
        if status.state == "done":
            return 0.0
        speeds = self._speeds(statuses)
        return None if speeds is None else sum(self._parts(status, statuses, speeds))

    def all_left(self, statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until all are done; None while no speed is known.

        Stages are thought to begin as they will: those that run go on, and one that waits begins once a place is free
        and all that it needs is trained.
        """
        speeds = self._speeds(statuses)
        if all(status.state == "done" for status in statuses):
            return 0.0
        if speeds is None:
            return None
        known = {status.folder for status in statuses}
        places = max(status.places for status in statuses)
        waiting: dict[Path, StageStatus] = {}
        trained, ends = dict[Path, float](), dict[Path, float]()
        now = 0.0

        def begin(status: "StageStatus") -> None:
            training, measuring = self._parts(status, statuses, speeds)
            trained[status.folder], ends[status.folder] = now + training, now + training + measuring

        for status in statuses:
            if status.state == "waiting":
                waiting[status.folder] = status
            else:
                begin(status)
        while waiting:
            ready = (
                one
                for one in waiting.values()
                if all(trained.get(folder, now + 1) <= now for folder in one.needs & known)
            )
            following = next(ready, None)
            if following is not None and sum(end > now for end in ends.values()) < places:
                begin(waiting.pop(following.folder))
            else:
                now = min(moment for moment in (*trained.values(), *ends.values()) if moment > now)
        return max(ends.values())

    def _parts(self, status: "StageStatus", statuses: Sequence["StageStatus"], speeds: _Speeds) -> tuple[float, float]:
        """Seconds that a stage trains on, and those of measuring it."""
        if status.state == "done":
            return 0.0, 0.0
        seconds, replies = (sum(values) for values in zip((0.0, 0), *self._measured.values(), strict=True))
        reply = seconds / replies if replies else BESIDES * speeds.of_reply(status.work)
        measuring = status.work.measuring * reply
        since = self._measuring.get(status.folder)
        if since is not None:
            return 0.0, max(0.0, measuring - (self._clock() - since))
        progress, seconds = self._span(status)
        if seconds >= LEAST_SECONDS and progress > 0:
            return (1 - status.progress) * seconds / progress, measuring
        start = min(self._starts, default=0.0) if status.progress == 0 else 0.0
        training = speeds.training(status.work) * self._slower(status, statuses, speeds)
        return start + (1 - status.progress) * training, measuring

    def _slower(self, status: "StageStatus", statuses: Sequence["StageStatus"], speeds: _Speeds) -> float:
        """How many times as long as reckoned stages like this one took: those of its name, or else of its kind."""
        for like in ("name", "kind"):
            reckoned = taken = 0.0
            for one in statuses:
                if getattr(one, like) == getattr(status, like):
                    progress, seconds = self._span(one)
                    reckoned, taken = reckoned + progress * speeds.training(one.work), taken + seconds
            if taken >= LEAST_SECONDS and reckoned > 0:
                return taken / reckoned
        return BESIDES

    def _span(self, status: "StageStatus") -> tuple[float, float]:
        """Progress and seconds between the first look at a stage and now; none where it was done before."""
        progress, seconds = self._first.get(status.folder, (1.0, 0.0))
        if progress >= 1.0 or status.progress <= progress:
            return 0.0, 0.0
        return status.progress - progress, status.seconds - seconds

    def _speeds(self, statuses: Sequence["StageStatus"]) -> _Speeds | None:
        """What all stages have told; None while that is nothing."""
        looks = [(one.progress, one.row) for one in statuses if "dev_seconds" in one.row]
        weight = sum(progress for progress, _ in looks)  # what an untrained model says is no measure
        reply, tokens = None, float("inf")
        if weight > 0:
            reply = sum(share * row["dev_seconds"] / row["dev_problems"] for share, row in looks) / weight
            tokens = sum(share * row["dev_tokens"] for share, row in looks) / weight
        spans = [(one, *self._span(one)) for one in statuses]
        if sum(seconds for _, _, seconds in spans) < LEAST_SECONDS:
            return None
        fitting = [span for span in spans if span[0].work.sampling == 0 and span[2] > 0] or spans
        unit = _Speeds(trained=1.0, reply=reply, tokens=tokens)
        if reply is None:
            whole = sum(progress * unit.training(one.work) for one, progress, _ in fitting)
            return _Speeds(trained=sum(seconds for _, _, seconds in fitting) / whole, reply=None, tokens=tokens)
        trained = seconds = 0.0
        for one, progress, taken in fitting:
            compute, replies = unit.spent(one.work)
            trained += progress * compute * (1 - one.work.sampling)
            seconds += max(taken - progress * replies * reply, taken / 4)
        return _Speeds(trained=seconds / trained, reply=reply, tokens=tokens)
