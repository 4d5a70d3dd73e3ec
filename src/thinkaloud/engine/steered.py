"""A row's next token drawn from its logits: under a grammar, with a bias, under pressure to close its thought.

The noise is that of the step, so a row that is steered nowhere draws what the step would. V vocabulary.
"""

import math

import numpy as np
import torch
from torch import Tensor

from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.sampling import Sampler, uniforms

_APART = 0xA5A5A5A5A5A5A5A5
"Makes a second noise of a row's key."


def draw_steered(row: Row, logits_V: Tensor, forced: int | None) -> Draw:
    """The draw of a row behind these logits; `forced` is what `row.force` gave for this token.

    A row whose draw fails has a fault, and its token says nothing.
    """
    try:
        return _drawn(row, logits_V, forced)
    except Exception as fault:
        row.fault = fault
        return Draw(0, 0.0, False)


def _drawn(row: Row, logits_V: Tensor, forced: int | None) -> Draw:
    request = row.request
    raw_V = torch.log_softmax(logits_V.float(), -1)
    token, pressed = forced, False
    if token is None:
        free = raw_V.clone()
        for identifier, bias in request.bias:
            free[identifier] += bias
        allowed = row.allowed(len(free))
        if allowed is not None:
            free.masked_fill_(~torch.from_numpy(allowed).to(free.device), -torch.inf)
        noise = uniforms(np.array([row.key], dtype=np.uint64), np.array([row.next_position]))
        sampler = Sampler([request], free.device)
        token = int(sampler(free[None], noise)[0][0])
        pressed = row.pressure > 0 and _gives_way(row, free)
        if pressed and request.policy is not None and request.policy.close_id is not None:
            pressed, token = token != request.policy.close_id, request.policy.close_id
    top: tuple[tuple[int, float], ...] = ()
    if request.top_logprobs:
        best = raw_V.topk(min(request.top_logprobs, len(raw_V)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Draw(token, float(raw_V[token]), forced is None, top, pressed)


def _gives_way(row: Row, logits_V: Tensor) -> bool:
    """Whether the thought ends here because of the pressure on it, if it does not of itself.

    Together with the draw this is sampling with the pressure added to the logit that closes the thought; but where the
    thought goes on, it goes on as it would without.
    """
    request = row.request
    assert request.policy is not None and request.policy.close_id is not None
    close = request.policy.close_id
    if request.temperature == 0:
        return bool(logits_V[close] + row.pressure >= logits_V.max())
    free = float(logits_V.softmax(-1)[close])
    pressed = free * math.exp(row.pressure) / (1 + free * (math.exp(row.pressure) - 1))
    noise = uniforms(np.array([row.key ^ _APART], dtype=np.uint64), np.array([row.next_position]))[0]
    return bool(noise < (pressed - free) / max(1 - free, 1e-9))
