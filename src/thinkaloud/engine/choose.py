"""Which backend runs a model: the CUDA step on a GPU, the native step on a CPU where it was built, else PyTorch."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from thinkaloud.base.errors import UserError
from thinkaloud.engine.backend import Backend, Source
from thinkaloud.engine.native_backend import NativeBackend, native_available, native_runs, own_cache
from thinkaloud.model import ModelConfig

if TYPE_CHECKING:
    from thinkaloud.model import Transformer

WEIGHTS = ("float32", "bfloat16", "int8", "int4")
"Formats that the native step runs."
_told: set[str] = set()


def can_quantise(model: Transformer | ModelConfig) -> bool:
    """Whether weights in another format than the model's own can be run: by the native step only."""
    return native_available() and native_runs(model) and os.environ.get("THINKALOUD_NATIVE") != "off"


def choose_backend(
    model: Transformer | ModelConfig,
    *,
    backend: str = "auto",
    weights: str = "auto",
    max_rows: int = 512,
    prefill_tokens: int | None = None,
    cache: str = "auto",
    cache_tokens: int | None = None,
    source: Source | None = None,
) -> Backend:
    """The backend named, or for `auto` the CUDA step on a GPU, the native one on a CPU where it was built.

    `source` and `cache` as for `Engine`. The environment variable THINKALOUD_NATIVE is off, or names the native path:
    portable, avx2 or avx512.
    """
    if backend not in ("auto", "native", "torch", "cuda"):
        raise UserError(f"backend {backend!r} is unknown: use auto, native, torch or cuda")
    own = "float32" if isinstance(model, ModelConfig) else str(model.head.dtype).removeprefix("torch.")
    if weights not in ("auto", own, "fp8", *WEIGHTS):
        raise UserError(f"weights {weights!r} is unknown: use auto, fp8 (on a GPU), {', '.join(WEIGHTS)}")
    on_gpu = not isinstance(model, ModelConfig) and model.head.device.type == "cuda"
    if backend == "cuda" or (backend == "auto" and on_gpu):
        assert not isinstance(model, ModelConfig), "a shape alone is for the native step"
        check_gpu(model, weights)
        if cache != "auto":
            raise UserError(f"cache={cache!r} needs the native step on a CPU: leave it out on a GPU")
        from thinkaloud.engine.cuda_backend import CudaBackend  # it brings TorchDynamo along: as long as torch itself

        return CudaBackend(
            model,
            weights=weights,
            max_rows=max_rows,
            prefill_tokens=prefill_tokens or 16_384,
            cache_tokens=cache_tokens,
        )
    if weights == "fp8":
        raise UserError("weights='fp8' need a GPU: use int8 or int4 on a CPU")
    if cache not in ("auto", own_cache(own if weights == "auto" else weights), "int8"):
        raise UserError(f"cache {cache!r} is unknown or does not go with the weights: use auto or int8")
    path = os.environ.get("THINKALOUD_NATIVE", "auto") or "auto"
    if path not in ("auto", "off", "portable", "avx2", "avx512"):
        raise UserError(f"THINKALOUD_NATIVE={path} is unknown: use off, portable, avx2 or avx512")
    able = native_available() and native_runs(model)
    if backend == "native" and not native_available():
        raise UserError("the native step was not built: install again with a C++ compiler at hand")
    if backend == "native" and not able:
        raise UserError("the native step can't run this model (another device, or parts it does not know): use torch")
    if backend == "native" or (backend == "auto" and able and path != "off"):
        return NativeBackend(
            model,
            weights=own if weights == "auto" and own in WEIGHTS else "float32" if weights == "auto" else weights,
            max_rows=max_rows,
            prefill_tokens=prefill_tokens or 512,
            cache=cache,
            cache_tokens=cache_tokens,
            path="auto" if path == "off" else path,
            source=source,
        )
    if cache == "int8":
        raise UserError("cache='int8' needs the native step, which was not built or can't run this model")
    if weights not in ("auto", own):
        raise UserError(f"weights={weights!r} need the native step, which was not built or can't run this model")
    if backend == "auto" and path != "off" and not native_available() and "built" not in _told:
        _told.add("built")
        logging.getLogger("thinkaloud").warning(
            "thinkaloud: generating with plain PyTorch; with a C++ compiler at hand (g++ or clang), "
            "installing again builds a step that is several times faster"
        )
    assert not isinstance(model, ModelConfig), "a shape alone is for the native step"
    from thinkaloud.engine.torch_backend import TorchBackend

    return TorchBackend(model, prefill_tokens=prefill_tokens or 16_384)


def check_gpu(model: Transformer, weights: str) -> None:
    """Raise UserError where the model is on no GPU, or the GPU can't run the weights asked for."""
    import torch

    from thinkaloud.engine.gpu.matrix import GPU_FORMATS

    own, device = str(model.head.dtype).removeprefix("torch."), model.head.device
    if device.type != "cuda":
        raise UserError("the CUDA step needs the model on a GPU: load it with device='cuda', or leave backend out")
    if weights in GPU_FORMATS[:3] and weights != own:
        raise UserError(f"weights={weights!r}, but the model is {own}: load it in that type, or leave weights out")
    if weights == "fp8" and torch.cuda.get_device_capability(device) < (8, 9):
        raise UserError("weights='fp8' need a GPU of compute capability 8.9 or more: use int8")
