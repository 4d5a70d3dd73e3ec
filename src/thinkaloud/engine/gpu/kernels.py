"""The operations of a step in Triton: their launches; the kernels stand in `triton_matrix` and `triton_rows`."""

import math
from functools import cache

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from thinkaloud.engine.gpu import tiles, triton_matrix, triton_rows
from thinkaloud.engine.gpu.matrix import Matrix
from thinkaloud.engine.gpu.state import Heads, Standing

FEW = {"fp8": 64, "int8": 256, "int4": 256}
"Most rows that weights meet as they are, by format; for more they are expanded first."
PROGRAMS = 528
"Programs that attention aims at: four for each multiprocessor of an H200."
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


def add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """See `Operations`."""
    out = torch.empty_like(x)
    rows, width = x.shape
    block = triton.next_power_of_2(width)
    triton_rows.add_norm[(rows,)](
        x,
        x if delta is None else delta,
        weight,
        out,
        width,
        eps,
        delta is not None,
        block,
        num_warps=max(1, min(16, block // 256)),
    )
    return out


def gemv(
    x: Tensor,
    matrix: Matrix,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    gated: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """See `Operations`; quantised weights do a row as they do a few."""
    if matrix.scales is not None:
        return _few(x if norm is None else add_norm(x, None, norm, eps), matrix, gated, residual)
    outputs = matrix.outputs // 2 if gated else matrix.outputs
    size = tiles.tuned.get((matrix.outputs, matrix.inputs), tiles.GEMV)
    out = torch.empty(1, outputs, dtype=x.dtype, device=x.device)
    triton_matrix.gemv[(triton.cdiv(outputs, size.outputs),)](
        x,
        matrix.values,
        x if norm is None else norm,
        x if matrix.bias is None else matrix.bias,
        x if residual is None else residual,
        out,
        outputs,
        matrix.inputs,
        eps,
        norm is not None,
        matrix.bias is not None,
        residual is not None,
        gated,
        size.outputs,
        min(size.inputs, triton.next_power_of_2(matrix.inputs)),
        size.stages,
        num_warps=size.warps,
    )
    return out


def matmul(x: Tensor, matrix: Matrix) -> Tensor:
    """See `Operations`: the library's product for plain weights, and for many rows over expanded ones."""
    if matrix.scales is None:
        return F.linear(x, matrix.values, matrix.bias)
    if x.shape[0] > FEW[matrix.format]:
        return F.linear(x, expand(matrix, x.dtype), matrix.bias)
    return _few(x, matrix)


def _few(x: Tensor, matrix: Matrix, gated: bool = False, residual: Tensor | None = None) -> Tensor:
    """A few rows times quantised weights: programs share the inputs, and what they found is put together."""
    rows, outputs = x.shape[0], matrix.outputs
    exact = x.dtype == torch.float32
    width = min(16 if exact else 64, max(8 if matrix.bits else 16, triton.next_power_of_2(rows)))
    size = tiles.EXACT if exact else tiles.PACKED[width] if matrix.bits else tiles.FP8
    pieces = matrix.values.shape[0] if matrix.bits else triton.cdiv(matrix.inputs, tiles.FP8_INPUTS)
    blocks, passes = triton.cdiv(outputs, size.outputs), triton.cdiv(rows, width)
    splits = splits_for(blocks * passes, pieces, size.together * multiprocessors(x.device))
    parts = torch.empty(splits, rows, outputs, dtype=torch.float32, device=x.device)
    if matrix.bits:
        empty = pieces * 1024 // matrix.bits - matrix.inputs
        triton_matrix.few_packed[(blocks, splits, passes)](
            F.pad(x, (0, empty)) if empty else x,
            matrix.values,
            matrix.scales,
            parts,
            rows,
            outputs,
            pieces,
            splits,
            matrix.bits,
            width,
            size.outputs,
            size.stages,
            num_warps=size.warps,
        )
    else:
        triton_matrix.few_scaled[(blocks, splits, passes)](
            x,
            matrix.values,
            matrix.scales,
            parts,
            rows,
            outputs,
            matrix.inputs,
            splits,
            width,
            size.outputs,
            tiles.FP8_INPUTS,
            size.stages,
            num_warps=size.warps,
        )
    out = torch.empty(rows, outputs // 2 if gated else outputs, dtype=x.dtype, device=x.device)
    wide = triton.next_power_of_2(splits)
    block = max(64, 2048 // wide)
    triton_matrix.collect[(rows, triton.cdiv(out.shape[1], block))](
        parts,
        x if matrix.bias is None else matrix.bias,
        x if residual is None else residual,
        out,
        outputs,
        rows * outputs,
        splits,
        matrix.bias is not None,
        gated,
        residual is not None,
        wide,
        block,
        num_warps=4,
    )
    return out


@cache
def multiprocessors(device: torch.device) -> int:
    """How many the device has; without one as many as an H200, so that a CPU runs what a GPU would."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132


@cache
def splits_for(blocks: int, pieces: int, slots: int) -> int:
    """Among how many programs the inputs' `pieces` are shared, where `slots` run at once and the next ones after them.

    The least time, counted in pieces; to begin and to end costs a program as much as two.
    """
    times = {n: -(-blocks * n // slots) * (-(-pieces // n) + 2) for n in range(1, max(2, pieces // 2 + 1))}
    return min(times, key=times.__getitem__)


def expand(matrix: Matrix, dtype: torch.dtype) -> Tensor:
    """The weights that a quantised matrix means, [N, K]."""
    assert matrix.scales is not None
    out = torch.empty(matrix.outputs, matrix.inputs, dtype=dtype, device=matrix.values.device)
    rows, parts = (16, matrix.values.shape[0]) if matrix.bits else (4, triton.cdiv(matrix.inputs, 512))
    triton_matrix.expand[(triton.cdiv(matrix.outputs, rows), parts)](
        matrix.values,
        matrix.scales,
        out,
        matrix.outputs,
        matrix.inputs,
        matrix.bits,
        rows,
        512,
        num_warps=4,
    )
    return out


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
    programs = min(splits, triton.cdiv(PROGRAMS, rows * heads.key_value))
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
