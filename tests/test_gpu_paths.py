"""The GPU step as far as a CPU can tell: the same code run eagerly, and its Triton kernels in Triton's interpreter.

The kernels' own tests need Triton, and on a CPU its interpreter (set here, before it is imported); those of CUDA graphs
need a GPU.
"""

import importlib.util
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    os.environ["TRITON_INTERPRET"] = "1"

from thinkaloud.base.errors import UserError  # noqa: E402
from thinkaloud.engine import Completion, Engine, Request  # noqa: E402
from thinkaloud.engine.choose import choose_backend  # noqa: E402
from thinkaloud.engine.cuda_backend import CudaBackend  # noqa: E402
from thinkaloud.engine.gpu import reference  # noqa: E402
from thinkaloud.engine.gpu.matrix import pack  # noqa: E402
from thinkaloud.engine.gpu.state import Heads, State  # noqa: E402
from thinkaloud.engine.gpu.step import padded  # noqa: E402
from thinkaloud.engine.gpu.truncate import _highest  # noqa: E402
from thinkaloud.engine.gpu.weights import Weights  # noqa: E402
from thinkaloud.engine.noise import noise_key, uniforms  # noqa: E402
from thinkaloud.engine.row import Draw, Row  # noqa: E402
from thinkaloud.engine.sampling import Sampler  # noqa: E402
from thinkaloud.model import ModelConfig, Transformer  # noqa: E402
from thinkaloud.model.formats import format_of  # noqa: E402
from thinkaloud.model.quantise import quantise  # noqa: E402
from thinkaloud.text.policy import ThinkingPolicy  # noqa: E402

torch.set_num_threads(1)

VOCABULARY, CLOSE = 40, 7
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


def interpreter_works() -> bool:
    """Whether Triton is there and, on a CPU, its interpreter gets on with this NumPy (loops fail from NumPy 2.4 on)."""
    if importlib.util.find_spec("triton") is None:
        return False
    return ON_GPU or tuple(map(int, np.__version__.split(".")[:2])) < (2, 4) or _triton_version() >= (3, 7)


def _triton_version() -> tuple[int, ...]:
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2]))


needs_triton = pytest.mark.skipif(not interpreter_works(), reason="no Triton, or no interpreter for this NumPy")
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="no GPU")


def a_model(*, vocabulary: int = VOCABULARY, dtype: torch.dtype = torch.float32, tied: bool = True) -> Transformer:
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=72,
        max_position_embeddings=320,
        tie_word_embeddings=tied,
        rope_theta=100.0,
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.3 * noise)
    return model.to(dtype).to(DEVICE)


MODEL = a_model()


def engine_on(model: Transformer, *, max_rows: int = 512, **settings: Any) -> Engine:
    """An engine over the CUDA backend, on whatever device the model is."""
    engine = Engine(model, backend="torch", max_rows=max_rows)
    engine._backend = CudaBackend(model, max_rows=max_rows, **settings)
    return engine


def some_requests(seed: int, count: int = 20) -> list[Request]:
    """Every kind: groups, long prompts, single tokens, budgets, stop ids (also more than a line holds), truncation."""
    rng = random.Random(seed)
    found: list[Request] = []
    for index in range(count):
        length = rng.choice([1, 2, 31, 32, 33, 34, rng.randint(1, 150)])
        policy = None
        if rng.random() < 0.5:
            forced = tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice([0, 1, 4, 40]))) + (CLOSE, 1)
            budget = rng.choice([None, 0, 3, 9])
            policy = ThinkingPolicy(
                starts_thinking=rng.random() < 0.9,
                close_id=rng.choice([CLOSE, CLOSE, None]),
                budget=budget,
                forced_close=forced,
                answer_floor=rng.choice([1, 4]),
            )
        request = Request(
            prompt_ids=tuple(rng.randrange(VOCABULARY) for _ in range(length)),
            max_tokens=rng.randint(1, 40),
            temperature=rng.choice([0.0, 1.0, 0.7]),
            top_k=rng.choice([0, 0, 5, 100]),
            top_p=rng.choice([1.0, 1.0, 0.8]),
            min_p=rng.choice([0.0, 0.0, 0.1]),
            seed=index,
            stop_ids=frozenset(rng.sample(range(VOCABULARY), rng.choice([0, 2, 20]))),
            policy=policy,
        )
        found += [replace(request, sample=sample) for sample in range(rng.choice([1, 1, 4]))]
    return found


def assert_same(found: list[Completion], expected: list[Completion]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert replace(one, logprobs=()) == replace(other, logprobs=())
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


# --- the backend, with PyTorch's operations on a CPU and Triton's on a GPU ---


LIMITS: list[dict[str, int]] = [{}, {"max_rows": 5, "prefill_tokens": 40}, {"cache_tokens": 800}]
FAST = ((None, 0), (1, 1), (3, 2), (8, 1))
"Steps a launch and which limits: the pairs of the fast tests."
PAIRS = [
    pytest.param(steps, limits, marks=() if (steps, number) in FAST else pytest.mark.slow)
    for steps in (None, 1, 3, 8)
    for number, limits in enumerate(LIMITS)
]


@cache
def by_pytorch(seed: int) -> list[Completion]:
    """What the reference makes of `some_requests`."""
    return Engine(MODEL, backend="torch").generate(some_requests(seed))


@pytest.mark.parametrize(("steps", "limits"), PAIRS, ids=str)
def test_equals_pytorch_token_for_token(steps: int | None, limits: dict[str, int]) -> None:
    """Whatever the number of steps a launch: budgets are exact, and rows stop where they should."""
    for seed in range(2):
        found = engine_on(MODEL, steps=steps, split=64, **limits).generate(some_requests(seed))
        assert_same(found, by_pytorch(seed))


def test_a_seed_gives_the_same_alone_and_in_a_batch() -> None:
    asked = some_requests(7)
    together = engine_on(MODEL).generate(asked)
    assert_same([engine_on(MODEL).generate([request])[0] for request in asked[::5]], together[::5])


def test_a_group_is_prefilled_once_and_a_thread_is_continued_from_the_cache() -> None:
    engine = engine_on(MODEL)
    prompt = some_requests(1)[0].prompt_ids * 100
    prompt = prompt[:75]
    group = [Request(prompt_ids=prompt, max_tokens=30, seed=1, sample=index) for index in range(9)]
    found = engine.generate(group)
    assert engine.prefilled_tokens == len(prompt)
    assert len({one.token_ids for one in found}) == 9
    thread = (*prompt, *found[3].token_ids)
    again = engine.generate([Request(prompt_ids=thread, max_tokens=10, seed=4)])
    assert engine.prefilled_tokens - len(prompt) <= 32 + 1
    assert_same(again, Engine(MODEL, backend="torch").generate([Request(prompt_ids=thread, max_tokens=10, seed=4)]))
    engine.forget()
    before = engine.prefilled_tokens
    engine.generate([Request(prompt_ids=thread, max_tokens=1)])
    assert engine.prefilled_tokens - before == len(thread)


def test_no_block_and_no_line_is_lost_when_rows_are_cancelled() -> None:
    engine = engine_on(MODEL, cache_tokens=1200, prefill_tokens=20, max_rows=20)
    backend = engine._backend
    assert isinstance(backend, CudaBackend)
    rng, handles, expected = random.Random(1), [], {}
    done: dict[int, Completion] = {}
    whole = Engine(MODEL, backend="torch")
    for turn in range(100):
        if turn < 60:
            asked = [replace(one, seed=turn) for one in some_requests(turn, 1)]
            new = engine.submit_all(asked)
            handles += new
            expected.update(zip(new, asked, strict=True))
        done |= {p.handle: p.completion for p in engine.step() if p.completion}
        if turn % 2 == 0:
            handle = rng.choice(handles)
            if engine.cancel(handle) is not None:
                del expected[handle]
    while engine.busy:
        done |= {p.handle: p.completion for p in engine.step() if p.completion}
    assert len(expected) > 40
    assert_same([done[handle] for handle in expected], whole.generate(list(expected.values())))
    assert backend.pool.available == backend.pool.blocks - 1
    assert len(backend._free_lines) == 20 and not backend._places and not backend._prompts and not backend._running


def test_a_launch_is_ahead_of_what_is_handed_out() -> None:
    engine = engine_on(MODEL, steps=4)
    backend = engine._backend
    assert isinstance(backend, CudaBackend)
    engine.submit(Request(prompt_ids=(1, 2, 3), max_tokens=12))
    engine.step()
    assert len(backend._flights) == 1 and len(next(iter(backend._places.values())).tokens) == 3
    while engine.busy:
        engine.step()
    assert not backend._flights, "nothing is launched for a row whose last token is on its way"


def test_refresh_takes_over_new_weights_in_every_format() -> None:
    for weights in ("auto", "fp8", "int8", "int4"):
        model = a_model()
        engine = engine_on(model, weights=weights)
        request = Request(prompt_ids=(1, 2, 3) * 20, max_tokens=12, seed=2)
        engine.generate([request])
        for name, parameter in model.named_parameters():
            parameter.mul_(1.3 if "norm" not in name else 0.8)
        model.model.layers[0].mlp.gate_proj.weight.data = model.model.layers[0].mlp.gate_proj.weight.data * 2
        engine.refresh()
        (found,) = engine.generate([request])
        assert found.version == 1
        assert_same([replace(found, version=0)], engine_on(model, weights=weights).generate([request]))


def test_the_models_parameters_are_the_fused_matrices() -> None:
    model = a_model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    weights = Weights(model, "float32")
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    model.model.layers[1].self_attn.k_proj.weight.zero_()  # type: ignore[operator, union-attr]
    assert weights.layers[1].qkv.values[48:64].abs().sum() == 0 and weights.layers[1].qkv.values[:48].abs().sum() > 0


def test_parameters_that_the_step_does_not_run_are_refused() -> None:
    model = a_model()
    model.register_parameter("adapter", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(UserError, match="adapter"):
        Weights(model, "float32")


@pytest.mark.parametrize(("weights", "tolerance"), [("fp8", 0.02), ("int8", 0.01), ("int4", 0.01)])
def test_quantised_weights_run_as_what_they_mean(weights: str, tolerance: float) -> None:
    """The embedding, from which single rows are read, stays as it was."""
    model, meant = a_model(tied=False), a_model(tied=False)
    for name, parameter in meant.named_parameters():
        if parameter.dim() == 2 and name != "model.embed_tokens.weight":
            parameter.copy_(pack(parameter.data, format_of(name, weights)).expand(torch.float32))
    for request in some_requests(3, 5):
        (found,) = engine_on(model, weights=weights).generate([replace(request, temperature=1.0)])
        ids = torch.tensor([[*request.prompt_ids, *found.token_ids]], device=DEVICE)
        logprobs = torch.log_softmax(meant.logits(meant(ids)), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(found.logprobs, logprobs[len(request.prompt_ids) - 1 :].cpu(), atol=tolerance)


def test_half_precision_is_near() -> None:
    model = a_model(dtype=torch.bfloat16)
    for found, request in zip(engine_on(model).generate(some_requests(4, 8)), some_requests(4, 8), strict=False):
        ids = torch.tensor([[*request.prompt_ids, *found.token_ids]], device=DEVICE)
        logprobs = torch.log_softmax(MODEL.logits(MODEL(ids)), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(found.logprobs, logprobs[len(request.prompt_ids) - 1 :].cpu(), atol=0.4)


def test_auto_chooses_by_device_and_refuses_what_cannot_run() -> None:
    assert choose_backend(MODEL).name == ("cuda" if ON_GPU else Engine(MODEL).backend)
    with pytest.raises(UserError, match="unknown"):
        choose_backend(MODEL, backend="gpu")
    if not ON_GPU:
        with pytest.raises(UserError, match="on a GPU"):
            choose_backend(MODEL, backend="cuda")
        with pytest.raises(UserError, match="fp8"):
            choose_backend(MODEL, weights="fp8")


# --- the operations, each against NumPy or float64 ---


def operations() -> list[Any]:
    """PyTorch's, and Triton's where they can run."""
    found: list[Any] = [pytest.param(reference, id="torch")]
    if interpreter_works():
        from thinkaloud.engine.gpu import kernels

        found.append(pytest.param(kernels, id="triton"))
    return found


each = pytest.mark.parametrize("run", operations())


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, dtype)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def a_state(rows: list[Row], lines: list[int]) -> State:
    state = State(8, 10, DEVICE)
    state.write(lines, rows, [[3 + index, 9 - index] for index in range(len(rows))])
    return state


@each
def test_begin_reads_where_rows_stand_and_makes_the_samplers_noise(run: Any) -> None:
    rows = [Row(i, Request(prompt_ids=(5,) * (20 + 30 * i), max_tokens=4, seed=i - 1, sample=3 * i)) for i in range(2)]
    state = a_state(rows, [2, 5])
    standing = run.begin(state.numbers, state.tables, torch.tensor([5, 0, 2], device=DEVICE), 32)
    assert standing.ids.tolist() == [5, 0, 5] and standing.positions.tolist() == [49, 0, 19]
    assert standing.slots.tolist() == [8 * 32 + 17, 0, 3 * 32 + 19]
    assert standing.lengths.tolist() == [50, 0, 20]
    keys = np.array([rows[1].key, rows[0].key], dtype=np.uint64)
    assert standing.noise[[0, 2]].tolist() == uniforms(keys, np.array([50, 20])).tolist()


def test_noise_in_signed_arithmetic_has_the_samplers_bits() -> None:
    keys = np.array([noise_key(seed, seed * 3) for seed in range(2000)], dtype=np.uint64)
    found = reference.uniforms(torch.from_numpy(keys.view(np.int64)), torch.arange(2000))
    assert found.tolist() == uniforms(keys, np.arange(2000)).tolist()


@each
@pytest.mark.parametrize("delta", [False, True])
def test_add_norm(run: Any, delta: bool) -> None:
    x, more, weight = normal(3, 50), normal(1, 3, 50)[0] * delta, normal(50)
    expected = (x + more).double()
    expected = expected * (expected.square().mean(1, keepdim=True) + 1e-6).rsqrt() * weight.double()
    kept = x + more
    found = run.add_norm(x, more if delta else None, weight, 1e-6)
    assert error(found, expected) < 1e-6 and torch.equal(x, kept)


@pytest.mark.parametrize("format", ["int8", "int4"])
@pytest.mark.parametrize("inputs", [64, 100, 256, 1300])
def test_packed_values_are_those_of_the_format(format: str, inputs: int) -> None:
    weight = normal(7, inputs)
    matrix = pack(weight, format)
    assert torch.equal(matrix.expand(torch.float32), quantise(weight, format).dequantise())
    filled = 7 * -(-inputs // 256) * 256  # whole stretches
    assert matrix.bytes <= filled * (8.5 if format == "int8" else 4.5) / 8


@each
@pytest.mark.parametrize("format", ["plain", "fp8", "int8", "int4"])
@pytest.mark.parametrize(("outputs", "inputs"), [(18, 96), (70, 200)])
def test_one_row_times_a_matrix(run: Any, format: str, outputs: int, inputs: int) -> None:
    """Alone, and with all that is fused: norm before, bias, gate and residual behind; sizes fill no tile."""
    bias, x, norm, residual = normal(outputs), normal(1, inputs), normal(inputs), normal(1, outputs // 2)
    matrix = pack(normal(outputs, inputs), format, bias)
    weight = matrix.expand(torch.float32).double()
    assert error(run.gemv(x, matrix), x.double() @ weight.T + bias.double()) < 3e-6
    fused = run.gemv(x, matrix, norm=norm, eps=1e-6, gated=True, residual=residual)
    y = F.rms_norm(x.double(), (inputs,), norm.double(), 1e-6) @ weight.T + bias.double()
    expected = F.silu(y[:, : outputs // 2]) * y[:, outputs // 2 :] + residual.double()
    assert error(fused, expected) < 5e-6


@each
@pytest.mark.parametrize("format", ["fp8", "int8", "int4"])
@pytest.mark.parametrize(("rows", "inputs"), [(2, 200), (21, 200), (70, 200), (5, 2072), (257, 200)])
def test_a_few_rows_times_a_matrix_and_many(run: Any, format: str, rows: int, inputs: int) -> None:
    """Sizes fill no tile; many inputs are split among programs."""
    bias, x = normal(70), normal(rows, inputs)
    matrix = pack(normal(70, inputs), format, bias)
    expected = x.double() @ matrix.expand(torch.float32).double().T + bias.double()
    assert error(run.matmul(x, matrix), expected) < 3e-6


@each
@pytest.mark.parametrize("format", ["fp8", "int8", "int4"])
def test_a_few_rows_in_half_precision(run: Any, format: str) -> None:
    """Tiles as wide as on a GPU, weights from small to large: float16 has no room for the scaling of other types."""
    x, scale = normal(40, 300), torch.logspace(-2, 3, 70)[:, None]
    matrix = pack((normal(70, 300) * scale).half(), format)
    expected = x.half().double() @ matrix.expand(torch.float32).double().T
    found = run.matmul(x.half(), matrix).double()
    assert ((found - expected).norm(dim=0) / expected.norm(dim=0)).max() < 3e-3


def test_the_highest_of_a_vocabulary_are_found_by_stretches() -> None:
    generator = torch.Generator().manual_seed(0)
    for vocabulary, count in ((5, 5), (300, 64), (20_000, 64)):
        ranks = torch.stack([torch.randperm(vocabulary, generator=generator) - 100 for _ in range(3)])
        ranks[0] = ranks[0].sort().values
        assert _highest(ranks, count).equal(ranks.topk(count, dim=1).values)


@each
def test_swiglu(run: Any) -> None:
    x = normal(3, 2 * 70)
    assert error(run.swiglu(x), F.silu(x[:, :70].double()) * x[:, 70:].double()) < 1e-6


@each
@pytest.mark.parametrize("normed", [False, True])
def test_turning_and_attending_over_blocks(run: Any, normed: bool) -> None:
    """Tokens one after the other into scattered blocks, then one look: equal to attention over the plain sequence."""
    heads = Heads(query=6, key_value=2, width=24, split=64)
    lengths, size = [150, 0, 33], 32
    rows = [Row(i, Request(prompt_ids=(5,) * max(n, 1), max_tokens=4)) for i, n in enumerate(lengths)]
    state = State(4, 8, DEVICE)
    blocks = [[4, 9, 1, 7, 11], [0], [3, 6]]
    state.write([1, 2, 3], rows, blocks)
    cache = torch.full((2, 12, 2, size, 24), float("nan"), device=DEVICE)
    angles = torch.outer(torch.arange(200.0), 0.3 ** torch.arange(12.0)).repeat(1, 2).to(DEVICE)
    cos, sin = angles.cos(), angles.sin()
    norms = (normal(24), normal(1, 24)[0]) if normed else None
    expected = torch.zeros(3, 6 * 24, dtype=torch.float64, device=DEVICE)
    newest = torch.zeros(3, 10 * 24, device=DEVICE)
    for index, length in enumerate(lengths):
        if not length:
            continue
        qkv = normal(length, 10 * 24)
        slots = torch.tensor([blocks[index][p // size] * size + p % size for p in range(length)], device=DEVICE)
        plain = qkv.double().unflatten(1, (10, 24))
        if norms is not None:
            plain[:, :6] = F.rms_norm(plain[:, :6], (24,), norms[0].double(), 1e-6)
            plain[:, 6:8] = F.rms_norm(plain[:, 6:8], (24,), norms[1].double(), 1e-6)
        first, second = plain[:, :8].chunk(2, -1)
        turned = plain[:, :8] * cos[:length, None] + torch.cat([-second, first], -1) * sin[:length, None]
        run.turn_store(qkv, cache, torch.arange(length, device=DEVICE), slots, cos, sin, norms, 1e-6, heads)
        assert error(qkv[:, : 8 * 24], turned.flatten(1)) < 1e-6
        newest[index] = qkv[-1]
        keys, values = turned[:, 6:].repeat_interleave(3, 1), plain[:, 8:].repeat_interleave(3, 1)
        weights = (torch.einsum("he,the->ht", turned[-1, :6], keys) / 24**0.5).softmax(1)
        expected[index] = torch.einsum("ht,the->he", weights, values).flatten()
    lines, counts = torch.tensor([1, 2, 3], device=DEVICE), torch.tensor(lengths, device=DEVICE)
    found = run.attend(newest, cache, state.tables, lines, counts, heads)
    assert error(found, expected) < 2e-6 and not found[1].any()
    alone = run.attend(newest[2:], cache, state.tables, lines[2:], counts[2:], heads)
    assert torch.equal(alone[0], found[2]), "a row has the same bits alone and in a batch"


@each
@pytest.mark.parametrize("vocabulary", [131, 5003])
def test_picks_what_the_sampler_picks(run: Any, vocabulary: int) -> None:
    temperatures = [1.0, 0.0, 0.6, 1.7, 0.05]
    rows = [Row(i, Request(prompt_ids=(1,), max_tokens=4, temperature=t)) for i, t in enumerate(temperatures)]
    state = a_state(rows, [1, 2, 3, 4, 5])
    logits = normal(5, vocabulary) * 3
    logits[1, 17] = logits[1, 90] = 50.0  # the first of equals
    sampler = Sampler([row.request for row in rows], DEVICE)
    lines = torch.tensor([1, 2, 3, 4, 5], device=DEVICE)
    seen = set()
    for noise in [0.0, 1 - 2**-53, *np.random.default_rng(0).random(12)]:
        uniform = torch.full((5,), noise, dtype=torch.float64, device=DEVICE)
        ids, norms = run.pick(logits, state.settings, lines, uniform)
        expected, logprobs = sampler(logits, np.full(5, noise))
        assert ids.tolist() == expected.tolist()
        np.testing.assert_allclose((logits.gather(1, ids[:, None])[:, 0] - norms).cpu(), logprobs.cpu(), atol=1e-5)
        seen.add(tuple(ids.tolist()))
    assert len(seen) > 8


@each
def test_the_devices_automaton_is_the_rows(run: Any) -> None:
    """Random policies and draws, step by step, against `Row`; a dead row gives -1 and stays as it was."""
    for seed in range(3):
        rows = [Row(i, replace(r, sample=0)) for i, r in enumerate(some_requests(seed, 7)[:7])]
        state = State(9, 12, DEVICE)
        state.widen(42)
        state.write(list(range(1, 8)), rows, [[0]] * 7)
        lines = torch.tensor([*range(1, 8), 0], device=DEVICE)
        logits = normal(8, VOCABULARY)
        norms, tick = logits.logsumexp(-1), torch.zeros(1, dtype=torch.int64, device=DEVICE)
        ids = torch.zeros(60, 8, dtype=torch.int64, device=DEVICE)
        logprobs = torch.zeros(60, 8, device=DEVICE)
        rng, done = np.random.default_rng(seed), [len(row.request.stop_ids) > 16 for row in rows]
        state.numbers[1:8, 2] = torch.tensor([int(not over) for over in done], device=DEVICE)
        for turn in range(60):
            drawn = torch.tensor(rng.integers(0, VOCABULARY, 8), device=DEVICE)
            run.advance(state.numbers, state.forced, lines, logits, norms, drawn, tick, ids, logprobs)
            for index, row in enumerate(rows):
                if done[index]:
                    assert ids[turn, index] == -1
                    continue
                forced = row.force()
                token = int(drawn[index]) if forced is None else forced
                row.append(Draw(token, 0.0, forced is None))
                assert int(ids[turn, index]) == token
                assert abs(float(logprobs[turn, index] - logits[index].log_softmax(0)[token])) < 1e-5
                done[index] = row.finish is not None
                assert int(state.numbers[index + 1, 2]) == (not done[index])
            assert ids[turn, 7] == -1 and not state.numbers[0].any()
            tick += 1
        assert all(done)


@needs_triton
@pytest.mark.parametrize("rows", [1, 3])
def test_the_whole_engine_on_the_kernels(rows: int) -> None:
    from thinkaloud.engine.gpu import kernels

    asked = [replace(one, max_tokens=min(one.max_tokens, 5)) for one in some_requests(11, rows)]
    found = engine_on(MODEL, operations=kernels, split=64).generate(asked)
    assert_same(found, Engine(MODEL, backend="torch").generate(asked))


def test_few_batch_sizes_hold_any_number_of_rows() -> None:
    sizes = [padded(rows) for rows in range(1, 513)]
    assert all(size >= rows for rows, size in enumerate(sizes, start=1)) and sizes == sorted(sizes)
    assert len(set(sizes)) < 40 and sizes[0] == 1


# --- what only a GPU can show ---


@needs_gpu
def test_a_graph_gives_what_the_eager_step_gives() -> None:
    def eager(engine: Engine) -> Engine:
        assert isinstance(engine._backend, CudaBackend)
        engine._backend.device_step.graphs = False
        return engine

    asked = some_requests(5)
    graphed: Callable[[Engine], Engine] = lambda engine: engine  # noqa: E731
    found, expected = (how(engine_on(MODEL)).generate(asked) for how in (graphed, eager))
    assert found == expected
