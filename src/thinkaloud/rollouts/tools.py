"""Tools that are really run, between a model's calls and its next words.

Knows: calls, results, limits. Doesn't know: HTTP, gradients, who asks the model. A tool that fails tells the model so.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thinkaloud.inference import Reply
from thinkaloud.problems.sandbox import guests, monty
from thinkaloud.problems.sandbox.guests import Bounds
from thinkaloud.problems.sandbox.isolation import MONTY, STARTS, sandbox_here
from thinkaloud.problems.sandbox.process import Refused, Unjudged
from thinkaloud.text import Message, ToolCall


@dataclass(frozen=True, kw_only=True)
class ToolLimits:
    """What the tools of one reply may take."""

    rounds: int = 8
    "rounds of calls; in the turn after them the model must answer"
    calls: int = 8
    "calls in one round; those beyond are not made"
    seconds: float = 10.0
    "of one call"
    characters: int = 8_000
    "of one result; what is beyond is cut, and the model is told"


class Failed(Exception):
    """A call came to nothing; the message is for the model."""


class Tool(Protocol):
    """Something that can be called."""

    name: str
    "as the model calls it"
    description: str
    "what it does, for the model"
    parameters: Mapping[str, Any]
    "its arguments, as a JSON schema"

    def run(self, arguments: Mapping[str, Any], seconds: float) -> str:
        """Its result; Failed when there is none."""


def definition(tool: Tool) -> dict[str, Any]:
    """A tool as a chat template takes it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A call that was made."""

    call: ToolCall
    "what the model asked for"
    output: str
    "what it was told"


class ToolLoop:
    """A reply whose calls are run: `after` each turn gives the conversation that goes on, or None at the end.

    Example: `messages = [...]; while messages: reply = model.ask(messages, tools=loop.definitions, ...); messages =
    loop.after(reply)`.
    """

    def __init__(self, messages: Sequence[Message], tools: Sequence[Tool], limits: ToolLimits | None = None) -> None:
        self.messages = list(messages)
        self.limits = limits or ToolLimits()
        self.ran: list[Ran] = []
        "all calls so far"
        self.rounds = 0
        self._tools = {tool.name: tool for tool in tools}

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools as a chat template takes them."""
        return [definition(tool) for tool in self._tools.values()]

    @property
    def may_call(self) -> bool:
        """Whether the next turn may ask for tools; false once the rounds are spent: then it must answer."""
        return self.rounds < self.limits.rounds

    def after(self, reply: Reply) -> list[Message] | None:
        """Run what a reply calls. None when it calls nothing, when it calls what is not ours, or was cut off."""
        calls = reply.tool_calls
        if not calls or reply.finish != "stop" or not self.may_call:
            return None
        if any(call.name not in self._tools for call in calls):
            return None
        self.rounds += 1
        ran = [Ran(call=call, output=self._run(call, index)) for index, call in enumerate(calls)]
        self.ran += ran
        self.messages.append(Message("assistant", reply.answer, reply.thinking or None, calls))
        self.messages += [Message("tool", one.output) for one in ran]
        return self.messages

    def _run(self, call: ToolCall, index: int) -> str:
        if index >= self.limits.calls:
            return f"error: only {self.limits.calls} calls a turn are made"
        try:
            text = self._tools[call.name].run(call.arguments, self.limits.seconds)
        except Failed as error:
            text = f"error: {error}"
        most = self.limits.characters
        return text if len(text) <= most else f"{text[:most]}\n[cut: {len(text) - most} more characters]"


def converse(ask: Callable[[Sequence[Message], bool], Reply], loop: ToolLoop) -> list[Reply]:
    """All turns of a reply with tools, the last one its answer. `ask` gets the messages and whether it may call."""
    replies = []
    messages: list[Message] | None = loop.messages
    while messages:
        replies.append(ask(messages, loop.may_call))
        messages = loop.after(replies[-1])
    return replies


class PythonTool:
    """A Python program, run in the sandbox: bubblewrap where it works, else a subset of Python in Monty."""

    name = "python"
    description = "Runs a Python program without network or files and returns what it prints."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "the program"}},
        "required": ["code"],
        "additionalProperties": False,
    }

    def run(self, arguments: Mapping[str, Any], seconds: float) -> str:
        """What the program prints, and the value of its last line."""
        code = arguments.get("code")
        if not isinstance(code, str) or not code.strip():
            raise Failed('the argument "code" must be a Python program')
        bounds = Bounds(seconds=seconds / 3)
        sandbox = sandbox_here(False)
        try:
            source = showing_last(code)
            if sandbox == MONTY:
                return monty.run_program(source, "", bounds)
            return guests.run_program(STARTS[sandbox], GUARDED.format(source=source), "", bounds)
        except Refused as error:
            said = "it took too long, or too much memory" if str(error) == "limit" else "the program failed"
            raise Failed(said + (f": {error.__cause__}" if error.__cause__ else "")) from None
        except Unjudged as error:
            raise Failed(f"the sandbox can't run this program ({error})") from None
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Failed(f"no valid Python: {error}") from None
        except OSError as error:
            raise Failed(f"the sandbox can't be started ({error.strerror})") from None


GUARDED = """try:
    exec(compile({source!r}, "program", "exec"), {{"__name__": "__main__"}})
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
"Around a program, so that the model sees what went wrong."


def showing_last(code: str) -> str:
    """The program, made to print the value of its last line where that is a bare expression."""
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or (isinstance(last.value, ast.Call) and ast.unparse(last.value.func) == "print"):
        return code
    shown = ast.parse("print(repr(0))").body[0]
    assert isinstance(shown, ast.Expr) and isinstance(shown.value, ast.Call)
    inner = shown.value.args[0]
    assert isinstance(inner, ast.Call)
    inner.args = [last.value]
    return ast.unparse(ast.Module([*tree.body[:-1], shown], []))
