"""`thinkaloud ask`: one question, one reply."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import err, say, say_json
from thinkaloud.cli.opening import open_model
from thinkaloud.cli.talk import (
    AdapterOption,
    Budget,
    CacheOption,
    ContextOption,
    Effort,
    HideThinking,
    MaxTokens,
    ModelOption,
    QuantizeOption,
    Seed,
    Temperature,
    chosen_model,
    speak,
)

if TYPE_CHECKING:
    from thinkaloud.inference import ReasoningModel, Reply
    from thinkaloud.inference.asking import AskSettings


def ask(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The question; read from stdin if left out.")
    ] = None,
    model: ModelOption = None,
    effort: Effort = "medium",
    budget: Budget = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    max_accuracy_loss: Annotated[
        float | None,
        typer.Option(help="End the thought early where that loses at most this share of right answers: 0.01."),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verify", help="Draw until an answer passes an exact check, or else take a vote.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Most replies drawn for --verify.")] = 4,
    abstain_below: Annotated[
        float | None, typer.Option(help="With --verify: keep an answer back whose confidence is below this.")
    ] = None,
    hide_thinking: HideThinking = False,
    adapter: AdapterOption = None,
    context: ContextOption = None,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole reply as JSON.")] = False,
) -> None:
    """Ask one question: a thought, then the answer.

    Example: thinkaloud ask "Red under A, blue under B. Swap AC BD CE. Where now?"
    """
    question = _question(text)
    opened = open_model(chosen_model(None, model), adapter=adapter, context=context, quantize=quantize, cache=cache)
    from thinkaloud.rollouts.verified import kind_of

    settings: AskSettings = {
        "effort": effort,
        "thinking_budget": budget,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "max_accuracy_loss": max_accuracy_loss,
        "kind": kind_of(question),
        "seed": seed,
    }
    if verified:
        _tell_verified(opened, question, samples, abstain_below, settings, as_json)
        return
    stream = opened.stream(question, **settings)
    if as_json:
        for _ in stream:
            pass
        assert stream.reply is not None
        say_json(as_dict(stream.reply))
        return
    reply, interrupted = speak(stream, hide_thinking=hide_thinking)
    if interrupted:
        raise typer.Exit(130)
    if reply.finish == "length":
        err().print(
            f"(cut off after {reply.usage.completion_tokens} tokens: --max-tokens gives it more room)", style="dim"
        )


def _tell_verified(
    opened: "ReasoningModel",
    question: str,
    samples: int,
    abstain_below: float | None,
    settings: "AskSettings",
    as_json: bool,
) -> None:
    """The chosen answer, and on stderr what is known of it."""
    from thinkaloud.rollouts.verified import ask_verified

    if settings["effort"] == "medium":  # nothing was said: confidences are of whole thoughts
        settings = {**settings, "effort": "high"}
    found = ask_verified(opened, question, samples=samples, abstain_below=abstain_below, **settings)
    if as_json:
        say_json({**asdict(found), "answer": found.answer})
        return
    say("(no answer)" if found.answer is None else found.answer)
    words = {True: "right", False: "wrong", None: "not checked"}[found.verified]
    sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
    checked = "" if found.verified is None else f" by the check of {found.check}"
    err().print(f"({words}{checked}{sure}; {found.drawn} drawn, {found.completion_tokens} tokens)", style="dim")


def _question(text: str | None) -> str:
    if text is None:
        if sys.stdin.isatty():
            raise UserError('nothing to ask: give the question, as in thinkaloud ask "...", or pipe it in')
        try:
            text = sys.stdin.read()
        except UnicodeDecodeError:
            raise UserError("the question on stdin is not UTF-8 text: convert it first") from None
    if not text.strip():
        raise UserError('the question is empty: give it some words, as in thinkaloud ask "..."')
    return text.strip()


def as_dict(reply: "Reply") -> dict[str, object]:
    """A reply with its token ledger, ready for JSON."""
    values = asdict(reply)
    values["usage"]["completion_tokens"] = reply.usage.completion_tokens
    return values
