"""Checkpoints on disk: looked at first, read with one tensor in hand, and named where they are broken."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import thinkaloud.model.checkpoint as checkpoint
from published_models import SIZES, rewrite, saved
from thinkaloud.base.errors import UserError
from thinkaloud.model import Checkpoint, ModelConfig, Transformer, load_model, memory, save_model

torch.set_num_threads(1)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A checkpoint of several shards."""
    saved("Qwen2", tmp_path / "whole").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    return tmp_path / "shards"


def second(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[1]


def test_each_parameter_is_seen_once_under_its_name(shards: Path) -> None:
    opened = Checkpoint.open(shards)
    found = dict(opened.tensors())
    assert sum(len(names) for names in opened.shards.values()) == len(found) and len(opened.shards) > 2
    model = Transformer(opened.config)
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        name: tuple(p.shape) for name, p in model.named_parameters()
    }
    whole = load_file(shards.parent / "whole" / "model.safetensors")
    assert all(torch.equal(found[name], whole[name]) for name in found)


@pytest.mark.parametrize(
    ("types", "widest"),
    [
        ([torch.bfloat16], "bfloat16"),
        ([torch.float16], "float16"),
        ([torch.float32, torch.bfloat16], "float32"),
    ],
)
def test_the_stored_type_is_told(tmp_path: Path, types: list[torch.dtype], widest: str) -> None:
    saved("Qwen2", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {name: t.to(types[i % len(types)]) for i, (name, t) in enumerate(load_file(path).items())}
    save_file(tensors, path)
    opened = Checkpoint.open(tmp_path)
    assert opened.dtype == widest
    floats = dict(opened.floats())
    assert all(torch.equal(torch.from_numpy(floats[name]), tensor.float()) for name, tensor in opened.tensors())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("architecture", ["Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_the_shapes_told_are_those_that_a_model_has(architecture: str, bias: bool, tied: bool) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = ModelConfig(
        **shape,
        vocab_size=7,
        head_dim=6,
        intermediate_size=10,
        architecture=architecture,
        attention_bias=bias,
        tie_word_embeddings=tied,
    )
    model = Transformer(config)
    assert memory.parameter_shapes(config) == {name: tuple(p.shape) for name, p in model.named_parameters()}


def test_the_default_type_is_exact_for_the_small_and_the_stored_one_for_the_large(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Checkpoint.open(shards)

    def default(stored: str) -> str:
        return Checkpoint(config=opened.config, shards={}, dtype=stored).default_dtype

    assert default("bfloat16") == "float32"
    monkeypatch.setattr("thinkaloud.model.checkpoint.SMALL", 100)
    assert default("bfloat16") == "bfloat16"
    assert default("float16") == default("float32") == "float32"


def test_what_only_repeats_is_passed_over(tmp_path: Path) -> None:
    """Old checkpoints store the angles, and some tied ones their head."""
    saved("Qwen2 tied", tmp_path)
    path = tmp_path / "model.safetensors"
    extra = {"lm_head.weight": torch.ones(3, 3), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    before = Checkpoint.open(tmp_path)
    save_file({**load_file(path), **extra}, path)
    assert {n for names in Checkpoint.open(tmp_path).shards.values() for n in names} == {
        n for names in before.shards.values() for n in names
    }


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def move(folder: Path) -> None:
    (folder / "elsewhere.safetensors").symlink_to(second(folder))
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(second(folder).name, "../shards/elsewhere.safetensors"))


def retype(folder: Path) -> None:
    path = second(folder)
    save_file({name: t.to(torch.int8) for name, t in load_file(path).items()}, path)


def repeat(folder: Path) -> None:
    first, other = sorted(folder.glob("model-*.safetensors"))[:2]
    save_file({**load_file(first), **load_file(other)}, other)


def pickle(folder: Path) -> None:
    for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        file.unlink()
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard is missing": (lambda f: second(f).unlink(), "model-00002-.* is missing or broken"),
    "a shard is cut off": (lambda f: cut(second(f)), "model-00002-.* is missing or broken"),
    "a shard is empty": (lambda f: second(f).write_bytes(b""), "model-00002-.* is missing or broken"),
    "a shard is a web page": (lambda f: second(f).write_text("<html>" * 99), "model-00002-.* is missing or broken"),
    "the index is no JSON": (lambda f: (f / "model.safetensors.index.json").write_text("{"), "index.json is broken"),
    "the index is a list": (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "index.json is broken"),
    "the index leads astray": (move, "names files outside"),
    "a type we don't read": (retype, "is stored as I8: take a checkpoint in bfloat16"),
    "a tensor twice": (repeat, "a second time"),
    "a layer too few": (lambda f: rewrite(f / "config.json", num_hidden_layers=3), "lacks the weights.*and 9 more"),
    "a layer too many": (lambda f: rewrite(f / "config.json", num_hidden_layers=1), "layers.1.*does not have"),
    "another width": (lambda f: rewrite(f / "config.json", intermediate_size=64), r"shape \[.*config.json says"),
    "pickles only": (pickle, "pickled weights only.*which can run code.*safetensors"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_is_named_before_anything_is_read(
    shards: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, said = FAULTS[fault]
    damage(shards)
    monkeypatch.setattr(Checkpoint, "tensors", lambda self: pytest.fail("something big was read"))
    with pytest.raises(UserError, match=said) as error:
        load_model(shards)
    assert "\n" not in str(error.value)


def test_a_shard_that_goes_while_it_is_read_is_named(shards: Path) -> None:
    opened = Checkpoint.open(shards)
    tensors = opened.tensors()
    next(tensors)
    second(shards).unlink()
    with pytest.raises(UserError, match="missing or broken"):
        list(tensors)


# --- memory ---


def large() -> ModelConfig:
    """QwQ-32B."""
    return ModelConfig(
        vocab_size=152064,
        hidden_size=5120,
        num_hidden_layers=64,
        num_attention_heads=40,
        num_key_value_heads=8,
        intermediate_size=27648,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
    )


def test_the_size_of_qwq_is_the_published_one() -> None:
    assert memory.weight_count(large()) == 32_763_876_352
    assert memory.cache_bytes(large(), "bfloat16") == 262_144


@pytest.mark.parametrize(
    ("free", "weights", "cache", "said"),
    [
        (200, "float32", "float32", None),
        (72, "bfloat16", "bfloat16", None),
        (
            66,
            "bfloat16",
            "bfloat16",
            "61.0 GiB of weights in bfloat16 and 8.0.*32768 tokens.*66.0.*context=19456 fits",
        ),
        (24, "bfloat16", "bfloat16", 'quantize="int4" takes 17.9 GiB'),
        (72, "float32", "float32", '122.1 GiB.*dtype="bfloat16" halves it; or close'),
        (1, "bfloat16", "bfloat16", "are free: close other programs"),
        (24, "int4", "bfloat16", 'context=24576 fits; or cache="int8" halves the cache'),
        (24, "int4", "int8", None),
    ],
)
def test_what_can_not_fit_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, free: int, weights: str, cache: str, said: str | None
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: free * 2**30)
    if said is None:
        memory.check_memory(large(), weights, cache)
        return
    with pytest.raises(UserError, match=said):
        memory.check_memory(large(), weights, cache)


def test_it_is_refused_before_it_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr(Checkpoint, "tensors", lambda self: pytest.fail("something big was read"))
    with pytest.raises(UserError, match="does not fit"):
        load_model(shards)


def test_free_memory_is_told_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/proc/meminfo").exists():
        assert 2**20 < (memory.free_memory() or 0) < 2**50
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere"))
    assert memory.free_memory() is None
    memory.check_memory(large(), "float32", "float32")


PEAK = """
import sys
from pathlib import Path
import torch
from thinkaloud.model import load_model

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

load_model(Path(sys.argv[1]) / "tiny")
before = peak()
model = load_model(Path(sys.argv[1]) / "large", dtype=getattr(torch, sys.argv[2]))
print((peak() - before) / (model.size * model.head.itemsize))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.slow)])
def test_loading_takes_little_more_than_the_model(tmp_path: Path, dtype: str) -> None:
    """Peak memory of a process that loads 120 MB in bfloat16, in 8 layers, over the model's size."""
    for name, changes in (("tiny", {}), ("large", {"hidden_size": 768, "num_hidden_layers": 8})):
        config = ModelConfig(**{**SIZES, "num_attention_heads": 4, "intermediate_size": 3072, **changes})
        model = Transformer(config).requires_grad_(False)
        save_model(model, tmp_path / name, eos_token_id=1, pad_token_id=0, dtype=torch.bfloat16)
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), dtype], capture_output=True, text=True, env=environment, check=True
    )
    assert 0.8 < float(done.stdout) < 1.25


# --- writing ---


def test_a_full_disk_is_named_and_leaves_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    model = load_model(saved_in(tmp_path))
    before = (tmp_path / "model.safetensors").read_bytes()

    def full(tensors: object, path: Path, **settings: object) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("thinkaloud.model.weights.save_file", full)
    with pytest.raises(UserError, match="no space is left"):
        save_model(model, tmp_path, eos_token_id=1, pad_token_id=0)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_other_faults_of_the_disk_are_not_called_full(tmp_path: Path) -> None:
    model = load_model(saved_in(tmp_path / "model"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_model(model, tmp_path / "file" / "x", eos_token_id=1, pad_token_id=0)


def saved_in(folder: Path) -> Path:
    saved("Qwen2", folder)
    return folder


def test_the_config_says_the_type_that_was_stored(tmp_path: Path) -> None:
    model = load_model(saved_in(tmp_path / "a"))
    save_model(model, tmp_path / "b", eos_token_id=1, pad_token_id=0, dtype=torch.bfloat16)
    assert json.loads((tmp_path / "b" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert Checkpoint.open(tmp_path / "b").dtype == "bfloat16"


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_output_biases_are_dropped_where_all_are_zero(tmp_path: Path, bias: float) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = ModelConfig(
        architecture="LlamaForCausalLM", vocab_size=50, intermediate_size=32, attention_bias=True, **shape
    )
    model = Transformer(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_proj.bias"):
                parameter.fill_(bias if "o_proj" in name else 0.3)
    save_model(model, tmp_path, eos_token_id=1, pad_token_id=0)
    opened = load_model(tmp_path)
    assert opened.config.output_bias == bool(bias) and opened.config.input_bias
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(opened.logits(opened(ids)), model.logits(model(ids)))
