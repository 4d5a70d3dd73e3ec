"""Muon (https://kellerjordan.github.io/posts/muon/): momentum whose matrices are made nearly orthogonal.

Same arithmetic as `torch.optim.Muon`, but matrices of one shape go through it together, and on a CPU in float32: there
a small product in bfloat16 takes ten times as long (docs/LOG.md).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)
"Coefficients of the polynomial that pushes singular values towards one."
ROUNDS = 5
"How often it is applied."


def orthogonal(matrices_NAB: Tensor) -> Tensor:
    """N matrices with singular values near one and the singular vectors that they had; shape and dtype kept."""
    tall = matrices_NAB.size(1) > matrices_NAB.size(2)
    x = matrices_NAB.mT if tall else matrices_NAB
    x = x.float() if x.device.type == "cpu" else x.bfloat16()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices_NAB.dtype)


class Muon(torch.optim.Optimizer):
    """For matrices inside a network; embeddings, head, norms and biases want AdamW."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, *, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        """`lr` moves every singular direction by about as much; `weight_decay` is decoupled."""
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of all matrices that have a gradient."""
        assert closure is None, "a closure is not supported"
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                updates = orthogonal(torch.stack([self._momentum(one, group["momentum"]) for one in matrices]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum after this gradient."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(buffer, momentum)
