"""Tools that are really run: Python in the sandbox, MCP servers, and the loop between a model's turns."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from serving import QUESTION, Live, random_model
from thinkaloud.base.errors import UserError
from thinkaloud.inference import Reply, Usage, load
from thinkaloud.problems.sandbox import monty
from thinkaloud.problems.sandbox.isolation import BUBBLEWRAP, MONTY, sandbox_here
from thinkaloud.rollouts import tools
from thinkaloud.rollouts.mcp_tools import McpServers
from thinkaloud.rollouts.tools import Failed, PythonTool, ToolLimits, ToolLoop, converse
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own
from thinkaloud.text import Message, ToolCall

DEMO = """
import os
from mcp.server import MCPServer
app = MCPServer("demo")
@app.tool()
def add(a: int, b: int) -> int:
    "Adds two numbers."
    return a + b
@app.tool()
def process() -> int:
    return os.getpid()
@app.tool()
async def sleep() -> str:
    import anyio
    await anyio.sleep(30)
    return "x"
app.run()
"""


class Double:
    """A tool that doubles a number."""

    name = "double"
    description = "Doubles a number."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }

    def run(self, arguments: Mapping[str, Any], seconds: float) -> str:
        if not isinstance(arguments.get("n"), int):
            raise Failed("n must be a number")
        return str(2 * arguments["n"])


SPARED = "error: only 2 calls a turn are made"


def reply(*calls: ToolCall, answer: str = "") -> Reply:
    usage = Usage(prompt_tokens=1, thinking_tokens=1, forced_tokens=0, answer_tokens=1)
    return Reply(thinking="hm", answer=answer, tool_calls=calls, usage=usage, finish="stop", thought_end="natural")


def test_a_loop_runs_calls_until_there_are_none() -> None:
    script = [reply(ToolCall("double", {"n": 4})), reply(ToolCall("double", {"n": "x"})), reply(answer="8")]
    loop = ToolLoop([Message("user", "?")], [Double()])
    seen: list[int] = []

    def ask(messages: Any, may_call: bool) -> Reply:
        seen.append(len(messages))
        assert may_call
        return script[len(seen) - 1]

    turns = converse(ask, loop)
    assert turns == script and seen == [1, 3, 5]
    assert [one.output for one in loop.ran] == ["8", "error: n must be a number"]
    assert loop.messages[1].thinking == "hm" and loop.messages[2] == Message("tool", "8")
    assert loop.definitions[0]["function"]["name"] == "double"


def test_a_loop_keeps_its_limits() -> None:
    loop = ToolLoop([Message("user", "?")], [Double()], ToolLimits(rounds=1, calls=2, characters=1))
    three = reply(*(ToolCall("double", {"n": n}) for n in (3, 6, 7)))
    messages = loop.after(three)
    assert messages is not None and not loop.may_call
    assert [one.content for one in messages[2:]] == ["6", "1\n[cut: 1 more characters]", SPARED]
    assert loop.after(three) is None
    assert ToolLoop([Message("user", "?")], [Double()]).after(reply(ToolCall("other"))) is None


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print(6 * 7)", "42\n"),
        ("x = 6\nx * 7", "42\n"),
        ("'a' + 'b'", "'ab'\n"),
        ("def f(n):\n    return n + 1\nprint(f(1))\nf(2)", "2\n3\n"),
    ],
)
def test_python_prints(code: str, output: str) -> None:
    assert PythonTool().run({"code": code}, 20) == output


def test_python_fails_in_words() -> None:
    tool = PythonTool()
    try:
        said = tool.run({"code": "1 / 0"}, 20)
    except Failed as error:
        said = str(error)
    assert "ivision" in said
    for code, words in (("def f(:", "no valid Python"), ("while True: pass", "too long"), ("", "must be")):
        with pytest.raises(Failed, match=words):
            tool.run({"code": code}, 1.5)


def children() -> list[int]:
    """Processes that this one has started and that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("sandbox", [BUBBLEWRAP, MONTY])
def test_a_program_whose_process_is_killed_fails_in_words(sandbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if sandbox == BUBBLEWRAP and sandbox_here(False) != BUBBLEWRAP:
        pytest.skip("no bubblewrap here")
    monkeypatch.setattr(tools, "sandbox_here", lambda unsafe: sandbox)
    monty.pool.cache_clear()
    tool, before = PythonTool(), set(children())
    long = "import time\ntime.sleep(20)" if sandbox == BUBBLEWRAP else "n = 0\nwhile True:\n    n += 1"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(tool.run, {"code": long}, 60)
        while not (new := set(children()) - before) and not running.done():
            time.sleep(0.01)
        time.sleep(0.3)
        for process in new:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(Failed, match="took too long|can't run"):
            running.result(20)
    assert sandbox == MONTY or set(children()) <= before
    assert tool.run({"code": "print(6 * 7)"}, 20) == "42\n"


def test_an_idle_process_of_monty_that_is_killed_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "sandbox_here", lambda unsafe: MONTY)
    before = set(children())
    monty.pool.cache_clear()
    assert PythonTool().run({"code": "print(1)"}, 20) == "1\n"
    for process in set(children()) - before:
        os.kill(process, signal.SIGKILL)
    assert PythonTool().run({"code": "print(2)"}, 20) == "2\n"


def test_a_machine_that_starts_no_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> str:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(tools, "sandbox_here", lambda unsafe: BUBBLEWRAP)
    monkeypatch.setattr(tools.guests, "run_program", full)
    with pytest.raises(Failed, match="can't be started"):
        PythonTool().run({"code": "print(1)"}, 20)


def test_mcp_servers_lend_their_tools(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "demo.py").write_text(DEMO)
    with McpServers([f"{sys.executable} {tmp_path / 'demo.py'}"]) as servers:
        tools = {tool.name: tool for tool in servers.tools}
        assert tools["add"].run({"a": 2, "b": 3}, 60) == "5"
        assert tools["add"].description == "Adds two numbers." and "a" in tools["add"].parameters["properties"]
        with pytest.raises(Failed):
            tools["add"].run({"a": "x"}, 60)
        with pytest.raises(Failed, match=r"no result within 0\.2 s"):
            tools["sleep"].run({}, 0.2)


@pytest.mark.slow
def test_an_mcp_server_that_dies_is_started_again(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "demo.py").write_text(DEMO)
    with McpServers([f"{sys.executable} {tmp_path / 'demo.py'}"]) as servers:
        tools = {tool.name: tool for tool in servers.tools}
        for _ in range(2):
            os.kill(int(tools["process"].run({}, 60)), signal.SIGKILL)
            with pytest.raises(Failed, match="closed|has ended"):
                tools["add"].run({"a": 2, "b": 3}, 60)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    assert tools["add"].run({"a": 2, "b": 3}, 60) == "5"
                    break
                except Failed:
                    time.sleep(0.2)
            else:
                pytest.fail("it was not started again")


def test_an_mcp_server_that_does_not_start_is_named() -> None:
    pytest.importorskip("mcp")
    for command, words in (("no-such-program", "does not start"), ("'", "quote it"), ("", "is empty")):
        with pytest.raises(UserError, match=words), McpServers([command]):
            pass


def test_the_server_runs_its_own_tools(tmp_path: Path) -> None:
    model = load(random_model(tmp_path))
    service = own(model, "random", limits=Limits(tool_rounds=2), tools=[Double()])
    ask = {"messages": QUESTION, "max_tokens": 120, "thinking_budget": 4, "server_tools": ["double"], "seed": 1}
    ask |= {"tool_choice": "required", "parallel_tool_calls": False}
    with Live(service) as live:
        told = httpx2.post(live.url + "/chat/completions", json=ask, timeout=60).json()
        message = told["choices"][0]["message"]
        first = message["server_tool_calls"][0]
        assert first["output"] == str(2 * first["arguments"]["n"])
        assert "tool_calls" not in message or message["tool_calls"]
        assert len(message["server_tool_calls"]) <= 2
        lines = httpx2.post(live.url + "/chat/completions", json=ask | {"stream": True}, timeout=60).text.splitlines()
        chunks = [json.loads(line[5:]) for line in lines if line.startswith("data: {")]
        ran = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("server_tool_calls", ())]
        assert ran == message["server_tool_calls"] and len({chunk["id"] for chunk in chunks}) == 1
        thought = "".join(chunk["choices"][0]["delta"].get("reasoning_content", "") for chunk in chunks)
        assert thought == message["reasoning_content"] and "\n" in thought
        both = ask | {"tools": [{"type": "function", "function": {"name": "double"}}]}
        for refused in (ask | {"n": 2}, both, ask | {"server_tools": ["other"]}):
            assert httpx2.post(live.url + "/chat/completions", json=refused).status_code == 400
