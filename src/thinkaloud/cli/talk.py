"""A reply spoken on the terminal as it comes: the thought dimmed, then the answer. Shared by `ask` and `chat`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import clean, err, out
from thinkaloud.cli.keys import Keys, keys

if TYPE_CHECKING:
    from thinkaloud.inference import Reply, ReplyStream

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A run, a checkpoint's folder or a hub id; the bundled model by default."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="A run, a checkpoint's folder or a hub id; the bundled one by default."
    ),
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", metavar="FOLDER", help="A LoRA adapter in PEFT's layout, merged in.")
]
QuantizeOption = Annotated[
    str | None, typer.Option("--quantize", metavar="FORMAT", help="Weights in int8 or int4 instead of their own.")
]
CacheOption = Annotated[
    str, typer.Option("--cache", metavar="FORMAT", help="Keys and values: auto, or int8 for long conversations.")
]
ContextOption = Annotated[int | None, typer.Option("--context", min=1, help="Longest conversation in tokens.")]
Effort = Annotated[str, typer.Option(help="How much to think: off, low, medium or high.")]
Budget = Annotated[int | None, typer.Option(min=0, help="Most tokens of the thought; goes before --effort.")]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of thought and answer; the model's own wish by default.")
]
Temperature = Annotated[
    float | None,
    typer.Option(min=0.0, help="Randomness; 0 takes the likeliest token; the model's own wish by default."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same reply.")]
InstructionOption = Annotated[
    str | None,
    typer.Option(
        "--instruction",
        metavar="TEXT",
        help="What follows the first question; by default what the model was trained with, '' for nothing.",
    ),
]
HideThinking = Annotated[bool, typer.Option("--hide-thinking", help="Show the answer only.")]


def chosen_model(positional: str | None, option: str | None) -> str | None:
    """The model meant by the two ways to name it; None for the bundled one."""
    if positional is not None and option is not None and positional != option:
        raise UserError(f"two models are named, {positional} and {option}: name one")
    return positional if positional is not None else option


def tell_instruction(instruction: str, words: str, *, instead: str | None = None) -> None:
    """Say which words followed each question that a model was trained on, and what becomes of them here.

    Nothing where there are none, or others are given `instead`.
    """
    if not instruction or instead is not None:
        return
    told = Text(clean(f"(it was trained with these words behind each question, {words}: {instruction})"), style="dim")
    err().print(told, soft_wrap=True)


HINT = "(a: answer now, f: add a fact, +: think on, p: pause; Ctrl-C: answer now, twice: leave)"
MORE = 128
"Tokens that + lets a thought take on top."


def speak(stream: "ReplyStream", *, hide_thinking: bool = False, hint: bool = True) -> tuple["Reply", bool]:
    """Print a reply as it comes. Returns it and whether it was interrupted.

    Ctrl-C has the model answer now, and ends an answer; the second one raises KeyboardInterrupt. At a terminal keys say
    more; `hint` shows which.
    """
    console, last = out(), ""
    with keys() as pressed, _interruptible() as interrupted:
        cut = heard = False
        if hint and pressed.there:
            err().print(HINT, style="dim")
        for piece in stream:
            if interrupted.is_set() and not heard:
                heard, cut = True, not stream.answer_now()
                if cut:
                    stream.cancel()
            _obey(stream, pressed, interrupted)
            if piece.kind in ("thinking", "taken_back") and hide_thinking:
                continue
            if last and piece.kind != last:
                console.out("\n")
            last = piece.kind
            text = "(in circles: taken back)" if piece.kind == "taken_back" else clean(piece.text)
            style = {"thinking": "dim", "taken_back": "dim italic", "tool_call": "cyan"}.get(piece.kind)
            console.out(text, style=style, end="")
            console.file.flush()
    if last:
        console.out()
    assert stream.reply is not None
    return stream.reply, cut


def _obey(stream: "ReplyStream", pressed: Keys, interrupted: Event) -> None:
    """What keys ask for; whoever pauses is waited for, until a key or Ctrl-C."""
    key = pressed.pressed()
    if key == "p":
        err().print("\n(paused: any key goes on)", style="dim")
        key = ""
        while not key and not interrupted.is_set():
            key = pressed.pressed(0.2)
    if key == "a":
        stream.answer_now()
    elif key == "+" and not stream.think_on(MORE):
        err().print(
            "\n(no room to think on: its thought is over, or may take all that --max-tokens leaves)", style="dim"
        )
    elif key == "f":
        fact = pressed.line("\nfact: ")
        if fact and not stream.add(fact):
            err().print("(too late: its thought is over)", style="dim")


@contextmanager
def _interruptible() -> Iterator[Event]:
    """The first Ctrl-C sets the event, so that the engine is never torn apart within a step; the second one raises."""
    event = Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
