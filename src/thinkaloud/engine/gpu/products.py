"""Rows times a matrix, and the norm before it: launches of the kernels in `triton_matrix`, or the library's product."""

from functools import cache

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from thinkaloud.engine.gpu import tiles, triton_matrix, triton_rows
from thinkaloud.engine.gpu.matrix import Matrix

FEW = {"fp8": 64, "int8": 256, "int4": 256}
"Most rows that weights meet as they are, by format; for more they are expanded first."


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
