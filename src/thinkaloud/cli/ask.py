"""`thinkaloud ask`: one question or a file of them, one reply to each or several and a vote."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import CONTROL, err, out, say, say_json
from thinkaloud.cli.opening import open_model
from thinkaloud.cli.talk import (
    AdapterOption,
    Budget,
    CacheOption,
    ContextOption,
    Effort,
    HideThinking,
    InstructionOption,
    MaxTokens,
    ModelOption,
    QuantizeOption,
    Seed,
    Temperature,
    chosen_model,
    speak,
    tell_instruction,
)

if TYPE_CHECKING:
    from thinkaloud.inference import ReasoningModel, Reply
    from thinkaloud.inference.asking import AskSettings

AT_ONCE = 64
"Replies drawn side by side: a long file is answered in portions."
VERIFIED = 4
"Replies drawn at most for --verify, unless --samples says otherwise."


def ask(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The question; read from stdin if left out.")
    ] = None,
    model: ModelOption = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Replies to draw at once; the answer given most often wins. With --verify: at most."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Questions, one a line, in place of TEXT.")
    ] = None,
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
    abstain_below: Annotated[
        float | None, typer.Option(help="With --verify: keep an answer back whose confidence is below this.")
    ] = None,
    instruction: InstructionOption = None,
    hide_thinking: HideThinking = False,
    adapter: AdapterOption = None,
    context: ContextOption = None,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON; with --file one object a line.")] = False,
) -> None:
    """Ask one question: a thought, then the answer.

    Or each line of a file; or for several replies and a vote.

    With --samples the exit code is 1 where no answer won the vote: none was given, or two were given equally often.

    Examples: thinkaloud ask "Red under A, blue under B. Swap AC BD CE. Where now?";
    thinkaloud ask --samples 8 < question.txt; thinkaloud ask --file questions.txt --json
    """
    if text is not None and file is not None:
        raise UserError("a question and a file of them are given: give one of the two")
    if abstain_below is not None and not verified:
        raise UserError("--abstain-below goes with --verify: give both, or leave it out")
    questions = [_question(text)] if file is None else _questions(file)
    opened = open_model(chosen_model(None, model), adapter=adapter, context=context, quantize=quantize, cache=cache)
    tell_instruction(opened.upbringing.instruction, "as here; --instruction '' leaves them out", instead=instruction)
    settings: AskSettings = {
        "effort": effort,
        "thinking_budget": budget,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "max_accuracy_loss": max_accuracy_loss,
        "instruction": instruction,
    }
    if verified:
        for question in questions:
            show = None if not as_json else say_json if file is None else say_line
            _tell_verified(opened, question, samples or VERIFIED, abstain_below, {**settings, "seed": seed}, show)
        return
    each = samples or 1
    if file is None and each == 1:
        _ask_one(opened, questions[0], {**settings, "seed": seed}, hide_thinking=hide_thinking, as_json=as_json)
        return
    undecided = 0
    portion = max(1, AT_ONCE // each)
    for start in range(0, len(questions), portion):
        asked = questions[start : start + portion]
        for question, replies in zip(asked, drawn(opened, asked, each, seed, settings), strict=True):
            told = voted(question, replies) if each > 1 else {"question": question, **as_dict(replies[0])}
            undecided += each > 1 and told["answer"] is None
            if as_json and file is None:
                say_json(told)
            elif as_json:
                say_line(told)
            elif each == 1:
                say(replies[0].answer)
            else:
                _tell_vote(told, named=len(questions) > 1)
    if undecided:
        raise typer.Exit(1)


def _ask_one(
    model: "ReasoningModel", question: str, settings: "AskSettings", *, hide_thinking: bool, as_json: bool
) -> None:
    """One reply, told as it comes."""
    from thinkaloud.rollouts.verified import kind_of

    asked: AskSettings = {**settings, "kind": kind_of(question)}
    stream = model.stream(question, **asked)
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
    show: Callable[[Any], None] | None,
) -> None:
    """The chosen answer, and on stderr what is known of it; or all of that by `show`."""
    from thinkaloud.rollouts.verified import ask_verified

    if settings["effort"] == "medium":  # nothing was said: confidences are of whole thoughts
        settings = {**settings, "effort": "high"}
    found = ask_verified(opened, question, samples=samples, abstain_below=abstain_below, **settings)
    if show is not None:
        show({"question": question, **asdict(found), "answer": found.answer})
        return
    say("(no answer)" if found.answer is None else found.answer)
    words = {True: "right", False: "wrong", None: "not checked"}[found.verified]
    sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
    checked = "" if found.verified is None else f" by the check of {found.check}"
    err().print(f"({words}{checked}{sure}; {found.drawn} drawn, {found.completion_tokens} tokens)", style="dim")


# --- several replies ---


def drawn(
    model: "ReasoningModel", questions: Sequence[str], samples: int, seed: int, settings: "AskSettings"
) -> list[list["Reply"]]:
    """So many replies to each question, all in one batch; the first is the one that a single sample would be."""
    from thinkaloud.rollouts.verified import kind_of

    streams = []
    for question in questions:
        group: list[AskSettings] = [
            {**settings, "kind": kind_of(question), "seed": seed + number} for number in range(samples)
        ]
        streams.append([model.stream(question, **one) for one in group])
    replies = []
    for under_way in streams:
        for stream in under_way:
            for _ in stream:
                pass
        replies.append([stream.reply for stream in under_way if stream.reply is not None])
    return replies


def alike(answer: str) -> str:
    """What of an answer counts in a vote: its words, whatever their case, spaces and full stop."""
    return " ".join(answer.split()).casefold().rstrip(".")


def voted(question: str, replies: Sequence["Reply"]) -> dict[str, Any]:
    """A vote: the answers with their counts, the most frequent first, the winner or None, and all replies.

    A reply that was cut off, or gives no answer, has no vote. Where two answers lead there is no winner.
    """
    groups: dict[str, list[str]] = {}
    for reply in replies:
        if reply.finish == "stop" and reply.answer.strip():
            groups.setdefault(alike(reply.answer), []).append(reply.answer.strip())
    ranked = sorted(groups.values(), key=len, reverse=True)
    won = bool(ranked) and (len(ranked) == 1 or len(ranked[0]) > len(ranked[1]))
    return {
        "question": question,
        "answer": ranked[0][0] if won else None,
        "votes": [{"answer": group[0], "count": len(group)} for group in ranked],
        "without": len(replies) - sum(map(len, ranked)),
        "replies": [as_dict(reply) for reply in replies],
    }


def _tell_vote(told: dict[str, Any], *, named: bool) -> None:
    if named:
        say(told["question"], "bold")
    for vote in told["votes"]:
        say(f"{vote['count']:>4} x  {vote['answer']}", "green" if vote["answer"] == told["answer"] else None)
    if told["without"]:
        say(f"{told['without']:>4} x  no answer", "dim")
    leaders = [vote for vote in told["votes"] if vote["count"] == told["votes"][0]["count"]]
    say(told["answer"] or (f"no winner: {len(leaders)} answers lead" if leaders else "no winner: no answer"), "bold")


# --- questions in, replies out ---


def _question(text: str | None) -> str:
    if text is None:
        if sys.stdin.isatty():
            raise UserError('nothing to ask: give the question, as in thinkaloud ask "...", or pipe it in')
        try:
            text = sys.stdin.read()
            text.encode()  # where the locale is no UTF-8, bytes that are none were let through
        except UnicodeError:
            raise UserError("the question on stdin is not UTF-8 text: convert it first") from None
    if not text.strip():
        raise UserError('the question is empty: give it some words, as in thinkaloud ask "..."')
    return text.strip()


def _questions(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text: convert it first") from None
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}): name a file with a question on each line") from None
    questions = [line for line in lines if line]
    if not questions:
        raise UserError(f"{file} holds no question: write one on each line")
    return questions


def say_line(value: Any) -> None:
    """JSON on a line of its own, at once visible to whoever reads the pipe."""
    text = json.dumps(value, ensure_ascii=False)
    out().out(CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text))
    out().file.flush()


def as_dict(reply: "Reply") -> dict[str, object]:
    """A reply with its token ledger, ready for JSON."""
    values = asdict(reply)
    values["usage"]["completion_tokens"] = reply.usage.completion_tokens
    return values
