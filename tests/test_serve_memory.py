"""Responses that go on from those that the server keeps, asked by OpenAI's own client."""

from collections.abc import Iterator

import openai
import pytest

from serving import Live, random_model
from thinkaloud.inference import ReasoningModel, load
from thinkaloud.serve.faults import Fault
from thinkaloud.serve.line import Limits
from thinkaloud.serve.memory import Kept, Memory
from thinkaloud.serve.opening import own
from thinkaloud.text import Message

SHORT = {"model": "random", "max_output_tokens": 30, "extra_body": {"seed": 1, "thinking_budget": 8}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ReasoningModel:
    return load(random_model(tmp_path_factory.mktemp("random")))


@pytest.fixture(scope="module")
def live(model: ReasoningModel) -> Iterator[Live]:
    """Two keys, and room for four responses."""
    with Live(own(model, "random", limits=Limits(kept=4), keys=["one", "two"])) as one:
        yield one
        assert one.idle()


def test_a_response_goes_on_from_another(live: Live) -> None:
    create = live.client(api_key="one").responses.create
    first = create(input="Red Blue", instructions="Red", **SHORT)
    assert first.store and first.previous_response_id is None
    going_on = {"input": "1 2 3", "previous_response_id": first.id}
    second = create(**going_on, **SHORT)
    turns = [{"role": "user", "content": "Red Blue"}, *first.output, {"role": "user", "content": "1 2 3"}]
    by_hand = create(input=turns, **SHORT)
    assert second.output_text == by_hand.output_text, "the instructions are not carried over"
    assert second.usage.input_tokens == by_hand.usage.input_tokens > first.usage.input_tokens
    assert second.previous_response_id == first.id
    kept = create(**going_on, **SHORT | {"extra_body": {**SHORT["extra_body"], "history": "keep"}})  # type: ignore[dict-item]
    assert kept.usage.input_tokens > second.usage.input_tokens, "the thought is shown where that is wished"
    *_, last = create(input="4", previous_response_id=second.id, stream=True, **SHORT)
    third = last.response
    assert create(input="5", previous_response_id=third.id, **SHORT).usage.input_tokens > third.usage.input_tokens


def test_what_is_kept_is_the_keys_own_and_can_be_forgotten(live: Live) -> None:
    ours, theirs = live.client(api_key="one").responses, live.client(api_key="two").responses
    first = ours.create(input="Red", **SHORT)
    assert ours.retrieve(first.id).output_text == first.output_text
    for responses in (theirs, ours):
        with pytest.raises(openai.BadRequestError, match="is not kept here.*send the items") as fault:
            responses.create(input="Red", previous_response_id=first.id[:-1] + "x", **SHORT)
        assert fault.value.code == "previous_response_not_found" and fault.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError, match="is not kept here"):
            theirs.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            theirs.delete(first.id)
    with pytest.raises(openai.BadRequestError):
        theirs.create(input="Red", previous_response_id=first.id, **SHORT)
    ours.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        ours.retrieve(first.id)
    private = ours.create(input="Red", store=False, **SHORT)
    assert private.store is False
    with pytest.raises(openai.BadRequestError):
        ours.create(input="Red", previous_response_id=private.id, **SHORT)


def test_a_server_may_keep_nothing(model: ReasoningModel) -> None:
    with Live(own(model, "random", limits=Limits(kept=0))) as live:
        responses = live.client().responses
        said = responses.create(input="Red", **SHORT)
        assert said.store is False
        with pytest.raises(openai.NotFoundError):
            responses.retrieve(said.id)


def test_the_oldest_go_first() -> None:
    memory = Memory(2, characters=10_000)

    def keep(name: str, size: int = 10) -> None:
        messages = (Message("user", "x" * size),)
        memory.keep(Kept(who="a", messages=messages, body={"id": name}))

    def known() -> str:
        return "".join(name for name in "abcdef" if name in memory._kept)

    for name in "abc":
        keep(name)
    assert known() == "bc" and memory.find("c", "a").messages[0].content == "x" * 10
    keep("d", 12_000)
    assert known() == "", "it is more than all may be"
    keep("e", 3_000)
    memory.drop("e", "a")
    keep("f", 4_000)
    assert known() == "f"
    with pytest.raises(Fault, match="'e' is not kept"):
        memory.find("e", "a")
