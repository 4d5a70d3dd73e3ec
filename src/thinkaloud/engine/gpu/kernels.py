"""The operations of a step in Triton: their launches. Those of matrices stand in `products`, kernels in `triton_*`."""

import math

import torch
import triton
from torch import Tensor

from thinkaloud.engine.gpu import triton_rows
from thinkaloud.engine.gpu.products import add_norm, gemv, matmul, multiprocessors
from thinkaloud.engine.gpu.state import Heads, Standing

__all__ = ["add_norm", "advance", "attend", "begin", "gemv", "matmul", "pick", "swiglu", "turn_store"]

PROGRAMS = 4
"Programs that attention aims at, for each multiprocessor."
_PART = 2048
"Vocabulary entries that one program weighs."
_TILE = 64
"Tokens that attention looks at at a time."


def begin(numbers: Tensor, tables: Tensor, lines: Tensor, size: int) -> Standing:
    """See `Operations`."""
    ids, positions, slots, lengths = lines.new_empty(4, lines.shape[0]).unbind(0)
    noise = torch.empty(lines.shape[0], dtype=torch.float64, device=lines.device)
    triton_rows.begin[(lines.shape[0],)](
        numbers, tables, lines, ids, positions, slots, lengths, noise, tables.shape[1], size, num_warps=1
    )
    return Standing(ids, positions, slots, lengths, noise)


def swiglu(x: Tensor) -> Tensor:
    """See `Operations`."""
    rows, width = x.shape[0], x.shape[1] // 2
    out = torch.empty(rows, width, dtype=x.dtype, device=x.device)
    triton_rows.swiglu[(rows, triton.cdiv(width, 1024))](x, out, width, 1024, num_warps=4)
    return out


def turn_store(
    qkv: Tensor,
    cache: Tensor,
    positions: Tensor,
    slots: Tensor,
    cos: Tensor,
    sin: Tensor,
    norms: tuple[Tensor, Tensor] | None,
    eps: float,
    heads: Heads,
) -> None:
    """See `Operations`."""
    q_norm, k_norm = norms or (qkv, qkv)
    triton_rows.turn_store[(qkv.shape[0], heads.query + 2 * heads.key_value)](
        qkv,
        cache,
        positions,
        slots,
        cos,
        sin,
        q_norm,
        k_norm,
        eps,
        cache.shape[1],
        heads.query,
        heads.key_value,
        heads.width,
        cache.shape[3],
        norms is not None,
        triton.next_power_of_2(heads.width // 2),
        num_warps=1,
    )


def attend(
    qkv: Tensor,
    cache: Tensor,
    tables: Tensor,
    lines: Tensor,
    lengths: Tensor,
    heads: Heads,
) -> Tensor:
    """See `Operations`: stretches of the context side by side, then put together."""
    assert not heads.split % _TILE
    rows, size = qkv.shape[0], cache.shape[3]
    splits = triton.cdiv(tables.shape[1] * size, heads.split)
    wanted = PROGRAMS * multiprocessors(qkv.device)
    programs = min(splits, triton.cdiv(wanted, rows * heads.key_value))
    parts = torch.empty(rows, splits, heads.query, heads.width, dtype=torch.float32, device=qkv.device)
    weights = torch.empty(rows, splits, heads.query, dtype=torch.float32, device=qkv.device)
    out = torch.empty(rows, heads.query * heads.width, dtype=qkv.dtype, device=qkv.device)
    wide = triton.next_power_of_2(heads.width)
    triton_rows.attend[(rows, heads.key_value, programs)](
        qkv,
        cache,
        tables,
        lines,
        lengths,
        parts,
        weights,
        tables.shape[1],
        cache.shape[1],
        programs,
        splits,
        1 / math.sqrt(heads.width),
        heads.query,
        heads.key_value,
        heads.width,
        size,
        heads.split,
        _TILE,
        max(16, triton.next_power_of_2(heads.query // heads.key_value)),
        max(16, wide),
        num_warps=4,
        num_stages=2,
    )
    triton_rows.combine[(rows, heads.query)](
        parts, weights, lengths, out, splits, heads.query, heads.width, heads.split, wide, num_warps=1
    )
    return out


def pick(logits: Tensor, settings: Tensor, lines: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """See `Operations`."""
    rows, vocabulary = logits.shape
    parts = triton.cdiv(vocabulary, _PART)
    tops, sums = torch.empty(2, rows, parts, dtype=torch.float32, device=logits.device).unbind(0)
    where = torch.empty(rows, parts, dtype=torch.int32, device=logits.device)
    hot_sums = torch.empty(rows, parts, dtype=torch.float64, device=logits.device)
    ids = torch.empty(rows, dtype=torch.int64, device=logits.device)
    norms = torch.empty(rows, dtype=torch.float32, device=logits.device)
    triton_rows.weigh[(rows, parts)](
        logits, settings, lines, tops, where, sums, hot_sums, vocabulary, parts, _PART, num_warps=4
    )
    triton_rows.pick[(rows,)](
        logits,
        settings,
        lines,
        noise,
        tops,
        where,
        sums,
        hot_sums,
        ids,
        norms,
        vocabulary,
        parts,
        _PART,
        triton.next_power_of_2(parts),
        num_warps=4,
    )
    return ids, norms


def advance(
    numbers: Tensor,
    forced: Tensor,
    lines: Tensor,
    logits: Tensor,
    norms: Tensor,
    drawn: Tensor,
    tick: Tensor,
    out_ids: Tensor,
    out_logprobs: Tensor,
) -> None:
    """See `Operations`."""
    rows = lines.shape[0]
    triton_rows.advance[(rows,)](
        numbers,
        forced,
        lines,
        logits,
        norms,
        drawn,
        tick,
        out_ids,
        out_logprobs,
        logits.shape[1],
        forced.shape[1],
        rows,
        num_warps=1,
    )
