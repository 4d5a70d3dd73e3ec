"""A model's weights, handed to the native step: packed once, and again after each update."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine import _native
from thinkaloud.engine.backend import Source
from thinkaloud.model import ModelConfig
from thinkaloud.model.formats import ENDS, FORMATS, format_of
from thinkaloud.model.rope import rotary_tables

if TYPE_CHECKING:
    from torch import Tensor

_MATRICES = {
    "model.embed_tokens.weight": "embed",
    "lm_head.weight": "head",
    "self_attn.q_proj.weight": "q",
    "self_attn.k_proj.weight": "k",
    "self_attn.v_proj.weight": "v",
    "self_attn.o_proj.weight": "o",
    "mlp.gate_proj.weight": "gate",
    "mlp.up_proj.weight": "up",
    "mlp.down_proj.weight": "down",
}
_VECTORS = {
    "model.norm.weight": "norm",
    "input_layernorm.weight": "input_norm",
    "post_attention_layernorm.weight": "middle_norm",
    "self_attn.q_norm.weight": "q_norm",
    "self_attn.k_norm.weight": "k_norm",
    "self_attn.q_proj.bias": "q_bias",
    "self_attn.k_proj.bias": "k_bias",
    "self_attn.v_proj.bias": "v_bias",
}
_AT_ONCE = 1 << 25
"Weights that are quantised at a time."
_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)")


def make_native(config: ModelConfig, *, weights: str, cache: str, blocks: int, path: str) -> _native.Model:
    """A native model of this shape, with its rotary tables and no weights yet."""
    native = _native.Model(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_width=config.head_dim,
        intermediate=config.intermediate_size,
        epsilon=config.rms_norm_eps,
        tied=config.tie_word_embeddings,
        weights=weights,
        ends=ENDS.get(weights, weights),
        cache=cache,
        blocks=blocks,
        path=path,
    )
    shape = (config.max_position_embeddings, config.head_dim, config.rope_theta, config.rope_scaling)
    native.set_rotary(*rotary_tables(*shape))
    return native


def can_fill(names: Iterable[str]) -> bool:
    """Whether the native step knows every part of a model: an adapter that is not merged, say, it does not."""
    known = _MATRICES.keys() | _VECTORS.keys()
    return all(_short(name)[1] in known for name in names)


def _short(name: str) -> tuple[int, str]:
    """The layer that a parameter belongs to (-1: none) and its name within."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2]) if match else (-1, name)


def fill(native: _native.Model, source: Source, *, weights: str, threads: int) -> None:
    """Pack every parameter of a model, given by its published name."""
    for name, parameter in source:
        layer, short = _short(name)
        if short in _VECTORS:
            vector = parameter if isinstance(parameter, np.ndarray) else parameter.detach().float().contiguous().numpy()
            native.set(_VECTORS[short], layer, vector)
        elif isinstance(parameter, np.ndarray):
            assert weights not in FORMATS, "to round it takes PyTorch"
            native.pack_floats(_MATRICES[short], layer, parameter, threads)
        else:
            matrix = parameter.detach().contiguous()
            _pack(native, _MATRICES[short], layer, matrix, format_of(name, weights), threads)


def _pack(native: _native.Model, name: str, layer: int, tensor: Tensor, weights: str, threads: int) -> None:
    import torch

    if weights in FORMATS:
        from thinkaloud.model.quantise import quantise

        rows = max(1, _AT_ONCE // tensor.shape[1])
        for first in range(0, len(tensor), rows):
            part = quantise(tensor[first : first + rows], weights)
            native.pack_quantised(name, layer, part.values.numpy(), _bits(part.scales), first, threads)
    elif tensor.dtype == torch.bfloat16:
        native.pack_halves(name, layer, _bits(tensor), threads)
    else:
        native.pack_floats(name, layer, tensor.float().numpy(), threads)


def _bits(halves: Tensor) -> NDArray[np.uint16]:
    import torch

    return halves.contiguous().view(torch.int16).numpy().view(np.uint16)
