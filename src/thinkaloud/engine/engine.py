"""The engine: requests wait, become rows, get a token a step, leave. A backend runs the model; this schedules."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from thinkaloud.base.errors import UserError
from thinkaloud.engine.choose import choose_backend
from thinkaloud.engine.row import Row
from thinkaloud.engine.types import Completion, Request
from thinkaloud.model import Transformer


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What one step added to one request."""

    handle: int
    "the number that `submit` gave"
    token_id: int
    "the new token"
    completion: Completion | None
    "the whole completion when this token was its last"


class Engine:
    """Continuous batching over one model whose weights it shares with whoever trains them.

    `generate` runs requests to their end; `submit`, `step` and `cancel` are the same in pieces, for streams.
    `backend` is auto (cuda on a GPU, native on a CPU where it was built), cuda, native or torch; `weights` is auto (the
    type of the model's own), float32, bfloat16, int8, int4 or, on a GPU, fp8; `cache` is auto (float32 beside float32
    weights, else bfloat16) or, on a CPU, int8, for keys and values; `cache_tokens` bounds the cache (None: about a
    gibibyte, on a GPU half of the memory that is free). `source` gives the weights of a model whose parameters are on
    the meta device, by their published names: they are packed as they come, once.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        max_rows: int = 512,
        prefill_tokens: int | None = None,
        backend: str = "auto",
        weights: str = "auto",
        cache: str = "auto",
        cache_tokens: int | None = None,
        source: Iterable[tuple[str, Tensor]] | None = None,
    ) -> None:
        self.model = model
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

    def refresh(self, source: Iterable[tuple[str, Tensor]] | None = None) -> None:
        """The weights have changed: a new version, and nothing cached from the old one survives.

        `source` gives the new ones of a model on the meta device, as at the beginning.
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
        vocabulary = self.model.config.vocab_size
        if min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocabulary:
            raise UserError(f"the prompt holds an id outside the vocabulary: give ids from 0 to {vocabulary - 1}")
        limit = self.model.config.max_position_embeddings
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
        for row in self._waiting:
            if row.handle == handle:
                self._waiting.remove(row)
                return row.complete("cancelled", self.version)
        for row in self._rows:
            if row.handle == handle:
                self._rows.remove(row)
                self._backend.release(row)
                return row.complete("cancelled", self.version)
        return None

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._waiting or self._rows)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Run all to their end; completions in the order of `requests`."""
        handles = self.submit_all(requests)
        done: dict[int, Completion] = {}
        left = set(handles)
        while left:
            done.update((p.handle, p.completion) for p in self.step() if p.completion is not None)
            left -= done.keys()
        return [done[handle] for handle in handles]

    def step(self) -> list[Progress]:
        """One token for every row whose prompt is processed: admit, run the model, see which rows are done."""
        while self._waiting and len(self._rows) < self.max_rows and self._backend.admit(self._waiting[0]):
            self._rows.append(self._waiting.popleft())
        if not self._rows:
            return []
        progress, left = [], False
        for row, draw in zip(self._rows, self._backend.step(self._rows), strict=True):
            if draw is None:
                continue
            row.append(draw)
            self.generated_tokens += 1
            finish = row.finish
            completion = None
            if finish is not None:
                completion, left = row.complete(finish, self.version), True
                self._backend.release(row)
            progress.append(Progress(handle=row.handle, token_id=draw.token_id, completion=completion))
        if left:
            done = {one.handle for one in progress if one.completion is not None}
            self._rows = [row for row in self._rows if row.handle not in done]
        return progress
