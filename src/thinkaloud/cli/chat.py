"""`thinkaloud chat`: a conversation on the terminal, as plain as can be."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from textwrap import shorten
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import complain, err, out, say
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
    ModelArgument,
    ModelOption,
    QuantizeOption,
    Seed,
    Temperature,
    chosen_model,
    speak,
    tell_instruction,
)

EXAMPLES, WIDTH = 12, 68
"Questions of a family, of which the shortest is shown, and most characters of it."
HELP = """\
  /new          forget the conversation and begin a new one
  /budget N     most tokens of a thought; /budget alone: as the effort has it
  /effort NAME  how much to think: off, low, medium or high
  /add TEXT     begin the next thought with this
  /history WAY  earlier thoughts that the model sees: drop, tools or keep
  /exit         leave (so does Ctrl-D)
  /help         this list
  Ctrl-C has the model answer now, or ends its answer, and leaves when pressed twice; while it speaks, a: answer now,
  f: add a fact, +: think on, p: pause. The arrow keys bring earlier lines back."""


def chat(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    effort: Effort = "medium",
    budget: Budget = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    instruction: InstructionOption = None,
    hide_thinking: HideThinking = False,
    adapter: AdapterOption = None,
    context: ContextOption = None,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Talk with a model that thinks aloud.

    Its thoughts are dimmed; /help lists what can be typed.
    """
    from thinkaloud.text import Message

    name = chosen_model(model, model_option)
    talker = open_model(name, adapter=adapter, context=context, quantize=quantize, cache=cache)
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  (gives input() its arrow keys)
        say(f"{talker.path}: type a question, /help or /exit", "dim")
        greet(talker.upbringing.families, single=talker.upbringing.turns == 1)
    words = "as here behind the first one; --instruction '' leaves them out"
    tell_instruction(talker.upbringing.instruction, words, instead=instruction)
    conversation: list[Message] = []
    wishes: dict[str, Any] = {"effort": effort, "thinking_budget": budget, "history": "tools", "thought": ""}
    turn = 0
    while (line := _read()) is not None:
        if line == "/exit":
            return
        if line == "/new":
            conversation = []
        elif line.split(" ")[0] in ("/budget", "/effort", "/add", "/history"):
            _wish(line, wishes)
        elif line.startswith("/"):
            say(HELP if line == "/help" else f"there is no {line.split()[0]}; this is what there is:\n{HELP}", "dim")
        elif line:
            asked = [*conversation, Message("user", line)]
            try:
                stream = talker.stream(
                    asked,
                    **wishes,
                    instruction=instruction,
                    max_tokens=max_tokens,
                    temperature=temperature,
                    seed=seed + turn,
                )
            except UserError as error:
                cure = " (/new begins a new conversation)" if conversation else ""
                complain(f"{error}{cure}" + (" (what /add gave is forgotten)" if wishes["thought"] else ""))
                wishes["thought"] = ""  # or every line from here on would meet the same fault
                continue
            wishes["thought"] = ""
            reply, interrupted = speak(stream, hide_thinking=hide_thinking, hint=turn == 0)
            if interrupted:
                err().print("(interrupted)", style="dim")
            elif reply.finish == "length":
                err().print(f"(cut off after {reply.usage.completion_tokens} tokens)", style="dim")
            if reply.answer and talker.upbringing.turns != 1:
                conversation = [*asked, Message("assistant", reply.answer, thinking=reply.thinking or None)]
            turn += 1
            out().out()


def _wish(line: str, wishes: dict[str, Any]) -> None:
    """Take a setting from a line such as "/budget 200"."""
    command, _, value = line.partition(" ")
    value = value.strip()
    known = {"/effort": ("off", "low", "medium", "high"), "/history": ("drop", "tools", "keep")}
    if command in known and value not in known[command]:
        complain(f"{command} {value or '(nothing)'} is unknown: choose one of {', '.join(known[command])}")
    elif command in known:
        wishes[command[1:]] = value
    elif command == "/add" and wishes["effort"] == "off":
        complain("with effort off there is no thought to begin: choose another effort, as in /effort low")
    elif command == "/add":
        wishes["thought"] += f"{value}\n" if value else ""
    elif value and not value.isdecimal():
        complain(f"a budget of {value!r} makes no sense: give a number of tokens")
    else:
        wishes["thinking_budget"] = int(value) if value else None


def greet(families: Sequence[str], *, single: bool) -> None:
    """What a model of ours can be asked: a short question of each family, the names of the gym's."""
    from thinkaloud.problems import FAMILIES, draw

    known = [name for name in families if name in FAMILIES and name != "talk"]
    gym = [name for name in known if name.startswith("gym_")]  # its library takes seconds to import
    for name in [name for name in known if name not in gym]:
        questions = [problem.question for problem in draw(name, "test", EXAMPLES, 7)]
        say(f"  {name:10} {shorten(min(questions, key=len), WIDTH, placeholder=' ...')}", "dim")
    if gym:
        say(f"  of reasoning-gym: {', '.join(name.removeprefix('gym_') for name in gym)}", "dim")
    if "talk" in families:
        say("  where it did not learn something, it says so", "dim")
    if single:
        say("  it was taught single questions: each line begins a new conversation", "dim")


def _read() -> str | None:
    """The next line, or None at the end of input."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            return input(prompt).strip()
        except EOFError:
            if prompt:
                out().out()
            return None
        except KeyboardInterrupt:
            out().out()
            say("(/exit or Ctrl-D leaves)", "dim")
        except UnicodeDecodeError:
            complain("this line is not UTF-8 text: type it again")
