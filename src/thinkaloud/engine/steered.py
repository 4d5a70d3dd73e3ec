"""A row's next token drawn from its logits in Python: under a grammar, with a bias, with the likeliest tokens told.

The noise is that of the step, so a row that is steered nowhere draws what the step would. V vocabulary.
"""

import numpy as np
import torch
from torch import Tensor

from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.sampling import Sampler, uniforms


def draw_steered(row: Row, logits_V: Tensor, forced: int | None) -> Draw:
    """The draw of a row behind these logits; `forced` is what `row.force` gave for this token."""
    request = row.request
    raw_V = torch.log_softmax(logits_V.float(), -1)
    token = forced
    if token is None:
        steered = raw_V.clone()
        for identifier, bias in request.bias:
            steered[identifier] += bias
        allowed = row.allowed(len(steered))
        if allowed is not None:
            steered.masked_fill_(~torch.from_numpy(allowed).to(steered.device), -torch.inf)
        noise = uniforms(np.array([row.key], dtype=np.uint64), np.array([row.next_position]))
        ids, _ = Sampler([request], steered.device)(steered[None], noise)
        token = int(ids[0])
    top: tuple[tuple[int, float], ...] = ()
    if request.top_logprobs:
        best = raw_V.topk(min(request.top_logprobs, len(raw_V)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Draw(token, float(raw_V[token]), forced is None, top)
