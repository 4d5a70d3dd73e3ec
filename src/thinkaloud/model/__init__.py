"""Token ids -> logits: the Qwen2 decoder, its configuration and its weights. Knows nothing of text or problems."""

from thinkaloud.model.config import ModelConfig
from thinkaloud.model.transformer import KVCache, Transformer
from thinkaloud.model.weights import load_model, save_model

__all__ = ["KVCache", "ModelConfig", "Transformer", "load_model", "save_model"]
