"""A checkpoint on disk: what it holds is checked by names and shapes first, then read one tensor at a time.

Safetensors only, one file or the published shards.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from thinkaloud.base.errors import UserError
from thinkaloud.model.config import ModelConfig
from thinkaloud.model.memory import parameter_shapes

STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"The types of numbers that we read, as safetensors names them."
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
    dtype: torch.dtype
    "the type of the stored numbers; the widest where several are mixed"

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Read `config.json` and the headers of all shards.

        Raises UserError for a missing, truncated or broken file, for pickled weights, and for a tensor that is missing,
        unexpected, misshapen or of another type than float32, float16 or bfloat16.
        """
        config = ModelConfig.load(folder)
        idle = config.output_bias and config.architecture == "LlamaForCausalLM" and _idle_output_bias(folder)
        if idle:
            config = replace(config, architecture="Qwen2ForCausalLM", attention_bias=False)  # the same function
        wanted = parameter_shapes(config)
        shards: dict[Path, tuple[str, ...]] = {}
        types: set[torch.dtype] = set()
        seen: set[str] = set()
        for shard in _shard_files(folder):
            shapes = _header(shard)
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
        narrow = torch.bfloat16 if types == {torch.bfloat16} else torch.float16
        return cls(config=config, shards=shards, dtype=torch.float32 if torch.float32 in types else narrow)

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


def _superfluous(name: str, config: ModelConfig) -> bool:
    """Whether a stored tensor only repeats what we have: a tied head, or the angles that old checkpoints stored."""
    return name.endswith(".rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)


def _idle_output_bias(folder: Path) -> bool:
    """Whether every output bias of attention is zero, as in what `thinkaloud export` writes."""
    try:
        for shard in _shard_files(folder):
            with safe_open(shard, framework="pt") as file:
                if any(file.get_tensor(name).any() for name in file.offset_keys() if name.endswith(IDLE)):
                    return False
    except (SafetensorError, OSError):
        return False  # told by whoever reads the file
    return True


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
        with safe_open(shard, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            return {name: (tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{shard} is missing or broken ({error}): copy the checkpoint again") from None
