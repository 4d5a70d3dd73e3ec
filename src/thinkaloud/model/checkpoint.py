"""A checkpoint on disk: what it holds is checked by names and shapes first, then read one tensor at a time.

Safetensors only, one file or the published shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from thinkaloud.base.errors import UserError
from thinkaloud.model.config import ModelConfig
from thinkaloud.model.memory import parameter_shapes, weight_count

if TYPE_CHECKING:
    from torch import Tensor

STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"The types of numbers that we read: as safetensors names them, and as everybody else does."
SMALL = 2**28
"Parameters up to which a model is run in float32 if nobody says otherwise: 1 GiB of them."
IDLE = ".self_attn.o_proj.bias"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was looked at and found whole; nothing big has been read.

    Example: `for name, tensor in Checkpoint.open(folder).tensors(): ...` sees each parameter once, under its published
    name, and holds no more than one in memory.
    """

    config: ModelConfig
    "the shape, as published"
    shards: dict[Path, tuple[str, ...]]
    "each file with the parameters to read from it, in the order they lie there"
    dtype: str
    "the type of the stored numbers; the widest where several are mixed"

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read `config.json` and the headers of all shards.

        Raises UserError for a missing, truncated or broken file, for pickled weights, and for a tensor that is missing,
        unexpected, misshapen or of another type than float32, float16 or bfloat16.
        """
        config = ModelConfig.load(folder)
        headers = {shard: _header(shard) for shard in _shard_files(folder)}
        idle = config.output_bias and config.architecture == "LlamaForCausalLM" and _idle_output_bias(headers)
        if idle:
            config = replace(config, architecture="Qwen2ForCausalLM", attention_bias=False)  # the same function
        wanted = parameter_shapes(config)
        shards: dict[Path, tuple[str, ...]] = {}
        types: set[str] = set()
        seen: set[str] = set()
        for shard, shapes in headers.items():
            names = [name for name in shapes if not (_superfluous(name, config) or (idle and name.endswith(IDLE)))]
            for name in names:
                shape, stored = shapes[name]
                if name not in wanted:
                    raise UserError(f"{shard} holds {name}, which this architecture does not have: check config.json")
                if shape != wanted[name]:
                    raise UserError(
                        f"{shard}: {name} has shape {list(shape)}, config.json says {list(wanted[name])}: copy the "
                        "checkpoint again"
                    )
                if stored not in STORED:
                    raise UserError(
                        f"{shard}: {name} is stored as {stored}: take a checkpoint in bfloat16, float16 or float32"
                    )
                if name in seen:
                    raise UserError(f"{shard} holds {name} a second time: copy the checkpoint again")
                seen.add(name)
                types.add(STORED[stored])
            shards[shard] = tuple(names)
        missing = sorted(wanted.keys() - seen)
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise UserError(f"{folder} lacks the weights {', '.join(missing[:3])}{more}: copy the checkpoint again")
        narrow = "bfloat16" if types == {"bfloat16"} else "float16"
        return cls(config=config, shards=shards, dtype="float32" if "float32" in types else narrow)

    @property
    def default_dtype(self) -> str:
        """bfloat16 for a large model that is stored in it, else float32: exactness is cheap where a model is small."""
        return "bfloat16" if self.dtype == "bfloat16" and weight_count(self.config) > SMALL else "float32"

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's published name and its numbers as stored.

        A tensor is a view of the file, to be copied before it is changed or kept. The file is opened for each anew, so
        that the pages of the last one do not stay in memory.
        """
        for shard, names in self.shards.items():
            for name in names:
                try:
                    with safe_open(shard, framework="pt") as file:
                        tensor = file.get_tensor(name)
                except (SafetensorError, OSError) as error:
                    raise UserError(f"{shard} is missing or broken ({error}): copy the checkpoint again") from None
                yield name, tensor

    def floats(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """The same in float32, without PyTorch, whose import takes longer than a small model does."""
        for shard, names in self.shards.items():
            header, held = _header(shard), _bytes(shard)
            for name in names:
                shape, stored = header[name]
                if stored == "BF16":  # the upper half of a float32; NumPy has no name for it
                    numbers = (held[name].view(np.uint16).astype(np.uint32) << 16).view(np.float32)
                else:
                    numbers = held[name].view(STORED[stored]).astype(np.float32)
                yield name, numbers.reshape(shape)


def _superfluous(name: str, config: ModelConfig) -> bool:
    """Whether a stored tensor only repeats what we have: a tied head, or the angles that old checkpoints stored."""
    return name.endswith(".rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)


def _idle_output_bias(shards: Iterable[Path]) -> bool:
    """Whether every output bias of attention is zero, as in what `thinkaloud export` writes."""
    return not any(held.any() for shard in shards for name, held in _bytes(shard).items() if name.endswith(IDLE))


def _shard_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index} is broken ({error!r}): copy the checkpoint again") from None
        if any(Path(name).name != name for name in names):
            raise UserError(f"{index} names files outside {folder}: take the checkpoint from a source that you trust")
        return [folder / name for name in names]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    pickled = [file.name for pattern in _PICKLED for file in sorted(folder.glob(pattern))]
    if pickled:
        raise UserError(
            f"{folder} holds pickled weights only ({pickled[0]}), which can run code when they are opened: take the "
            "safetensors version of the checkpoint, or convert it with transformers' save_pretrained"
        )
    raise UserError(f"{folder} holds no model.safetensors: give a folder that holds a checkpoint in safetensors")


def _header(shard: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every tensor in a file, in the order they lie there; the file's length is checked too."""
    try:
        with safe_open(shard, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            return {name: (tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{shard} is missing or broken ({error}): copy the checkpoint again") from None


def _bytes(shard: Path) -> dict[str, NDArray[np.uint8]]:
    """The bytes of every tensor in a file that `_header` has found whole; nothing is read before it is looked at."""
    file = np.memmap(shard, np.uint8, "r")
    start = 8 + int.from_bytes(file[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(file[8:start].tobytes())
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: file[start + first : start + last] for name, (first, last) in places.items()}
