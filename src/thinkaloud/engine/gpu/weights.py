"""A model's weights as the step reads them: projections of equal inputs fused, every matrix in one format.

In the model's own type the fused matrices are the model's: its parameters become views of them, so that there is no
second copy, and what a trainer changes in place is seen at once. Quantised matrices are copies.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from thinkaloud.base.errors import UserError
from thinkaloud.engine.gpu.matrix import GPU_FORMATS, Matrix, pack
from thinkaloud.model import Transformer
from thinkaloud.model.formats import format_of

_KNOWN = re.compile(
    r"(model\.embed_tokens|model\.norm|lm_head|model\.layers\.\d+\.(input_layernorm|post_attention_layernorm|"
    r"self_attn\.([qkvo]_proj|[qk]_norm)|mlp\.(gate|up|down)_proj))\.(weight|bias)"
)


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One decoder layer."""

    input_norm: Tensor
    "[D]"
    qkv: Matrix
    "D to (H + 2 K) E"
    norms: tuple[Tensor, Tensor] | None
    "norms of queries and of keys, [E] each, where the model has them"
    output: Matrix
    "H E to D"
    middle_norm: Tensor
    "[D]"
    gate_up: Matrix
    "D to 2 F"
    down: Matrix
    "F to D"


class Weights:
    """All of a model in a format of GPU_FORMATS."""

    def __init__(self, model: Transformer, format: str) -> None:
        assert format in GPU_FORMATS
        self.format = format
        self._parameters = dict(model.named_parameters())
        unknown = [name for name in self._parameters if not _KNOWN.fullmatch(name)]
        if unknown:
            raise UserError(f"the model has {unknown[0]}, which the GPU step does not run: merge adapters first")
        self._sources: list[tuple[Matrix, list[str]]] = []
        self.embedding = self._parameters["model.embed_tokens.weight"].data
        self.norm = self._parameters["model.norm.weight"].data
        self.layers = [self._layer(f"model.layers.{index}.") for index in range(model.config.num_hidden_layers)]
        tied = model.config.tie_word_embeddings
        self.head = self._matrix("model.embed_tokens" if tied else "lm_head")
        self.cos, self.sin = model.cos.float().contiguous(), model.sin.float().contiguous()

    def _layer(self, prefix: str) -> LayerWeights:
        attention = prefix + "self_attn."
        names = [attention + "q_norm.weight", attention + "k_norm.weight"]
        return LayerWeights(
            input_norm=self._parameters[prefix + "input_layernorm.weight"].data,
            qkv=self._matrix(*(f"{attention}{name}_proj" for name in "qkv")),
            norms=(self._parameters[names[0]].data, self._parameters[names[1]].data)
            if names[0] in self._parameters
            else None,
            output=self._matrix(attention + "o_proj"),
            middle_norm=self._parameters[prefix + "post_attention_layernorm.weight"].data,
            gate_up=self._matrix(prefix + "mlp.gate_proj", prefix + "mlp.up_proj"),
            down=self._matrix(prefix + "mlp.down_proj"),
        )

    def _matrix(self, *modules: str) -> Matrix:
        bias = self._joined([f"{module}.bias" for module in modules], None) if self._has_bias(modules[0]) else None
        weights = [f"{module}.weight" for module in modules]
        format = format_of(weights[0], self.format)
        if format in ("fp8", "int8", "int4"):
            stacked = torch.cat([self._parameters[name].data for name in weights])
        else:
            stacked = self._joined(weights, None)
        matrix = pack(stacked, format, bias)
        self._sources.append((matrix, list(modules)))
        return matrix

    def _has_bias(self, module: str) -> bool:
        return f"{module}.bias" in self._parameters

    def _joined(self, names: list[str], into: Tensor | None) -> Tensor:
        """Parameters one below the other, in `into` or a new tensor; they become views of it."""
        parameters = [self._parameters[name] for name in names]
        if into is None:
            into = torch.cat([p.data for p in parameters]) if len(parameters) > 1 else parameters[0].data
        start = 0
        for parameter in parameters:
            view = into[start : start + parameter.shape[0]]
            if parameter.data_ptr() != view.data_ptr():
                view.copy_(parameter.data)
                parameter.data = view
            start += parameter.shape[0]
        return into

    def refresh(self) -> None:
        """Take over changed weights, at the same addresses."""
        for matrix, modules in self._sources:
            weights = [f"{module}.weight" for module in modules]
            if matrix.bias is not None:
                self._joined([f"{module}.bias" for module in modules], matrix.bias)
            if matrix.scales is None:
                self._joined(weights, matrix.values)
            else:
                stacked = torch.cat([self._parameters[name].data for name in weights])
                new = pack(stacked, format_of(weights[0], self.format))
                assert new.scales is not None
                matrix.values.copy_(new.values)
                matrix.scales.copy_(new.scales)
