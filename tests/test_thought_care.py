"""Thoughts that end well: always an answer, a close at the end of a sentence, loops taken back; on each backend."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.engine.cuda_backend import CudaBackend
from thinkaloud.engine.native_backend import native_available
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.text import ChatTemplate, Message, Tokenizer, loops
from thinkaloud.text.loops import LoopWatch
from thinkaloud.text.policy import ThinkingPolicy, ThoughtReader

torch.set_num_threads(1)

TOKENIZER = Tokenizer.build(("Where", " now", "?", " A", " B", "AB", "Red", "\n", "é", " 7", "."))
TEMPLATE = ChatTemplate(TOKENIZER)
PROMPT = tuple(TEMPLATE.prompt([Message("user", "Where now?")]))
MARKUP = TEMPLATE.markup
assert MARKUP.think_close is not None and MARKUP.think_open is not None
CLOSE, OPEN = MARKUP.think_close, MARKUP.think_open


def a_model() -> Transformer:
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size + 5,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=1600,
        tie_word_embeddings=False,
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * noise if "norm" in name else noise * 0.3)
    return model


def a_looping_model() -> Transformer:
    """One token follows another, round and round: twenty circles of all ids, from which high temperatures stray."""
    model = a_model()
    size = model.head.shape[0]
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    generator = torch.Generator().manual_seed(1)
    words = torch.randn(size, 32, generator=generator)
    words *= 32**0.5 / words.norm(dim=-1, keepdim=True)
    order = torch.randperm(size, generator=generator)
    following = torch.empty(size, dtype=torch.long)
    for circle in order.split(size // 20):
        following[circle] = circle.roll(1)
    model.model.norm.weight.fill_(1.0)
    model.model.embed_tokens.weight.copy_(words)
    model.head[following] = 0.3 * words
    return model


def a_stopping_model() -> Transformer:
    """One that would rather end its turn."""
    model = a_model()
    model.head[sorted(TEMPLATE.stop_ids)] *= 4
    return model


MODEL, LOOPING, STOPPING = a_model(), a_looping_model(), a_stopping_model()
Make = Callable[..., Engine]


@pytest.fixture(scope="module", params=["torch", "native", "cuda"])
def make(request: pytest.FixtureRequest) -> Make:
    """Engines on each backend; the GPU's runs eagerly."""
    if request.param == "native" and not native_available():
        pytest.skip("the native step was not built")

    def engine(model: Transformer = MODEL) -> Engine:
        made = Engine(model, backend="torch" if request.param == "cuda" else request.param, max_rows=32)
        if request.param == "cuda":
            made._backend = CudaBackend(model, max_rows=32)
        return made

    return engine


def careful(**changes: Any) -> ThinkingPolicy:
    return TEMPLATE.policy(**{"soft_from": 0.75, "must_answer": True, "rescue": True, **changes})


def opened_by_the_model(policy: ThinkingPolicy) -> ThinkingPolicy:
    return replace(policy, starts_thinking=False, open_id=OPEN)


def answer_of(request: Request, completion: Completion) -> str:
    """What stands outside the thought."""
    ids = list(completion.token_ids)
    if completion.thought_end != "none":
        start = 0 if request.policy is not None and request.policy.starts_thinking else ids.index(OPEN)
        del ids[start : ids.index(CLOSE, start) + 1]
    return TOKENIZER.decode([one for one in ids if one not in MARKUP.hidden and one not in request.stop_ids])


# --- an answer, whatever the budget ---


@pytest.mark.parametrize("way", ["in the prompt", "by the model", "none"])
def test_no_reply_ends_without_an_answer(make: Make, way: str) -> None:
    """Budgets and lengths of all kinds, for models that would rather stop, close, open or say nothing."""
    rng = random.Random(7)
    stops = TEMPLATE.stop_ids
    likings: list[tuple[tuple[int, float], ...]] = [
        (),
        tuple((stop, 6.0) for stop in stops),
        ((CLOSE, 5.0), *((stop, 5.0) for stop in stops)),
        ((OPEN, 6.0), (10, 4.0)),
        ((10, 9.0), (32, 9.0)),
    ]
    requests = []
    for index in range(100):
        policy = careful(thinking=way != "none", budget=rng.choice([None, 0, 1, 2, 9, 1000]))
        policy = replace(policy, answer_floor=rng.choice([1, 4, 16]))
        if way == "by the model":
            policy = opened_by_the_model(policy)
        requests.append(
            Request(
                prompt_ids=PROMPT,
                max_tokens=rng.choice([1, 2, 3, 8, 24]),
                temperature=rng.choice([0.0, 1.0, 1.7]),
                sample=index,
                stop_ids=stops,
                bias=likings[index % len(likings)],
                policy=policy,
            )
        )
    for request, found in zip(requests, make().generate(requests), strict=True):
        policy = request.policy
        assert policy is not None and found.thought_end != "open"
        assert answer_of(request, found).strip(), (request.max_tokens, policy.budget, found)
        assert policy.budget is None or found.thinking_tokens + found.discarded_tokens <= policy.budget + 1
        assert sum(found.sampled) + found.discarded_tokens <= request.max_tokens
        assert found.thinking_tokens <= (policy.budget if policy.budget is not None else request.max_tokens)


def test_without_care_a_reply_may_stop_in_its_thought(make: Make) -> None:
    """What training sees is what the model does."""
    plain = [
        Request(prompt_ids=PROMPT, max_tokens=60, sample=index, stop_ids=TEMPLATE.stop_ids, policy=TEMPLATE.policy())
        for index in range(30)
    ]
    engine = make(STOPPING)
    kind = [replace(request, policy=careful(soft_from=None)) for request in plain]
    stopped = sum(one.finish == "stop" and one.thought_end == "open" for one in engine.generate(plain))
    closed = 0
    for request, found in zip(kind, engine.generate(kind), strict=True):
        assert found.thought_end in ("natural", "budget") and answer_of(request, found).strip()
        if found.discarded_tokens:
            closed += 1
            assert (found.thought_end, found.discarded_tokens) == ("natural", 1)
            assert found.token_ids[found.thinking_tokens :][:4] == TEMPLATE.policy().forced_close[:4]
    assert stopped >= 3 and closed >= 3


# --- a close at the end of a sentence ---


def test_a_soft_close_keeps_the_budget_and_the_sentence(make: Make) -> None:
    """Side by side and behind a known prompt; up to where pressure begins, and where it comes to nothing, nothing
    changes."""
    engine = make()
    ends = {TOKENIZER.encode(text)[0] for text in "\n.?!"}
    lines = ((10, 3.0), *((ord(sign), -100.0) for sign in "{[`"))
    closed = 0
    for budget in (8, 30):
        plain = [
            Request(
                prompt_ids=PROMPT,
                max_tokens=34,
                sample=index,
                policy=TEMPLATE.policy(budget=budget, answer_floor=2),
                bias=lines,
            )
            for index in range(16)
        ]
        soft = [replace(one, policy=TEMPLATE.policy(budget=budget, soft_from=0.25, answer_floor=2)) for one in plain]
        for before, after in zip(engine.generate(plain), engine.generate(soft), strict=True):
            assert after.thinking_tokens <= budget
            pressed = after.thought_end == "budget" and all(after.sampled)
            closed += pressed
            if pressed:
                end = after.token_ids.index(CLOSE)
                assert end >= budget // 4 and after.token_ids[end - 1] in ends
                assert after.token_ids[:end] == before.token_ids[:end] and before.token_ids[end] != CLOSE
            else:
                assert after.token_ids == before.token_ids and after.thought_end == before.thought_end
    assert closed >= 5


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("", False),
        ("So it is 7", False),
        ("So it is 7.", False),  # perhaps a decimal
        ("So it is so.", True),
        ("Is it?", True),
        ("7 + 3 = 10\n", True),
        ('{"a": 1,\n', False),
        ('{"a": [1]}\n', True),
        ("a [0, 1) is left open.\n\nNext.", True),
        ("```python\nx = 1\n", False),
        ("```python\nx = {\n```\n", True),
        ("inline `code`.", True),
    ],
)
def test_where_a_thought_may_be_closed(text: str, may: bool) -> None:
    words = careful().words
    assert words is not None
    reader = ThoughtReader(words)
    for token in TOKENIZER.encode(text):
        reader.feed(token)
    assert reader.may_close == may


def test_a_tool_call_is_not_torn_apart() -> None:
    words = careful().words
    assert words is not None and MARKUP.tool_call_open is not None and MARKUP.tool_call_close is not None
    reader = ThoughtReader(words)
    for token in (*TOKENIZER.encode("So.\n"), MARKUP.tool_call_open, *TOKENIZER.encode("\nadd.\n")):
        reader.feed(token)
    assert not reader.may_close
    for token in (MARKUP.tool_call_close, *TOKENIZER.encode("\n")):
        reader.feed(token)
    assert reader.may_close


# --- loops ---


def read(text: str) -> int | None:
    """Where the detector says that circles began, in bytes; a token a byte."""
    watch = LoopWatch(lambda token: bytes([token]))
    return next((start for byte in text.encode() if (start := watch.feed(byte)) is not None), None)


SAID = [
    ["Wait, ", "Hmm, ", "Hold on, ", "But wait, "],
    ["let me check that again.", "let me verify this once more.", "I should double check.", "is that right?"],
    [" The sum is 12 and the product is 35,", " We have a sum of 12 and a product of 35,", " Sum 12, product 35,"],
    [" so the numbers are 5 and 7.", " which gives 5 and 7.", " hence 5 and 7."],
]


@pytest.mark.parametrize("period", [1, 3, 17, 90, 300])
def test_the_same_again_is_a_loop(period: int) -> None:
    rng = random.Random(period)
    unit = "".join(rng.choice("abcdefgh 123\n") for _ in range(period))
    start = "A beginning that is fine: "  # its end may be alike
    found = read(start + unit * (1600 // period))
    assert found is not None and len(start) - period <= found <= len(start) + max(period, 20)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_in_other_words_is_a_loop(seed: int) -> None:
    rng = random.Random(seed)
    start = "".join(f"Step {index}: {rng.random()} and {rng.random()}.\n" for index in range(30))
    found = read(start + "\n".join("".join(map(rng.choice, SAID)) for _ in range(60)))
    assert found is not None and found >= len(start) - 100


def test_work_that_is_alike_line_by_line_is_none() -> None:
    rng = random.Random(0)

    def hanoi(disks: int, a: str, b: str, c: str) -> str:
        if not disks:
            return ""
        return hanoi(disks - 1, a, c, b) + f"Move disk {disks} from {a} to {c}.\n" + hanoi(disks - 1, b, a, c)

    works = {
        "cups": "\n".join(f"{''.join(rng.sample('ABCDE', 2))} {rng.choice('ABCDE')} B" for _ in range(600)),
        "products": "\n".join(f"{a} * {b} = {a * b}" for a in range(1, 40) for b in range(1, 12)),
        "count": "\n".join(map(str, range(1500))),
        "table": "\n".join(f"| {' | '.join(rng.choice('0123') for _ in range(8))} |" for _ in range(150)),
        "truth": "\n".join(f"x={a >> 2 & 1} y={a >> 1 & 1} z={a & 1}: x and y or z = {a & 1}" for a in range(8)),
        "search": "\n".join(
            f"Let us try the value {n}: the left side becomes {n * n}, which is not it." for n in range(70)
        ),
        "hanoi": hanoi(8, "A", "B", "C"),
        "rule": f"{'-' * 120}\n",
    }
    assert {name for name, text in works.items() if read(text) is not None} == set()


def test_the_detector_takes_back_what_it_read() -> None:
    watch = LoopWatch(lambda token: bytes([token]))
    text = b"fine so far, and then " + b"again and " * 60
    found = next(start for byte in text if (start := watch.feed(byte)) is not None)
    watch.rewind(found)
    assert [watch.feed(byte) for byte in b"again and " * 15] == [None] * 150


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that is content with little, for the sake of short tests."""
    monkeypatch.setattr(loops, "_NEEDED", np.maximum(3 * np.arange(1, loops.LONGEST + 1), 24))


GOES_ON = tuple((one, -100.0) for one in (CLOSE, *TEMPLATE.stop_ids))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("temperature", [0.0])
def test_loops_are_taken_back_and_end_with_an_answer(make: Make, temperature: float) -> None:
    """A model that goes round in circles at low temperature: forced loops, and no way out but by chance."""
    requests = [
        Request(
            prompt_ids=tuple(TEMPLATE.prompt([Message("user", f"Where now {index}?")])),
            max_tokens=200,
            temperature=temperature,
            sample=index,
            stop_ids=TEMPLATE.stop_ids,
            policy=careful(),
            bias=GOES_ON if index % 2 else (),
        )
        for index in range(8)
    ]
    found = make(LOOPING).generate(requests)
    assert sum(bool(answer_of(one, done).strip()) for one, done in zip(requests, found, strict=True)) == 8
    looped = [done for done in found if done.discarded_tokens > 20]
    assert len(looped) >= 3 and any(done.thought_end == "loop" for done in found)
    for done in looped:
        assert sum(done.sampled) + done.discarded_tokens <= 200
        assert len(done.token_ids) == len(done.logprobs) == len(done.sampled)


@pytest.mark.usefixtures("impatient")
def test_what_is_left_of_a_loop_is_what_was_thought_before_it(make: Make) -> None:
    """The tokens that stand are those of the run without rescue, then others; teacher-forced they have the log-probs
    that were told."""
    request = Request(prompt_ids=PROMPT, max_tokens=240, temperature=0.0, bias=GOES_ON, policy=careful(soft_from=None))
    engine = make(LOOPING)
    kept: list[int] = []
    handle = engine.submit(request)
    completion = None
    seen: list[int] = []
    while completion is None:
        for progress in engine.step():
            assert progress.handle == handle
            seen.append(progress.token_id)
            if progress.kept is not None:
                kept.append(progress.kept)
                del seen[progress.kept :]
            completion = progress.completion
    assert kept and tuple(seen) == completion.token_ids
    plain = make(LOOPING).generate([replace(request, policy=TEMPLATE.policy())])[0]
    assert completion.token_ids[: kept[0]] == plain.token_ids[: kept[0]]
    whole = torch.tensor([[*PROMPT, *completion.token_ids]])
    scores = LOOPING.logits(LOOPING(whole)).float()[0, len(PROMPT) - 1 : -1].log_softmax(-1)
    told = scores.gather(1, whole[0, len(PROMPT) :, None])[:, 0]
    torch.testing.assert_close(torch.tensor(completion.logprobs), told, atol=2e-4, rtol=0)


@pytest.mark.usefixtures("impatient")
def test_what_the_client_put_in_is_not_taken_back(make: Make) -> None:
    request = Request(prompt_ids=PROMPT, max_tokens=240, temperature=0.0, bias=GOES_ON, policy=careful(soft_from=None))
    engine = make(LOOPING)
    handle = engine.submit(request)
    for _ in range(30):
        engine.step()
    fact = TOKENIZER.encode(" A B\n")
    assert engine.insert(handle, fact)
    done = None
    while done is None:
        done = next((one.completion for one in engine.step()), None)
    assert [token for token, sampled in zip(done.token_ids, done.sampled, strict=True) if not sampled][
        : len(fact)
    ] == fact
