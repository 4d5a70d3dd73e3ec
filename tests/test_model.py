"""The decoder against `transformers`, both ways, and the files it opens."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from published_models import randomise, rewrite
from thinkaloud.base.errors import UserError
from thinkaloud.model import KVCache, ModelConfig, Transformer, load_model, save_model
from thinkaloud.train.batches import Sample, batches

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

VOCABULARY = 61
SHAPES = {
    "tied, shared key/value heads": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "untied, one key/value head": {"num_attention_heads": 4, "num_key_value_heads": 1, "tie_word_embeddings": False},
    "untied, a head each": {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False},
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def a_config(**changes: object) -> ModelConfig:
    fields: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "rope_theta": 5000.0,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
    }
    return ModelConfig(**{**fields, **changes})  # type: ignore[arg-type]


def ours(**changes: object) -> Transformer:
    model = Transformer(a_config(**changes)).eval().requires_grad_(False)
    randomise(model, 0)
    return model


def some_ids(rows: int = 2, tokens: int = 40) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(1))


def our_logprobs(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model.logits(model(ids)), -1)


def their_logprobs(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits, -1)


def save(model: Transformer, folder: Path) -> Path:
    save_model(model, folder, eos_token_id=1, pad_token_id=0)
    return folder


@shapes
def test_ours_opens_in_transformers(tmp_path: Path, shape: dict[str, object]) -> None:
    model, ids = ours(**shape), some_ids()
    theirs = their_logprobs(save(model, tmp_path), ids)
    torch.testing.assert_close(our_logprobs(model, ids), theirs, atol=1e-4, rtol=0)


@shapes
@pytest.mark.parametrize("spelling", ["as saved", "rope_theta", "rope_parameters"])
def test_theirs_opens_here(tmp_path: Path, shape: dict[str, object], spelling: str) -> None:
    published = transformers.Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=48,
        rope_parameters={"rope_type": "default", "rope_theta": 700.0},
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        **shape,
    )
    model = transformers.Qwen2ForCausalLM(published).eval()
    randomise(model, 3)
    model.save_pretrained(tmp_path)
    if spelling == "rope_theta":
        rewrite(tmp_path / "config.json", rope_theta=700.0, rope_parameters=None)
    if spelling == "rope_parameters":
        rewrite(
            tmp_path / "config.json", rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 700.0}
        )
    ids = some_ids()
    with torch.no_grad():
        theirs = torch.log_softmax(model(ids).logits, -1)
    opened = load_model(tmp_path)
    assert opened.config.rope_theta == 700.0
    torch.testing.assert_close(our_logprobs(opened, ids), theirs, atol=1e-4, rtol=0)


def test_shards_open(tmp_path: Path) -> None:
    model, ids = ours(), some_ids()
    weights = load_file(save(model, tmp_path) / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    files = {name: f"model-{index % 2 + 1}-of-2.safetensors" for index, name in enumerate(weights)}
    for file in set(files.values()):
        save_file({name: weights[name] for name in weights if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    assert torch.equal(our_logprobs(load_model(tmp_path), ids), our_logprobs(model, ids))
    index.write_text("{}")
    with pytest.raises(UserError, match="broken"):
        load_model(tmp_path)


def test_a_saved_model_comes_back_bit_equal(tmp_path: Path) -> None:
    model, ids = ours(), some_ids()
    assert torch.equal(our_logprobs(load_model(save(model, tmp_path)), ids), our_logprobs(model, ids))


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 7), min_size=1, max_size=6), padding=st.integers(0, 3))
def test_extending_in_any_pieces_equals_forward(cuts: list[int], padding: int) -> None:
    """Two rows grow by different pieces, the shorter piece padded; what was said of them is the same as at once."""
    model = ours()
    ids = some_ids(2, 2 * sum(cuts))
    whole = model(ids)
    cache = KVCache.empty(model.config, 2, 1, model.head)
    for cut in cuts:
        counts = torch.tensor([cut, 2 * cut])
        start = cache.lengths.clone()
        piece = torch.zeros(2, 2 * cut + padding, dtype=torch.long)
        for row in range(2):
            piece[row, : counts[row]] = ids[row, start[row] : start[row] + counts[row]]
        hidden = model.extend(piece, cache, counts)
        for row in range(2):
            expected = whole[row, start[row] : start[row] + counts[row]]
            torch.testing.assert_close(hidden[row, : counts[row]], expected, atol=1e-4, rtol=1e-4)
    assert cache.lengths.tolist() == [sum(cuts), 2 * sum(cuts)]


def test_picked_and_joined_rows_go_on_by_themselves() -> None:
    model, ids = ours(), some_ids(3, 12)
    whole = model(ids)
    first, second = (KVCache.empty(model.config, rows, capacity, model.head) for rows, capacity in ((2, 12), (1, 64)))
    model.extend(ids[:2, :8], first)
    model.extend(ids[2:, :5], second)
    cache = first.pick(torch.tensor([1, 0, 1])).join(second)
    last = torch.stack([ids[1, 8], ids[0, 8], ids[1, 8], ids[2, 5]]).unsqueeze(1)
    hidden = model.extend(last, cache)[:, 0]
    expected = torch.stack([whole[1, 8], whole[0, 8], whole[1, 8], whole[2, 5]])
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 14), min_size=2, max_size=7))
def test_rows_of_a_batch_equal_separate_sequences(lengths: list[int]) -> None:
    model = ours()
    drawn = some_ids(len(lengths), 14)
    samples = [
        Sample(ids=tuple(drawn[i, :length].tolist()), mask=(True,) * length, weight=i + 1.0)
        for i, length in enumerate(lengths)
    ]
    packed: dict[float, torch.Tensor] = {}
    for batch in batches(samples, batch_tokens=48):
        hidden = model(batch.ids)[batch.predicts]
        for weight in batch.weights.unique().tolist():
            packed[weight] = hidden[batch.weights == weight]
    for sample in samples:
        if len(sample.ids) > 1:
            alone = model(torch.tensor([sample.ids]))[0, :-1]
            torch.testing.assert_close(packed[sample.weight], alone, atol=1e-4, rtol=1e-4)


def test_padding_gives_finite_gradients() -> None:
    model = Transformer(a_config())
    model.initialise(0)
    samples = [Sample(ids=(1,) * 16, mask=(True,) * 16), Sample(ids=(2, 3), mask=(False, True))]
    (batch,) = batches(samples)
    model(batch.ids)[batch.predicts].sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_size_counts_a_shared_embedding_once() -> None:
    tied, untied = ours(), ours(tie_word_embeddings=False)
    assert untied.size - tied.size == VOCABULARY * 32


def test_initialise_depends_on_the_seed_alone() -> None:
    def fresh(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 10)
        model = Transformer(a_config())
        model.initialise(seed)
        return torch.cat([parameter.flatten() for parameter in model.parameters()]).detach()

    assert torch.equal(fresh(1), fresh(1)) and not torch.equal(fresh(1), fresh(2))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    weights |= {name.replace("__", "."): value for name, value in changes.items() if value is not None}
    dropped = {name.replace("__", ".") for name, value in changes.items() if value is None}
    save_file({n: v for n, v in weights.items() if n not in dropped}, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"no matter what")


FAULTS = {
    "no config.json": (lambda f: (f / "config.json").unlink(), "config.json"),
    "config.json cut off": (lambda f: (f / "config.json").write_text('{"vocab'), "JSON"),
    "a field is missing": (lambda f: rewrite(f / "config.json", hidden_size=None), "hidden_size"),
    "another architecture": (
        lambda f: rewrite(f / "config.json", architectures=["MambaForCausalLM"]),
        "MambaForCausalLM.*supported",
    ),
    "no architecture": (lambda f: rewrite(f / "config.json", architectures=None), "not supported"),
    "scaled positions": (lambda f: rewrite(f / "config.json", rope_parameters={"rope_type": "yarn"}), "yarn"),
    "a sliding window": (lambda f: rewrite(f / "config.json", use_sliding_window=True), "sliding"),
    "heads that don't divide": (lambda f: rewrite(f / "config.json", num_attention_heads=5), "num_attention_heads"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "weights cut off": (truncate, "broken"),
    "pickled weights": (pickled, "pickled"),
    "a wrong shape": (lambda f: change_weights(f, model__norm__weight=torch.ones(7)), r"norm.weight has shape \[7\]"),
    "a weight is missing": (
        lambda f: change_weights(f, model__norm__weight=None),
        "lacks the weights model.norm.weight",
    ),
    "a weight too many": (lambda f: change_weights(f, model__extra=torch.ones(1)), "model.extra"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_is_named(tmp_path: Path, fault: str) -> None:
    damage, said = FAULTS[fault]
    save(ours(), tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=said):
        load_model(tmp_path)


def test_bfloat16_opens_and_keeps_its_rotary_tables_exact(tmp_path: Path) -> None:
    model = ours()
    save(model, tmp_path)
    small = load_model(tmp_path, dtype=torch.bfloat16)
    assert small.head.dtype == torch.bfloat16 and torch.equal(small.cos, model.cos)
    ids = some_ids(1, 20)
    gap = our_logprobs(small, ids).float().exp() - our_logprobs(model, ids).exp()
    assert gap.abs().mean() < 0.02
