"""Triton kernels: a weight matrix times one row or a few; int4 and int8 are unpacked in registers.

Packed weights lie as `matrix.pack` says: in a chunk of four words, value i of word t is element 4 i + t. A value's
bits, put at the top of a float's mantissa, make a number f from 1 to 2: the value it means is 2^BITS (f - 1.5). The
bits of 1.0 are an argument, `ONE`: with a constant, the compiler needs two instructions for `(x & mask) | ONE`.
"""

import triton
import triton.language as tl


@triton.jit
def _float_of(words, ONE, index: tl.constexpr, BITS: tl.constexpr):
    """Value `index` of each word, as f."""
    low: tl.constexpr = BITS * index
    top: tl.constexpr = 23 - BITS
    mask: tl.constexpr = ((1 << BITS) - 1) << top
    moved = words << (top - low) if low <= top else words >> (low - top)
    return ((moved & mask) | ONE).to(tl.float32, bitcast=True)


@triton.jit
def _loud(x, norm, k, inside, NORM: tl.constexpr):
    """Inputs `k` of the row: as they are, and times the norm's weights."""
    raw = tl.load(x + k, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        return raw, raw * tl.load(norm + k, mask=inside, other=0.0).to(tl.float32)
    return raw, raw


@triton.jit
def gemv(
    x,
    weights,
    scales,
    norm,
    bias,
    residual,
    out,
    N,
    K,
    WORDS,
    ONE,
    eps,
    BITS: tl.constexpr,
    ROW_SCALED: tl.constexpr,
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
    if BITS == 0:
        squares = tl.zeros([BLOCK_K], tl.float32)
        sums = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
        sums_up = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
        for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
            k = start + tl.arange(0, BLOCK_K)
            inside = k < K
            raw, v = _loud(x, norm, k, inside, NORM)
            squares += raw * raw
            at = weights + row[:, None] * K + k[None, :]
            sums += tl.load(at, mask=inside[None, :], other=0.0).to(tl.float32) * v[None, :]
            if GATED:
                at_up = weights + (row + N)[:, None] * K + k[None, :]
                up = tl.load(at_up, mask=inside[None, :], other=0.0)
                sums_up += up.to(tl.float32) * v[None, :]
    else:
        PER: tl.constexpr = 32 // BITS
        BLOCK_W: tl.constexpr = BLOCK_K // PER
        groups = WORDS * PER // 32
        squares = tl.zeros([BLOCK_W], tl.float32)
        sums = tl.zeros([BLOCK_N, BLOCK_W], tl.float32)
        sums_up = tl.zeros([BLOCK_N, BLOCK_W], tl.float32)
        for start in tl.range(0, WORDS, BLOCK_W, num_stages=STAGES):
            word = start + tl.arange(0, BLOCK_W)
            inside = word < WORDS
            at = weights + row[:, None] * WORDS + word[None, :]
            packed = tl.load(at, mask=inside[None, :], other=0)
            scale_at = scales + row[:, None] * groups + (word * PER // 32)[None, :]
            scale = tl.load(scale_at, mask=inside[None, :], other=0.0).to(tl.float32)
            if GATED:
                at_up = weights + (row + N)[:, None] * WORDS + word[None, :]
                packed_up = tl.load(at_up, mask=inside[None, :], other=0)
                scale_at_up = scales + (row + N)[:, None] * groups + (word * PER // 32)[None, :]
                scale_up = tl.load(scale_at_up, mask=inside[None, :], other=0.0).to(tl.float32)
                part_up = tl.zeros([BLOCK_N, BLOCK_W], tl.float32)
            part = tl.zeros([BLOCK_N, BLOCK_W], tl.float32)
            total = tl.zeros([BLOCK_W], tl.float32)
            element = (word // 4) * (4 * PER) + word % 4
            for index in tl.static_range(PER):
                k = element + 4 * index
                raw, v = _loud(x, norm, k, inside & (k < K), NORM)
                squares += raw * raw
                total += v
                part += _float_of(packed, ONE, index, BITS) * v[None, :]
                if GATED:
                    part_up += _float_of(packed_up, ONE, index, BITS) * v[None, :]
            sums += (part - 1.5 * total[None, :]) * scale
            if GATED:
                sums_up += (part_up - 1.5 * total[None, :]) * scale_up
    by = 1.0
    if BITS:
        by = 1.0 * (1 << BITS)
    if NORM:
        by = by * tl.rsqrt(tl.sum(squares, 0) / K + eps)
    y = tl.sum(sums, 1) * by
    if ROW_SCALED:
        y *= tl.load(scales + row)
    if BIAS:
        y += tl.load(bias + row).to(tl.float32)
    if GATED:
        up_y = tl.sum(sums_up, 1) * by
        if ROW_SCALED:
            up_y *= tl.load(scales + row + N)
        if BIAS:
            up_y += tl.load(bias + row + N).to(tl.float32)
        y = y * tl.sigmoid(y) * up_y
    if RESIDUAL:
        y += tl.load(residual + row).to(tl.float32)
    tl.store(out + n, y.to(out.dtype.element_ty), mask=n < N)


@triton.jit
def few_rows(
    x,
    weights,
    scales,
    bias,
    out,
    M,
    N,
    WORDS,
    SPLITS,
    ONE,
    BITS: tl.constexpr,
    ROW_SCALED: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """out[split, M, N]: its share of x[M, K] W[N, K]^T + bias for few rows, on the matrix units, in x's type.

    For packed weights x is [M, values of a word, WORDS], so that what meets value i of the words lies in one piece.
    """
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1)
    m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.minimum(n, N - 1).to(tl.int64)
    PER: tl.constexpr = 32 // BITS if BITS else 1
    BLOCK_W: tl.constexpr = BLOCK_K // PER
    x_at = x + tl.minimum(m, M - 1).to(tl.int64)[None, :] * (WORDS * PER)
    tiles = tl.cdiv(WORDS, BLOCK_W)
    first = split * tiles // SPLITS * BLOCK_W
    last = tl.minimum((split + 1) * tiles // SPLITS * BLOCK_W, WORDS)
    sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for start in tl.range(first, last, BLOCK_W, num_stages=STAGES):
        word = start + tl.arange(0, BLOCK_W)
        inside = word < WORDS
        at = weights + row[:, None] * WORDS + word[None, :]
        if BITS == 0:
            w = tl.load(at, mask=inside[None, :], other=0.0)
            v = tl.load(x_at + word[:, None], mask=inside[:, None], other=0.0)
            sums = tl.dot(w.to(tl.float32).to(v.dtype), v, sums, input_precision="ieee")
        else:
            packed = tl.load(at, mask=inside[None, :], other=0)
            scale_at = scales + row[:, None] * (WORDS * PER // 32) + (word * PER // 32)[None, :]
            scale = tl.load(scale_at, mask=inside[None, :], other=0.0).to(tl.float32) * (1 << BITS)
            for index in tl.static_range(PER):
                v = tl.load(x_at + (index * WORDS + word)[:, None], mask=inside[:, None], other=0.0)
                w = (_float_of(packed, ONE, index, BITS) - 1.5) * scale
                sums = tl.dot(w.to(v.dtype), v, sums, input_precision="ieee")
    if ROW_SCALED:
        sums *= tl.load(scales + row)[:, None]
    if BIAS:
        sums += tl.load(bias + row).to(tl.float32)[:, None] * (split == 0).to(tl.float32)
    at = out + (split * M + m).to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, sums.to(out.dtype.element_ty), mask=(n < N)[:, None] & (m < M)[None, :])


@triton.jit
def collect(parts, out, SIZE, SPLITS, BLOCK: tl.constexpr):
    """out[SIZE] = the sum of parts [SPLITS, SIZE]."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for split in range(0, SPLITS):
        total += tl.load(parts + split * SIZE + at, mask=at < SIZE, other=0.0)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=at < SIZE)


@triton.jit
def expand(weights, scales, out, K, WORDS, ONE, BITS: tl.constexpr, ROW_SCALED: tl.constexpr, BLOCK: tl.constexpr):
    """out [N, K]: the weights that a format means; a program writes a stretch of a row."""
    row = tl.program_id(0).to(tl.int64)
    if ROW_SCALED:
        k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        w = tl.load(weights + row * K + k, mask=k < K, other=0.0).to(tl.float32) * tl.load(scales + row)
        tl.store(out + row * K + k, w.to(out.dtype.element_ty), mask=k < K)
    else:
        PER: tl.constexpr = 32 // BITS
        word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = word < WORDS
        packed = tl.load(weights + row * WORDS + word, mask=inside, other=0)
        scale_at = scales + row * (WORDS * PER // 32) + word * PER // 32
        scale = tl.load(scale_at, mask=inside, other=0.0).to(tl.float32) * (1 << BITS)
        element = (word // 4) * (4 * PER) + word % 4
        for index in tl.static_range(PER):
            k = element + 4 * index
            w = (_float_of(packed, ONE, index, BITS) - 1.5) * scale
            tl.store(out + row * K + k, w.to(out.dtype.element_ty), mask=inside & (k < K))
