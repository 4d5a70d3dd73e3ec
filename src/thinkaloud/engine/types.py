"""What goes into an engine and what comes out. A thread of thought is its token ids: continuing is all there is."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thinkaloud.base.errors import UserError
from thinkaloud.text.policy import ThinkingPolicy


class Grammar(Protocol):
    """What an answer may say, token by token. It moves as the answer grows, so each request has its own."""

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, bool [vocabulary]; ids past its end may not. At least one may."""

    def advance(self, token_id: int) -> None:
        """This id, an allowed one, has come."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Continue from this prefix.

    Example: `Request(prompt_ids=(1, 2, 3), max_tokens=64, seed=7)`. To draw several samples of one prompt, submit
    requests that differ in `sample`: the engine prefills an equal prompt once.
    """

    prompt_ids: tuple[int, ...]
    "the prefix, at least one token"
    max_tokens: int
    "most tokens sampled: thought and answer together; forced tokens come on top"
    temperature: float = 1.0
    "divides the logits; 0 takes the likeliest token"
    top_p: float = 1.0
    "keep the likeliest tokens that together reach this probability"
    top_k: int = 0
    "keep the k likeliest tokens; 0 keeps all"
    min_p: float = 0.0
    "drop tokens below this share of the likeliest token's probability"
    seed: int = 0
    "sampling noise is keyed by (seed, sample, position), so it does not depend on what else is in the batch"
    sample: int = 0
    "tells apart several samples of one prompt under one seed"
    stop_ids: frozenset[int] = field(default_factory=frozenset)
    "ids that end the completion (and are its last token); empty to go on until max_tokens"
    policy: ThinkingPolicy | None = None
    "how the thought is bounded; None samples freely"
    grammar: Grammar | None = field(default=None, compare=False)
    "what the answer, not the thought, may say; log-probs stay those of the raw logits"
    bias: tuple[tuple[int, float], ...] = ()
    "pairs of an id and what is added to its logit whenever a token is sampled"
    top_logprobs: int = 0
    "of how many of the likeliest tokens, at each place, the log-probs are given"

    def __post_init__(self) -> None:
        faults = {
            "prompt_ids is empty: give at least one token": not self.prompt_ids,
            f"max_tokens is {self.max_tokens}: give 1 or more": self.max_tokens < 1,
            f"temperature is {self.temperature}: give 0 or more": not 0 <= self.temperature < float("inf"),
            f"top_p is {self.top_p}: give a number above 0 and up to 1": not 0 < self.top_p <= 1,
            f"top_k is {self.top_k}: give 0 (all) or more": self.top_k < 0,
            f"min_p is {self.min_p}: give a number from 0 to 1": not 0 <= self.min_p <= 1,
            f"top_logprobs is {self.top_logprobs}: give 0 or more": self.top_logprobs < 0,
        }
        for message, wrong in faults.items():
            if wrong:
                raise UserError(message)

    @property
    def most_tokens(self) -> int:
        """The most tokens that the thread can come to, prompt and forced ones included."""
        forced = len(self.policy.forced_close) if self.policy else 0
        return len(self.prompt_ids) + self.max_tokens + forced


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What followed a prefix. Lists have one entry a token."""

    token_ids: tuple[int, ...]
    "the tokens after the prompt, forced ones and the stop id included"
    logprobs: tuple[float, ...]
    "log-softmax of the raw logits at temperature 1, before truncation"
    sampled: tuple[bool, ...]
    "false for tokens that were forced: those are never trained on"
    thinking_tokens: int
    "sampled tokens of the thought, its closing tag included"
    finish: str
    "'stop' (a stop id), 'length' (max_tokens), 'cancelled' or 'fault' (what failed for it alone ended it)"
    thought_end: str
    "'natural', 'budget', 'early', 'loop' or 'client' (who had it closed), 'open' (never) or 'none' (no thought)"
    version: int
    "version of the weights that sampled it"
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    "of each token the likeliest ids at its place with their log-probs, where they were asked for"
    cached_tokens: int = field(default=0, compare=False)
    "tokens of the prompt that were known from before and not processed again"
    discarded_tokens: int = 0
    "sampled tokens that were taken back and are not among token_ids"
