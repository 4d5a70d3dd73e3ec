"""The engine: requests wait, become rows, get a token a step, leave. A backend runs the model; this schedules."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from thinkaloud.base.errors import UserError
from thinkaloud.engine.backend import Source
from thinkaloud.engine.choose import choose_backend
from thinkaloud.engine.row import Row
from thinkaloud.engine.types import Completion, Request
from thinkaloud.model import ModelConfig

if TYPE_CHECKING:
    from thinkaloud.model import Transformer


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What one step added to one request."""

    handle: int
    "the number that `submit` gave"
    token_id: int
    "the new token"
    logprob: float
    "log-softmax of the raw logits at temperature 1"
    top_logprobs: tuple[tuple[int, float], ...]
    "the likeliest ids at its place and their log-probs, as many as were asked for"
    sampled: bool
    "false where the token was forced"
    completion: Completion | None
    "the whole completion when this token was its last"
    kept: int | None = None
    "how many tokens still stand where some were taken back, this one among them; None: all do"
    fault: Exception | None = None
    "what went wrong for this request alone; it is over, and its last token says nothing"


class Engine:
    """Continuous batching over one model whose weights it shares with whoever trains them.

    `generate` and `complete` run requests to their end; `submit`, `step` and `cancel` are the same in pieces, for
    streams; whoever watches a thought may `close_thought`, `insert`, `extend`, `pause` and `resume`. One thread owns
    an engine.
    `backend` is auto (cuda on a GPU, native on a CPU where it was built), cuda, native or torch; `weights` is auto (the
    type of the model's own), float32, bfloat16, int8, int4 or, on a GPU, fp8; `cache` is auto (float32 beside float32
    weights, else bfloat16) or, on a CPU, int8, for keys and values; `cache_tokens` bounds the cache (None: about a
    gibibyte, on a GPU half of the memory that is free). A model may be its shape alone, for the native step: `source`
    then gives its weights, which are packed as they come, once.
    """

    def __init__(
        self,
        model: Transformer | ModelConfig,
        *,
        max_rows: int = 512,
        prefill_tokens: int | None = None,
        backend: str = "auto",
        weights: str = "auto",
        cache: str = "auto",
        cache_tokens: int | None = None,
        source: Source | None = None,
    ) -> None:
        self.model = model
        self.config = model if isinstance(model, ModelConfig) else model.config
        self.max_rows = max_rows
        self.version = 0
        self._backend = choose_backend(
            model,
            backend=backend,
            weights=weights,
            max_rows=max_rows,
            prefill_tokens=prefill_tokens,
            cache=cache,
            cache_tokens=cache_tokens,
            source=source,
        )
        self._next_handle = 0
        self._waiting: deque[Row] = deque()
        self._rows: list[Row] = []
        self._paused: set[int] = set()
        self._held: dict[int, Progress] = {}  # what came for rows that pause
        self.generated_tokens = 0

    @property
    def backend(self) -> str:
        """Who runs the model: 'cuda', 'native' or 'torch'."""
        return self._backend.name

    @property
    def weights(self) -> str:
        """The format of the weights that it runs."""
        return self._backend.weights

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens processed so far: a shared or remembered beginning counts once."""
        return self._backend.prefilled_tokens

    def refresh(self, source: Source | None = None) -> None:
        """The weights have changed: a new version, and nothing cached from the old one survives.

        `source` gives the new ones of a model that is a shape alone, as at the beginning.
        """
        assert not self._rows and not self._waiting, "refresh while requests are under way"
        self.version += 1
        self._backend.refresh(source)

    def forget(self) -> None:
        """Drop cached prefixes: what follows costs the same whatever came before."""
        self._backend.forget()

    def submit(self, request: Request) -> int:
        """Queue a request; its number comes back with each of its tokens."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[Request]) -> list[int]:
        """Queue all requests, or none if one of them does not fit the model (UserError)."""
        for request in requests:
            self._check(request)
        rows = [Row(self._next_handle + index, request) for index, request in enumerate(requests)]
        self._next_handle += len(rows)
        self._waiting += rows
        return [row.handle for row in rows]

    def _check(self, request: Request) -> None:
        vocabulary = self.config.vocab_size
        if min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocabulary:
            raise UserError(f"the prompt holds an id outside the vocabulary: give ids from 0 to {vocabulary - 1}")
        limit = self.config.max_position_embeddings
        if request.most_tokens > limit:
            raise UserError(
                f"prompt of {len(request.prompt_ids)} tokens and max_tokens {request.max_tokens} exceed the model's "
                f"{limit} positions: shorten the prompt or lower max_tokens"
            )
        if request.most_tokens > self._backend.capacity():
            raise UserError(
                f"prompt of {len(request.prompt_ids)} tokens and max_tokens {request.max_tokens} exceed the cache's "
                f"{self._backend.capacity()} tokens: shorten the prompt, lower max_tokens or raise cache_tokens"
            )

    def cancel(self, handle: int) -> Completion | None:
        """End a request now and give what it has; None if it is not under way."""
        held = self._held.pop(handle, None)
        self._paused.discard(handle)
        if held is not None and held.completion is not None:
            return held.completion
        row = self._find(handle)
        if row is None:
            return None
        if row in self._waiting:
            self._waiting.remove(row)
        else:
            self._rows.remove(row)
            self._backend.release(row)
        return row.complete("cancelled", self.version)

    def _find(self, handle: int) -> Row | None:
        return next((row for row in chain(self._rows, self._waiting) if row.handle == handle), None)

    # --- the client's wishes; false where they can't be had, or the request is not under way ---

    def close_thought(self, handle: int, why: str = "client") -> bool:
        """Answer now: the policy's `forced_close` is forced from the next token on. `why` is told as `thought_end`."""
        row = self._find(handle)
        return row is not None and row.close(why) and self._steer(row)

    def insert(self, handle: int, ids: Sequence[int]) -> bool:
        """Force ids into the thought, from the next token on, on top of `max_tokens`."""
        row = self._find(handle)
        policy = None if row is None else row.request.policy
        if row is None or policy is None or not row.can_insert():
            return False
        if not ids or policy.close_id in ids or min(ids) < 0 or max(ids) >= self.config.vocab_size:
            raise UserError("what is inserted into a thought must be ids of the vocabulary that do not close it")
        whole = row.most_tokens + len(ids)
        room = min(self.config.max_position_embeddings, self._backend.capacity())
        if whole > room or not self._backend.grow(row, len(ids)):
            return False
        row.insert(ids)
        return self._steer(row)

    def extend(self, handle: int, tokens: int) -> bool:
        """Let the thought take so many more tokens, as far as `max_tokens` and the answer's own leave room.

        False where they leave none.
        """
        row = self._find(handle)
        return row is not None and row.extend(tokens) and self._steer(row)

    def pause(self, handle: int) -> bool:
        """Give a request no more tokens until `resume`; it keeps its place in the cache."""
        return self._pause(handle, True)

    def resume(self, handle: int) -> bool:
        """Let a paused request go on."""
        return self._pause(handle, False)

    def _pause(self, handle: int, paused: bool) -> bool:
        row = self._find(handle)
        if row is None and handle not in self._held:
            return False
        (self._paused.add if paused else self._paused.discard)(handle)
        if row is not None:
            row.paused = paused
            if row in self._rows:
                self._backend.rest(row)
        return True

    def _steer(self, row: Row) -> bool:
        if row in self._rows:
            self._backend.steer(row)
        return True

    @property
    def waiting(self) -> int:
        """Requests without a row yet."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything: paused requests wait for `resume`."""
        held = any(handle not in self._paused for handle in self._held)
        return held or any(not row.paused for row in chain(self._rows, self._waiting))

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Run all to their end; completions in the order of `requests`. A fault of one of them ends all."""
        done = dict(self.complete(requests))
        return [done[index] for index in range(len(requests))]

    def complete(self, requests: Sequence[Request]) -> Generator[tuple[int, Completion], None, None]:
        """The same as they come, each with its place in `requests`; whoever leaves early cancels the rest."""
        left = {handle: index for index, handle in enumerate(self.submit_all(requests))}
        try:
            while left:
                for handle, completion in self._ended(left.keys()):
                    yield left.pop(handle), completion
        finally:
            for handle in left:
                self.cancel(handle)

    def _ended(self, mine: Set[int]) -> list[tuple[int, Completion]]:
        """Go on, by several tokens at once where that can be, else by a step; what of `mine` has ended with it."""
        self._admit()
        tokens = 0
        if self._rows and all(row.handle in mine for row in self._rows):
            tokens = self._backend.ahead(self._rows, len(self._waiting))
        if not tokens:
            ended = [one for one in self._advance() if one.completion is not None and one.handle in mine]
            faults = [one.fault for one in ended if one.fault is not None]
            if faults:
                raise faults[0]
            return [(one.handle, one.completion) for one in ended if one.completion is not None]
        self.generated_tokens += tokens
        done = [(row, finish) for row in self._rows if (finish := row.finish) is not None]
        self._leave([row for row, _ in done])
        return [(row.handle, row.complete(finish, self.version)) for row, finish in done]

    def _leave(self, done: Sequence[Row]) -> None:
        """Rows that have ended make room."""
        gone = {row.handle for row in done}
        self._rows = [row for row in self._rows if row.handle not in gone]
        for row in done:
            self._backend.release(row)

    def step(self) -> list[Progress]:
        """One token for every row whose prompt is processed: admit, run the model, see which rows are done."""
        self._admit()
        return self._advance()

    def _advance(self) -> list[Progress]:
        progress = [self._held.pop(handle) for handle in [*self._held] if handle not in self._paused]
        if not self._rows:
            return progress
        done: list[Row] = []
        for row, draw in zip(self._rows, self._backend.step(self._rows), strict=True):
            if draw is None:
                continue
            self.generated_tokens += 1
            try:
                kept = len(row.ids) if row.refuses(draw) else row.append(draw)
            except Exception as fault:
                row.fault, kept = fault, None
            if row.changed or kept is not None:
                row.changed = False
                self._backend.steer(row)
            finish = row.finish if kept is None else None
            completion = None
            if finish is not None:
                completion = row.complete(finish, self.version)
                done.append(row)
            one = Progress(
                handle=row.handle,
                token_id=draw.token_id,
                logprob=draw.logprob,
                top_logprobs=draw.top,
                sampled=draw.sampled,
                completion=completion,
                kept=kept,
                fault=row.fault,
            )
            if row.paused:  # since before its prompt was through: its first token is kept for later
                self._held[row.handle] = one
                if finish is None:
                    self._backend.rest(row)
            else:
                progress.append(one)
        if done:
            self._leave(done)
        return progress

    def _admit(self) -> None:
        while self._waiting and len(self._rows) < self.max_rows:
            row = next((row for row in self._waiting if not row.paused), None)
            if row is None or not self._backend.admit(row):
                return
            self._waiting.remove(row)
            self._rows.append(row)
