"""A model that is trained through a low-rank adapter: what moves, what an engine runs, what it was without.

Knows: adapters, engines. Doesn't know: stages, losses. A model without an adapter passes through everything unchanged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from thinkaloud.base.config import Settings
from thinkaloud.engine import Engine, can_quantise
from thinkaloud.model import LoraConfig, Transformer, add_adapter, merge_adapter, save_adapter
from thinkaloud.model.lora import LoraLinear
from thinkaloud.model.weights import outline

LORA = "lora_"
"What the names of an adapter's tensors begin with."
Matrix = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"The matrices of a layer."


class LoraSettings(Settings):
    """A low-rank adapter that is trained in place of the model (LoRA, arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1)
    "rank of the change of each matrix"
    alpha: float = Field(default=32.0, gt=0)
    "its weight: the change is multiplied by alpha / rank"
    targets: list[Matrix] = Field(default=list(get_args(Matrix)), min_length=1)
    "names of the matrices that it changes"


def config_of(settings: LoraSettings) -> LoraConfig:
    """The adapter as its files describe it."""
    return LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=tuple(settings.targets))


def adapt(model: Transformer, settings: LoraSettings, seed: int) -> None:
    """Freeze the model and put a fresh adapter on it, in float32; `seed` keys its numbers."""
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for part in add_adapter(model, config_of(settings)).values():
        device = part.weight.device
        first = torch.empty(part.lora_A.shape)
        nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
        part.lora_A = nn.Parameter(first.to(device))
        part.lora_B = nn.Parameter(torch.zeros(part.lora_B.shape, device=device))


def adapted(model: Transformer) -> bool:
    """Whether it carries an adapter."""
    return any(isinstance(part, LoraLinear) for part in model.modules())


@dataclass(frozen=True, kw_only=True)
class Flops:
    """What a token costs, in FLOP."""

    trained: int
    "forward, and backward as far as it is needed"
    processed: int
    "forward only: read, sampled, or held against a reference"

    @property
    def share(self) -> float:
        """A trained token in training tokens: those of a model whose weights are all trained."""
        return self.trained / (3 * self.processed)


def flops_of(model: Transformer) -> Flops:
    """6N a trained token and 2N a processed one, N parameters; with an adapter of A parameters 4N + 6A and 2N.

    A frozen weight works forward (2N) and passes the gradient on (2N), but needs none of its own, which would be 2N
    more. What is only processed runs on merged weights. Attention, norms and sampling are left out, as is usual.
    """
    adapter = sum(value.numel() for name, value in model.named_parameters() if name.rpartition(".")[2].startswith(LORA))
    size = model.size - adapter
    return Flops(trained=4 * size + 6 * adapter if adapter else 6 * size, processed=2 * size)


def without(model: Transformer) -> Transformer:
    """The model with its adapter off: it shares all weights with it and takes no memory of its own."""
    plain = outline(model.config)
    for name, tensor in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if not leaf.startswith(LORA):
            setattr(plain.get_submodule(owner), leaf, nn.Parameter(tensor.detach(), requires_grad=False))
    plain.place_tables(model.head.device)
    return plain


@torch.no_grad()
def merged(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Every weight under its published name with the adapter's change in it, made one at a time."""
    for name, tensor in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        part = model.get_submodule(owner)
        if isinstance(part, LoraLinear) and leaf == "weight":
            change = part.lora_B.float() @ part.lora_A.float()
            yield name, (tensor.float() + part.scale * change).to(tensor.dtype)
        elif not leaf.startswith(LORA):
            yield name, tensor


def engine_of(model: Transformer) -> Engine:
    """An engine over the model.

    The native step knows no adapters: it is given merged weights, one matrix at a time, and keeps them packed only.
    Where there is none, PyTorch runs the model as it is trained.
    """
    if not adapted(model):
        return Engine(model)
    if model.head.device.type == "cpu" and can_quantise(model.config):
        return Engine(model.config, weights=str(model.head.dtype).removeprefix("torch."), source=merged(model))
    return Engine(model, backend="torch")


def refresh(engine: Engine, model: Transformer) -> None:
    """The model's weights have changed: let the engine run the new ones."""
    engine.refresh(merged(model) if engine.model is not model else None)


def fold(model: Transformer, folder: Path, settings: LoraSettings, base: str | None) -> None:
    """Write the adapter as PEFT reads it, `base` the checkpoint that it is for, then merge it into the model."""
    save_adapter(model, folder, config_of(settings), base=base)
    merge_adapter(model)
