"""The engine's step in plain PyTorch: the reference, and the way on machines without the native step."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from thinkaloud.engine.backend import Source
from thinkaloud.engine.noise import uniforms
from thinkaloud.engine.packed import PackedTransformer, can_pack
from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.sampling import Sampler
from thinkaloud.engine.steered import draw_steered
from thinkaloud.model import KVCache, Transformer


class TorchBackend:
    """One padded batch: rows are joined to it behind their prompts and picked out when they are done.

    A model in bfloat16 is run with its matrices packed, which takes its memory a second time.
    """

    name = "torch"

    def __init__(self, model: Transformer, *, prefill_tokens: int = 16_384) -> None:
        self.model = model
        self._packed: PackedTransformer | None = None
        self.weights = str(model.head.dtype).removeprefix("torch.")
        self.prefill_limit = prefill_tokens
        self.prefilled_tokens = 0
        self._new: list[Row] = []
        self._rows: list[Row] = []
        self._gone: set[int] = set()
        self._cache: KVCache | None = None
        self._logits = torch.empty(0)
        self._keys: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._sampler: Sampler | None = None

    def capacity(self) -> int:
        """How many tokens a single thread may have."""
        return self.model.config.max_position_embeddings

    def admit(self, row: Row) -> bool:
        """Take in a row; its prompt is processed in the next step."""
        self._new.append(row)
        return True

    def grow(self, row: Row, tokens: int) -> bool:
        """There is always room."""
        return True

    def rest(self, row: Row) -> None:
        """A row that pauses says its last token again in every step, and nothing comes of it."""

    @torch.inference_mode()
    def steer(self, row: Row) -> None:
        """A row's plan, noise or tokens have changed: it goes on from its own tokens."""
        for index, one in enumerate(self._rows):
            if one is row and row.ids:
                assert self._cache is not None
                self._cache.lengths[index] = row.next_position - 1
        self._rows_changed()

    def ahead(self, rows: Sequence[Row], waiting: int) -> int:
        """None: steps are taken."""
        return 0

    def release(self, row: Row) -> None:
        """A row is done."""
        if row in self._new:
            self._new.remove(row)
        else:
            self._gone.add(row.handle)

    def forget(self) -> None:
        """Nothing outlives its row here."""

    def refresh(self, source: Source | None = None) -> None:
        """The weights have changed: what was packed is packed again when it is next needed."""
        assert source is None, "the model's own numbers are run"
        self._packed = None

    @property
    def _runner(self) -> Transformer:
        """The model, or what it is packed into."""
        if self._packed is None and can_pack(self.model):
            self._packed = PackedTransformer(self.model)
        return self._packed or self.model

    @torch.inference_mode()
    def step(self, rows: Sequence[Row]) -> list[Draw | None]:
        """Drop the rows that are done, run the model on the others' newest tokens, prefill new rows, draw."""
        self._drop()
        if not all(row.paused for row in self._rows):
            assert self._cache is not None
            newest = torch.tensor([[row.ids[-1]] for row in self._rows], device=self._logits.device)
            self._logits = self._runner.logits(self._runner.extend(newest, self._cache)[:, 0])
            for index, row in enumerate(self._rows):
                if row.paused:  # it said its last token once more, in the same place
                    self._cache.lengths[index] -= 1
        self._prefill_new()
        if not self._rows:
            return []
        drawn = dict(zip((row.handle for row in self._rows), self._draw(), strict=True))
        return [drawn[row.handle] for row in rows]

    def _prefill_new(self) -> None:
        """Prefill the new rows, an equal prompt of one batch once, in batches that are not too large."""
        waiting, self._new = self._new, []
        group: list[Row] = []
        prompts: dict[tuple[int, ...], int] = {}
        longest = 0
        for row in waiting:
            prompt = row.request.prompt_ids
            longest = max(longest, len(prompt))
            if prompts and prompt not in prompts and (len(prompts) + 1) * longest > self.prefill_limit:
                self._prefill(group, prompts)
                group, prompts, longest = [], {}, len(prompt)
            prompts.setdefault(prompt, len(prompts))
            group.append(row)
        if group:
            self._prefill(group, prompts)

    def _prefill(self, group: list[Row], prompts: dict[tuple[int, ...], int]) -> None:
        device = self.model.head.device
        counts = torch.tensor([len(prompt) for prompt in prompts], device=device)
        longest = int(counts.max())
        ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=device)
        cache = KVCache.empty(self.model.config, len(prompts), (longest + 64) // 64 * 64, self.model.head)
        hidden = self._runner.extend(ids, cache, counts)
        last = hidden[torch.arange(len(prompts), device=device), counts - 1]
        rows = torch.tensor([prompts[row.request.prompt_ids] for row in group], device=device)
        cache, logits = cache.pick(rows), self._runner.logits(last)[rows]
        self._cache = cache if self._cache is None else self._cache.join(cache)
        self._logits = logits if not self._rows else torch.cat([self._logits, logits])
        self._rows = [*self._rows, *group]
        self._rows_changed()
        self.prefilled_tokens += int(counts.sum())

    def _rows_changed(self) -> None:
        self._keys = np.array([row.key for row in self._rows], dtype=np.uint64)
        self._sampler = Sampler([row.request for row in self._rows], self.model.head.device)

    def _draw(self) -> list[Draw | None]:
        """A token for each row but those that pause; a row just prefilled gets its first one all the same."""
        assert self._sampler is not None and self._cache is not None
        positions = self._cache.lengths.cpu().numpy()
        ids, logprobs = self._sampler(self._logits, uniforms(self._keys, positions))
        idle = [row.handle in self._gone or (row.paused and bool(row.ids)) for row in self._rows]
        forced = [None if none else row.force() for row, none in zip(self._rows, idle, strict=True)]
        for index, token in enumerate(forced):
            if token is not None:
                ids[index] = token
                logprobs[index] = torch.log_softmax(self._logits[index].float(), -1)[token]
        draws: list[Draw | None] = [
            None if none else Draw(token, logprob, force is None)
            for token, logprob, force, none in zip(ids.tolist(), logprobs.tolist(), forced, idle, strict=True)
        ]
        for index, row in enumerate(self._rows):
            if not row.plain and not idle[index] and row.steered:
                draws[index] = draw_steered(row, self._logits[index].float().cpu().numpy(), forced[index])
        return draws

    def _drop(self) -> None:
        """Let go of finished rows once they are a tenth of the batch: dropping copies the cache of those that stay."""
        live = [index for index, row in enumerate(self._rows) if row.handle not in self._gone]
        if not live:
            self._rows, self._cache = [], None
            self._gone.clear()
            return
        assert self._cache is not None
        if len(live) > 0.9 * len(self._rows):
            finished = [index for index, row in enumerate(self._rows) if row.handle in self._gone]
            self._cache.lengths[finished] = 0  # a dead row idles at the front and never makes the cache grow
            return
        kept = torch.tensor(live, device=self._logits.device)
        self._rows = [self._rows[index] for index in live]
        self._cache, self._logits = self._cache.pick(kept), self._logits[kept]
        self._gone.clear()
        self._rows_changed()
