"""One decode step, from newest ids to drawn ids and moved automata; run eagerly, or replayed as a CUDA graph.

The same function does both: it reads and writes tensors of fixed addresses only, and never waits for the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from thinkaloud.engine.gpu.operations import Operations
from thinkaloud.engine.gpu.state import TOP_K, Heads, State
from thinkaloud.engine.gpu.truncate import draw_few, draw_sorted
from thinkaloud.engine.gpu.weights import LayerWeights, Weights

Mode = Literal["free", "few", "sorted"]
"How a batch draws: nobody truncates; those who do have a small top-k; anything."


@dataclass(frozen=True, kw_only=True)
class Results:
    """What some steps drew, on its way to the host."""

    ids: Tensor
    "int64 [steps, B], -1 where a row was done"
    logprobs: Tensor
    "float32 [steps, B]"
    arrived: torch.cuda.Event | None
    "None on a CPU"

    def wait(self) -> tuple[list[list[int]], list[list[float]]]:
        """Ids and log-probs, a list for each row of the batch."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.ids.T.tolist(), self.logprobs.T.tolist()


class Batch:
    """The fixed tensors of a batch size, and the graphs captured over them."""

    def __init__(self, rows: int, steps: int, device: torch.device) -> None:
        self.rows = rows
        self.members: tuple[int, ...] = ()
        self.lines = torch.zeros(rows, dtype=torch.int64, device=device)
        self.tick = torch.zeros(1, dtype=torch.int64, device=device)
        self.ids = torch.zeros(steps, rows, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(steps, rows, dtype=torch.float32, device=device)
        self.graphs: dict[Mode, torch.cuda.CUDAGraph] = {}


def padded(rows: int) -> int:
    """The batch size that `rows` rows run in: few sizes, so that few graphs are captured."""
    for step, limit in ((1, 2), (2, 4), (4, 8), (8, 64), (16, 256)):
        if rows <= limit:
            return -(-rows // step) * step
    return -(-rows // 32) * 32


class Step:
    """The step over one model, one state and one cache [layers, 2, blocks, K, block size, E]."""

    def __init__(
        self,
        weights: Weights,
        state: State,
        cache: Tensor,
        heads: Heads,
        operations: Operations,
        *,
        eps: float,
        steps: int,
        graphs: bool,
    ) -> None:
        self.weights, self.state, self.cache, self.heads, self.run = weights, state, cache, heads, operations
        self.eps, self.steps, self.graphs = eps, steps, graphs
        self.batches: dict[int, Batch] = {}
        self._pool: Any = None

    def forward(self, batch: Batch, mode: Mode) -> Tensor:
        """One token for every row of the batch that is alive; gives the logits that it was drawn from."""
        run, state, weights = self.run, self.state, self.weights
        standing = run.begin(state.numbers, state.tables, batch.lines, self.cache.shape[4])
        x = weights.embedding.index_select(0, standing.ids)
        alone, delta = batch.rows == 1, None
        for layer, cache in zip(weights.layers, self.cache, strict=True):
            if alone:
                qkv = run.gemv(x, layer.qkv, norm=layer.input_norm, eps=self.eps)
            else:
                qkv = run.matmul(run.add_norm(x, delta, layer.input_norm, self.eps), layer.qkv)
            self.turn(qkv, cache, standing.positions, standing.slots, layer)
            seen = run.attend(qkv, cache, state.tables, batch.lines, standing.lengths, self.heads)
            if alone:
                x = run.gemv(seen, layer.output, residual=x)
                wide = run.gemv(x, layer.gate_up, norm=layer.middle_norm, eps=self.eps, gated=True)
                x = run.gemv(wide, layer.down, residual=x)
            else:
                delta = self.feed(x, run.matmul(seen, layer.output), layer)
        if alone:
            logits = run.gemv(x, weights.head, norm=weights.norm, eps=self.eps)
        else:
            logits = run.matmul(run.add_norm(x, delta, weights.norm, self.eps), weights.head)
        drawn, norms = self._draw(logits, batch, standing.noise, mode)
        run.advance(
            state.numbers, state.forced, batch.lines, logits, norms, drawn, batch.tick, batch.ids, batch.logprobs
        )
        batch.tick.add_(1)
        return logits

    def turn(self, qkv: Tensor, cache: Tensor, positions: Tensor, slots: Tensor, layer: LayerWeights) -> None:
        """Turn queries and keys; keys and values into the cache."""
        weights = self.weights
        self.run.turn_store(qkv, cache, positions, slots, weights.cos, weights.sin, layer.norms, self.eps, self.heads)

    def feed(self, x: Tensor, delta: Tensor, layer: LayerWeights) -> Tensor:
        """x += delta in place; what the feed-forward adds to it."""
        normed = self.run.add_norm(x, delta, layer.middle_norm, self.eps)
        return self.run.matmul(self.run.swiglu(self.run.matmul(normed, layer.gate_up)), layer.down)

    def _draw(self, logits: Tensor, batch: Batch, noise: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        drawn, norms = self.run.pick(logits, self.state.settings, batch.lines, noise)
        if mode != "free":
            settings = self.state.settings.index_select(0, batch.lines)
            top_k = self.state.numbers[:, TOP_K].index_select(0, batch.lines)
            truncated = (draw_few if mode == "few" else draw_sorted)(logits, norms, settings, top_k, noise)
            cuts = (top_k > 0) | (settings[:, 1] != 1) | (settings[:, 2] != 0)
            drawn = torch.where(cuts & (settings[:, 0] > 0), truncated, drawn)
        return drawn, norms

    def launch(self, lines: Sequence[int], mode: Mode, steps: int) -> Results:
        """Queue `steps` steps for the rows at `lines`, and the copy of what they draw; does not wait."""
        assert lines and steps <= self.steps
        rows = padded(len(lines))
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = Batch(rows, self.steps, self.state.device)
        if self.graphs and mode not in batch.graphs:
            self._capture(batch, mode)
        members = (*lines, *[0] * (rows - len(lines)))
        if members != batch.members:
            batch.lines.copy_(self.state.send(members, torch.int64))
            batch.members = members
        batch.tick.zero_()
        for _ in range(steps):
            if self.graphs:
                batch.graphs[mode].replay()
            else:
                self.forward(batch, mode)
        if self.state.device.type != "cuda":
            return Results(ids=batch.ids[:steps].clone(), logprobs=batch.logprobs[:steps].clone(), arrived=None)
        ids, logprobs = (
            torch.empty(steps, rows, dtype=source.dtype, pin_memory=True).copy_(source[:steps], non_blocking=True)
            for source in (batch.ids, batch.logprobs)
        )
        arrived = torch.cuda.Event()
        arrived.record()
        return Results(ids=ids, logprobs=logprobs, arrived=arrived)

    def logits(self, lines: Sequence[int]) -> Tensor:
        """What follows the newest tokens of the rows at `lines`, float [rows, V]; run at once, without a graph."""
        rows = padded(len(lines))
        batch = Batch(rows, 1, self.state.device)
        batch.lines.copy_(self.state.send((*lines, *[0] * (rows - len(lines))), torch.int64))
        return self.forward(batch, "free")[: len(lines)]

    def _capture(self, batch: Batch, mode: Mode) -> None:
        """Record the step as a graph, with a batch of dead rows; kernels are compiled by running it once before."""
        batch.lines.zero_()
        batch.members = ()
        batch.tick.zero_()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.forward(batch, mode)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        batch.tick.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self.forward(batch, mode)
        self._pool = graph.pool()
        batch.graphs[mode] = graph

    def forget_graphs(self) -> None:
        """Tensors have moved: capture again when next needed."""
        for batch in self.batches.values():
            batch.graphs.clear()
        self._pool = None
