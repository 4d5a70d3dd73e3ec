"""A weight matrix as a GPU holds it: plain, fp8 with a scale a row, or int8 and int4 packed into 32-bit words.

What int8 and int4 mean stands in `model.quantise`. Here a value's 8 or 4 bits, with an offset that makes it positive,
lie in stretches of 32 words of a row, value i of word t being element 32 i + t: place i of all 32 words is one group
of the format, with one scale. The rows of a stretch follow each other, so that a program reads one piece of memory.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thinkaloud.model.formats import FORMATS
from thinkaloud.model.quantise import GROUP, quantise

GPU_FORMATS = ("float32", "float16", "bfloat16", "fp8", "int8", "int4")
"Formats of weights on a GPU; the first three only as the type that the model has."
_FP8 = torch.float8_e4m3fn
_FP8_MOST = 448.0


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """N outputs, K inputs."""

    values: Tensor
    "[N, K] plain or fp8; int32 words [S, N, 32] packed, of S = ceil(K / (1024 / BITS)) stretches"
    scales: Tensor | None
    "None plain; float32 [N] for fp8; packed int32 [S * 16 / BITS, N], two groups' bfloat16 in one, the earlier low"
    bits: int
    "0 plain and fp8, 8 or 4 packed"
    outputs: int
    "N"
    inputs: int
    "K"
    bias: Tensor | None = None
    "[N]"

    @property
    def format(self) -> str:
        """'plain', 'fp8', 'int8' or 'int4'."""
        return f"int{self.bits}" if self.bits else "plain" if self.scales is None else "fp8"

    @property
    def bytes(self) -> int:
        """What one reading of it moves."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def expand(self, dtype: torch.dtype) -> Tensor:
        """The weights that it means, [N, K]."""
        if self.scales is None:
            return self.values
        if not self.bits:
            return (self.values.float() * self.scales.unsqueeze(1)).to(dtype)
        per = 32 // self.bits
        shifts = torch.arange(per, dtype=torch.int32, device=self.values.device) * self.bits
        raw = (self.values[:, :, None] >> shifts[:, None]) & ((1 << self.bits) - 1)  # [S, N, value, word]
        scales = self.scales.unsqueeze(-1).view(torch.bfloat16).unflatten(0, (-1, per // 2))  # [S, pair, N, 2]
        values = (raw - (1 << (self.bits - 1))).float() * scales.transpose(1, 2).flatten(2)[..., None].float()
        return values.transpose(0, 1).flatten(1)[:, : self.inputs].to(dtype)


def pack(weight: Tensor, format: str, bias: Tensor | None = None) -> Matrix:
    """`weight` [N, K] in a format; a plain one is taken as it is, without a copy."""
    outputs, inputs = weight.shape
    if format not in (*FORMATS, "fp8"):
        return Matrix(values=weight, scales=None, bits=0, outputs=outputs, inputs=inputs, bias=bias)
    if format == "fp8":
        scales = (weight.float().abs().amax(1) / _FP8_MOST).clamp_min(1e-12)
        values = (weight.float() / scales.unsqueeze(1)).to(_FP8)
        return Matrix(values=values, scales=scales, bits=0, outputs=outputs, inputs=inputs, bias=bias)
    bits = int(format.removeprefix("int"))
    quantised, per = quantise(weight, format), 32 // bits
    raw = F.pad(quantised.values, (0, -inputs % (GROUP * per))).to(torch.int32) + (1 << (bits - 1))
    shifts = torch.arange(per, dtype=torch.int32, device=weight.device) * bits
    words = (raw.unflatten(1, (-1, per, GROUP)) << shifts[:, None]).sum(2, dtype=torch.int32)  # [N, S, word]
    scales = F.pad(quantised.scales, (0, words.shape[1] * per - quantised.scales.shape[1]))
    return Matrix(
        values=words.transpose(0, 1).contiguous(),
        scales=scales.unflatten(1, (-1, 2)).transpose(0, 1).contiguous().view(torch.int32)[..., 0],
        bits=bits,
        outputs=outputs,
        inputs=inputs,
        bias=bias,
    )
