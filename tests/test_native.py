"""The native step against PyTorch: every format, every instruction path, any batch, any number of threads."""

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.engine.blocks import BlockPool
from thinkaloud.engine.draft import Drafts
from thinkaloud.engine.native_backend import NativeBackend, native_available
from thinkaloud.engine.noise import noise_key, uniforms
from thinkaloud.engine.sampling import Sampler
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.model.formats import format_of
from thinkaloud.model.quantise import GROUP, quantise
from thinkaloud.model.transformer import Attention
from thinkaloud.text.policy import ThinkingPolicy

pytestmark = pytest.mark.skipif(not native_available(), reason="the native step was not built")

torch.set_num_threads(1)

PLAIN: dict[str, int] = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "heads of 32": PLAIN,
    "heads of 24, hidden 96": {"hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2},
    "heads of 64, seven share": {"hidden_size": 448, "num_attention_heads": 7, "num_key_value_heads": 1},
    "heads of 128": {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 2},
    "odd": {"hidden_size": 54, "num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 71},
    "nine share": {"hidden_size": 144, "num_attention_heads": 9, "num_key_value_heads": 1},
    "Qwen3": {**PLAIN, "architecture": "Qwen3ForCausalLM", "head_dim": 48},
    "Llama": {**PLAIN, "architecture": "LlamaForCausalLM", "head_dim": 16},
}
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.03, "int8": 0.06, "int4": 0.06}
"Largest difference of a log-prob to PyTorch in float32 on the very weights that the format means."


def paths() -> list[str]:
    """The instruction paths of this machine."""
    from thinkaloud.engine import _native

    found = []
    for name in ("portable", "avx2", "avx512"):
        try:
            found.append(_native.path(name))
        except ValueError:
            continue
    return found


PATHS = paths() if native_available() else []


def a_model(shape: dict[str, Any] | None = None, *, vocabulary: int = 131, tied: bool = True) -> Transformer:
    sizes = {"intermediate_size": 104, "num_hidden_layers": 2, **(shape or PLAIN)}
    config = ModelConfig(
        vocab_size=vocabulary, max_position_embeddings=320, tie_word_embeddings=tied, rope_theta=100.0, **sizes
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.copy_(1 + 0.3 * noise)
        elif parameter.dim() == 1:
            parameter.copy_(0.3 * noise)
        else:
            parameter.copy_(noise * (1.0 if "embed" in name else 0.7) / parameter.shape[1] ** 0.5)
    return model


def meant(model: Transformer, weights: str) -> Transformer:
    """The model in float32 with the weights that a format stands for."""
    copy = Transformer(model.config).eval().requires_grad_(False)
    for (name, target), source in zip(copy.named_parameters(), model.parameters(), strict=True):
        if weights == "bfloat16" and target.dim() == 2:
            source = source.bfloat16().float()
        elif weights in ("int8", "int4") and target.dim() == 2:
            source = quantise(source, format_of(name, weights)).dequantise()
        assert target.copy_(source).shape == source.shape
    return copy


def prompts(count: int, vocabulary: int = 131, longest: int = 60) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(3)
    return [tuple(rng.integers(0, vocabulary, rng.integers(1, longest)).tolist()) for _ in range(count)]


def requests(count: int, vocabulary: int = 131, **settings: float) -> list[Request]:
    return [
        Request(prompt_ids=prompt, max_tokens=5 + 3 * index, seed=index, **settings)  # type: ignore[arg-type]
        for index, prompt in enumerate(prompts(count, vocabulary))
    ]


def teacher_forced(model: Transformer, request: Request, completion: Completion) -> np.ndarray:
    ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
    logprobs = torch.log_softmax(model.logits(model(ids)), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    return logprobs[len(request.prompt_ids) - 1 :].numpy()


def assert_agrees(
    model: Transformer, weights: str, found: list[Completion], asked: list[Request], looser: int = 1
) -> None:
    reference = meant(model, weights)
    for request, completion in zip(asked, found, strict=True):
        expected = teacher_forced(reference, request, completion)
        # Norms of queries and keys (random here, around one) make the rounding of int8 inputs count for more.
        if model.config.qk_norm and weights in ("int8", "int4"):
            looser = 2
        np.testing.assert_allclose(completion.logprobs, expected, atol=looser * TOLERANCES[weights])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weights", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_logprobs_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch, shape: str, weights: str, path: str) -> None:
    """Prompts of many lengths, cut into chunks, beside rows that decode; biases and norms are random."""
    monkeypatch.setenv("THINKALOUD_NATIVE", path)
    model = a_model(SHAPES[shape], tied=shape != "odd")
    engine = Engine(model, weights=weights, prefill_tokens=37)
    assert (engine.backend, engine.weights) == ("native", weights)
    asked = requests(7)
    assert_agrees(model, weights, engine.generate(asked), asked)


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_a_long_thread_over_many_blocks(weights: str) -> None:
    model = a_model()
    request = Request(prompt_ids=prompts(1)[0] * 4, max_tokens=70)
    assert_agrees(model, weights, Engine(model, weights=weights).generate([request]), [request])


def cached_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attention of PyTorch looks at keys and values that were rounded to bytes, token by token and head by head."""
    whole = Attention._project

    def rounded(self: Attention, x: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = whole(self, x, rotary)
        scales = [one.abs().amax(-1, keepdim=True) / 127 for one in (k, v)]
        k, v = ((one / scale).round() * scale for one, scale in zip((k, v), scales, strict=True))
        return q, k, v

    monkeypatch.setattr(Attention, "_project", rounded)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weights", ["bfloat16", "int4"])
@pytest.mark.parametrize("shape", ["heads of 24, hidden 96", "heads of 64, seven share", "odd", "Qwen3"])
def test_a_cache_of_bytes(monkeypatch: pytest.MonkeyPatch, shape: str, weights: str, path: str) -> None:
    """Over many blocks, prompts and rows beside each other: the log-probs that rounded keys and values give."""
    monkeypatch.setenv("THINKALOUD_NATIVE", path)
    model = a_model(SHAPES[shape], tied=shape != "odd")
    engine, wide = (Engine(model, weights=weights, cache=cache, prefill_tokens=37) for cache in ("int8", "auto"))
    asked = [*requests(4), Request(prompt_ids=prompts(1)[0] * 4, max_tokens=40)]
    found = engine.generate(asked)
    assert found != wide.generate(asked), "it makes a difference"
    assert engine.generate(asked[1:2])[0].logprobs == found[1].logprobs, "the same bits alone"
    cached_in_bytes(monkeypatch)
    assert_agrees(model, weights, found, asked, looser=2)  # what lies between two bytes may go to either


def test_weights_that_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without numbers of its own is filled from a source, a few rows at a time."""
    from thinkaloud.engine import native_weights

    model, asked = a_model(tied=False), requests(3)
    expected = Engine(model, weights="int4").generate(asked)
    monkeypatch.setattr(native_weights, "_AT_ONCE", 700)
    engine = Engine(model.config, weights="int4", source=model.named_parameters())
    assert engine.generate(asked) == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weights", TOLERANCES)
def test_a_row_has_the_same_bits_alone_in_a_batch_and_on_two_threads(
    monkeypatch: pytest.MonkeyPatch, weights: str, path: str
) -> None:
    """The model is large enough for work to be shared out."""
    monkeypatch.setenv("THINKALOUD_NATIVE", path)
    shape = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512}
    model = a_model(shape, vocabulary=1003)
    asked = requests(11, 1003)
    alone = [Engine(model, weights=weights).generate([request])[0] for request in asked]
    together = Engine(model, weights=weights, max_rows=7, prefill_tokens=29).generate(asked)
    assert together == alone
    try:
        torch.set_num_threads(2)
        assert Engine(model, weights=weights).generate(asked[::-1]) == alone[::-1]
    finally:
        torch.set_num_threads(1)


def test_the_paths_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """They round alike but for the order within a sum."""
    model, asked = a_model(), requests(4, temperature=0.0)
    found = {}
    for path, weights in itertools.product(PATHS, TOLERANCES):
        monkeypatch.setenv("THINKALOUD_NATIVE", path)
        found[path, weights] = np.concatenate([one.logprobs for one in Engine(model, weights=weights).generate(asked)])
    for (_, weights), logprobs in found.items():
        np.testing.assert_allclose(logprobs, found[PATHS[0], weights], atol=TOLERANCES[weights])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.4},
        {"top_k": 3},
        {"top_p": 0.6},
        {"min_p": 0.1},
        {"temperature": 1.7, "top_p": 0.8, "top_k": 20, "min_p": 0.02},
    ],
    ids=str,
)
@pytest.mark.parametrize("vocabulary", [131, 5003])
def test_draws_the_same_ids_as_the_sampler_in_pytorch(settings: dict[str, float], vocabulary: int) -> None:
    model, asked = a_model(vocabulary=vocabulary), requests(12, vocabulary, **settings)
    native, plain = (Engine(model, backend=name).generate(asked) for name in ("native", "torch"))
    pairs = [zip(one.token_ids, other.token_ids, strict=True) for one, other in zip(native, plain, strict=True)]
    parted = [next((both for both in pair if both[0] != both[1]), None) for pair in pairs]
    # Logits differ in their last bits, by processor, so noise between two tokens may fall on either, now and then where
    # there are many: neighbours, in the order of those that are left.
    others = [abs(one - other) for one, other in filter(None, parted)]
    assert len(others) <= (3 if vocabulary > 1000 else 0) and all(apart < vocabulary / 100 for apart in others)


def test_the_noise_is_that_of_the_sampler() -> None:
    from thinkaloud.engine import _native

    keys = [noise_key(seed, seed * 3) for seed in range(50)]
    expected = uniforms(np.array(keys, dtype=np.uint64), np.arange(50))
    assert [_native.uniform(key, position) for position, key in enumerate(keys)] == expected.tolist()


def test_equal_logits_and_noise_give_equal_ids() -> None:
    """A model whose logits are known: thousands of draws, each the one of the sampler."""
    model = a_model()
    prompt = prompts(2)[1]
    asked = [
        Request(prompt_ids=prompt, max_tokens=1, seed=5, sample=index, temperature=0.8, top_p=0.9)
        for index in range(2000)
    ]
    found = [one.token_ids[0] for one in Engine(model).generate(asked)]
    logits = model.logits(model(torch.tensor([prompt])))[:, -1].repeat(len(asked), 1)
    keys = np.array([noise_key(5, index) for index in range(len(asked))], dtype=np.uint64)
    expected, _ = Sampler(asked, torch.device("cpu"))(logits, uniforms(keys, np.full(len(asked), len(prompt))))
    assert found == expected.tolist() and len(set(found)) > 10


def test_a_group_shares_its_prompt_and_nobody_writes_into_anothers_block() -> None:
    """The prompt ends inside a block, which each of the group continues in its own way."""
    model = a_model()
    prompt = (*prompts(1)[0] * 2, 3, 1, 4)
    assert len(prompt) % 16
    group = [Request(prompt_ids=prompt, max_tokens=30, seed=1, sample=index) for index in range(9)]
    engine = Engine(model)
    together = engine.generate(group)
    assert engine.prefilled_tokens == len(prompt)
    assert together == [Engine(model).generate([request])[0] for request in group]
    assert_agrees(model, "float32", together, group)


def test_continuing_a_thread_costs_its_new_tokens_only() -> None:
    """Fork, rewind and inject are the same: continue from this prefix."""
    model, engine = a_model(), None
    first = Request(prompt_ids=prompts(1)[0] * 3, max_tokens=50, seed=2)
    engine = Engine(model)
    thread = (*first.prompt_ids, *engine.generate([first])[0].token_ids)
    for prefix in (thread, thread[:-20], (*thread[:-20], 5, 6, 7)):
        request = Request(prompt_ids=prefix, max_tokens=12, seed=3)
        before = engine.prefilled_tokens
        found = engine.generate([request])
        assert engine.prefilled_tokens - before <= 16 + 3
        assert found == Engine(model).generate([request])
    engine.forget()
    before = engine.prefilled_tokens
    engine.generate([Request(prompt_ids=thread, max_tokens=1)])
    assert engine.prefilled_tokens - before == len(thread)


def test_refresh_packs_the_new_weights_and_forgets_the_old_prefixes() -> None:
    model = a_model()
    engine = Engine(model)
    request = Request(prompt_ids=prompts(1)[0] * 3, max_tokens=20, seed=2)
    engine.generate([request])
    for parameter in model.parameters():
        parameter.mul_(1.1)
    engine.refresh()
    before = engine.prefilled_tokens
    found = engine.generate([request])
    assert engine.prefilled_tokens - before == len(request.prompt_ids)
    assert_agrees(model, "float32", found, [request])


def test_rows_wait_for_room_in_the_cache_and_all_come_through() -> None:
    model = a_model()
    asked = [Request(prompt_ids=prompt, max_tokens=40, seed=index) for index, prompt in enumerate(prompts(12))]
    engine = Engine(model, cache_tokens=128)
    handles = engine.submit_all(asked)
    engine.step()
    assert len(engine._rows) < 4
    assert engine.cancel(handles[0]) is not None
    done = {}
    while engine.busy:
        done |= {p.handle: p.completion for p in engine.step() if p.completion}
    whole = Engine(model).generate(asked)
    assert [done[handle] for handle in handles[1:]] == whole[1:]
    with pytest.raises(UserError, match="cache_tokens"):
        engine.submit(Request(prompt_ids=(1,) * 100, max_tokens=60))


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_cancelling_while_a_prompt_is_on_its_way_leaves_its_group_alone(cut: int) -> None:
    model = a_model()
    prompt = prompts(1)[0] * 4
    group = [Request(prompt_ids=prompt, max_tokens=8, seed=1, sample=index) for index in range(3)]
    engine = Engine(model, prefill_tokens=16)
    handles = engine.submit_all(group)
    assert engine.step() == []
    cancelled = engine.cancel(handles[cut])
    assert cancelled is not None and cancelled.token_ids == ()
    done = {}
    while engine.busy:
        done |= {p.handle: p.completion for p in engine.step() if p.completion}
    whole = Engine(model).generate(group)
    assert done == {handle: whole[i] for i, handle in enumerate(handles) if i != cut}


def test_a_prompt_that_comes_again_while_it_is_on_its_way_stands_alone() -> None:
    engine = Engine(a_model(), prefill_tokens=16)
    request = Request(prompt_ids=prompts(1)[0] * 4, max_tokens=8)
    first = engine.submit(request)
    assert engine.step() == []
    second = engine.submit(request)
    assert engine.step() == []
    engine.cancel(first)
    done = {}
    while engine.busy:
        done |= {p.handle: p.completion for p in engine.step() if p.completion}
    assert done == {second: Engine(a_model()).generate([request])[0]}


@pytest.mark.parametrize("weights", TOLERANCES)
@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 0.3}, {"temperature": 1.0}], ids=str)
def test_guesses_change_no_token(weights: str, settings: dict[str, float]) -> None:
    """A model that repeats itself, thoughts closed by force, stops, rows that come later, one cancelled."""
    model = a_model()
    model.model.embed_tokens.weight.mul_(2.0)
    policy = ThinkingPolicy(starts_thinking=True, close_id=7, budget=33, forced_close=(11, 7, 12), answer_floor=4)
    asked = [
        Request(
            prompt_ids=(5, 6, 8) * 12,
            max_tokens=150,
            seed=index,
            policy=policy if index % 2 else None,
            stop_ids=frozenset({3}) if index > 2 else frozenset(),
            **settings,  # type: ignore[arg-type]
        )
        for index in range(6)
    ]
    found = []
    steps = []
    for rows in (4, 0):
        engine = Engine(model, weights=weights)
        backend = engine._backend
        assert isinstance(backend, NativeBackend)
        backend.draft_rows = rows
        run, calls = backend._run, []
        backend._run = lambda *a, run=run, calls=calls: calls.append(1) or run(*a)  # type: ignore[method-assign]
        done = {}
        handles = engine.submit_all(asked[:3])
        for turn in range(1000):
            if turn == 40:
                handles += engine.submit_all(asked[3:])
            if turn == 60:
                done[handles[1]] = engine.cancel(handles[1])
            done |= {p.handle: p.completion for p in engine.step() if p.completion}
        assert not engine.busy and backend.pool.available == backend.pool.blocks and backend.placement.promised == 0
        found.append([done[handle] for handle in handles])
        steps.append(len(calls))
    assert found[0] == found[1]
    if settings["temperature"] == 0.0:
        assert steps[0] < 0.9 * steps[1], "no guess was ever of use"


@pytest.mark.parametrize("max_rows", [512, 9])
def test_several_tokens_at_once_are_those_of_steps(monkeypatch: pytest.MonkeyPatch, max_rows: int) -> None:
    """Thoughts that end by themselves, by force, or that the model opens; stops; lengths from 1 on; rows that wait."""
    policy = partial(ThinkingPolicy, close_id=7, forced_close=(11, 7, 12), answer_floor=4)
    policies = [
        None,
        policy(starts_thinking=True, budget=33),
        policy(starts_thinking=True, budget=None),
        policy(starts_thinking=False, open_id=9, budget=5),
    ]
    model = a_model()

    def found(asked: list[Request]) -> tuple[list[Completion], int]:
        engine = Engine(model, max_rows=max_rows)
        done, backend = engine.generate(asked), engine._backend
        assert isinstance(backend, NativeBackend)
        assert not engine.busy and backend.pool.available == backend.pool.blocks and backend.placement.promised == 0
        return done, engine.generated_tokens

    bursts: list[int] = []
    ahead = NativeBackend.ahead
    monkeypatch.setattr(NativeBackend, "ahead", lambda *how: bursts.append(ahead(*how)) or bursts[-1])
    for kinds in (policies, policies[:3]):  # a thought that the model may open wants a step a token
        asked = [
            Request(
                prompt_ids=tuple(prompts(5)[index % 5]),
                max_tokens=1 + index * 3,
                seed=index,
                policy=kinds[index % len(kinds)],
                stop_ids=frozenset([*range(20, 20 + index % 4), 2**40]),
            )
            for index in range(40)
        ]
        bursts.clear()
        at_once = found(asked)
        with monkeypatch.context() as patched:
            patched.setattr(NativeBackend, "ahead", lambda *_: 0)
            assert found(asked) == at_once
        ends = {(one.finish, one.thought_end) for one in at_once[0]}
        assert {("stop", "none"), ("length", "natural"), ("length", "budget")} <= ends
        assert sum(bursts) > at_once[1] / 2 or kinds is policies


def test_who_leaves_early_leaves_nothing_behind() -> None:
    engine = Engine(a_model(), max_rows=9)
    replies = engine.complete(requests(20))
    _, first = next(replies)
    replies.close()
    backend = engine._backend
    assert isinstance(backend, NativeBackend) and not engine.busy
    assert backend.pool.available == backend.pool.blocks and backend.placement.promised == 0
    assert first in Engine(a_model()).generate(requests(20))


def test_a_guess_is_made_only_while_guesses_come_true() -> None:
    drafts = Drafts([1, 2, 3, 4, 1, 2, 3])
    assert drafts.guess(3) == []
    for token in (4, 1, 2, 3):
        drafts.add(token)
    assert drafts.trust > 0.5 and drafts.guess(3) == [4, 1, 2] and drafts.guess(0) == []
    for token in (9, 1, 2, 3, 8, 1, 2, 3, 7):
        drafts.add(token)
    assert drafts.trust < 0.5


def test_no_block_is_lost() -> None:
    """After many rows that end, are cancelled and share, every block can be had again, and no room stays promised."""
    engine = Engine(a_model(), cache_tokens=2000, prefill_tokens=20)
    backend = engine._backend
    assert isinstance(backend, NativeBackend)
    rng = np.random.default_rng(1)
    handles: list[int] = []
    for turn in range(120):
        if turn < 80:
            prompt = prompts(6)[int(rng.integers(6))] * int(rng.integers(1, 3))
            asked = Request(prompt_ids=prompt, max_tokens=int(rng.integers(1, 30)), seed=turn)
            handles += engine.submit_all([asked] * int(rng.integers(1, 4)))
        engine.step()
        if turn % 3 == 0:
            engine.cancel(handles[int(rng.integers(len(handles)))])
    while engine.busy:
        engine.step()
    assert backend.pool.available == backend.pool.blocks
    assert backend.placement.promised == 0 and not backend.placement.places
    assert len(backend.placement.free) == 2 * 512
    assert len({backend.pool.take() for _ in range(backend.pool.blocks)}) == backend.pool.blocks


def test_a_pool_keeps_the_prefixes_used_last() -> None:
    pool = BlockPool(6, 2, keep=3)
    for start in (0, 10):
        blocks = [pool.take() for _ in range(2)]
        pool.remember([start, 1, 2, 3, 4], blocks)
        pool.give(blocks)
    assert pool.available == 6
    assert len(pool.find([0, 1, 2, 3])) == 1, "the oldest end is forgotten first"
    found = pool.find([10, 1, 2, 3, 9])
    assert len(found) == 2 and all(pool.shared(block) for block in found)
    pool.forget()
    assert pool.find([10, 1, 2, 3]) == []


def test_half_precision_weights_are_run_as_they_are() -> None:
    model = a_model().bfloat16()
    engine = Engine(model)
    asked = requests(5)
    assert engine.weights == "bfloat16"
    assert_agrees(a_model(), "bfloat16", engine.generate(asked), asked)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_quantised_weights_are_near_and_within_their_range(format: str) -> None:
    weight = torch.randn(5, 2 * GROUP + 7, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    weight[2, :GROUP] *= 1e-4
    quantised = quantise(weight, format)
    assert quantised.values.shape == weight.shape and quantised.scales.shape == (5, 3)
    low, high = (-127, 127) if format == "int8" else (-8, 7)
    assert low <= int(quantised.values.min()) and int(quantised.values.max()) <= high
    error = (quantised.dequantise() - weight).square().mean(1) / weight.square().mean(1).clamp_min(1e-12)
    assert float(error.max()) < (1e-4 if format == "int8" else 0.01) and float(error[1]) == 0


@pytest.mark.parametrize(("name", "value"), [("backend", "gpu"), ("weights", "int3"), ("cache", "int3")])
def test_an_unknown_choice_is_named(name: str, value: str) -> None:
    with pytest.raises(UserError, match=value):
        Engine(a_model(), **{name: value})  # type: ignore[arg-type]


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKALOUD_NATIVE", "off")
    assert Engine(a_model()).backend == "torch"
    with pytest.raises(UserError, match="need the native step"):
        Engine(a_model(), weights="int8")
    monkeypatch.setenv("THINKALOUD_NATIVE", "mmx")
    with pytest.raises(UserError, match="mmx"):
        Engine(a_model())


def test_a_model_with_parts_it_does_not_know_runs_on_pytorch() -> None:
    model = a_model({**PLAIN, "architecture": "LlamaForCausalLM", "attention_bias": True})
    assert Engine(model).backend == "torch"
    with pytest.raises(UserError, match="can't run this model"):
        Engine(model, backend="native")
    with pytest.raises(UserError, match="can't run this model"):
        Engine(model, weights="int8")
