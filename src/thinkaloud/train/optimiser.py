"""The optimiser: Muon for the matrices, AdamW for the rest, one schedule for both."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from thinkaloud.base.config import Settings
from thinkaloud.model import Transformer
from thinkaloud.train.muon import Muon


class OptimiserSettings(Settings):
    """Rates and their course."""

    muon_rate: float = Field(default=0.02, ge=0)
    "peak learning rate of the layers' matrices (Muon); 0 gives those to AdamW as well"
    adamw_rate: float = Field(default=3e-3, ge=0)
    "peak learning rate of embeddings, norms, biases and head, and of an adapter (AdamW)"
    warmup: float = 0.05
    "share of the stage over which the rates rise"
    decay: float = 0.5
    "share of the stage, at its end, over which the rates fall linearly"
    floor: float = 0.05
    "share of the peak rate at the very end"
    weight_decay: float = 0.0
    "decoupled weight decay of the matrices"
    max_norm: float = 1.0
    "gradients are scaled down to this global norm"


class Optimiser:
    """Steps both optimisers; a non-finite gradient skips the step and names its parameter."""

    def __init__(self, model: Transformer, settings: OptimiserSettings) -> None:
        self.settings = settings
        self.parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
        matrices = [
            parameter
            for name, parameter in self.parameters.items()
            if parameter.dim() == 2 and ".layers." in name and "lora_" not in name and settings.muon_rate > 0
        ]
        chosen = {id(parameter) for parameter in matrices}
        rest = [parameter for parameter in self.parameters.values() if id(parameter) not in chosen]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0), settings.adamw_rate)
        ]
        if matrices:
            muon = Muon(matrices, lr=0.0, weight_decay=settings.weight_decay)
            self._parts.append((muon, settings.muon_rate))

    def rate(self, progress: float) -> float:
        """The share of the peak rate at `progress` (0 to 1) through the stage."""
        settings = self.settings
        rise = min(1.0, (progress + 1e-3) / settings.warmup) if settings.warmup else 1.0
        fall = min(1.0, (1.0 - progress) / settings.decay) if settings.decay else 1.0
        return rise * max(fall, settings.floor)

    def step(self, progress: float, scale: float = 1.0) -> tuple[float, str | None]:
        """Apply the gradients and clear them; gives the gradient norm and the name of a non-finite gradient, if any.

        `scale` multiplies the rates that the schedule gives.
        """
        faulty = None
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(norm):
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), self.settings.max_norm, norm)
            for optimiser, peak in self._parts:
                for group in optimiser.param_groups:
                    group["lr"] = peak * self.rate(progress) * scale
                optimiser.step()
        else:
            faulty = next((name for name, p in self.parameters.items() if _faulty(p.grad)), "all parameters together")
        for optimiser, _ in self._parts:
            optimiser.zero_grad(set_to_none=True)
        return float(norm), faulty

    def weight_norm(self) -> float:
        """The global norm of the weights: not finite where one of them is not."""
        return float(torch.nn.utils.get_total_norm([p.detach() for p in self.parameters.values()]))

    def state(self) -> dict[str, Tensor]:
        """All moments and counters by name, for a checkpoint."""
        return {
            f"{part}.{index}.{key}": value
            for part, (optimiser, _) in enumerate(self._parts)
            for index, entry in optimiser.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for part, (optimiser, _) in enumerate(self._parts):
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == part:
                    state.setdefault(int(index), {})[key] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _faulty(gradient: Tensor | None) -> bool:
    return gradient is not None and not bool(torch.isfinite(gradient).all())
