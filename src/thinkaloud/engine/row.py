"""One request under way: its tokens so far, and its thinking policy run as data."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.noise import noise_key
from thinkaloud.engine.types import Completion, Request

_FREE, _CLOSING, _ANSWERING = 0, 1, 2
"Phases of a row: sampling its thought, being forced to close it, sampling after it."
PRESSURE = 16.0
"What is added to the logit of a soft close as the budget runs out, in nats."
WARMTH = 0.7
"The least temperature of a thought that has gone round in circles."


class Draw(NamedTuple):
    """A row's next token."""

    token_id: int
    "the token"
    logprob: float
    "log-softmax of the raw logits at temperature 1"
    sampled: bool
    "false where it was forced"
    top: tuple[tuple[int, float], ...] = ()
    "the likeliest ids at this place with their log-probs, where they are asked for"
    pressed: bool = False
    "whether the thought would have gone on here but for the pressure of a soft close"


class Row:
    """One request under way."""

    def __init__(self, handle: int, request: Request) -> None:
        self.handle = handle
        self.request = self._asked = request
        self._opened = 0  # where the thought begins among its tokens
        self.key = noise_key(request.seed, request.sample)
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.sampled: list[bool] = []
        self.top: list[tuple[tuple[int, float], ...]] = []
        self.drawn = 0
        self.thought = 0
        self.discarded = 0
        self.cached = 0
        self.paused = False
        self.most_tokens = request.most_tokens
        policy = request.policy
        cared = policy is not None and (policy.soft_from is not None or policy.must_answer)
        self.plain = not (request.grammar or request.bias or request.top_logprobs or cared)
        "whether the step draws all its tokens"
        self.changed = False
        "whether what it is drawn with has changed since the step was told"
        self.fault: Exception | None = None
        "what went wrong for this row alone, such as its grammar: it is over"
        self.spoken = not (policy and policy.must_answer)
        "whether the answer has said something, if it must"
        self.rescues = 0
        self.reader = policy.reader() if policy else None
        self.watch = policy.watch() if policy else None
        self.phase = _FREE if policy and policy.starts_thinking else _ANSWERING
        self.thought_end = "open" if self.phase == _FREE else "none"
        self.forced: deque[int] = deque()
        if policy is not None:
            room = request.max_tokens - min(max(policy.answer_floor, 1), request.max_tokens)
            self.budget = room if policy.budget is None else min(policy.budget, room)
            self._settle()

    def _settle(self) -> None:
        """Where pressure on the thought begins, in tokens of it."""
        soft_from = self.request.policy.soft_from if self.request.policy else None
        self._soft_start = self.budget if soft_from is None else math.ceil(soft_from * self.budget)

    def force(self) -> int | None:
        """The id that the policy wants next, or None where the row samples freely; ask once a token."""
        if self.phase == _ANSWERING:
            return None
        if self.phase == _FREE and not self.forced and self.thought >= self.budget:
            self.close("budget")
        if self.forced:
            return self.forced.popleft()
        if self.phase == _CLOSING:
            self.phase = _ANSWERING
        return None

    # --- the client's wishes: whether they can still be had ---

    def close(self, why: str) -> bool:
        """Force the end of the thought from the next token on."""
        policy = self.request.policy
        if policy is None or self.phase != _FREE:
            return False
        self.phase, self.thought_end = _CLOSING, why
        self.forced += policy.forced_close
        self._cool()
        return True

    def can_insert(self) -> bool:
        """Whether the thought is open, or on its way to be closed."""
        policy = self.request.policy
        return self.phase == _FREE or (self.phase == _CLOSING and policy is not None and policy.close_id in self.forced)

    def insert(self, ids: Sequence[int]) -> None:
        """Force ids into the thought, before what else is to be forced."""
        assert self.can_insert()
        self.most_tokens += len(ids)
        self.forced.extendleft(reversed(ids))

    def extend(self, tokens: int) -> bool:
        """Let the thought take more tokens, as far as the answer's own leave room; false where they leave none."""
        policy = self.request.policy
        if policy is None or self.phase != _FREE:
            return False
        room = self.request.max_tokens - self.drawn + self.thought - max(policy.answer_floor, 1)
        more = min(tokens, room - self.budget)
        self.budget += max(0, more)
        self._settle()
        return more > 0

    # --- its tokens ---

    @property
    def next_position(self) -> int:
        """Where its next token will stand."""
        return len(self.request.prompt_ids) + len(self.ids)

    @property
    def steered(self) -> bool:
        """Whether its next token must be drawn from its logits here, and not within the step; ask after `force`."""
        if self.plain or self.request.bias or self.request.top_logprobs:
            return not self.plain
        if self.phase == _ANSWERING:
            return self.request.grammar is not None or not self.spoken
        return self.pressure > 0 or (self.phase == _FREE and not self.ids and not self.spoken)

    @property
    def leaves_step(self) -> bool:
        """The same asked before `force`, for a step that forces by itself."""
        closed = self.phase == _CLOSING and not self.forced
        return self.steered or (closed and (self.request.grammar is not None or not self.spoken))

    @property
    def needs_hand(self) -> bool:
        """Whether more than its sampling settings, its budget and its close say what comes next."""
        return bool(self.forced) or self.phase == _CLOSING or self.steered

    @property
    def pressure(self) -> float:
        """What is added to the logit of the id that closes the thought, in nats."""
        if self.phase != _FREE or self.reader is None or self.thought < self._soft_start or not self.reader.may_close:
            return 0.0
        return PRESSURE * (self.thought - self._soft_start + 1) / (self.budget - self._soft_start)

    def allowed(self, vocabulary: int) -> NDArray[np.bool_] | None:
        """Which ids may come next, bool [vocabulary]; None: all."""
        request, policy = self.request, self.request.policy
        allowed = np.ones(vocabulary, dtype=np.bool_)
        if request.grammar is not None and self.phase == _ANSWERING:
            given = request.grammar.allowed()[:vocabulary]
            allowed[:] = False
            allowed[: len(given)] = given
            if policy is not None and policy.open_id is not None and self.thought_end == "none" and not self.ids:
                allowed[policy.open_id] = True  # a thought that the model may open comes before the answer
        if not self.spoken and policy is not None and policy.words is not None:
            saying = allowed.copy()
            saying[[stop for stop in request.stop_ids if stop < vocabulary]] = False
            if request.max_tokens - self.drawn == 1:
                saying[[one for one in policy.words.blank if one < vocabulary]] = False
                saying[policy.words.vocabulary :] = False
            allowed = saying if saying.any() else allowed
        return None if allowed.all() else allowed

    @property
    def free_tokens(self) -> int:
        """How many tokens the row will draw, unless it stops, before one may be forced or the last has come."""
        request = self.request
        if self.forced or self.phase == _CLOSING or request.bias or request.top_logprobs:
            return 0
        left = request.max_tokens - self.drawn
        if self.phase == _FREE:
            return min(left, self._soft_start - self.thought)
        return left if request.grammar is None and self.spoken else 0

    @property
    def swift(self) -> bool:
        """Whether nobody has to look at its next `free_tokens` before the last of them, or a stop, has come."""
        policy = self.request.policy
        may_open = policy is not None and policy.open_id is not None and self.thought_end == "none"
        return self.plain and self.watch is None and self.fault is None and not may_open and self.free_tokens > 0

    def take(self, ids: Sequence[int], logprobs: Sequence[float]) -> None:
        """Take the next tokens of a swift row, all of them sampled."""
        self.ids += ids
        self.logprobs += logprobs
        self.sampled += [True] * len(ids)
        self.drawn += len(ids)
        close = self.request.policy.close_id if self.request.policy else None
        if self.phase == _FREE and close is not None and close in ids:
            self.thought += ids.index(close) + 1
            self.phase, self.thought_end = _ANSWERING, "natural"
        elif self.phase == _FREE:
            self.thought += len(ids)

    def refuses(self, draw: Draw) -> bool:
        """Whether a draw ends the reply inside its thought: then the thought is closed instead."""
        if self.spoken or self.phase != _FREE or not draw.sampled or draw.token_id not in self.request.stop_ids:
            return False
        self.discarded += 1
        self.drawn += 1
        return self.close("natural")

    def append(self, draw: Draw) -> int | None:
        """Take one more token; if the thought was taken back, how many tokens still stand."""
        token, logprob, sampled, top, pressed = draw
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.sampled.append(sampled)
        if self.request.top_logprobs:
            self.top.append(top)
        if self.fault is not None:
            return None
        thinking = self.phase == _FREE
        if sampled:
            self.drawn += 1
            self._move(token, pressed)
        return self._read(token) if thinking and self.phase == _FREE else None

    def _move(self, token: int, pressed: bool) -> None:
        """What a sampled token does to the phase."""
        policy, grammar = self.request.policy, self.request.grammar
        if self.phase == _FREE:
            self.thought += 1
            if policy is not None and token == policy.close_id:
                self.phase, self.thought_end = _ANSWERING, "budget" if pressed else "natural"
                self._cool()
                self.changed |= not self.spoken or grammar is not None
        elif policy is not None and token == policy.open_id and self.thought_end == "none":
            self.phase, self.thought_end = _FREE, "open"  # the model opened the thought itself; it may do so once
            self._opened = len(self.ids)
            room = self.request.max_tokens - self.drawn - max(policy.answer_floor, 1)
            self.budget = max(0, min(self.budget, room))
            self._settle()
        else:
            if grammar is not None:
                grammar.advance(token)
            self.spoken = self.spoken or not (policy and policy.words and policy.words.says_nothing(token))

    # --- a thought that goes round in circles ---

    def _read(self, token: int) -> int | None:
        """Read a token of the thought, sampled or put in; take the thought back if it goes round in circles."""
        if self.reader is not None:
            self.reader.feed(token)
        start = None if self.watch is None else self.watch.feed(token)
        if start is None or self.watch is None or self.request.policy is None:
            return None
        kept = max(self._opened + start, 1)
        while not all(self.sampled[kept:]):  # what the client put in stays
            kept += 1
        self._take_back(kept)
        self.watch.rewind(kept - self._opened)
        self.rescues += 1
        if self.rescues > 1:
            self.close("loop")
        else:
            request = self.request
            self.key = noise_key(request.seed ^ 0x5EED, request.sample)
            self.request = replace(request, temperature=max(request.temperature, WARMTH))
        self.changed = True
        return kept

    def _take_back(self, kept: int) -> None:
        """Keep the first tokens only. What is taken back is paid for: by the budget, and by `max_tokens`."""
        count = len(self.ids) - kept
        for column in (self.ids, self.logprobs, self.sampled, self.top):
            del column[kept:]
        self.discarded += count
        self.thought -= count
        self.budget = max(self.budget - count, self.thought)
        self._settle()
        if self.reader is not None and self.request.policy is not None:
            self.reader = self.request.policy.reader()
            for token in self.ids[self._opened :]:
                assert self.reader is not None
                self.reader.feed(token)

    def _cool(self) -> None:
        """Back to the temperature that was asked for."""
        if self.request is not self._asked:
            self.request, self.changed = self._asked, True

    @property
    def finish(self) -> str | None:
        """Why the row is done, or None while it goes on."""
        if self.fault is not None:
            return "fault"
        if self.sampled[-1] and self.ids[-1] in self.request.stop_ids:
            return "stop"
        return "length" if self.drawn >= self.request.max_tokens and not self.forced else None

    def complete(self, finish: str, version: int) -> Completion:
        """What the row has, as a completion."""
        return Completion(
            token_ids=tuple(self.ids),
            logprobs=tuple(self.logprobs),
            sampled=tuple(self.sampled),
            thinking_tokens=self.thought,
            finish=finish,
            thought_end=self.thought_end,
            version=version,
            top_logprobs=tuple(self.top),
            cached_tokens=self.cached,
            discarded_tokens=self.discarded,
        )
