"""Token ids -> logits: the decoders of Qwen2, Qwen3 and Llama, their weights. Knows nothing of text or problems.

What computes is imported when it is first used: whoever needs shapes and numbers only does not wait for PyTorch.
"""

from typing import TYPE_CHECKING, Any

from thinkaloud.model.checkpoint import Checkpoint
from thinkaloud.model.config import ModelConfig

if TYPE_CHECKING:
    from thinkaloud.model.lora import LoraConfig, add_adapter, load_adapter, merge_adapter, save_adapter
    from thinkaloud.model.transformer import KVCache, Transformer
    from thinkaloud.model.weights import load_model, save_model

__all__ = [
    "Checkpoint",
    "KVCache",
    "LoraConfig",
    "ModelConfig",
    "Transformer",
    "add_adapter",
    "load_adapter",
    "load_model",
    "merge_adapter",
    "save_adapter",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'thinkaloud.model' has no attribute {name!r}; its names: {', '.join(__all__)}")
    from thinkaloud.model import lora, transformer, weights

    return next(vars(home)[name] for home in (lora, transformer, weights) if name in vars(home))
