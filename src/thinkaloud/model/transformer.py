"""The decoder of Qwen2, Qwen3 and Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Where the three differ (biases, norms on queries and keys, width of a head), the configuration says it. Parameter names
are those of the published checkpoints. Shape suffixes: B rows, T tokens, S cached tokens, D hidden, H query heads,
K key/value heads, G = H / K query heads that share a key/value head, E head width, V vocabulary.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thinkaloud.model.config import ModelConfig
from thinkaloud.model.rope import rotary_tables


class KVCache:
    """Keys and values of every layer for a batch of rows: one tensor `kv` of shape [layers, 2, B, K, S, E].

    Row b holds its first `lengths[b]` tokens; what lies beyond is never read. Rows are picked, repeated and joined by
    plain indexing, which is what forking a thread of thought, sharing a prompt and dropping finished rows come to.
    """

    def __init__(self, kv: Tensor, lengths: Tensor) -> None:
        self.kv = kv
        self.lengths = lengths

    @classmethod
    def empty(cls, config: ModelConfig, rows: int, capacity: int, like: Tensor) -> "KVCache":
        """A cache of `rows` rows with room for `capacity` tokens, in the type and on the device of `like`."""
        shape = (config.num_hidden_layers, 2, rows, config.num_key_value_heads, capacity, config.head_dim)
        return cls(like.new_zeros(shape), torch.zeros(rows, dtype=torch.long, device=like.device))

    @property
    def capacity(self) -> int:
        """How many tokens a row can hold."""
        return self.kv.shape[4]

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` tokens a row."""
        if capacity > self.capacity:
            self.kv = F.pad(self.kv, (0, 0, 0, capacity - self.capacity))

    def pick(self, rows: Tensor) -> "KVCache":
        """The rows named by `rows` [N], in that order, copied; a row may be named more than once."""
        return KVCache(self.kv.index_select(2, rows), self.lengths.index_select(0, rows))

    def join(self, other: "KVCache") -> "KVCache":
        """The rows of both, one below the other."""
        capacity = max(self.capacity, other.capacity)
        self.grow(capacity)
        other.grow(capacity)
        return KVCache(torch.cat([self.kv, other.kv], dim=2), torch.cat([self.lengths, other.lengths]))


def _rotate(x_BHTE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
    first, second = x_BHTE.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x_BHTE * cos_BTE.unsqueeze(1) + turned * sin_BTE.unsqueeze(1)


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        query_width = config.num_attention_heads * config.head_dim
        key_value_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=config.input_bias)
        self.k_proj = nn.Linear(config.hidden_size, key_value_width, bias=config.input_bias)
        self.v_proj = nn.Linear(config.hidden_size, key_value_width, bias=config.input_bias)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=config.output_bias)
        self.q_norm, self.k_norm = (
            nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps) if config.qk_norm else nn.Identity() for _ in range(2)
        )

    def _project(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        width = (-1, self.config.head_dim)
        q_BHTE = self.q_norm(self.q_proj(x_BTD).unflatten(-1, width)).transpose(1, 2)
        k_BKTE = self.k_norm(self.k_proj(x_BTD).unflatten(-1, width)).transpose(1, 2)
        v_BKTE = self.v_proj(x_BTD).unflatten(-1, width).transpose(1, 2)
        return _rotate(q_BHTE, *rotary), _rotate(k_BKTE, *rotary), v_BKTE

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask_BTT: Tensor | None) -> Tensor:
        """Whole sequences at once; `mask_BTT` true where a token may look, or None for plain causal attention."""
        q, k, v = self._project(x_BTD, rotary)
        mask = None if mask_BTT is None else mask_BTT.unsqueeze(1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def extend(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], kv: Tensor, slots_BT: Tensor, bias: Tensor
    ) -> Tensor:
        """New tokens behind cached ones: their keys and values go into `kv` [2, B, K, S, E] at `slots_BT`, then attend.

        `bias` [B, 1, G * T, S] is 0 where a token may look, else minus infinity;
        queries that share a key/value head are folded together.
        """
        q, k, v = self._project(x_BTD, rotary)
        rows = torch.arange(x_BTD.shape[0], device=x_BTD.device).unsqueeze(1)
        kv[0, rows, :, slots_BT] = k.transpose(1, 2)
        kv[1, rows, :, slots_BT] = v.transpose(1, 2)
        seen = bias.shape[-1]
        q_BKGTE = q.unflatten(1, (self.config.num_key_value_heads, -1))
        scaled = q_BKGTE.flatten(2, 3) / math.sqrt(self.config.head_dim)
        weights = (scaled @ kv[0, :, :, :seen].transpose(-1, -2) + bias).softmax(-1)
        out_BKGTE = (weights @ kv[1, :, :, :seen]).unflatten(2, (-1, x_BTD.shape[1]))
        return self.o_proj(out_BKGTE.flatten(1, 2).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Token by token; shape kept."""
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Layer(nn.Module):
    """One decoder layer: pre-normed attention and feed-forward around a residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)


class _Decoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        weight = torch.empty(config.vocab_size, config.hidden_size)  # to draw it on the meta device loads TorchDynamo
        self.embed_tokens = nn.Embedding.from_pretrained(weight, freeze=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Transformer(nn.Module):
    """Ids to logits. `forward` takes whole sequences (training), `extend` continues cached ones (generation)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", torch.empty(0), persistent=False)
        self.register_buffer("sin", torch.empty(0), persistent=False)
        if not self.head.is_meta:  # an outline, whose tables come later
            self.place_tables(self.head.device)

    def place_tables(self, device: torch.device) -> None:
        """Make the rotary tables, float32 [max_position_embeddings, E]."""
        config = self.config
        shape = (config.max_position_embeddings, config.head_dim, config.rope_theta, config.rope_scaling)
        self.cos, self.sin = (torch.from_numpy(table).to(device) for table in rotary_tables(*shape))

    def initialise(self, seed: int) -> None:
        """Fresh weights: normal of 0.02, output projections scaled down by depth (GPT-2), norms one, biases zero."""
        generator = torch.Generator().manual_seed(seed)
        shrink = 1.0 / math.sqrt(2 * self.config.num_hidden_layers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    scale = 0.02 if "embed" in name else 0.8 / math.sqrt(parameter.shape[1])
                    scale *= shrink if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)

    @property
    def _layers(self) -> list[Layer]:
        return cast(list[Layer], self.model.layers)

    @property
    def size(self) -> int:
        """Number of parameters, the shared embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def head(self) -> Tensor:
        """Weight of the output head [V, D]."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of final hidden states [..., D]."""
        return F.linear(hidden, self.head)

    def _rotary(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self.head.dtype
        return self.cos[positions_BT].to(dtype), self.sin[positions_BT].to(dtype)

    def forward(self, ids_BT: Tensor, positions_BT: Tensor | None = None, mask_BTT: Tensor | None = None) -> Tensor:
        """Final hidden states [B, T, D] of whole sequences; apply `logits` to those that are needed.

        `positions_BT` defaults to 0, 1, ...; `mask_BTT` is true where a token may look and defaults to causal.
        """
        if positions_BT is None:
            positions_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device).unsqueeze(0)
        rotary = self._rotary(positions_BT)
        x = self.model.embed_tokens(ids_BT)
        for layer in self._layers:
            x = x + layer.self_attn(layer.input_layernorm(x), rotary, mask_BTT)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.model.norm(x)

    def extend(self, ids_BT: Tensor, cache: KVCache, counts: Tensor | None = None) -> Tensor:
        """Append `ids_BT` behind each row of `cache` and give their final hidden states [B, T, D].

        Row b has `counts[b]` real tokens (default T); the rest is padding, whose output means nothing. `cache` grows
        where it must and its lengths advance by `counts`.
        """
        rows, tokens = ids_BT.shape
        slots_BT = cache.lengths.unsqueeze(1) + torch.arange(tokens, device=ids_BT.device)
        seen = int(slots_BT.max()) + 1
        if seen > cache.capacity:
            cache.grow(seen + 63 & ~63)
        mask_BTS = torch.arange(seen, device=ids_BT.device) <= slots_BT.unsqueeze(-1)
        group = self.config.num_attention_heads // self.config.num_key_value_heads
        bias = torch.zeros(mask_BTS.shape, dtype=cache.kv.dtype, device=ids_BT.device).masked_fill(
            ~mask_BTS, -torch.inf
        )
        bias = bias.repeat(1, group, 1).unsqueeze(1)
        rotary = self._rotary(slots_BT)
        x = self.model.embed_tokens(ids_BT)
        for layer, kv in zip(self._layers, cache.kv, strict=True):
            x = x + layer.self_attn.extend(layer.input_layernorm(x), rotary, kv, slots_BT, bias)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        cache.lengths = cache.lengths + (tokens if counts is None else counts)
        return self.model.norm(x)
