"""`load`: from a name to a model that is ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from thinkaloud.base.errors import UserError
from thinkaloud.base.machine import gpu_here
from thinkaloud.engine import Engine, can_quantise
from thinkaloud.engine.native_backend import memory_bandwidth, own_cache
from thinkaloud.inference.hub import locate
from thinkaloud.inference.model import ReasoningModel
from thinkaloud.model import Checkpoint, ModelConfig
from thinkaloud.model.formats import FORMATS
from thinkaloud.model.memory import BITS, cache_bytes, check_memory, weight_bytes
from thinkaloud.text import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from thinkaloud.model import Transformer

LARGE = 2**30
"Bytes of weights from which a model is packed while it is read."
Watch = Callable[[str, float], None]
DTYPES = ("auto", "float32", "bfloat16")


def load(
    path: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str | None = None,
    cache: str = "auto",
    context: int | None = None,
    yarn: str = "auto",
    adapter: str | Path | None = None,
    offline: bool = False,
    watch: Watch | None = None,
) -> ReasoningModel:
    """Open a model: the bundled one by default, a run's folder, one with a checkpoint, or a hub id: "Qwen/QwQ-32B".

    `device` is cpu, cuda or auto: a GPU where PyTorch finds one. `dtype` is auto, float32 or bfloat16: auto takes
    bfloat16 for a large checkpoint that is stored in it, else float32. `context` is the longest sequence in tokens, by
    default 32,768 or what the checkpoint can do. `yarn` says whether YaRN that the checkpoint configures is applied:
    on, off, or auto, where `context` exceeds the length that it stretches. `adapter` is a LoRA adapter in PEFT's
    layout, a folder or a hub id, merged into the weights. `quantize` is int8 or int4: matrices are rounded to it, and
    generated with in it where the native step or a GPU runs; `cache` is auto or int8, the format of keys and values in
    the native step. `offline` asks no hub.

    A model of more than a gibibyte is packed for the native step while it is read, never held twice; `watch` is told
    what it will take and how it comes along, as a text and a share from 0 to 1. A small one in float32 is run by the
    native step without PyTorch, whose import takes longer than all the rest. Raises UserError for what can't be opened
    or does not fit.
    """
    device = _device(device)
    if quantize is not None and quantize not in FORMATS:
        raise UserError(f"quantize={quantize!r} is unknown: choose one of {', '.join(FORMATS)}, or leave it out")
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
    if cache not in ("auto", "int8"):
        raise UserError(f"cache={cache!r} is unknown: choose auto or int8")
    folder = locate(path, offline=offline)
    ModelConfig.load(folder)  # mistakes that cost nothing to see are named before anything big is read
    tokenizer = Tokenizer.load(folder)
    if adapter is None and device == "cpu":
        alone = _alone(folder, tokenizer, dtype, quantize, cache, context, yarn, watch)
        if alone is not None:
            return alone
    change = None if adapter is None else locate(adapter, offline=offline)
    transformer = open_transformer(folder, dtype=dtype, device=device, context=context, yarn=yarn, adapter=change)
    if device == "cuda":
        engine = Engine(transformer, weights=quantize or "auto", cache=cache)
        return ReasoningModel(folder, transformer, tokenizer, engine=engine, adapter=change)
    if quantize is not None:
        from thinkaloud.model.quantise import quantise_model

        quantise_model(transformer, quantize)
    able = can_quantise(transformer)
    engine = Engine(transformer, weights=quantize if quantize and able else "auto", cache=cache if able else "auto")
    changed = bool(quantize and not able)
    return ReasoningModel(folder, transformer, tokenizer, engine=engine, changed=changed, adapter=change)


def open_transformer(
    folder: Path,
    *,
    dtype: str = "auto",
    device: str = "cpu",
    context: int | None = None,
    yarn: str = "auto",
    adapter: Path | None = None,
) -> Transformer:
    """The whole model of a folder in PyTorch, that of an adapter merged; settings as for `load`."""
    import torch

    from thinkaloud.model import load_adapter, load_model, merge_adapter

    wanted = None if dtype == "auto" else getattr(torch, dtype)
    transformer = load_model(folder, dtype=wanted, device=device, context=context, yarn=yarn)
    if adapter is not None:
        load_adapter(transformer, adapter)
        merge_adapter(transformer)
    return transformer


def _device(wanted: str) -> str:
    """cpu or cuda; PyTorch is asked only where there may be a GPU."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {wanted!r} is not supported: use cpu or cuda")
    if wanted == "cpu" or (wanted == "auto" and not gpu_here()):
        return "cpu"
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device='cuda', but PyTorch finds no GPU: install a PyTorch built for it, or use cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


def _alone(
    folder: Path,
    tokenizer: Tokenizer,
    dtype: str,
    quantize: str | None,
    cache: str,
    context: int | None,
    yarn: str,
    watch: Watch | None,
) -> ReasoningModel | None:
    """A model that only the native step holds: a large one, or a small one in float32; None for every other."""
    checkpoint = Checkpoint.open(folder)
    config = checkpoint.config.for_context(context, yarn)
    dtype = checkpoint.default_dtype if dtype == "auto" else dtype
    if not can_quantise(config):
        return None
    if weight_bytes(config, dtype) >= LARGE:
        engine = _packed(checkpoint, config, dtype, quantize or dtype, cache, watch)
        return ReasoningModel(folder, _never, tokenizer, engine=engine)
    if quantize is not None or dtype != "float32":
        return None
    check_memory(config, dtype, dtype)
    engine = Engine(config, cache=cache, source=checkpoint.floats())
    whole = partial(open_transformer, folder, dtype=dtype, context=context, yarn=yarn)
    return ReasoningModel(folder, whole, tokenizer, engine=engine)


def _never() -> Transformer:
    raise UserError("the weights were packed as they were read: set THINKALOUD_NATIVE=off to keep them whole")


def _packed(
    checkpoint: Checkpoint, config: ModelConfig, dtype: str, weights: str, cache: str, watch: Watch | None
) -> Engine:
    """An engine of a large model whose weights are packed as they are read."""
    whole = weight_bytes(config, dtype)
    kept = own_cache(weights) if cache == "auto" else cache
    check_memory(config, weights, kept)
    taken, read = weight_bytes(config, weights), 0
    tell = watch or (lambda text, share: None)
    room = config.max_position_embeddings * cache_bytes(config, kept)
    tell(
        f"{taken / 2**30:.1f} GiB of weights in {weights}, up to {room / 2**30:.1f} GiB of cache in {kept} for "
        f"{config.max_position_embeddings:,} tokens; at most {memory_bandwidth() / taken:.2g} tokens a second expected",
        0.0,
    )

    def tensors() -> Iterator[tuple[str, Tensor]]:
        nonlocal read
        for name, tensor in checkpoint.tensors():
            tell(name, read / whole)
            yield name, tensor
            read += tensor.numel() * int(BITS[dtype]) // 8

    engine = Engine(config, weights=weights, cache=cache, source=tensors())
    tell("", 1.0)
    return engine
