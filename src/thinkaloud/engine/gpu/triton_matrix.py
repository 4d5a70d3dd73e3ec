"""Triton kernels: a plain matrix times one row, a quantised one times a few rows; int4 and int8 unpacked in registers.

Packed weights lie as `matrix.pack` says: stretches of 32 words a row, value i of word t being element 32 i + t. So one
load of 128 bytes a row feeds one product for each of its groups, and a group has one scale.
"""

import triton
import triton.language as tl


@triton.jit
def gemv(
    x,
    weights,
    norm,
    bias,
    residual,
    out,
    N,
    K,
    eps,
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GATED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """out[N] = W [N, K] x, with RMSNorm of x before; then bias, silu(first N) * second N (GATED), residual."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tl.minimum(n, N - 1).to(tl.int64)  # rows beyond the last repeat it and are not stored
    squares = tl.zeros([BLOCK_K], tl.float32)
    sums = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    sums_up = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        k = start + tl.arange(0, BLOCK_K)
        inside = k < K
        v = tl.load(x + k, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            squares += v * v
            v *= tl.load(norm + k, mask=inside, other=0.0).to(tl.float32)
        at = weights + row[:, None] * K + k[None, :]
        sums += tl.load(at, mask=inside[None, :], other=0.0).to(tl.float32) * v[None, :]
        if GATED:
            at_up = weights + (row + N)[:, None] * K + k[None, :]
            sums_up += tl.load(at_up, mask=inside[None, :], other=0.0).to(tl.float32) * v[None, :]
    by = 1.0
    if NORM:
        by = tl.rsqrt(tl.sum(squares, 0) / K + eps)
    y = tl.sum(sums, 1) * by
    if BIAS:
        y += tl.load(bias + row).to(tl.float32)
    if GATED:
        up_y = tl.sum(sums_up, 1) * by
        if BIAS:
            up_y += tl.load(bias + row + N).to(tl.float32)
        y = y * tl.sigmoid(y) * up_y
    if RESIDUAL:
        y += tl.load(residual + row).to(tl.float32)
    tl.store(out + n, y.to(out.dtype.element_ty), mask=n < N)


@triton.jit(do_not_specialize=["M", "SPLITS"])
def few_scaled(
    x,
    weights,
    scales,
    parts,
    M,
    N,
    K,
    SPLITS,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """parts [SPLITS, M, N]: shares of x [M, K] W [N, K]^T for few rows, W in 8-bit floats with a scale a row."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1)
    m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.minimum(n, N - 1).to(tl.int64)
    x_at = x + tl.minimum(m, M - 1).to(tl.int64)[None, :] * K
    tiles = tl.cdiv(K, BLOCK_K)
    first = split * tiles // SPLITS * BLOCK_K
    last = tl.minimum((split + 1) * tiles // SPLITS * BLOCK_K, K)
    sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for start in tl.range(first, last, BLOCK_K, num_stages=STAGES):
        k = start + tl.arange(0, BLOCK_K)
        inside = k < K
        w = tl.load(weights + row[:, None] * K + k[None, :], mask=inside[None, :], other=0.0)
        v = tl.load(x_at + k[:, None], mask=inside[:, None], other=0.0)
        sums = tl.dot(w.to(tl.float32).to(v.dtype), v, sums, input_precision="ieee")
    sums *= tl.load(scales + row)[:, None]
    at = parts + (split * M + m).to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, sums, mask=(n < N)[:, None] & (m < M)[None, :])


@triton.jit
def _scale_of(pair, index: tl.constexpr):
    """The scale of group `index` out of its pair: the earlier one is the low half."""
    bits = pair << 16 if index % 2 == 0 else pair & -65536
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _scaled(words, scale, index: tl.constexpr, BITS: tl.constexpr, LESS: tl.constexpr):
    """Value `index` of each word times its scale and 2^-LESS: two instructions, a mask and a product.

    A value's bits, left where they lie, are a float too small to be normal, v 2^(at - 149). Only values that reach
    into the float's exponent are moved, several at once.
    """
    low: tl.constexpr = BITS * index
    fit: tl.constexpr = 23 // BITS * BITS
    moved: tl.constexpr = low // fit * fit
    at: tl.constexpr = low - moved
    mask: tl.constexpr = ((1 << BITS) - 1) << at
    grow: tl.constexpr = 2.0 ** (149 - at - LESS)
    middle: tl.constexpr = 2.0 ** (BITS - 1 - LESS)
    own = words >> moved if moved else words
    return (own & mask).to(tl.float32, bitcast=True) * (scale * grow) - scale * middle


@triton.jit(do_not_specialize=["M", "STRETCHES", "SPLITS"])
def few_packed(
    x,
    weights,
    scales,
    parts,
    M,
    N,
    STRETCHES,
    SPLITS,
    BITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
):
    """parts [SPLITS, M, N]: shares of x [M, K] W [N, K]^T for few rows, W packed, on the matrix units, in x's type.

    Every load is the operand of a product, but for what is done to single elements: so the compiler reads it from
    shared memory as the matrix units want it, with loads of later stretches under way.
    """
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1)
    m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.minimum(n, N - 1).to(tl.int64)
    PER: tl.constexpr = 32 // BITS
    LESS: tl.constexpr = 40  # keeps every factor within a float's exponent, for scales from 2^-89 to 2^18
    t = tl.arange(0, 32)
    x_at = x + m.to(tl.int64)[None, :] * (STRETCHES * PER * 32) + t[:, None]
    sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for stretch in tl.range(split * STRETCHES // SPLITS, (split + 1) * STRETCHES // SPLITS, num_stages=STAGES):
        words = tl.load(weights + (stretch * N + row)[:, None] * 32 + t[None, :])
        for index in tl.static_range(PER):
            group = stretch * PER + index
            v = tl.load(x_at + group * 32, mask=(m < M)[None, :], other=0.0)
            if index % 2 == 0:
                pair = tl.load(scales + group // 2 * N + row)
            w = _scaled(words, _scale_of(pair, index)[:, None], index, BITS, LESS)
            if x.dtype.element_ty == tl.float16:  # no room for 2^-LESS
                w *= 2.0**LESS
            sums = tl.dot(w.to(v.dtype), v, sums, input_precision="ieee")
    if x.dtype.element_ty != tl.float16:
        sums *= 2.0**LESS
    at = parts + (split * M + m).to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, sums, mask=(n < N)[:, None] & (m < M)[None, :])


@triton.jit
def _added(parts, bias, m, n, N, SIZE, SPLITS, inside, BIAS: tl.constexpr, WIDE: tl.constexpr):
    split = tl.arange(0, WIDE)[:, None]
    at = parts + split * SIZE + (m * N + n)[None, :]
    total = tl.sum(tl.load(at, mask=(split < SPLITS) & inside[None, :], other=0.0), 0)
    if BIAS:
        total += tl.load(bias + n, mask=inside, other=0.0).to(tl.float32)
    return total


@triton.jit(do_not_specialize=["SPLITS"])
def collect(
    parts,
    bias,
    residual,
    out,
    N,
    SIZE,
    SPLITS,
    BIAS: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out [M, N] = the sum of parts [SPLITS, M, N] and a bias; SwiGLU of its halves (GATED: [M, N / 2]); a residual."""
    m = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    width = N // 2 if GATED else N
    inside = n < width
    y = _added(parts, bias, m, n, N, SIZE, SPLITS, inside, BIAS, WIDE)
    if GATED:
        y = y * tl.sigmoid(y) * _added(parts, bias, m, n + width, N, SIZE, SPLITS, inside, BIAS, WIDE)
    if RESIDUAL:
        y += tl.load(residual + m * width + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + m * width + n, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def expand(weights, scales, out, N, K, BITS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """out [N, K]: the weights that a format means; a program writes a stretch of several rows."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    part = tl.program_id(1)
    there = row < N
    if BITS == 0:
        k = part * BLOCK + tl.arange(0, BLOCK)
        inside = there[:, None] & (k < K)[None, :]
        w = tl.load(weights + row[:, None] * K + k[None, :], mask=inside, other=0.0).to(tl.float32)
        w *= tl.load(scales + row, mask=there, other=0.0)[:, None]
        tl.store(out + row[:, None] * K + k[None, :], w.to(out.dtype.element_ty), mask=inside)
    else:
        PER: tl.constexpr = 32 // BITS
        t = tl.arange(0, 32)
        words = tl.load(weights + (part * N + row)[:, None] * 32 + t[None, :], mask=there[:, None], other=0)
        for index in tl.static_range(PER):
            group = part * PER + index
            if index % 2 == 0:
                pair = tl.load(scales + group // 2 * N + row, mask=there, other=0)
            v = ((words >> (BITS * index)) & ((1 << BITS) - 1)).to(tl.float32) - (1 << (BITS - 1))
            k = group * 32 + t
            at = out + row[:, None] * K + k[None, :]
            w = v * _scale_of(pair, index)[:, None]
            tl.store(at, w.to(out.dtype.element_ty), mask=there[:, None] & (k < K)[None, :])
