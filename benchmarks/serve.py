"""Many clients at one server: nothing lost, nothing mixed up, memory flat; tokens a second, time to the first token.

    python benchmarks/serve.py --minutes 2                     # ours, the bundled model
    python benchmarks/serve.py --minutes 10 --kills            # and its workers are killed at random
    python benchmarks/serve.py --minutes 2 --url http://...    # any server of OpenAI's chat completions, speed only

Clients stream seeded replies to problems of the model's families, all at once. One in eight leaves midway, one in eight
reads slowly, one in eight sends a body that is none. Every reply that was read to its end is compared with the same
request answered offline, before the server starts. With `--kills` one in eight has the model call a tool of an MCP
server, one in eight the tool `python`, and one in eight asks for a verdict, half of those for one that takes a worker;
and the MCP server, the guests of `python` and the workers die at random. A reply with a call is the one that came
before the load, or its call says what went wrong; a verdict is the one given offline, or none. At the end nothing runs
that was not there before, but idle workers.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from killing import Killer
from served import Served, served

from thinkaloud.problems import draw
from thinkaloud.problems.sandbox.isolation import bubblewrap_fault

MALFORMED = (b"", b"{", b"[]", b'{"messages": 5}', b'{"mesages": []}', b'{"messages": [], "n": NaN}', b"\xff\xfe")
SEEDS, PROBLEMS = 4, 16
TOOL = """
import json, sys
NUMBER = {"type": "integer", "minimum": 1, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"n": NUMBER}, "required": ["n"], "additionalProperties": False}
ABOUT = {"capabilities": {"tools": {}}, "serverInfo": {"name": "square", "version": "1"}}
for line in sys.stdin:
    asked = json.loads(line)
    said = {"jsonrpc": "2.0", "id": asked.get("id")}
    if asked["method"] == "initialize":
        said["result"] = ABOUT | {"protocolVersion": asked["params"]["protocolVersion"]}
    elif asked["method"] == "tools/list":
        said["result"] = {"tools": [{"name": "square", "description": "Squares.", "inputSchema": SCHEMA}]}
    elif asked["method"] == "tools/call":
        square = asked["params"]["arguments"]["n"] ** 2
        said["result"] = {"content": [{"type": "text", "text": str(square)}]}
    else:
        said["error"] = {"code": -32601, "message": "unknown"}
    if "id" in asked:
        print(json.dumps(said), flush=True)
"""
"An MCP server by hand: it starts at once, and its arguments leave nothing open."
PROGRAM = "import time; time.sleep(2); print(6 * 7)"
NARROWED = f"""
import runpy
from thinkaloud.rollouts.tools import PythonTool
code = {{"type": "string", "enum": [{PROGRAM!r}]}}
PythonTool.parameters = {{**PythonTool.parameters, "properties": {{"code": code}}}}
runpy.run_module("thinkaloud", run_name="__main__")
"""
"A server whose tool `python` takes one program only: calls must fit the schema, so that they last, and say the same."
CALL = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 300}
"Calls must fit the tool's schema, so that a model that was taught none makes them all the same."
SUM = "What is 1 / 2 + 9 / 2?"
FORMULAS = ("$3+2$", "$3+1$", "$((((7+x)^9)^9+y)^9)^{99}$")
"Answers that only a worker can judge: right, wrong, and past the limit of two seconds."


@dataclass
class Counts:
    """What the clients saw."""

    whole: int = 0
    "replies read to their end"
    left: int = 0
    "replies left midway"
    refused: int = 0
    "malformed bodies that were refused with 400"
    called: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("square", "python"), 0))
    "calls that came to their result, by tool"
    broken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("square", "python"), 0))
    "calls whose process died, and that said so"
    verdicts: int = 0
    "verdicts that were those given offline"
    unjudged: int = 0
    "verdicts whose worker died"
    killed: dict[str, int] = field(default_factory=dict)
    "processes killed, by kind"
    wrong: list[str] = field(default_factory=list)
    "what should not have been"
    first: list[float] = field(default_factory=list)
    "seconds to the first token"
    tokens: int = 0
    "after the prompt, of replies that were read to their end"


@dataclass
class Told:
    """One reply as its client has read it."""

    thought: str = ""
    "all of it"
    answer: str = ""
    "all of it"
    outputs: list[str] = field(default_factory=list)
    "what the server's own tools said"
    verified: bool | None = None
    "the verdict, where it was asked for"
    ended: bool = False
    "whether the stream came to its end"

    @property
    def text(self) -> tuple[str, str]:
        """Thought and answer."""
        return self.thought, self.answer


Truth = dict[tuple[str, int], tuple[tuple[str, str], bool | None]]
"Question (or formula) and seed -> thought and answer, and the verdict."


def expected(folder: Path, questions: list[str]) -> Truth:
    """What the model says to each question and seed, offline, and to the sum, made to state each formula."""
    from thinkaloud.inference import load
    from thinkaloud.rollouts.verified import check_for, checked, kind_of, problem_of

    model = load(folder)
    found: Truth = {}
    for stated in (*questions, *FORMULAS):
        question, form = (SUM, {"schema": {"const": stated}}) if stated in FORMULAS else (stated, {})
        check, _ = check_for(problem_of(question), None)
        for seed in range(SEEDS):
            reply = model.ask(question, seed=seed, kind=kind_of(question), **form)
            found[stated, seed] = (reply.thinking, reply.answer), checked(check, reply)
    return found


class Clients:
    """All clients of one load test."""

    def __init__(self, url: str, questions: list[str], truth: Truth, until: float) -> None:
        self.url, self.questions, self.truth, self.until = url, questions, truth, until
        self.counts = Counts()
        self.calm: dict[tuple[str, str], Told] = {}
        "replies with calls, as they were before the load, by tool and question"

    async def learn(self, http: httpx2.AsyncClient, tools: Sequence[str]) -> None:
        """Ask for the replies with calls, one after another."""
        for tool in tools:
            for question in self.questions[::4]:
                told = self.calm[tool, question] = await self.stream(http, self.calling(tool, question))
                assert told.ended and told.outputs and not told.outputs[0].startswith("error"), told
        self.counts = Counts()

    def body(self, question: str, seed: int) -> dict[str, Any]:
        """A request."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "seed": seed, "stream": True}
        return body | {"stream_options": {"include_usage": True}}

    def calling(self, tool: str, question: str) -> dict[str, Any]:
        """A request with a call."""
        return self.body(question, 0) | CALL | {"server_tools": [tool]}

    def stating(self, formula: str, seed: int) -> dict[str, Any]:
        """A request whose answer must state a formula."""
        form = {"type": "json_schema", "json_schema": {"name": "formula", "schema": {"const": formula}}}
        return self.body(SUM, seed) | {"response_format": form}

    async def one(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        """One client, request after request."""
        calls = sorted({tool for tool, _ in self.calm})
        manners = ["leaves", "slow", "malformed", *calls, *["verified"] * bool(calls)]
        manners += ["plain"] * (8 - len(manners))
        while time.monotonic() < self.until:
            manner = rng.choice(manners) if self.truth else "plain"
            try:
                await self._ask(http, manner, rng)
            except httpx2.HTTPError as error:
                self.counts.wrong.append(f"{manner}: {type(error).__name__}: {error}")

    async def _ask(self, http: httpx2.AsyncClient, manner: str, rng: random.Random) -> None:
        counts = self.counts
        if manner == "malformed":
            headers = {"Content-Type": "application/json"}
            answer = await http.post(f"{self.url}/chat/completions", content=rng.choice(MALFORMED), headers=headers)
            counts.refused += answer.status_code == 400
            if answer.status_code != 400:
                counts.wrong.append(f"a malformed body got {answer.status_code}")
        elif manner in counts.called:
            question = rng.choice([one for tool, one in self.calm if tool == manner])
            told, before = await self.stream(http, self.calling(manner, question)), self.calm[manner, question]
            died = any(one.startswith("error: ") for one in told.outputs)
            counts.broken[manner] += died
            counts.called[manner] += told.ended and not died
            if told.ended and not died and (told.text, told.outputs) != (before.text, before.outputs):
                counts.wrong.append(f"a call, {question!r}: {told} instead of {before}")
        elif manner == "verified":
            stated, seed = rng.choice(rng.choice((self.questions, FORMULAS))), rng.randrange(SEEDS)
            body = self.stating(stated, seed) if stated in FORMULAS else self.body(stated, seed)
            told, (text, verdict) = await self.stream(http, body | {"verify": True}), self.truth[stated, seed]
            unjudged = stated in FORMULAS and told.verified is None
            counts.unjudged += told.ended and unjudged
            counts.verdicts += told.ended and not unjudged
            if told.ended and (told.text != text or told.verified != verdict and not unjudged):
                counts.wrong.append(f"a verdict on {stated!r}, seed {seed}: {told} instead of {text}, {verdict}")
        else:
            question, seed = rng.choice(self.questions), rng.randrange(SEEDS)
            leaves = rng.randrange(1, 12) if manner == "leaves" else None
            told = await self.stream(http, self.body(question, seed), leaves, 0.05 * (manner == "slow"))
            if told.ended and self.truth and told.text != self.truth[question, seed][0]:
                counts.wrong.append(f"{question!r}, seed {seed}: {told} instead of {self.truth[question, seed][0]}")

    async def stream(
        self, http: httpx2.AsyncClient, body: dict[str, Any], leaves: int | None = None, pause: float = 0.0
    ) -> Told:
        """One reply, read to its end or left after so many pieces."""
        counts, told, begun, pieces = self.counts, Told(), time.monotonic(), 0
        async with http.stream("POST", f"{self.url}/chat/completions", json=body) as response:
            if response.status_code != 200:
                counts.wrong.append(f"{response.status_code}: {(await response.aread()).decode()[:200]}")
                return told
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                if line == "data: [DONE]":
                    told.ended = True
                    continue
                chunk = json.loads(line[5:])
                for choice in chunk.get("choices", ()):
                    delta = choice["delta"]
                    if delta.get("content") or delta.get("reasoning_content"):
                        pieces += 1
                        if pieces == 1:
                            counts.first.append(time.monotonic() - begun)
                    told.thought += delta.get("reasoning_content") or ""
                    told.answer += delta.get("content") or ""
                    told.verified = choice.get("verified", told.verified)
                    told.outputs += [ran["output"] for ran in delta.get("server_tool_calls", ())]
                counts.tokens += (chunk.get("usage") or {}).get("completion_tokens", 0)
                if leaves is not None and pieces >= leaves:
                    counts.left += 1
                    return told
                await asyncio.sleep(pause)
        if told.ended:
            counts.whole += 1
        else:
            counts.wrong.append(f"a stream broke off: {line[:200]}")
        return told


async def load_test(url: str, server: Served | None, given: argparse.Namespace, truth: Truth) -> Counts:
    """All clients until the time is over; memory told once a quarter."""
    limits = httpx2.Limits(max_connections=given.clients + 8)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as http:
        clients = Clients(url, given.questions, truth, 0.0)
        if given.kills:
            await clients.learn(http, given.tools)
        clients.until = time.monotonic() + 60 * given.minutes
        running = [asyncio.create_task(clients.one(http, random.Random(index))) for index in range(given.clients)]
        killer = Killer(server.process.pid) if given.kills and server is not None else None
        if killer is not None:
            kinds = ("worker", "tool", *["guest"] * ("python" in given.tools))
            running += [asyncio.create_task(killer.kill(one, clients.until, random.Random(one))) for one in kinds]
        for quarter in range(1, 5):
            await asyncio.sleep(15 * given.minutes)
            memory = "" if server is None else f", {server.resident:.0f} MiB"
            print(f"  quarter {quarter}: {clients.counts.whole} replies{memory}", flush=True)
        await asyncio.gather(*running)
        if server is not None:
            health = (await http.get(url.removesuffix("/v1") + "/health")).json()
            if health["running"] or health["waiting"]:
                clients.counts.wrong.append(f"rows left behind: {health}")
        if killer is not None:
            account(clients.counts, killer)
    return clients.counts


def account(counts: Counts, killer: Killer) -> None:
    """What was killed, and what must not be: a process left behind, more that broke than was killed."""
    counts.killed = dict(killer.killed)
    counts.wrong += killer.left_behind(20.0)
    for what, broken, kind in (("calls", counts.broken["python"], "guest"), ("verdicts", counts.unjudged, "worker")):
        if broken > killer.killed[kind]:
            counts.wrong.append(f"{broken} {what} broke, but only {killer.killed[kind]} processes were killed")


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def tell(counts: Counts, minutes: float) -> None:
    """What came out."""
    print(f"{counts.whole} replies whole, {counts.left} left midway, {counts.refused} malformed bodies refused")
    if counts.killed:
        print("killed: " + ", ".join(f"{count} {kind}s" for kind, count in sorted(counts.killed.items())))
        for tool, called in counts.called.items():
            print(f"{tool}: {called} calls came to their result, {counts.broken[tool]} said what went wrong")
        print(f"{counts.verdicts} verdicts as offline, {counts.unjudged} replies without one")
    print(f"{counts.tokens / (60 * minutes):.0f} tokens a second, {counts.whole / minutes:.0f} replies a minute")
    told = ", ".join(f"p{round(100 * share)} {percentile(counts.first, share):.0f} ms" for share in (0.5, 0.9, 0.99))
    print(f"time to the first token: {told}")
    print(f"faults: {len(counts.wrong)}" + "".join(f"\n  {one}" for one in counts.wrong[:10]))


def roomy(folder: Path) -> Path:
    """The bundled model with positions enough for a tool's description."""
    from thinkaloud.inference import load

    shutil.copytree(load().path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kills", action="store_true", help="end the server's own processes at random")
    parser.add_argument("--url", help="a server that runs already, as http://HOST:PORT/v1; speed only")
    given = parser.parse_args()
    given.questions = [one.question for name in ("cups", "chains") for one in draw(name, "test", PROBLEMS // 2, seed=3)]
    with tempfile.TemporaryDirectory() as name:
        if given.url:
            counts = asyncio.run(load_test(given.url, None, given, {}))
        else:
            model = roomy(Path(name) / "model")
            (Path(name) / "square.py").write_text(TOOL)
            tools = ("--mcp", f"{sys.executable} {name}/square.py", "--tool", "python") if given.kills else ()
            given.tools = ("square", *["python"] * (bubblewrap_fault() is None))
            truth = expected(model, given.questions)
            with served(str(model), *tools, program=("-c", NARROWED)) as server:
                counts = asyncio.run(load_test(server.url, server, given, truth))
    tell(counts, given.minutes)
    return bool(counts.wrong)


if __name__ == "__main__":
    sys.exit(main())
