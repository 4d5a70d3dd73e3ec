"""A text scored as it stands: how likely each of its tokens was, and what was likelier.

Knows: a model's whole weights, run by PyTorch. Doesn't know: the engine, whose formats may round them.
"""

from collections.abc import Sequence

import torch

from thinkaloud.model import Transformer

PLACES = 256
"At so many places logits are worked out at a time: those of a whole text might not fit into memory."
Score = tuple[float, tuple[tuple[int, float], ...]]
"A token's log-prob, and the likeliest ids at its place with theirs."


@torch.inference_mode()
def scored(transformer: Transformer, ids: Sequence[int], top: int = 0) -> list[Score]:
    """The score of every token after the first, teacher-forced, in float32, with the `top` likeliest ids beside it."""
    told = torch.tensor([list(ids)], device=transformer.head.device)
    hidden, scores = transformer(told)[:, :-1], list[Score]()
    for start in range(0, len(ids) - 1, PLACES):
        logits = transformer.logits(hidden[:, start : start + PLACES]).float()[0]
        logprobs = torch.log_softmax(logits, -1)
        own = logprobs.gather(1, told[0, start + 1 : start + 1 + len(logprobs), None])[:, 0].tolist()
        best = logprobs.topk(min(top, logprobs.shape[-1]))
        beside = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        scores += [(one, tuple(zip(*pair, strict=True))) for one, pair in zip(own, beside, strict=True)]
    return scores
