"""The operations of a step in plain PyTorch: what the kernels are tested against, and the step on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from thinkaloud.engine.gpu import state as s
from thinkaloud.engine.gpu.matrix import Matrix
from thinkaloud.engine.gpu.state import Heads, Standing


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _shifted(x: Tensor, by: int) -> Tensor:
    """x >> by, zeros coming in: PyTorch has no unsigned arithmetic, and int64 wraps as uint64 does."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def uniforms(keys: Tensor, positions: Tensor) -> Tensor:
    """`engine.noise.uniforms` on any device: int64 keys and positions to float64 in [0, 1)."""
    x = keys + positions * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(x ^ _shifted(x, 31), 11).double() * 2.0**-53


def begin(numbers: Tensor, tables: Tensor, lines: Tensor, size: int) -> Standing:
    """See `Operations`."""
    own = numbers.index_select(0, lines)
    positions, alive = own[:, s.POSITION], own[:, s.ALIVE] > 0
    blocks = tables.index_select(0, lines).gather(1, (positions // size).unsqueeze(1)).squeeze(1).long()
    return Standing(
        ids=own[:, s.NEWEST],
        positions=positions,
        slots=torch.where(alive, blocks * size + positions % size, 0),
        lengths=torch.where(alive, positions + 1, 0),
        noise=uniforms(own[:, s.KEY], positions + 1),
    )


def add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """See `Operations`."""
    if delta is not None:
        x += delta
    return F.rms_norm(x, (x.shape[1],), weight, eps)


def gemv(
    x: Tensor,
    matrix: Matrix,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    gated: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """See `Operations`."""
    y = matmul(x if norm is None else add_norm(x, None, norm, eps), matrix)
    if gated:
        y = swiglu(y)
    return y if residual is None else residual + y


def matmul(x: Tensor, matrix: Matrix) -> Tensor:
    """See `Operations`."""
    return F.linear(x, matrix.expand(x.dtype), matrix.bias)


def swiglu(x: Tensor) -> Tensor:
    """See `Operations`."""
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


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
    parts = qkv.unflatten(1, (-1, heads.width))
    turning = parts[:, : heads.query + heads.key_value]
    if norms is not None:
        turning[:, : heads.query] = F.rms_norm(turning[:, : heads.query], (heads.width,), norms[0], eps)
        turning[:, heads.query :] = F.rms_norm(turning[:, heads.query :], (heads.width,), norms[1], eps)
    first, second = turning.float().chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    turning.copy_(turning.float() * cos[positions].unsqueeze(1) + turned * sin[positions].unsqueeze(1))
    size = cache.shape[3]
    for index, new in enumerate(parts[:, heads.query :].chunk(2, 1)):
        cache[index, slots // size, :, slots % size] = new.to(cache.dtype)


def attend(
    qkv: Tensor,
    cache: Tensor,
    tables: Tensor,
    lines: Tensor,
    lengths: Tensor,
    heads: Heads,
) -> Tensor:
    """See `Operations`: a row after the other, so that a row's bits do not depend on the batch."""
    out = torch.zeros(qkv.shape[0], heads.query * heads.width, dtype=qkv.dtype, device=qkv.device)
    size = cache.shape[3]
    for index, (line, length) in enumerate(zip(lines.tolist(), lengths.tolist(), strict=True)):
        if length:
            blocks = tables[line, : -(-length // size)].long()
            keys, values = cache[:, blocks].transpose(1, 2).flatten(2, 3)[:, :, :length].float()
            q = qkv[index, : heads.query * heads.width].view(heads.key_value, -1, heads.width).float()
            weights = (q @ keys.transpose(1, 2) / math.sqrt(heads.width)).softmax(-1)
            out[index] = (weights @ values).flatten().to(qkv.dtype)
    return out


def pick(logits: Tensor, settings: Tensor, lines: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """See `Operations`."""
    raw = logits.float()
    temperature = settings.index_select(0, lines)[:, :1]
    cumulative = (raw / temperature.clamp_min(1e-6)).double().softmax(-1).cumsum(-1)
    drawn = (cumulative <= noise.unsqueeze(1) * cumulative[:, -1:]).sum(-1).clamp_max(logits.shape[1] - 1)
    ids = torch.where(temperature.squeeze(1) == 0, raw.argmax(-1), drawn)
    return ids, raw.logsumexp(-1)


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
    own = numbers.index_select(0, lines)
    phase, thought, at, count = (own[:, c] for c in (s.PHASE, s.THOUGHT, s.FORCED_AT, s.FORCED_COUNT))
    closing = (phase == s.CLOSING) | ((phase == s.FREE) & (thought >= own[:, s.BUDGET]))
    force = closing & (at < count)
    phase = torch.where(closing, torch.where(force, s.CLOSING, s.ANSWERING), phase)
    wanted = forced.index_select(0, lines).gather(1, at.clamp_max(forced.shape[1] - 1).unsqueeze(1)).squeeze(1)
    token = torch.where(force, wanted, drawn)
    at = at + force.long()
    thinking = ~force & (phase == s.FREE)
    phase = torch.where(thinking & (token == own[:, s.CLOSE]), s.ANSWERING, phase)
    total = own[:, s.DRAWN] + (~force).long()
    stop = ~force & (own[:, s.STOPS :] == token.unsqueeze(1)).any(1)
    done = stop | ((total >= own[:, s.MOST]) & ~((phase == s.CLOSING) & (at < count)))
    logprobs = logits.gather(1, token.unsqueeze(1)).squeeze(1).float() - norms
    alive = own[:, s.ALIVE] > 0
    out_ids.index_copy_(0, tick, torch.where(alive, token, -1).unsqueeze(0))
    out_logprobs.index_copy_(0, tick, logprobs.unsqueeze(0))
    new = own.clone()
    for column, values in (
        (s.NEWEST, token),
        (s.POSITION, own[:, s.POSITION] + 1),
        (s.DRAWN, total),
        (s.THOUGHT, thought + thinking.long()),
        (s.PHASE, phase),
        (s.FORCED_AT, at),
        (s.ALIVE, (~done).long()),
    ):
        new[:, column] = values
    numbers.index_copy_(0, lines, torch.where(alive.unsqueeze(1), new, own))
