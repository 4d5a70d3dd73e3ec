"""How fast stages go and how long is left. Knows what statuses say over time; does not know how it is shown.

What a stage has not told yet is reckoned from what others have: seconds a trained token; seconds and length of a reply
on dev problems, best those of the stage that it starts from; and by how much stages like it took longer than that.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkaloud.base.ledger import GENERATED

if TYPE_CHECKING:
    from thinkaloud.train.status import StageStatus

LEAST_SECONDS = 2.0
"A speed is told once it was measured over this long."
SEEN = 0.1
"What was reckoned beforehand counts as if so much of a stage had been seen: first steps say little."
LEARNT = 0.5
"Share of the replies that reinforcement samples from which it learns, about; in the runs of tests/fixtures 0.3 to 1."


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """A reply on dev problems."""

    seconds: float
    "what it took"
    tokens: float
    "its length"
    prompt: float
    "that of its prompt"


@dataclass(frozen=True, kw_only=True)
class _Speeds:
    """What stages have told."""

    trained: float
    "seconds a trained token"
    replies: Mapping[str, tuple[float, _Reply]]
    "by a stage's name, and all of them under no name: how much of the stages was seen, and the mean, weighed by that"
    spans: Mapping[tuple[str, str], tuple[float, float]]
    "seconds that were reckoned for what was seen, and those that it took: of a kind of stage, and of a name"
    measured: float
    "times that measuring took as long as its replies on dev problems would have"

    def reply(self, status: "StageStatus") -> _Reply:
        """That of a stage: of those of its name and those that it starts from, or of any; no longer than it may be.

        Where none was timed, it is as long as it may be, and a token of it takes a third of a trained one's.
        """
        longest = status.work.longest
        if not self.replies:
            return _Reply(seconds=longest * GENERATED * self.trained, tokens=longest, prompt=longest)
        near = [name for name in (status.name, *(folder.name for folder in status.needs)) if name in self.replies]
        _, reply = _mean([self.replies[name] for name in near or [""]])
        share = min(1.0, longest / reply.tokens)
        return _Reply(seconds=share * reply.seconds, tokens=share * reply.tokens, prompt=reply.prompt)

    def whole(self, status: "StageStatus") -> float:
        """Seconds that a stage trains, as others of its kind and its name would have it."""
        reckoned, slower = self.training(status), 1.0
        for like in (("kind", status.kind), ("name", status.name)):
            expected, taken = self.spans.get(like, (0.0, 0.0))
            slower = (taken + SEEN * reckoned * slower) / (expected + SEEN * reckoned) if reckoned > 0 else slower
        return reckoned * slower

    def training(self, status: "StageStatus") -> float:
        """Seconds that a stage trains, by its tokens and replies alone."""
        trained, replies = self.spent(status)
        return trained * self.trained + replies * self.reply(status).seconds

    def spent(self, status: "StageStatus") -> tuple[float, float]:
        """Tokens that a stage trains on, and replies sampled on the way, those of the learning curve too."""
        work, reply = status.work, self.reply(status)
        sampled, learnt = GENERATED * reply.tokens, LEARNT * (reply.prompt + reply.tokens)
        if work.sampling is not None:
            return work.budget * (1 - work.sampling), work.budget * work.sampling / sampled + work.looks
        replies = min(work.budget / (sampled + learnt), float("inf") if work.rollouts is None else work.rollouts)
        return replies * learnt, replies + work.looks


class Pace:
    """Times measured from what each stage logs; show it every list of statuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: dict[Path, tuple[float, float]] = {}
        self._running: dict[Path, float] = {}
        self._starts: list[float] = []
        self._measuring: dict[Path, float] = {}
        self._measured: dict[Path, float] = {}

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
                self._measured[key] = self._clock() - self._measuring.pop(key)

    def left(self, status: "StageStatus", statuses: Sequence["StageStatus"]) -> float | None:
        """Seconds until a stage is done once it runs, its measuring included; None while no speed is known."""
        if status.state == "done":
            return 0.0
        speeds = self._speeds(statuses)
        return None if speeds is None else sum(self._parts(status, speeds))

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
            training, measuring = self._parts(status, speeds)
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

    def _parts(self, status: "StageStatus", speeds: _Speeds) -> tuple[float, float]:
        """Seconds that a stage trains on, and those of measuring it."""
        if status.state == "done":
            return 0.0, 0.0
        measuring = status.work.measuring * speeds.reply(status).seconds * speeds.measured
        since = self._measuring.get(status.folder)
        if since is not None:
            return 0.0, max(0.0, measuring - (self._clock() - since))
        progress, seconds = self._span(status)
        start = min(self._starts, default=0.0) if status.progress == 0 else 0.0
        whole = (seconds + SEEN * speeds.whole(status)) / (progress + SEEN)
        return start + (1 - status.progress) * whole, measuring

    def _span(self, status: "StageStatus") -> tuple[float, float]:
        """Progress and seconds between the first look at a stage and now; none where it was done before."""
        progress, seconds = self._first.get(status.folder, (1.0, 0.0))
        if progress >= 1.0 or status.progress <= progress:
            return 0.0, 0.0
        return status.progress - progress, status.seconds - seconds

    def _speeds(self, statuses: Sequence["StageStatus"]) -> _Speeds | None:
        """What all stages have told; None while that is nothing."""
        spans = [(one, *self._span(one)) for one in statuses]
        if sum(seconds for _, _, seconds in spans) < LEAST_SECONDS:
            return None
        unit = _Speeds(trained=1.0, replies=_replies(statuses), spans={}, measured=1.0)
        fitting = [span for span in spans if span[0].work.sampling == 0 and span[2] > 0] or spans
        trained = seconds = 0.0
        for one, progress, taken in fitting:
            tokens, replies = unit.spent(one)
            sampling = replies * unit.reply(one).seconds
            if unit.replies:
                trained, seconds = trained + progress * tokens, seconds + max(taken - progress * sampling, taken / 4)
            else:
                trained, seconds = trained + progress * (tokens + sampling), seconds + taken
        speeds = replace(unit, trained=seconds / trained)
        measured = [one for one in statuses if one.folder in self._measured]
        reckoned = sum(one.work.measuring * speeds.reply(one).seconds for one in measured)
        if reckoned > 0:
            speeds = replace(speeds, measured=sum(self._measured[one.folder] for one in measured) / reckoned)
        seen = defaultdict[tuple[str, str], tuple[float, float]](lambda: (0.0, 0.0))
        for one, progress, taken in spans:
            for like in (("kind", one.kind), ("name", one.name)):
                seen[like] = seen[like][0] + progress * speeds.training(one), seen[like][1] + taken
        return replace(speeds, spans=dict(seen))


def _replies(statuses: Sequence["StageStatus"]) -> dict[str, tuple[float, _Reply]]:
    """What stages of each name say of their replies, and all of them under no name."""
    told = defaultdict[str, list[tuple[float, _Reply]]](list)
    for one in statuses:
        if "dev_seconds" in one.row and one.progress > 0:  # what an untrained model says is no measure
            for name in (one.name, ""):
                told[name].append((one.progress, _reply_of(one.row)))
    return {name: _mean(replies) for name, replies in told.items()}


def _mean(weighed: Sequence[tuple[float, _Reply]]) -> tuple[float, _Reply]:
    """The sum of the weights, and the weighed mean."""
    weights = sum(weight for weight, _ in weighed)
    seconds, tokens, prompt = (
        sum(weight * getattr(one, name) for weight, one in weighed) / weights
        for name in ("seconds", "tokens", "prompt")
    )
    return weights, _Reply(seconds=seconds, tokens=tokens, prompt=prompt)


def _reply_of(row: Mapping[str, Any]) -> _Reply:
    """That of a stage's newest row."""
    tokens = max(1.0, row["dev_tokens"])
    seconds = row["dev_seconds"] / row["dev_problems"]
    return _Reply(seconds=seconds, tokens=tokens, prompt=row.get("dev_prompt_tokens", tokens))
