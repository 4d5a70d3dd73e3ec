"""Control of the thought: what a client may ask while it goes on, answers that keep to a grammar; on each backend."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.engine.cuda_backend import CudaBackend
from thinkaloud.engine.native_backend import native_available
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.text import ChatTemplate, Message, Tokenizer
from thinkaloud.text.grammar import json_grammar, tool_grammar
from thinkaloud.text.policy import ThinkingPolicy

torch.set_num_threads(1)

TOKENIZER = Tokenizer.build(("Where", " now", "?", " A", " B", "AB", "Red", "\n", "é", "true", "name", ' "'))
TEMPLATE = ChatTemplate(TOKENIZER)
PROMPT = tuple(TEMPLATE.prompt([Message("user", "Where now?")]))
CLOSE = TEMPLATE.markup.think_close
assert CLOSE is not None


def a_model(spread: float = 1.0) -> Transformer:
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=400,
        tie_word_embeddings=False,
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * noise if "norm" in name else noise * 0.3 * spread)
    return model


MODEL = a_model()
Make = Callable[[], Engine]


@pytest.fixture(scope="module", params=["torch", "native", "cuda"])
def make(request: pytest.FixtureRequest) -> Make:
    """Engines on each backend; the GPU's runs eagerly."""
    if request.param == "native" and not native_available():
        pytest.skip("the native step was not built")

    def engine() -> Engine:
        made = Engine(MODEL, backend="torch" if request.param == "cuda" else request.param, max_rows=16)
        if request.param == "cuda":
            made._backend = CudaBackend(MODEL, max_rows=16)
        return made

    return engine


def a_request(sample: int = 0, *, budget: int | None = 40, **changes: Any) -> Request:
    settings: dict[str, Any] = {
        "prompt_ids": PROMPT,
        "max_tokens": 70,
        "seed": 4,
        "sample": sample,
        "stop_ids": frozenset(),
        "policy": TEMPLATE.policy(budget=budget),
        "temperature": 0.0 if sample == 1 else 1.0,  # the second one repeats itself: guesses of it come true
    }
    return Request(**{**settings, **changes})


def steps(engine: Engine, handle: int, until: int) -> None:
    """Let a request come to so many tokens."""
    count = 0
    while count < until:
        count += sum(progress.handle == handle for progress in engine.step())


def finish(engine: Engine) -> dict[int, Completion]:
    done = {}
    while engine.busy:
        done.update({one.handle: one.completion for one in engine.step() if one.completion is not None})
    return done


def same(found: Completion, expected: Completion, **but: Any) -> None:
    assert replace(found, logprobs=(), **but) == replace(expected, logprobs=(), **but)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-4)


# --- wishes ---


@pytest.mark.parametrize(("sample", "when"), [(0, 0), (1, 7), (2, 1), (1, 23)])
def test_answer_now_is_a_budget_chosen_late(make: Make, sample: int, when: int) -> None:
    """Also where tokens were drawn ahead, and beside other rows."""
    expected = make().generate([a_request(sample, budget=when)])[0]
    for others in (0, 5):
        engine = make()
        handle = engine.submit(a_request(sample))
        engine.submit_all([a_request(10 + other) for other in range(others)])
        steps(engine, handle, when)
        assert engine.close_thought(handle)
        assert not engine.close_thought(handle)
        same(finish(engine)[handle], replace(expected, thought_end="client"))


@pytest.mark.parametrize(("sample", "when"), [(0, 1), (1, 9)])
def test_what_is_inserted_is_read_as_a_prefix_would_be(make: Make, sample: int, when: int) -> None:
    fact = tuple(TOKENIZER.encode(" A now AB\n"))
    engine = make()
    handle = engine.submit(a_request(sample))
    steps(engine, handle, when)
    assert engine.insert(handle, fact)
    found = finish(engine)[handle]
    assert found.token_ids[when : when + len(fact)] == fact
    assert found.sampled[: when + len(fact)] == (True,) * when + (False,) * len(fact)
    assert found.thinking_tokens <= 40 and sum(found.sampled) == 70
    prefix = (*PROMPT, *found.token_ids[: when + len(fact)])
    again = make().generate([a_request(sample, prompt_ids=prefix, budget=40 - when, max_tokens=70 - when)])[0]
    assert found.token_ids[when + len(fact) :] == again.token_ids
    np.testing.assert_allclose(found.logprobs[when + len(fact) :], again.logprobs, atol=1e-4)


def test_insertion_comes_before_the_close_and_not_after_it(make: Make) -> None:
    engine = make()
    handle = engine.submit(a_request())
    steps(engine, handle, 3)
    assert engine.close_thought(handle) and engine.insert(handle, [65, 66])
    steps(engine, handle, len(TEMPLATE.policy().forced_close) + 3)
    assert not engine.insert(handle, [67])
    found = finish(engine)[handle]
    assert found.token_ids[3:5] == (65, 66) and found.token_ids[5:8] == TEMPLATE.policy().forced_close[:3]
    for wrong in ([], [CLOSE], [-1], [10_000]):
        other = engine.submit(a_request())
        with pytest.raises(UserError):
            engine.insert(other, wrong)


def test_insertion_that_the_context_has_no_room_for_is_refused(make: Make) -> None:
    engine = make()
    handle = engine.submit(a_request())
    assert not engine.insert(handle, [65] * 400)
    assert engine.insert(handle, [65] * 100)
    assert len(finish(engine)[handle].token_ids) == 70 + 100 + len(TEMPLATE.policy().forced_close)


@pytest.mark.parametrize("when", [4])
def test_thinking_on_is_a_larger_budget(make: Make, when: int) -> None:
    engine = make()
    handle = engine.submit(a_request(budget=5))
    steps(engine, handle, when)
    assert engine.extend(handle, 7)
    same(finish(engine)[handle], make().generate([a_request(budget=12)])[0])
    handle = engine.submit(a_request(budget=5))
    assert engine.extend(handle, 1000) and not engine.extend(handle, 1), "max_tokens leave no more room"
    same(finish(engine)[handle], make().generate([a_request(budget=None)])[0])
    handle = engine.submit(a_request(budget=None))
    assert not engine.extend(handle, 7), "it may take all that there is"
    same(finish(engine)[handle], make().generate([a_request(budget=None)])[0])


@pytest.mark.parametrize("when", [0, 6])
def test_a_pause_costs_nothing_and_changes_nothing(make: Make, when: int) -> None:
    expected = make().generate([a_request(sample) for sample in range(3)])
    engine = make()
    handles = engine.submit_all([a_request(sample) for sample in range(3)])
    steps(engine, handles[1], when)
    assert engine.pause(handles[1])
    done = finish(engine)
    assert set(done) == {handles[0], handles[2]} and engine.step() == []
    before = engine.prefilled_tokens
    assert engine.resume(handles[1])
    done |= finish(engine)
    for handle, one in zip(handles, expected, strict=True):
        same(done[handle], one)
    assert engine.prefilled_tokens == before or when == 0


def test_a_row_paused_before_its_prompt_is_through_keeps_its_first_token(make: Make) -> None:
    request = a_request(prompt_ids=PROMPT * 10, max_tokens=1, budget=0)
    expected = make().generate([request])[0]
    engine = make()
    handles = engine.submit_all([request, a_request(3)])
    engine.step()
    for handle in handles:
        engine.pause(handle)
    assert finish(engine) == {}
    assert all(engine.resume(handle) for handle in handles)
    same(finish(engine)[handles[0]], expected)


def test_wishes_for_whom_is_not_there_come_to_nothing(make: Make) -> None:
    engine = make()
    handle = engine.submit(a_request(policy=None, max_tokens=3))
    assert not engine.close_thought(handle) and not engine.insert(handle, [65]) and not engine.extend(handle, 3)
    finish(engine)
    for gone in (handle, 77):
        assert not engine.close_thought(gone) and not engine.insert(gone, [65]) and not engine.extend(gone, 1)
        assert not engine.pause(gone) and not engine.resume(gone) and engine.cancel(gone) is None


def test_cancelling_a_paused_row_frees_its_place(make: Make) -> None:
    engine = make()
    for _ in range(20):
        handle = engine.submit(a_request())
        steps(engine, handle, 2)
        engine.pause(handle)
        completion = engine.cancel(handle)
        assert completion is not None and len(completion.token_ids) == 2
    assert len(engine.generate([a_request(sample) for sample in range(16)])) == 16


# --- drawing from logits ---


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.8, "top_k": 9}], ids=str)
def test_a_row_that_tells_its_logprobs_draws_what_it_would_draw(make: Make, settings: dict[str, Any]) -> None:
    plain = [a_request(sample, **settings) for sample in (0, 2)]
    telling = [replace(request, top_logprobs=4) for request in plain]
    for found, expected in zip(make().generate([*telling, a_request(5)]), make().generate(plain), strict=False):
        assert found.token_ids == expected.token_ids and len(found.top_logprobs) == len(found.token_ids)
        for token, logprob, top in zip(found.token_ids, found.logprobs, found.top_logprobs, strict=True):
            assert len(top) == 4 and sorted(top, key=lambda pair: -pair[1]) == list(top)
            assert dict(top).get(token, logprob) == pytest.approx(logprob) and logprob <= top[0][1] + 1e-5


def test_a_bias_moves_the_draw_and_not_the_logprob(make: Make) -> None:
    wanted, banned = 65, make().generate([a_request()])[0].token_ids[0]
    found = make().generate([a_request(bias=((wanted, 100.0),)), a_request(bias=((banned, -100.0),))])
    assert {token for token, drawn in zip(found[0].token_ids, found[0].sampled, strict=True) if drawn} == {wanted}
    assert max(found[0].logprobs) < -0.1
    assert found[1].token_ids[0] != banned


# --- grammars ---

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": -3, "maximum": 99}, "ok": {"type": "boolean"}},
        "required": ["count", "ok"],
        "additionalProperties": False,
    },
    {"enum": ["Red", "blue é", None, 3]},
    {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 2},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "move",
        "parameters": {
            "type": "object",
            "properties": {"cup": {"enum": ["A", "B"]}},
            "required": ["cup"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_every_answer_under_a_schema_fits_it(make: Make, schema: dict[str, Any]) -> None:
    """With a thought, without one, cut, closed by the client; several samples side by side, beside rows without one."""
    grammar = json_grammar(TOKENIZER, schema, stop_ids=TEMPLATE.stop_ids)
    engine = make()
    handles, plans = [], []
    for sample in range(12):
        thinking, budget = sample % 3 > 0, (None, 6, 0, 40)[sample % 4]
        plans.append(thinking)
        request = a_request(
            sample,
            prompt_ids=tuple(TEMPLATE.prompt([Message("user", "Where now?")], thinking=thinking)),
            policy=TEMPLATE.policy(thinking=thinking, budget=budget, answer_floor=160),
            max_tokens=260,
            stop_ids=TEMPLATE.stop_ids,
            temperature=1.5,
            bias=tuple((stop, -100.0) for stop in TEMPLATE.stop_ids) if sample == 4 else (),
            grammar=grammar.copy(),
        )
        handles.append(engine.submit(request))
    engine.submit(a_request(20))
    done = {one.handle: one.completion for _ in range(4) for one in engine.step() if one.completion is not None}
    engine.close_thought(handles[7])
    done |= finish(engine)
    seen = 0
    for handle, thinking in zip(handles, plans, strict=True):
        message = TEMPLATE.parse(done[handle].token_ids, thinking=thinking)
        if done[handle].finish == "stop" and done[handle].thought_end != "open":
            jsonschema.validate(json.loads(message.content), schema)
            seen += 1
    assert seen >= 9


def test_required_tool_calls_are_calls_that_fit(make: Make) -> None:
    grammar = tool_grammar(TOKENIZER, [TOOL], required=True, stop_ids=TEMPLATE.stop_ids)
    requests = [
        a_request(
            sample,
            budget=5,
            policy=TEMPLATE.policy(budget=5, answer_floor=200),
            max_tokens=250,
            stop_ids=TEMPLATE.stop_ids,
            grammar=grammar.copy(),
        )
        for sample in range(4)
    ]
    for completion in make().generate(requests):
        message = TEMPLATE.parse(completion.token_ids)
        assert message.content.strip() == ""
        if completion.finish == "stop" and completion.thought_end != "open":
            assert message.tool_calls
        for call in message.tool_calls:
            jsonschema.validate(call.arguments, TOOL["function"]["parameters"])  # type: ignore[index]


def test_a_grammar_does_not_keep_a_model_from_opening_its_thought(make: Make) -> None:
    policy = ThinkingPolicy(
        starts_thinking=False,
        open_id=TEMPLATE.markup.think_open,
        close_id=CLOSE,
        budget=3,
        forced_close=TEMPLATE.policy().forced_close,
    )
    bias = ((TEMPLATE.markup.think_open or 0, 100.0),)
    grammar = json_grammar(TOKENIZER, SCHEMAS[1], stop_ids=TEMPLATE.stop_ids)
    request = a_request(policy=policy, bias=bias, grammar=grammar, stop_ids=TEMPLATE.stop_ids, max_tokens=200)
    found = make().generate([request])[0]
    assert found.token_ids[0] == TEMPLATE.markup.think_open and found.thought_end == "budget"
    closed = found.token_ids.index(CLOSE)
    assert TEMPLATE.markup.think_open not in found.token_ids[closed:] and found.finish == "stop"


@pytest.mark.parametrize(
    ("schema", "fault"),
    [({"type": "nonsense"}, "nonsense"), ({"$ref": "#/nope"}, "nope"), ({"pattern": "(?=x)"}, "look"), (5, "object")],
    ids=str,
)
def test_a_schema_that_cannot_be_kept_is_refused_with_its_fault(schema: Any, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        json_grammar(TOKENIZER, schema)


def test_tools_without_names_or_without_tokens_for_them_are_refused() -> None:
    with pytest.raises(UserError, match="name"):
        tool_grammar(TOKENIZER, [{"function": {}}])
    with pytest.raises(UserError, match="at least one"):
        tool_grammar(TOKENIZER, [])


def test_copies_of_a_grammar_go_their_own_ways() -> None:
    one = json_grammar(TOKENIZER, {"enum": ["AB"]}, stop_ids=TEMPLATE.stop_ids)
    other = one.copy()
    one.advance(ord('"'))
    assert not one.allowed()[ord('"')] and other.allowed()[ord('"')]
