"""Low-rank adapters (LoRA, arXiv 2106.09685) in PEFT's layout: put on a model, merged into its weights, saved.

Knows: `adapter_config.json` and `adapter_model.safetensors`. Does not know: how an adapter is trained. R is the rank.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thinkaloud.base.errors import UserError
from thinkaloud.model.transformer import Transformer

_PREFIX = "base_model.model."
_WITHOUT_EFFECT = (
    *(
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "runtime_config",
    ),
    *("runtime_config", "inference_mode", "lora_dropout", "megatron_core", "qalora_group_size"),
    *("layers_pattern", "ensure_weight_tying"),
)
"Entries of adapter_config.json that change nothing in a finished adapter, or only together with one that we refuse."


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """What an adapter changes: `LoraConfig(r=16, lora_alpha=32, target_modules=("q_proj", "v_proj"))`."""

    r: int
    "rank of the change"
    lora_alpha: float
    "its weight: multiplied by lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora"
    target_modules: tuple[str, ...] | str
    "names of linear modules, each whole or its last parts; or a regular expression for whole names; or all-linear"
    use_rslora: bool = False
    "rank-stabilised weight (arXiv 2312.03732)"

    @property
    def scale(self) -> float:
        """What multiplies B A x."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def targets(self, model: Transformer) -> list[str]:
        """The names of the linear modules that are meant; the output head never is. UserError where none is."""
        linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and name != "lm_head"]
        wanted = self.target_modules
        if wanted == "all-linear":
            return linear
        if isinstance(wanted, str):
            try:
                chosen = [name for name in linear if re.fullmatch(wanted, name)]
            except re.error as error:
                raise UserError(f"the adapter's target_modules {wanted!r} is no regular expression: {error}") from None
        else:
            chosen = [name for name in linear if any(f".{name}".endswith(f".{part}") for part in wanted)]
        if not chosen:
            raise UserError(f"the adapter's target_modules {wanted!r} name no linear module of this model")
        return chosen


class LoraLinear(nn.Linear):
    """A linear module with a low-rank change beside it; `weight` and `bias` stay those of the module it replaces."""

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.scale
        self.lora_A = nn.Parameter(base.weight.new_empty(config.r, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, config.r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + scale B A x."""
        first, second = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        return super().forward(x) + self.scale * F.linear(F.linear(x, first), second)

    def merged(self) -> nn.Linear:
        """The plain module that does the same; its weight is this one's, changed in place."""
        with torch.no_grad():
            change = self.lora_B.float() @ self.lora_A.float()
            self.weight.copy_(self.weight.float() + self.scale * change)
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        return plain


def add_adapter(model: Transformer, config: LoraConfig) -> dict[str, LoraLinear]:
    """Put a fresh adapter on the model, which it does not change yet (B is zero); the new modules by name."""
    if any(isinstance(part, LoraLinear) for part in model.modules()):
        raise UserError("the model carries an adapter already: merge it first")
    added = {}
    for name in config.targets(model):
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        added[name] = LoraLinear(base, config)
        model.set_submodule(name, added[name])
    return added


def merge_adapter(model: Transformer) -> None:
    """Fold the model's adapter into its weights; afterwards it is a plain model."""
    for name, part in list(model.named_modules()):
        if isinstance(part, LoraLinear):
            model.set_submodule(name, part.merged())


def load_adapter(model: Transformer, folder: Path) -> LoraConfig:
    """Put the adapter stored in `folder` on the model.

    Raises UserError for files that are missing or broken, for an adapter of another shape and for kinds of adapters
    that we don't run; the model is then as it was.
    """
    config = _read_config(folder / "adapter_config.json")
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        pickled = " (a pickled one, which can run code, is there: save it again with safe_serialization=True)"
        raise UserError(f"{folder} holds no {path.name}{pickled if any(folder.glob('adapter_model.bin')) else ''}")
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is broken ({error}): copy the adapter again") from None
    shapes = {}
    for name in config.targets(model):
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        shapes[f"{_PREFIX}{name}.lora_A.weight"] = (config.r, base.in_features)
        shapes[f"{_PREFIX}{name}.lora_B.weight"] = (base.out_features, config.r)
    for name in sorted(stored.keys() ^ shapes.keys()):
        raise UserError(f"{path} {'holds unexpected' if name in stored else 'lacks'} {name}: it is for another model")
    for name, shape in shapes.items():
        if tuple(stored[name].shape) != shape:
            raise UserError(f"{path}: {name} has shape {list(stored[name].shape)}, the model needs {list(shape)}")
    with torch.no_grad():
        for name, part in add_adapter(model, config).items():
            part.lora_A.copy_(stored[f"{_PREFIX}{name}.lora_A.weight"])
            part.lora_B.copy_(stored[f"{_PREFIX}{name}.lora_B.weight"])
    return config


def save_adapter(model: Transformer, folder: Path, config: LoraConfig, *, base: str | None = None) -> None:
    """Write the model's adapter as PEFT reads it; `base` names the model that it is for."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, part in model.named_modules():
        if isinstance(part, LoraLinear):
            tensors[f"{_PREFIX}{name}.lora_A.weight"] = part.lora_A.detach().contiguous()
            tensors[f"{_PREFIX}{name}.lora_B.weight"] = part.lora_B.detach().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = config.target_modules
    published = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "use_rslora": config.use_rslora,
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(published, indent=2) + "\n")


def _read_config(path: Path) -> LoraConfig:
    try:
        file: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}: give the folder of a LoRA adapter") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy the adapter again") from None
    allowed: dict[str, tuple[Any, ...]] = {"peft_type": ("LORA",), "bias": ("none",)}
    allowed["init_lora_weights"] = (True, False, "gaussian")
    ours = set(LoraConfig.__dataclass_fields__)
    for name, value in file.items():
        harmless = name in ours or name in _WITHOUT_EFFECT or not value
        if value not in allowed[name] if name in allowed else not harmless:
            raise UserError(
                f"{path}: {name} {json.dumps(value)[:80]} is not supported: merge the adapter with peft and load the "
                "merged folder"
            )
    rank, alpha, targets = file.get("r"), file.get("lora_alpha"), file.get("target_modules")
    usable = isinstance(targets, str) or (isinstance(targets, list) and all(isinstance(one, str) for one in targets))
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and usable):
        raise UserError(f"{path} lacks a usable r, lora_alpha or target_modules: copy the adapter again")
    modules = targets if isinstance(targets, str) else tuple(targets or ())
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules, use_rslora=bool(file.get("use_rslora")))
