"""A checkpoint ready to use: what is asked of it, what streams out of it, and what it says a reply cost."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from serving import random_model
from thinkaloud.base.errors import UserError
from thinkaloud.engine import Engine, Request
from thinkaloud.engine.native_backend import native_available
from thinkaloud.inference import ReasoningModel, Reply, load, loading
from thinkaloud.inference.asking import EFFORTS
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.inference.replies import ReplyStream
from thinkaloud.model import memory
from thinkaloud.model.quantise import quantise_model
from thinkaloud.problems import draw, verify
from thinkaloud.problems.families.talk import ANSWERS
from thinkaloud.text import Message, Piece

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

WORDS = ("Where", " now", "?", " A", " B", "AB", "Red", "\n", "é")
QUESTION = "Where now?"
MEASURED = Path(__file__).parents[1] / "docs" / "data" / "bundled.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint that likes to close its thought and end its turn every now and then."""
    return random_model(tmp_path_factory.mktemp("checkpoint"), context=200, words=WORDS)


@pytest.fixture(scope="module")
def model(folder: Path) -> ReasoningModel:
    return load(folder)


def drain(stream: ReplyStream) -> tuple[list[Piece], Reply]:
    pieces = list(stream)
    assert stream.reply is not None
    return pieces, stream.reply


def texts(pieces: list[Piece]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for piece in pieces:
        joined[piece.kind] = joined.get(piece.kind, "") + piece.text
    return joined


def test_the_package_offers_it(folder: Path) -> None:
    import thinkaloud

    assert thinkaloud.load(str(folder)).path == folder


def test_the_bundled_model_is_small_and_mostly_right() -> None:
    model = load()
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 8_000_000
    known = json.loads(MEASURED.read_text())["families"]
    assert list(known) == list(model.upbringing.families)
    strong = [family for family, row in known.items() if row["thinking"][0] >= 0.8]
    assert len(strong) >= 8
    for family in strong:
        levels = {"scales": [4, 5, 6, 7]}.get(family)
        problems = draw(family, "test", 12, seed=5, levels=levels)
        right = 0
        for problem in problems:
            reply = model.ask(problem.question, seed=1)
            right += verify(family, answer=reply.answer, reference=problem.reference).label == "right"
        assert right >= 7, family


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("What is 347 + 85?", "432"),
        ("347 + 85", "432"),
        ("what's 12 * 7?", "84"),
        ("Calculate 9 - 4.", "5"),
        ("2+2", "4"),
    ],
)
def test_the_bundled_model_adds_what_people_type(typed: str, value: str) -> None:
    assert load().ask(typed, seed=1).answer == value


@pytest.mark.parametrize("said", ["Hello!", "What is the capital of France?", "Wie spät ist es?", "zzz\n\nqqq"])
def test_the_bundled_model_makes_up_no_answer_to_what_it_never_learnt(said: str) -> None:
    assert load().ask(said, seed=1).answer in ANSWERS.values()


def test_the_bundled_model_refuses_what_is_longer_than_it_learnt() -> None:
    with pytest.raises(UserError, match="shorten"):
        load().ask("zzz qqq " * 60)


def test_a_runs_folder_opens_at_its_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(folder)
    assert load(tmp_path).path == tmp_path / "model"


SETTINGS = [
    {},
    {"effort": "off"},
    {"effort": "low", "max_tokens": 40},
    {"thinking_budget": 0},
    {"thinking_budget": 5},
    {"effort": "high", "max_tokens": 1},
    {"temperature": 0.0},
    {"temperature": 1.3, "top_p": 1.0, "top_k": 50, "min_p": 0.01},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_streamed_pieces_are_the_reply_and_its_cost_adds_up(model: ReasoningModel, settings: dict[str, object]) -> None:
    for seed in range(6):
        every = {"max_tokens": 60, "seed": seed, **settings}
        before = model.engine.generated_tokens
        pieces, reply = drain(model.stream(QUESTION, **every))  # type: ignore[arg-type]
        joined = texts(pieces)
        assert joined.get("thinking", "") == reply.thinking and joined.get("answer", "") == reply.answer
        usage = reply.usage
        kept = usage.thinking_tokens + usage.forced_tokens + usage.answer_tokens
        assert usage.completion_tokens == kept + usage.discarded_tokens
        assert usage.completion_tokens == model.engine.generated_tokens - before
        assert usage.thinking_tokens + usage.answer_tokens <= int(str(every["max_tokens"]))
        thinks = settings.get("effort") != "off"
        assert usage.prompt_tokens == len(model.template.prompt([Message("user", QUESTION)], thinking=thinks))
        assert (reply.thought_end == "none") == (not thinks)
        assert model.ask(QUESTION, **every) == reply


def test_effort_off_answers_at_once(model: ReasoningModel) -> None:
    reply = model.ask(QUESTION, effort="off", max_tokens=20)
    assert reply.thinking == "" and reply.usage.thinking_tokens == reply.usage.forced_tokens == 0


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_budget_bounds_the_thought(model: ReasoningModel, budget: int) -> None:
    ends = set()
    for seed in range(8):
        reply = model.ask(QUESTION, thinking_budget=budget, seed=seed, temperature=1.0, max_tokens=40)
        assert reply.usage.thinking_tokens <= budget
        if reply.thought_end == "budget":
            forced = len(model.template.policy().forced_close)
            assert (reply.usage.thinking_tokens, reply.usage.forced_tokens) == (budget, forced)
            assert reply.usage.answer_tokens >= 1
        ends.add(reply.thought_end)
    assert "budget" in ends


def test_an_effort_is_a_share_and_an_explicit_budget_goes_before_it(model: ReasoningModel) -> None:
    settings = {"temperature": 1.0, "max_tokens": 64}
    limits = {effort: int(share * 64) for effort, share in EFFORTS.items() if share is not None}
    for effort, limit in limits.items():
        replies = [model.ask(QUESTION, effort=effort, seed=seed, **settings) for seed in range(6)]
        assert max(reply.usage.thinking_tokens for reply in replies) == limit
    more = model.ask(QUESTION, effort="low", thinking_budget=limits["low"] + 5, **settings)
    assert limits["low"] < more.usage.thinking_tokens <= limits["low"] + 5


def test_a_seed_repeats_and_another_differs(model: ReasoningModel) -> None:
    assert model.ask(QUESTION, seed=1) == model.ask(QUESTION, seed=1) != model.ask(QUESTION, seed=2)


def test_a_conversation_may_be_dictionaries(model: ReasoningModel) -> None:
    said = [Message("user", "A?"), Message("assistant", "B", thinking="AB"), Message("user", QUESTION)]
    expected = model.ask(said, max_tokens=20)
    assert model.ask([message.to_dict() for message in said], max_tokens=20) == expected


def test_cancel_keeps_what_is_there(model: ReasoningModel) -> None:
    whole, _ = drain(model.stream(QUESTION, temperature=1.0, max_tokens=60))
    stream = model.stream(QUESTION, temperature=1.0, max_tokens=60)
    first = [next(stream) for _ in range(3)]
    reply = stream.cancel()
    rest = list(stream)
    assert reply.finish == "cancelled" and first == whole[:3] and not model.engine.busy
    assert texts(first + rest).get("thinking", "") == reply.thinking
    assert reply.usage.completion_tokens < 60 and stream.cancel() is reply


def test_streams_side_by_side_lose_nothing(model: ReasoningModel) -> None:
    """Whoever asks for the next token, every open stream gets its own, also while ids are generated."""
    settings = {"temperature": 1.0, "max_tokens": 30}
    expected = [drain(model.stream(QUESTION, seed=seed, **settings)) for seed in range(3)]  # type: ignore[arg-type]
    streams = [model.stream(QUESTION, seed=seed, **settings) for seed in range(3)]  # type: ignore[arg-type]
    head = next(streams[0])
    assert len(model.generate_ids([[1, 2]], max_tokens=10, ignore_eos=True)[0].token_ids) == 10
    found = [drain(stream) for stream in streams]
    found[0] = ([head, *found[0][0]], found[0][1])
    for (pieces, reply), (expected_pieces, expected_reply) in zip(found, expected, strict=True):
        assert reply == expected_reply and texts(pieces) == texts(expected_pieces)


def test_a_stream_let_go_does_not_disturb_the_next(model: ReasoningModel) -> None:
    expected = model.ask(QUESTION, seed=5)
    next(model.stream(QUESTION, seed=4))
    assert model.ask(QUESTION, seed=5) == expected


def test_generate_ids_is_sampling_alone(model: ReasoningModel) -> None:
    prompts = [[1, 2, 3], [4], [1, 2, 3]]
    done = model.generate_ids(prompts, max_tokens=24, temperature=1.0, seed=7, ignore_eos=True)
    assert [len(completion.token_ids) for completion in done] == [24] * 3
    assert done[0].token_ids != done[2].token_ids
    assert all(all(completion.sampled) and completion.thinking_tokens == 0 for completion in done)
    scores = model.logprobs([[*p, *completion.token_ids] for p, completion in zip(prompts, done, strict=True)])
    for prompt, completion, score in zip(prompts, done, scores, strict=True):
        assert completion.logprobs == pytest.approx(score[len(prompt) - 1 :], abs=1e-4)
    stopped = model.generate_ids(prompts * 20, max_tokens=150, temperature=1.5)
    ends = {completion.token_ids[-1] for completion in stopped if completion.finish == "stop"}
    assert ends and ends <= model.template.stop_ids


def test_logprobs_equal_transformers(model: ReasoningModel, folder: Path) -> None:
    sequences = [[1, 2, 3, 4, 200, 100], [7], [9, 8]]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for sequence, found in zip(sequences, model.logprobs(sequences), strict=True):
        ids = torch.tensor([sequence])
        with torch.no_grad():
            expected = torch.log_softmax(theirs(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"effort": "huge"}, "effort 'huge'.*off, low, medium, high"),
        ({"thinking_budget": -1}, "budget"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_wrong_settings_are_named(model: ReasoningModel, settings: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        model.ask(QUESTION, **settings)


def test_what_does_not_fit_is_named(model: ReasoningModel) -> None:
    with pytest.raises(UserError, match="shorten"):
        model.ask("x" * 300)
    with pytest.raises(UserError, match="at least one message"):
        model.ask([])
    with pytest.raises(UserError, match="positions"):
        model.generate_ids([[1] * 190], max_tokens=64)
    with pytest.raises(UserError, match="vocabulary"):
        model.generate_ids([[10**6]], max_tokens=4)
    with pytest.raises(UserError, match="positions"):
        model.logprobs([[1] * 201])
    with pytest.raises(UserError, match="vocabulary"):
        model.logprobs([[1, -1]])
    with pytest.raises(UserError, match="empty"):
        model.logprobs([[]])


def faults(folder: Path) -> Iterator[tuple[dict[str, object], str]]:
    yield {"path": folder / "nowhere"}, "not a folder"
    yield {"path": folder.parent}, "config.json"
    yield {"path": folder, "device": "abacus"}, "abacus"
    yield {"path": folder, "dtype": "int1"}, "int1"
    yield {"path": folder, "quantize": "int3"}, "int3"
    yield {"path": folder, "cache": "int4"}, "int4"


def test_load_names_what_is_wrong(folder: Path) -> None:
    for settings, named in faults(folder):
        with pytest.raises(UserError, match=named):
            load(**settings)  # type: ignore[arg-type]


@pytest.mark.skipif(not native_available(), reason="the native step was not built")
def test_a_small_model_is_run_without_pytorch_and_opened_in_it_when_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is to the bit what an engine over PyTorch's weights says."""
    small = load(folder)
    assert "transformer" not in vars(small) and small.engine.backend == "native"
    whole = Engine(loading.open_transformer(folder))
    requests = [Request(prompt_ids=tuple(small.tokenizer.encode(QUESTION)), max_tokens=30, seed=n) for n in range(4)]
    assert small.engine.generate(requests) == whole.generate(requests)
    monkeypatch.setenv("THINKALOUD_NATIVE", "off")
    assert small.logprobs([[1, 2, 3]]) == load(folder).logprobs([[1, 2, 3]])


@pytest.mark.skipif(not native_available(), reason="the native step was not built")
def test_a_large_model_is_packed_as_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says the same as one that is held whole, and tells beforehand what it takes."""
    whole = load(folder, quantize="int4")
    monkeypatch.setattr(loading, "LARGE", 0)
    monkeypatch.setattr("thinkaloud.model.weights.load_model", lambda *_, **__: pytest.fail("held whole"))
    told: list[tuple[str, float]] = []
    packed = load(folder, quantize="int4", watch=lambda text, share: told.append((text, share)))
    assert packed.ask("hello", seed=3, max_tokens=20) == whole.ask("hello", seed=3, max_tokens=20)
    assert "GiB of weights in int4" in told[0][0] and "tokens a second" in told[0][0]
    shares = [share for _, share in told]
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0) and len(shares) > 10
    assert load(folder, cache="int8", dtype="bfloat16").ask("hello", seed=3, max_tokens=20).usage.completion_tokens > 0
    with pytest.raises(UserError, match="THINKALOUD_NATIVE=off"):
        packed.logprobs([[1, 2]])
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match="does not fit"):
        load(folder, quantize="int4")


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_quantised_it_says_what_its_rounded_weights_say(folder: Path, quantize: str) -> None:
    """What it generated is what `logprobs` computes, within the rounding of its inputs: of the rounded weights."""
    model, whole = load(folder, quantize=quantize), load(folder)
    prompts = [[1, 2, 3], [7, 8]]
    done = model.generate_ids(prompts, max_tokens=12, ignore_eos=True)
    for prompt, one in zip(prompts, done, strict=True):
        sequence = [[*prompt, *one.token_ids]]
        told = model.logprobs(sequence)[0][len(prompt) - 1 :]
        assert one.logprobs == pytest.approx(told, abs=0.1)
        assert told != whole.logprobs(sequence)[0][len(prompt) - 1 :]
    before = [parameter.clone() for parameter in model.transformer.parameters()]
    quantise_model(model.transformer, quantize)
    assert all(torch.equal(a, b) for a, b in zip(before, model.transformer.parameters(), strict=True))


# --- control ---


def test_stop_strings_cut_the_answer_exactly_and_not_the_thought(model: ReasoningModel) -> None:
    for seed in range(6):
        settings = {"seed": seed, "temperature": 1.0, "max_tokens": 60, "thinking_budget": 8}
        whole = model.ask(QUESTION, **settings)  # type: ignore[arg-type]
        answer, thought = whole.answer, whole.thinking
        for stop in [answer[place : place + 2] for place in range(1, min(len(answer) - 2, 12), 3)] + [thought[1:3]]:
            pieces, reply = drain(model.stream(QUESTION, stop=[stop, "never"], **settings))  # type: ignore[arg-type]
            assert reply.answer == answer.partition(stop)[0] and reply.thinking == thought
            assert texts(pieces).get("answer", "") == reply.answer
            assert reply.finish == ("stop" if stop in answer else whole.finish)
            assert reply.usage.completion_tokens <= whole.usage.completion_tokens
    assert not model.engine.busy


def test_wishes_while_it_thinks(model: ReasoningModel) -> None:
    settings = {"temperature": 1.0, "max_tokens": 60, "thinking_budget": 20}
    stream = model.stream(QUESTION, **settings)  # type: ignore[arg-type]
    next(stream)
    assert stream.add(" AB é") and stream.pause()
    with pytest.raises(UserError, match="resume"):
        list(stream)
    assert stream.resume() and stream.think_on(3) and stream.think_on(1000) and not stream.think_on(1)
    for _ in range(12):
        model.advance()
    assert stream.answer_now()
    _, reply = drain(stream)
    assert "\n AB é\n" in "\n" + reply.thinking and reply.thought_end == "client" and reply.answer
    closing, fact = len(model.template.policy().forced_close), len(model.tokenizer.encode(" AB é\n"))
    assert reply.usage.forced_tokens - closing - fact in (0, 1)
    assert not (stream.answer_now() or stream.add("late") or stream.think_on(1) or stream.pause() or stream.resume())
    for wrong in (lambda: stream.add(" "), lambda: stream.think_on(0)):
        with pytest.raises(UserError):
            wrong()


def test_a_thought_goes_on_from_a_beginning(model: ReasoningModel) -> None:
    settings = {"temperature": 1.0, "max_tokens": 40, "thinking_budget": 9}
    pieces, reply = drain(model.stream(QUESTION, thought="AB é\n", **settings))  # type: ignore[arg-type]
    assert reply.thinking.startswith("AB é\n") and texts(pieces)["thinking"] == reply.thinking
    begun = len(model.tokenizer.encode("AB é\n"))
    assert reply.usage.prompt_tokens == len(model.template.prompt([Message("user", QUESTION)])) + begun
    assert reply.usage.thinking_tokens <= 9
    with pytest.raises(UserError, match="no room"):
        model.stream(QUESTION, thought="AB", effort="off")


def test_tokens_are_told_with_their_parts(model: ReasoningModel) -> None:
    reply = model.ask(QUESTION, top_logprobs=2, max_tokens=40, thinking_budget=6, temperature=1.0)
    usage = reply.usage
    kinds = [token.kind for token in reply.tokens]
    assert len(kinds) == usage.completion_tokens and kinds[:6] == ["thinking"] * 6 and kinds[-1] == "answer"
    assert all(len(token.top) == 2 and token.logprob <= token.top[0][1] + 1e-5 for token in reply.tokens)
    assert model.ask(QUESTION, max_tokens=40).tokens == ()


def test_samples_differ_and_each_keeps_to_the_schema(model: ReasoningModel) -> None:
    schema = {"enum": ["Red", "blue"]}
    for effort in ("off", "low"):
        replies = [
            model.ask(QUESTION, schema=schema, sample=sample, effort=effort, temperature=2.0) for sample in range(8)
        ]
        assert {
            reply.answer.strip() for reply in replies if reply.finish == "stop" and reply.thought_end != "open"
        } <= {
            '"Red"',
            '"blue"',
        }
        assert len({(reply.thinking, reply.answer) for reply in replies}) > 1


def test_tools_are_shown_and_may_be_required(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "wide")
    config = tmp_path / "wide" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 200', '"max_position_embeddings": 800'))
    model = load(tmp_path / "wide")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "maxProperties": 0}}}
    shown = model.ask(QUESTION, tools=[tool], max_tokens=4).usage.prompt_tokens
    assert shown > model.ask(QUESTION, tools=[tool], tool_choice="none", max_tokens=4).usage.prompt_tokens
    for choice in ("required", "add"):
        reply = model.ask(QUESTION, tools=[tool], tool_choice=choice, effort="off", max_tokens=120)
        assert not reply.answer.strip() and (reply.tool_calls or reply.finish == "length")
    for wrong in ({"tool_choice": "sub"}, {"tool_choice": "required", "tools": None}):
        with pytest.raises(UserError, match="tool_choice"):
            model.stream(QUESTION, **{"tools": [tool], **wrong})  # type: ignore[arg-type]


def test_a_prompt_known_from_before_is_told(model: ReasoningModel) -> None:
    if model.engine.backend != "native":
        pytest.skip("only the native step remembers")
    model.engine.forget()
    first, second = (model.ask(QUESTION * 3, max_tokens=4).usage for _ in range(2))
    assert first.cached_tokens == 0 < second.cached_tokens == (second.prompt_tokens - 1) // 16 * 16
