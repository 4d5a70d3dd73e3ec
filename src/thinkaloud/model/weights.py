"""A model from disk and back to disk."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from thinkaloud.base.errors import UserError, is_disk_full
from thinkaloud.model.checkpoint import Checkpoint
from thinkaloud.model.config import ModelConfig
from thinkaloud.model.lora import LoraLinear
from thinkaloud.model.memory import check_memory
from thinkaloud.model.transformer import Transformer


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: str = "cpu",
    context: int | None = None,
    yarn: str = "auto",
) -> Transformer:
    """The model stored in `folder` (config.json and safetensors), in `dtype` on `device`, ready for evaluation.

    `dtype` None is `Checkpoint.default_dtype`; `context` and `yarn` as for `ModelConfig.for_context`. All is checked
    before anything big is read, and memory never holds more than the model and one tensor. Raises UserError for
    missing, truncated, misshapen or pickled weights, and for a model that does not fit into memory.
    """
    checkpoint = Checkpoint.open(folder)
    config = checkpoint.config.for_context(context, yarn)
    stored = checkpoint.default_dtype if dtype is None else str(dtype).removeprefix("torch.")
    check_memory(config, stored, stored, device=device)
    model = outline(config)
    for name, tensor in checkpoint.tensors():
        owner, _, leaf = name.rpartition(".")
        value = tensor.to(device, getattr(torch, stored), copy=True, memory_format=torch.contiguous_format)
        setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
    model.place_tables(torch.device(device))
    return model.eval()


def outline(config: ModelConfig) -> Transformer:
    """A model of that shape whose parameters have no numbers (they are on the meta device); its rotary tables have."""
    with torch.device("meta"):
        model = Transformer(config)
    model.place_tables(torch.device("cpu"))
    return model.eval().requires_grad_(False)


def as_llama(model: Transformer) -> Transformer:
    """The same function as a Llama, which has biases everywhere in attention: those that Qwen2 has not are zero."""
    shape = model.config.published or model.config
    twin = outline(replace(shape, architecture="LlamaForCausalLM", attention_bias=True))
    given = dict(model.named_parameters())
    for name, parameter in list(twin.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        value = given[name] if name in given else torch.zeros(parameter.shape, dtype=model.head.dtype)
        setattr(twin.get_submodule(owner), leaf, nn.Parameter(value.detach(), requires_grad=False))
    return twin


def as_published(model: Transformer, folder: Path) -> Transformer:
    """The model with all parameters that config.json in `folder` names: zero biases are left out where it is read."""
    return as_llama(model) if ModelConfig.load(folder).output_bias and not model.config.output_bias else model


def save_model(
    model: Transformer, folder: Path, *, eos_token_id: int, pad_token_id: int, dtype: torch.dtype | None = None
) -> None:
    """Write config.json and model.safetensors so that `transformers` opens them; `dtype` converts while saving.

    Raises UserError where the disk is full and for a model whose adapter is not merged.
    """
    if any(isinstance(part, LoraLinear) for part in model.modules()):
        raise UserError("the model carries an adapter: merge it, or save it alone with save_adapter")
    tensors = {name: value.detach().to(dtype or value.dtype).contiguous() for name, value in model.named_parameters()}
    stored = str(dtype or model.head.dtype).removeprefix("torch.")
    partial = folder / "model.safetensors.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.config.save(folder, eos_token_id=eos_token_id, pad_token_id=pad_token_id, dtype=stored)
        save_file(tensors, partial, metadata={"format": "pt"})
        partial.chmod((folder / "config.json").stat().st_mode)  # safetensors would keep it to its owner
        os.replace(partial, folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        if is_disk_full(error):
            raise UserError(f"no space is left on the disk of {folder}: free some and try again") from None
        raise
