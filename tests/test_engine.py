"""The engine against a naive one, its sampler against NumPy, and a thinking policy run as data; on each backend."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Engine, Request, torch_backend
from thinkaloud.engine.native_backend import native_available
from thinkaloud.engine.noise import noise_key, uniforms
from thinkaloud.engine.packed import can_pack
from thinkaloud.engine.sampling import Sampler
from thinkaloud.model import LoraConfig, ModelConfig, Transformer, add_adapter
from thinkaloud.text.policy import ThinkingPolicy

torch.set_num_threads(1)

VOCABULARY, CLOSE, STOP = 40, 7, 3
FORCED = (11, CLOSE, 12, 12)


@pytest.fixture(autouse=True, scope="module", params=["torch", "native"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs on both."""
    if request.param == "native" and not native_available():
        pytest.skip("the native step was not built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINKALOUD_NATIVE", "off" if request.param == "torch" else "auto")
        assert Engine(MODEL).backend == request.param
        yield request.param


def a_model(vocabulary: int = VOCABULARY, spread: float = 1.0, tied: bool = True) -> Transformer:
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=160,
        tie_word_embeddings=tied,
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * noise if "norm" in name else noise * spread * 0.3)
    return model


MODEL = a_model()


def thinking(budget: int | None = None, floor: int = 4) -> ThinkingPolicy:
    return ThinkingPolicy(starts_thinking=True, close_id=CLOSE, budget=budget, forced_close=FORCED, answer_floor=floor)


def some_prompts(count: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(2)
    return [tuple(rng.integers(0, VOCABULARY, rng.integers(1, 30)).tolist()) for _ in range(count)]


def assert_same(found: list[Completion], expected: list[Completion]) -> None:
    """Equal, with log-probs equal but for what another batch size does to the last digits of a sum."""
    for one, other in zip(found, expected, strict=True):
        assert replace(one, logprobs=()) == replace(other, logprobs=())
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def naive(request: Request) -> tuple[list[int], list[float]]:
    """The whole sequence computed anew for every token, the same noise, no cache, no batch."""
    ids: list[int] = list(request.prompt_ids)
    logprobs: list[float] = []
    key = np.array([noise_key(request.seed, request.sample)], dtype=np.uint64)
    sampler = Sampler([request], torch.device("cpu"))
    for _ in range(request.max_tokens):
        logits = MODEL.logits(MODEL(torch.tensor([ids])))[:, -1]
        token, logprob = sampler(logits, uniforms(key, np.array([len(ids)])))
        ids.append(int(token))
        logprobs.append(float(logprob))
        if ids[-1] in request.stop_ids:
            break
    return ids[len(request.prompt_ids) :], logprobs


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("max_rows", [4, 512])
def test_equals_full_recompute_token_for_token(temperature: float, max_rows: int) -> None:
    """Prompts and lengths differ, rows leave at different times and, with few rows, others take their places."""
    requests = [
        Request(
            prompt_ids=prompt,
            max_tokens=3 + 7 * (index % 5),
            temperature=temperature,
            seed=index,
            stop_ids=frozenset({STOP, 4}),
        )
        for index, prompt in enumerate(some_prompts(24))
    ]
    completions = Engine(MODEL, max_rows=max_rows, prefill_tokens=64).generate(requests)
    assert len({len(completion.token_ids) for completion in completions}) > 4
    for request, completion in zip(requests, completions, strict=True):
        ids, logprobs = naive(request)
        assert list(completion.token_ids) == ids
        np.testing.assert_allclose(completion.logprobs, logprobs, atol=1e-4)
        assert completion.finish == ("stop" if ids[-1] in request.stop_ids else "length")


def test_a_seed_gives_the_same_whatever_else_is_in_the_batch() -> None:
    prompts = some_prompts(12)
    request = Request(prompt_ids=prompts[0], max_tokens=30, seed=9)
    alone = Engine(MODEL).generate([request])[0]
    others = [
        Request(prompt_ids=prompt, max_tokens=5 + index, temperature=0.3 * index, top_k=index, seed=9)
        for index, prompt in enumerate(prompts)
    ]
    for among in ([*others, request], [request, *others], [*others[:3], request, *others[3:]]):
        found = Engine(MODEL, max_rows=7).generate(among)[among.index(request)]
        assert found.token_ids == alone.token_ids


def test_samples_of_one_prompt_differ_and_are_prefilled_once() -> None:
    engine = Engine(MODEL)
    prompt = some_prompts(1)[0]
    group = [Request(prompt_ids=prompt, max_tokens=20, seed=1, sample=index) for index in range(16)]
    completions = engine.generate(group)
    assert len({completion.token_ids for completion in completions}) == 16
    assert engine.prefilled_tokens == len(prompt)
    assert engine.generated_tokens == sum(len(completion.token_ids) for completion in completions)
    again = engine.generate([group[5]])[0]
    assert again.token_ids == completions[5].token_ids


def reference_distribution(
    logits: np.ndarray, temperature: float, top_p: float, top_k: int, min_p: float
) -> np.ndarray:
    """Top-k, then top-p, then min-p, one token at a time."""
    scaled = logits / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    order = sorted(range(len(logits)), key=lambda index: (-probabilities[index], index))
    kept = order[:top_k] if top_k else order
    total = sum(probabilities[index] for index in kept)
    nucleus, reached = [], 0.0
    for index in kept:
        if reached >= top_p:
            break
        nucleus.append(index)
        reached += probabilities[index] / total
    nucleus = [index for index in nucleus if probabilities[index] >= min_p * probabilities[order[0]]]
    result = np.zeros(len(logits))
    result[nucleus] = probabilities[nucleus] / sum(probabilities[index] for index in nucleus)
    return result


def frequencies(request: Request, logits: np.ndarray, draws: int) -> np.ndarray:
    """Share of each token among `draws` evenly spread noises: the inverse CDF's own steps."""
    sampler = Sampler([request] * draws, torch.device("cpu"))
    noise = (np.arange(draws) + 0.5) / draws
    ids, _ = sampler(torch.tensor(logits, dtype=torch.float32).repeat(draws, 1), noise)
    return np.bincount(ids.numpy(), minlength=len(logits)) / draws


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    top_p=st.sampled_from([0.15, 0.5, 0.9, 1.0]),
    top_k=st.sampled_from([0, 1, 3, 8, 100]),
    min_p=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)
def test_sampler_follows_the_reference(seed: int, temperature: float, top_p: float, top_k: int, min_p: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, 12)
    request = Request(prompt_ids=(1,), max_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    expected = reference_distribution(logits, temperature, top_p, top_k, min_p)
    np.testing.assert_allclose(frequencies(request, logits, 4000), expected, atol=1.5 / 4000)


def test_rows_of_one_batch_keep_their_own_settings() -> None:
    logits = np.random.default_rng(3).normal(0, 2, 12)
    choices = [(1.0, 1.0, 0, 0.0), (0.0, 1.0, 0, 0.0), (0.5, 0.6, 0, 0.0), (1.5, 1.0, 2, 0.0), (1.0, 1.0, 0, 0.4)]
    requests = [
        Request(prompt_ids=(1,), max_tokens=1, temperature=t, top_p=p, top_k=k, min_p=m) for t, p, k, m in choices
    ]
    sampler = Sampler(requests, torch.device("cpu"))
    for noise in np.linspace(0, 0.999, 50):
        together, raw = sampler(torch.tensor(logits).repeat(5, 1), np.full(5, noise))
        for request, token in zip(requests, together.tolist(), strict=True):
            alone, _ = Sampler([request], torch.device("cpu"))(torch.tensor(logits)[None], np.array([noise]))
            assert token == int(alone)
        expected = logits - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(raw, expected[together.numpy()], atol=1e-5)


def test_noise_is_uniform_and_differs_by_seed_sample_and_position() -> None:
    """10,000 keys at a position, and 10,000 positions of a key: each tenth of [0, 1) holds its share (5 sigma)."""
    keys = np.array([noise_key(seed, sample) for seed in range(100) for sample in range(100)], dtype=np.uint64)
    across = uniforms(keys, np.full(10_000, 17))
    along = uniforms(np.repeat(keys[:1], 10_000), np.arange(10_000))
    for numbers in (across, along):
        assert len(set(numbers.tolist())) == 10_000 and numbers.min() >= 0 and numbers.max() < 1
        counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
        assert np.abs(counts - 1000).max() < 5 * math.sqrt(900)
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.05


def test_sampled_frequencies_follow_the_models_distribution() -> None:
    prompt = some_prompts(3)[2]
    draws = 3000
    engine = Engine(MODEL)
    completions = engine.generate([Request(prompt_ids=prompt, max_tokens=1, seed=4, sample=i) for i in range(draws)])
    seen = np.bincount([completion.token_ids[0] for completion in completions], minlength=VOCABULARY)
    expected = torch.softmax(MODEL.logits(MODEL(torch.tensor([prompt])))[0, -1], -1).double().numpy() * draws
    common = expected > 5
    statistic = ((seen - expected) ** 2 / expected)[common].sum()
    degrees = int(common.sum())
    assert degrees >= 5 and statistic < degrees + 5 * math.sqrt(2 * degrees)


def teacher_forced(request: Request, completion: Completion) -> np.ndarray:
    ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
    logprobs = torch.log_softmax(MODEL.logits(MODEL(ids)), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    return logprobs[len(request.prompt_ids) - 1 :].numpy()


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.0}, {"temperature": 0.4, "top_p": 0.7}, {"top_k": 3}, {"min_p": 0.2}]
)
def test_logprobs_are_raw_at_temperature_one(sampling: dict[str, float]) -> None:
    """Also those of forced tokens."""
    requests = [
        Request(prompt_ids=prompt, max_tokens=20, seed=2, policy=thinking(5), **sampling)  # type: ignore[arg-type]
        for prompt in some_prompts(6)
    ]
    for request, completion in zip(requests, Engine(MODEL).generate(requests), strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(request, completion), atol=1e-4)


def test_stop_id_is_the_last_token() -> None:
    requests = [
        Request(prompt_ids=prompt, max_tokens=12, seed=1, stop_ids=frozenset({STOP, 4, 5, 6}))
        for prompt in some_prompts(20)
    ]
    completions = Engine(MODEL).generate(requests)
    assert {completion.finish for completion in completions} == {"stop", "length"}
    for completion in completions:
        stops = [index for index, token in enumerate(completion.token_ids) if token in (STOP, 4, 5, 6)]
        assert stops == ([len(completion.token_ids) - 1] if completion.finish == "stop" else [])
        assert completion.finish == "stop" or len(completion.token_ids) == 12


@settings(max_examples=40, deadline=None)
@given(
    budget=st.none() | st.integers(0, 12),
    max_tokens=st.integers(1, 24),
    floor=st.integers(1, 16),
    seed=st.integers(0, 50),
)
def test_the_budget_is_exact_and_an_answer_always_follows(
    budget: int | None, max_tokens: int, floor: int, seed: int
) -> None:
    requests = [
        Request(prompt_ids=prompt, max_tokens=max_tokens, seed=seed, policy=thinking(budget, floor))
        for prompt in some_prompts(5)
    ]
    room = max_tokens - min(floor, max_tokens)
    limit = room if budget is None else min(budget, room)
    for completion in Engine(MODEL).generate(requests):
        forced = tuple(t for t, sampled in zip(completion.token_ids, completion.sampled, strict=True) if not sampled)
        if completion.thought_end == "budget":
            assert completion.thinking_tokens == limit
            assert completion.token_ids[limit : limit + len(FORCED)] == FORCED == forced
            assert CLOSE not in completion.token_ids[:limit]
        else:
            assert completion.thought_end == "natural" and forced == ()
            assert completion.thinking_tokens <= limit
            assert completion.token_ids.index(CLOSE) == completion.thinking_tokens - 1
        answer = sum(completion.sampled) - completion.thinking_tokens
        assert answer >= 1 and sum(completion.sampled) == max_tokens
        assert completion.sampled[-1]


def test_a_budget_of_zero_forces_the_close_at_once() -> None:
    request = Request(prompt_ids=(1, 2), max_tokens=6, policy=thinking(0))
    completion = Engine(MODEL).generate([request])[0]
    assert completion.token_ids[:4] == FORCED
    assert completion.sampled == (False,) * 4 + (True,) * 6
    assert completion.thinking_tokens == 0 and completion.thought_end == "budget"


def test_the_ids_after_a_forced_close_are_what_the_model_says_of_that_prefix() -> None:
    request = Request(prompt_ids=(1, 2), max_tokens=9, policy=thinking(3), seed=6)
    completion = Engine(MODEL).generate([request])[0]
    prefix = (*request.prompt_ids, *completion.token_ids[:7])
    rest = Engine(MODEL).generate([Request(prompt_ids=prefix, max_tokens=6, seed=6)])[0]
    assert completion.token_ids[7:] == rest.token_ids


def test_without_a_thought_a_policy_does_nothing() -> None:
    policy = ThinkingPolicy(starts_thinking=False, close_id=None, budget=None, forced_close=())
    free, bound = Engine(MODEL).generate([Request(prompt_ids=(1, 2), max_tokens=20, policy=p) for p in (None, policy)])
    assert free == bound and bound.thought_end == "none" and bound.thinking_tokens == 0


def test_a_stop_inside_the_thought_leaves_it_open() -> None:
    request = Request(prompt_ids=(1, 2), max_tokens=40, policy=thinking(), stop_ids=frozenset(range(40)) - {CLOSE})
    completion = Engine(MODEL).generate([request])[0]
    assert (completion.finish, completion.thought_end, completion.thinking_tokens) == ("stop", "open", 1)


@pytest.mark.parametrize("count", [2, 30])
def test_cancel_keeps_what_is_there_and_leaves_the_others_alone(count: int) -> None:
    """With 2 rows the batch shrinks at once, with 30 the cancelled row idles in it."""
    requests = [Request(prompt_ids=prompt, max_tokens=12, seed=3) for prompt in some_prompts(count)]
    whole = Engine(MODEL).generate(requests)
    engine = Engine(MODEL)
    handles = [engine.submit(request) for request in requests]
    for _ in range(5):
        engine.step()
    cut = engine.cancel(handles[0])
    assert cut is not None and cut.finish == "cancelled" and cut.token_ids == whole[0].token_ids[:5]
    assert engine.cancel(handles[0]) is None and engine.cancel(10**6) is None
    done: dict[int, Completion] = {}
    while engine.busy:
        done.update({p.handle: p.completion for p in engine.step() if p.completion})
    assert_same([done[handle] for handle in handles[1:]], whole[1:])


def test_a_row_that_ends_at_the_last_position_idles_among_the_others() -> None:
    full = Request(prompt_ids=(1,) * 150, max_tokens=10, seed=1)
    others = [Request(prompt_ids=prompt, max_tokens=40, seed=1) for prompt in some_prompts(20)]
    engine = Engine(MODEL)
    together = engine.generate([full, *others])
    assert_same(together[1:], Engine(MODEL).generate(others))


def test_cancel_before_the_first_token() -> None:
    engine = Engine(MODEL)
    cut = engine.cancel(engine.submit(Request(prompt_ids=(1,), max_tokens=5)))
    assert cut is not None and cut.token_ids == () and not engine.busy and engine.step() == []


def test_requests_may_join_a_running_batch() -> None:
    requests = [Request(prompt_ids=prompt, max_tokens=10 + i, seed=i) for i, prompt in enumerate(some_prompts(6))]
    expected = Engine(MODEL).generate(requests)
    engine = Engine(MODEL)
    done: dict[int, Completion] = {}
    handles: list[int] = []
    while len(done) < len(requests):
        if len(handles) < len(requests):
            handles.append(engine.submit(requests[len(handles)]))
        for progress in engine.step() + engine.step():
            if progress.completion is not None:
                done[progress.handle] = progress.completion
    assert_same([done[handle] for handle in handles], expected)


def test_refresh_raises_the_version_and_follows_the_weights() -> None:
    model = a_model()
    engine = Engine(model)
    request = Request(prompt_ids=(1, 2, 3), max_tokens=30)
    before = engine.generate([request])[0]
    model.model.embed_tokens.weight.mul_(-1)
    engine.refresh()
    after = engine.generate([request])[0]
    assert (before.version, after.version) == (0, 1) and before.token_ids != after.token_ids
    assert after.token_ids == Engine(model).generate([request])[0].token_ids
    engine.submit(request)
    with pytest.raises(AssertionError):
        engine.refresh()


@pytest.mark.parametrize(
    "fault",
    [
        {"prompt_ids": ()},
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": -0.1},
        {"min_p": 1.5},
    ],
    ids=str,
)
def test_a_wrong_request_is_named(fault: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(fault))):
        Request(**{"prompt_ids": (1,), "max_tokens": 4, **fault})  # type: ignore[arg-type]


def test_a_request_that_does_not_fit_queues_nothing() -> None:
    engine = Engine(MODEL)
    fits = Request(prompt_ids=(1,) * 100, max_tokens=60)
    for wrong in (
        Request(prompt_ids=(1,) * 101, max_tokens=60),
        Request(prompt_ids=(1,) * 100, max_tokens=60, policy=thinking()),
        Request(prompt_ids=(1, VOCABULARY), max_tokens=1),
        Request(prompt_ids=(-1,), max_tokens=1),
    ):
        with pytest.raises(UserError, match="positions|vocabulary"):
            engine.generate([fits, wrong])
    assert not engine.busy
    assert len(engine.generate([fits])[0].token_ids) == 60


@settings(max_examples=30, deadline=None)
@given(
    budget=st.none() | st.integers(0, 9), floor=st.integers(1, 6), seed=st.integers(0, 50), prompt=st.integers(0, 39)
)
def test_a_thought_that_the_model_opens_is_bounded_from_there(
    budget: int | None, floor: int, seed: int, prompt: int
) -> None:
    opener = 9
    policy = replace(thinking(budget, floor), starts_thinking=False, open_id=opener)
    (done,) = Engine(MODEL).generate([Request(prompt_ids=(prompt,), max_tokens=30, seed=seed, policy=policy)])
    (free,) = Engine(MODEL).generate([Request(prompt_ids=(prompt,), max_tokens=30, seed=seed)])
    if opener not in free.token_ids:
        assert done.token_ids == free.token_ids and (done.thinking_tokens, done.thought_end) == (0, "none")
        return
    start = free.token_ids.index(opener) + 1
    assert done.token_ids[:start] == free.token_ids[:start]
    limit = max(0, min(30 if budget is None else budget, 30 - start - floor))
    if done.thought_end == "budget":
        assert done.thinking_tokens == limit
        assert done.token_ids[start + limit :][: len(FORCED)] == FORCED
        assert [i for i, one in enumerate(done.sampled) if not one] == [
            *range(start + limit, start + limit + len(FORCED))
        ]
        assert sum(done.sampled) == 30 or done.finish == "stop"
    elif done.thought_end == "natural":
        assert done.token_ids[start + done.thinking_tokens - 1] == CLOSE and done.thinking_tokens <= limit
    else:
        assert done.thought_end == "open" and start == 30


def halves(monkeypatch: pytest.MonkeyPatch, model: Transformer, packs: bool) -> Engine:
    monkeypatch.setattr(torch_backend, "can_pack", can_pack if packs else lambda model: False)
    return Engine(model, backend="torch")


@pytest.mark.skipif(not can_pack(a_model().bfloat16()), reason="oneDNN has no products in bfloat16 for this processor")
@pytest.mark.parametrize("tied", [True, False])
def test_packed_matrices_change_no_bit(monkeypatch: pytest.MonkeyPatch, tied: bool) -> None:
    model = a_model(tied=tied).bfloat16()
    assert not can_pack(MODEL)
    asked = [Request(prompt_ids=tuple(range(1, 3 + index)), max_tokens=12, seed=index) for index in range(5)]
    packed = halves(monkeypatch, model, True)
    first = packed.generate(asked)
    assert first == halves(monkeypatch, model, False).generate(asked)
    monkeypatch.setattr(torch_backend, "can_pack", can_pack)
    model.model.layers[0].mlp.up_proj.weight.mul_(3)  # type: ignore[union-attr, operator]
    packed.refresh()
    second = [replace(one, version=0) for one in packed.generate(asked)]
    assert second != first
    assert second == halves(monkeypatch, model, False).generate(asked)


def test_a_model_with_an_adapter_is_not_packed() -> None:
    model = a_model().bfloat16()
    add_adapter(model, LoraConfig(r=2, lora_alpha=4, target_modules=("up_proj",)))
    assert not can_pack(model)


# --- faults ---


class Failing:
    """A grammar that allows everything, until it fails: when asked what may come, or when told what has."""

    def __init__(self, at: int, asked: bool) -> None:
        self.left, self.asked = at, asked

    def allowed(self) -> np.ndarray:
        self._fail(self.asked)
        return np.ones(VOCABULARY, dtype=np.bool_)

    def advance(self, token_id: int) -> None:
        self._fail(not self.asked)

    def _fail(self, mine: bool) -> None:
        self.left -= mine
        if self.left < 0:
            raise ArithmeticError("made up")


@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("asked", [True, False])
def test_a_fault_of_one_row_ends_that_row_alone(asked: bool, at: int) -> None:
    others = [Request(prompt_ids=(1, 2, index), max_tokens=20, seed=index) for index in range(3)]
    alone = [one.token_ids for one in Engine(MODEL).generate(others)]
    engine = Engine(MODEL)
    broken = Request(prompt_ids=(1, 2, 9), max_tokens=20, grammar=Failing(at, asked))
    handles = engine.submit_all([others[0], broken, *others[1:]])
    done = {}
    while engine.busy:
        done |= {one.handle: one for one in engine.step() if one.completion is not None}
    whole = {one.handle: one.completion.token_ids for one in done.values() if one.completion and not one.fault}
    assert [whole[handle] for handle in sorted(whole)] == alone
    fault = done[handles[1]]
    assert isinstance(fault.fault, ArithmeticError) and fault.completion is not None
    assert fault.completion.finish == "fault" and len(fault.completion.token_ids) == at + 1
    with pytest.raises(ArithmeticError, match="made up"):
        engine.generate([others[0], replace(broken, grammar=Failing(at, asked))])
    assert not engine.busy and [one.token_ids for one in engine.generate(others)] == alone
