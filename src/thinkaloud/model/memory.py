"""How much memory a model takes, and whether it is free.

Knows: the sizes of weights and caches in every format, and what the system says is free. Doesn't know: who runs them.
"""

import math
from pathlib import Path

from thinkaloud.base.errors import UserError
from thinkaloud.model.config import ModelConfig
from thinkaloud.model.formats import format_of

BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "int8": 8.5, "int4": 4.5}
"Bits of a weight, the scales of its group included."


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The published name and shape of every parameter that a model of this shape has."""
    hidden, inner = config.hidden_size, config.intermediate_size
    widths = {"q": config.num_attention_heads * config.head_dim, "o": hidden}
    widths["k"] = widths["v"] = config.num_key_value_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {"input_layernorm.weight": (hidden,)}
    for name in "qkvo":
        layer[f"self_attn.{name}_proj.weight"] = (widths[name], widths["q"] if name == "o" else hidden)
        if config.output_bias if name == "o" else config.input_bias:
            layer[f"self_attn.{name}_proj.bias"] = (widths[name],)
    if config.qk_norm:
        layer |= {f"self_attn.{name}_norm.weight": (config.head_dim,) for name in "qk"}
    layer["post_attention_layernorm.weight"] = (hidden,)
    layer |= {"mlp.gate_proj.weight": (inner, hidden), "mlp.up_proj.weight": (inner, hidden)}
    layer["mlp.down_proj.weight"] = (hidden, inner)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for number in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if config.tie_word_embeddings else shapes | {"lm_head.weight": (config.vocab_size, hidden)}


def weight_count(config: ModelConfig) -> int:
    """Number of parameters, a shared embedding counted once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def weight_bytes(config: ModelConfig, weights: str) -> int:
    """Bytes of all parameters where the matrices are in the format `weights`."""
    shapes = parameter_shapes(config).items()
    bits = (
        math.prod(shape) * BITS[format_of(name, weights) if len(shape) == 2 else "float32"] for name, shape in shapes
    )
    return math.ceil(sum(bits) / 8)


def cache_bytes(config: ModelConfig, cache: str) -> int:
    """Bytes of keys and values that one cached token takes; int8 ones have a scale for each token and head."""
    head = -(-config.head_dim // 16) * 16
    one = head + 4 if cache == "int8" else head * int(BITS[cache]) // 8
    return 2 * config.num_hidden_layers * config.num_key_value_heads * one


def check_memory(config: ModelConfig, weights: str, cache: str, *, device: str = "cpu") -> None:
    """Raise UserError if weights and one sequence of `config`'s length, in these formats, exceed the free memory.

    Where the system does not say what is free (it does on Linux), nothing is checked.
    """
    free = free_memory() if device == "cpu" else _free_on(device)
    taken, token = weight_bytes(config, weights), cache_bytes(config, cache)
    whole = taken + config.max_position_embeddings * token
    if free is None or whole <= free:
        return
    cures = []
    if weights == "float32":
        cures.append('dtype="bfloat16" halves it')
    if weights in ("bfloat16", "float16", "int8"):
        smaller = [format for format in ("int8", "int4") if weight_bytes(config, format) < min(free, taken)]
        cures += [f'quantize="{format}" takes {_gib(weight_bytes(config, format))} GiB' for format in smaller[:1]]
    fitting = (free - taken) // token
    if fitting >= 1024:
        cures.append(f"context={fitting // 1024 * 1024} fits")
        if cache != "int8" and weights in ("int8", "int4"):
            cures.append('cache="int8" halves the cache')
    cures.append("close other programs or take a smaller checkpoint")
    raise UserError(
        f"this model does not fit: {_gib(taken)} GiB of weights in {weights} and {_gib(whole - taken)} GiB of cache "
        f"for {config.max_position_embeddings} tokens, but {_gib(free)} GiB of memory are free: {'; or '.join(cures)}"
    )


def free_memory() -> int | None:
    """Bytes that programs can still take without swapping (`MemAvailable`); None where it is not told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _free_on(device: str) -> int:
    import torch  # only here: sums need none

    return torch.cuda.mem_get_info(device)[0]


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
