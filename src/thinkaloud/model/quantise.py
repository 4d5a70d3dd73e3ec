"""The formats of quantised weights: whole numbers in groups of 32 inputs, with one bfloat16 scale a group.

A weight matrix [N outputs, K inputs] becomes `values` int8 [N, K] and `scales` bfloat16 [N, ceil(K / 32)]; a weight is
its value times its group's scale. int8 takes values from -127 to 127 (8.5 bits a weight), int4 from -8 to 7 (4.5 bits).
How a machine packs them is its own affair; this is what they mean.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thinkaloud.model.formats import FORMATS, format_of

GROUP = 32
"Inputs that share a scale."
_RANGES = {"int8": (-127, 127, (127.0,)), "int4": (-8, 7, (-8.0, -7.5, -7.0, -8.6, -9.2))}
"Least and greatest value, and where a group's largest weight may come to lie."
_AT_ONCE = 1 << 17
"Weights at a time on a CPU, so that what is computed on the way stays in the cache."
_AT_ONCE_ON_GPU = 1 << 26
"On a GPU: enough to keep it busy, and about 2 GiB on the way."


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """A quantised matrix."""

    values: Tensor
    "int8 [N, K]"
    scales: Tensor
    "bfloat16 [N, ceil(K / 32)]"

    def dequantise(self) -> Tensor:
        """The matrix that the values mean, float32 [N, K]."""
        outputs, inputs = self.values.shape
        scales = self.scales.float().repeat_interleave(GROUP, dim=1)[:, :inputs]
        return self.values.float() * scales


@torch.no_grad()
def quantise_model(model: nn.Module, format: str) -> None:
    """Replace every matrix of `model` by what it means in `format`; quantising it again changes nothing in float32."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.copy_(quantise(parameter, format_of(name, format)).dequantise())


def quantise(weight: Tensor, format: str) -> Quantised:
    """`weight` [N, K] in `format`; a group's scale is, of a few, the one with the least squared error.

    The candidates put the group's largest weight onto the end of the range, or a little beyond it, which clips that
    one weight and rounds all others more finely.
    """
    assert format in FORMATS
    outputs, inputs = weight.shape
    groups = -(-inputs // GROUP)
    values = torch.empty((outputs, inputs), dtype=torch.int8, device=weight.device)
    scales = torch.empty((outputs, groups), dtype=torch.bfloat16, device=weight.device)
    at_once = _AT_ONCE if weight.device.type == "cpu" else _AT_ONCE_ON_GPU
    step = max(1, at_once // (groups * GROUP))
    for first in range(0, outputs, step):
        rows = slice(first, first + step)
        padded = F.pad(weight[rows].float(), (0, -inputs % GROUP)).unflatten(1, (-1, GROUP))
        found, scale = _fit(padded, *_RANGES[format])
        values[rows] = found.flatten(1)[:, :inputs].to(torch.int8)
        scales[rows] = scale.squeeze(2).to(torch.bfloat16)
    return Quantised(values=values, scales=scales)


def _fit(groups: Tensor, low: int, high: int, ends: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Whole numbers [N, G, 32] and scales [N, G, 1] of `groups` [N, G, 32]: the best of the scales that `ends` give."""
    extreme = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    best_error, best_scales, best = torch.full_like(extreme, torch.inf), torch.zeros_like(extreme), groups
    for end in ends:
        scales = (extreme / end).to(torch.bfloat16).float()
        inverse = torch.where(scales == 0, 0.0, 1.0 / scales)
        values = (groups * inverse).round_().clamp_(low, high)
        if len(ends) == 1:
            return values, scales
        error = (values * scales).sub_(groups).square_().sum(2, keepdim=True)
        better = error < best_error
        best_error, best_scales = torch.where(better, error, best_error), torch.where(better, scales, best_scales)
        best = torch.where(better, values, best)
    return best, best_scales
