"""A row's next token drawn from its logits: under a grammar, with a bias, under pressure to close its thought.

The noise is that of the step, so a row that is steered nowhere draws what the step would. V vocabulary.
"""

import math

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.noise import uniforms
from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.types import Request

_APART = 0xA5A5A5A5A5A5A5A5
"Makes a second noise of a row's key."
Floats = NDArray[np.float32]


def draw_steered(row: Row, logits_V: Floats, forced: int | None) -> Draw:
    """The draw of a row behind these logits; `forced` is what `row.force` gave for this token.

    A row whose draw fails has a fault, and its token says nothing.
    """
    try:
        return _drawn(row, logits_V, forced)
    except Exception as fault:
        row.fault = fault
        return Draw(0, 0.0, False)


def _drawn(row: Row, logits_V: Floats, forced: int | None) -> Draw:
    request = row.request
    raw_V = log_softmax(logits_V)
    token, pressed = forced, False
    if token is None:
        free = raw_V.copy()
        for identifier, bias in request.bias:
            free[identifier] += bias
        allowed = row.allowed(len(free))
        if allowed is not None:
            free[~allowed] = -np.inf
        noise = uniforms(np.array([row.key], dtype=np.uint64), np.array([row.next_position]))
        token = draw(request, free, float(noise[0]))
        pressed = row.pressure > 0 and _gives_way(row, free)
        if pressed and request.policy is not None and request.policy.close_id is not None:
            pressed, token = token != request.policy.close_id, request.policy.close_id
    top: tuple[tuple[int, float], ...] = ()
    if request.top_logprobs:
        count = min(request.top_logprobs, len(raw_V))
        best = np.argpartition(-raw_V, count - 1)[:count]
        best = best[np.argsort(-raw_V[best], kind="stable")]
        top = tuple(zip(best.tolist(), raw_V[best].tolist(), strict=True))
    return Draw(token, float(raw_V[token]), forced is None, top, pressed)


def log_softmax(logits_V: Floats) -> Floats:
    """Log-probs [V] of logits [V]; the sum is made in double."""
    shifted = logits_V - logits_V.max()
    total: Floats = shifted - np.float32(math.log(np.exp(shifted, dtype=np.float64).sum()))
    return total


def draw(request: Request, logits_V: Floats, noise: float) -> int:
    """The id that `noise`, in [0, 1), means under the request's settings: what `engine.sampling` does for a batch."""
    if request.temperature == 0:
        return int(logits_V.argmax())
    scaled = log_softmax(logits_V) / np.float32(max(request.temperature, 1e-6))
    if (request.top_p, request.top_k, request.min_p) != (1.0, 0, 0.0):
        scaled[~_kept(request, scaled)] = -np.inf
    cumulative = np.exp(scaled - scaled.max(), dtype=np.float64).cumsum()
    return min(int((cumulative <= noise * cumulative[-1]).sum()), len(logits_V) - 1)


def _kept(request: Request, scaled_V: Floats) -> NDArray[np.bool_]:
    """Which ids top-k, then top-p, then min-p leave; equal logits rank by id."""
    order = np.argsort(-scaled_V, kind="stable")[: request.top_k or None]
    probabilities = np.exp(log_softmax(scaled_V[order]))
    before = probabilities.cumsum() - probabilities
    keep = (before < request.top_p) & (probabilities >= request.min_p * probabilities[0])
    keep[0] = True
    kept = np.zeros(len(scaled_V), dtype=np.bool_)
    kept[order[keep]] = True
    return kept


def _gives_way(row: Row, logits_V: Floats) -> bool:
    """Whether the thought ends here because of the pressure on it, if it does not of itself.

    Together with the draw this is sampling with the pressure added to the logit that closes the thought; but where the
    thought goes on, it goes on as it would without.
    """
    request = row.request
    assert request.policy is not None and request.policy.close_id is not None
    close = request.policy.close_id
    if request.temperature == 0:
        return bool(logits_V[close] + row.pressure >= logits_V.max())
    free = math.exp(log_softmax(logits_V)[close])
    pressed = free * math.exp(row.pressure) / (1 + free * (math.exp(row.pressure) - 1))
    noise = uniforms(np.array([row.key ^ _APART], dtype=np.uint64), np.array([row.next_position]))[0]
    return bool(noise < (pressed - free) / max(1 - free, 1e-9))
