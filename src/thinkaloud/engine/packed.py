"""A model in bfloat16 with its matrices packed for oneDNN: what PyTorch alone runs a few rows with near the bandwidth.

Knows: PyTorch's packed linears. Doesn't know: requests. The numbers stay the same to the bit. Models in float32 are
left as they are: they are the reference that everything else is held against.
"""

from typing import cast

import torch
from torch import Tensor, nn

from thinkaloud.model import Transformer
from thinkaloud.model.lora import LoraLinear

_ROWS = 4
"Rows of input that the layout is best for."


class PackedLinear(nn.Module):
    """`nn.Linear` with a packed copy of its weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`."""
        rows = x.flatten(0, -2)
        out = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return cast(Tensor, out).view(*x.shape[:-1], -1)


class PackedTransformer(Transformer):
    """Computes what `model` did when it was made; vectors and embedding are shared with it, matrices are copies."""

    def __init__(self, model: Transformer) -> None:
        with torch.device("meta"):
            super().__init__(model.config)
        self.cos, self.sin = model.cos, model.sin
        for name, parameter in model.named_parameters():
            owner, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(owner), leaf, parameter)
        for name, part in list(self.model.named_modules(prefix="model")):
            if isinstance(part, nn.Linear):
                owner, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(owner), leaf, PackedLinear(part.weight, part.bias))
        self.output = PackedLinear(model.head, None)
        self.eval()

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of final hidden states [..., D]."""
        return cast(Tensor, self.output(hidden))


def can_pack(model: Transformer) -> bool:
    """Whether PyTorch can: bfloat16 on a CPU that oneDNN has products for, and no adapter that is not merged."""
    return (
        model.head.device.type == "cpu"
        and model.head.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and not any(isinstance(part, LoraLinear) for part in model.modules())
    )
