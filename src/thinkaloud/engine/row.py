"""One request under way: its tokens so far, and its thinking policy run as data."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.sampling import noise_key
from thinkaloud.engine.types import Completion, Request

_FREE, _CLOSING, _ANSWERING = 0, 1, 2
"Phases of a row: sampling its thought, being forced to close it, sampling after it."


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


class Row:
    """One request under way."""

    def __init__(self, handle: int, request: Request) -> None:
        self.handle = handle
        self.request = request
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
        self.plain = not (request.grammar or request.bias or request.top_logprobs)
        "whether the step draws all its tokens"
        policy = request.policy
        self.phase = _FREE if policy and policy.starts_thinking else _ANSWERING
        self.thought_end = "open" if self.phase == _FREE else "none"
        self.forced: deque[int] = deque()
        if policy is not None:
            room = request.max_tokens - min(max(policy.answer_floor, 1), request.max_tokens)
            self.budget = room if policy.budget is None else min(policy.budget, room)

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
        """Let the thought take more tokens, as far as the answer's own leave room."""
        policy = self.request.policy
        if policy is None or self.phase != _FREE:
            return False
        room = self.request.max_tokens - self.drawn + self.thought - max(policy.answer_floor, 1)
        self.budget = max(self.budget, min(self.budget + tokens, room))
        return True

    # --- its tokens ---

    @property
    def next_position(self) -> int:
        """Where its next token will stand."""
        return len(self.request.prompt_ids) + len(self.ids)

    @property
    def steered(self) -> bool:
        """Whether its next token must be drawn from its logits here, and not within the step; ask after `force`."""
        return not self.plain

    def allowed(self, vocabulary: int) -> NDArray[np.bool_] | None:
        """Which ids may come next, bool [vocabulary]; None: all."""
        policy, grammar = self.request.policy, self.request.grammar
        if grammar is None:
            return None
        if self.phase != _ANSWERING:  # a turn that ended within the thought would leave no answer to keep to anything
            allowed = np.ones(vocabulary, dtype=np.bool_)
            allowed[list(self.request.stop_ids)] = False
            return allowed
        allowed = np.zeros(vocabulary, dtype=np.bool_)
        given = grammar.allowed()[:vocabulary]
        allowed[: len(given)] = given
        if policy is not None and policy.open_id is not None and self.thought_end == "none" and not self.ids:
            allowed[policy.open_id] = True  # a thought that the model may open comes before the answer
        return allowed

    @property
    def free_tokens(self) -> int:
        """How many tokens the row will draw, unless it stops, before one may be forced or the last has come."""
        if self.forced or self.phase == _CLOSING or not self.plain:
            return 0
        left = self.request.max_tokens - self.drawn
        return min(left, self.budget - self.thought) if self.phase == _FREE else left

    def append(self, draw: Draw) -> None:
        """Take one more token."""
        token, logprob, sampled, top = draw
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.sampled.append(sampled)
        if self.request.top_logprobs:
            self.top.append(top)
        self.drawn += sampled
        if sampled:
            self._move(token)

    def _move(self, token: int) -> None:
        """What a sampled token does to the phase."""
        policy, grammar = self.request.policy, self.request.grammar
        if self.phase == _FREE:
            self.thought += 1
            if policy is not None and token == policy.close_id:
                self.phase, self.thought_end = _ANSWERING, "natural"
        elif policy is not None and token == policy.open_id and self.thought_end == "none":
            self.phase, self.thought_end = _FREE, "open"  # the model opened the thought itself; it may do so once
            room = self.request.max_tokens - self.drawn - max(policy.answer_floor, 1)
            self.budget = max(0, min(self.budget, room))
        elif grammar is not None:
            grammar.advance(token)

    @property
    def finish(self) -> str | None:
        """Why the row is done, or None while it goes on."""
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
