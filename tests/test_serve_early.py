"""The column "early" of the matrix: a thought that ends at its first settled line, with every form of answer."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from serving import Live
from test_serve_matrix import FORMS, SCHEMA, said, whole
from thinkaloud.inference import load
from thinkaloud.inference.calibration import FILE, POOLED, Calibration, ExitRule, Kind, as_json, digest_of
from thinkaloud.inference.exiting import ExitingStream
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own

QUESTION = [{"role": "user", "content": "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"}]
EAGER = ExitRule(risk=0.5, confidence=0.0)
"Ends at the first line behind which an answer comes to an end, whatever its tokens' probabilities."
MORE: dict[str, dict[str, Any]] = {
    "stop": {"stop": ["1"]},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "unseeded": {"seed": None},
    "verified": {"verify": True},
    "history": {"history": "keep"},
}
FAST = ("plain", "stop")
NOT_OPENAIS = ("max_accuracy_loss", "verify", "history")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The bundled model with a rule that is eager: what it loses does not matter here."""
    folder = tmp_path_factory.mktemp("eager") / "model"
    shutil.copytree(load().path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))  # room for tools
    model = load(folder)
    kind = Kind(budgets={"low": 20, "medium": 40, "high": None}, exits=[EAGER], problems=1)
    calibration = Calibration(
        weights=digest_of(folder),
        temperature=model.defaults.temperature,
        max_tokens=96,
        probe_tokens=9,
        kinds={POOLED: kind},
    )
    Path(folder / FILE).write_text(as_json(calibration))
    with Live(own(load(folder), "eager", limits=Limits())) as one:
        yield one
        assert one.idle()


@pytest.mark.parametrize(
    "form", [form if form in FAST else pytest.param(form, marks=pytest.mark.slow) for form in FORMS | MORE]
)
def test_a_thought_that_ends_early_is_valid(live: Live, form: str) -> None:
    settings = {"seed": 3, "max_accuracy_loss": 0.5, **(FORMS | MORE)[form]}
    extra = {name: settings.pop(name) for name in NOT_OPENAIS if name in settings}
    ask = {"model": "eager", "messages": QUESTION, "max_tokens": 200, "extra_body": extra, **settings}
    create = live.client().chat.completions.create
    answer = create(**ask)
    choices, streamed = said(answer), whole(list(create(**ask, stream=True)))
    if form != "unseeded":
        assert [(one["content"].strip(), one["thought"], one["end"]) for one in streamed] == [
            (one["content"].strip(), one["thought"], one["end"]) for one in choices
        ]
    assert len(choices) == len(streamed) == (3 if form == "several" else 1)
    held = form in ("schema", "object", "tools", "named")  # a trial keeps to no form: such thoughts are never cut
    details = answer.usage.completion_tokens_details
    for choice in choices + streamed:
        assert choice["end"] == ("natural" if held else "early")
        assert choice["thought"]
    assert (details.forced_tokens > 0) != held
    if form == "schema":
        validate(json.loads(choices[0]["content"]), SCHEMA)
    if form in ("tools", "named"):
        (call,) = choices[0]["calls"]
        validate(json.loads(call.arguments), SCHEMA)
    if form == "logprobs":
        told = answer.choices[0].logprobs
        assert "".join(one.token for one in told.content).strip() == choices[0]["content"]
        assert {len(one.top_logprobs) for one in told.content} == {2}
    if form == "stop":
        assert "1" not in choices[0]["content"] and choices[0]["finish"] == "stop"
    if form == "verified":
        assert isinstance(answer.choices[0].verified, bool)


@pytest.mark.slow
def test_early_replies_beside_each_other_are_what_each_is_alone(live: Live) -> None:
    create, model = live.client().chat.completions.create, load(live.service.voice.model.path)  # type: ignore[attr-defined]
    answer = create(model="eager", messages=QUESTION, n=8, seed=5, extra_body={"max_accuracy_loss": 0.5})
    for index, choice in enumerate(answer.choices):
        stream = model.stream(QUESTION, seed=5, sample=index, max_accuracy_loss=0.5, kind="chains")
        assert isinstance(stream, ExitingStream)
        *_, _ = stream
        assert stream.reply is not None
        assert (choice.message.content, choice.message.reasoning_content) == (
            stream.reply.answer,
            stream.reply.thinking,
        )
        assert choice.thought_end == stream.reply.thought_end == "early"
