"""Many clients at one server: nothing lost, nothing mixed up, memory flat; tokens a second, time to the first token.

    python benchmarks/serve.py --minutes 2                     # ours, the bundled model
    python benchmarks/serve.py --minutes 10 --kills            # and its workers are killed at random
    python benchmarks/serve.py --minutes 2 --url http://...    # any server of OpenAI's chat completions, speed only

Clients stream seeded replies to problems of the model's families, all at once. One in eight leaves midway, one in eight
reads slowly, one in eight sends a body that is none. Every reply that was read to its end is compared with the same
request answered offline, before the server starts. With `--kills` one in eight has the model call a tool that runs in
a process of its own, an MCP server, which dies at random: such a reply is the one that came before the load, or its
call says what went wrong.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from served import Served, offspring, served

from thinkaloud.problems import draw

MALFORMED = (b"", b"{", b"[]", b'{"messages": 5}', b'{"mesages": []}', b'{"messages": [], "n": NaN}', b"\xff\xfe")
SEEDS, PROBLEMS = 4, 16
KILL_SECONDS = (5.0, 40.0)
"From one kill to the next."
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
CALL = {"server_tools": ["square"], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 300}
"Calls must fit the tool's schema, so that a model that was taught none makes them all the same."


@dataclass
class Counts:
    """What the clients saw."""

    whole: int = 0
    "replies read to their end"
    left: int = 0
    "replies left midway"
    refused: int = 0
    "malformed bodies that were refused with 400"
    called: int = 0
    "calls that came to their result"
    broken: int = 0
    "calls whose process died, and that said so"
    kills: int = 0
    "processes killed"
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
    ended: bool = False
    "whether the stream came to its end"

    @property
    def text(self) -> tuple[str, str]:
        """Thought and answer."""
        return self.thought, self.answer


Truth = dict[tuple[str, int], tuple[str, str]]
"Question and seed -> thought and answer."


def expected(folder: Path, questions: list[str]) -> Truth:
    """Thought and answer of each question and seed, offline."""
    from thinkaloud.inference import load
    from thinkaloud.rollouts.verified import kind_of

    model = load(folder)
    found = {}
    for question in questions:
        for seed in range(SEEDS):
            reply = model.ask(question, seed=seed, kind=kind_of(question))
            found[question, seed] = (reply.thinking, reply.answer)
    return found


class Clients:
    """All clients of one load test."""

    def __init__(self, url: str, questions: list[str], truth: Truth, until: float) -> None:
        self.url, self.questions, self.truth, self.until = url, questions, truth, until
        self.counts = Counts()
        self.calm: dict[tuple[str, int], Told] = {}
        "replies with calls, as they were before the load"

    async def learn(self, http: httpx2.AsyncClient) -> None:
        """Ask for the replies with calls, one after another."""
        for question in self.questions[::4]:
            told = self.calm[question, 0] = await self.stream(http, self.body(question, 0) | CALL)
            assert told.ended and told.outputs and not told.outputs[0].startswith("error"), told
        self.counts = Counts()

    def body(self, question: str, seed: int) -> dict[str, Any]:
        """A request."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "seed": seed, "stream": True}
        return body | {"stream_options": {"include_usage": True}}

    async def one(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        """One client, request after request."""
        manners = ("leaves", "slow", "malformed", "calls" if self.calm else "plain", *["plain"] * 4)
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
        elif manner == "calls":
            question, seed = rng.choice(list(self.calm))
            told, before = await self.stream(http, self.body(question, seed) | CALL), self.calm[question, seed]
            died = any(one.startswith("error: ") for one in told.outputs)
            counts.broken += died
            counts.called += not died
            if told.ended and not died and (told.text, told.outputs) != (before.text, before.outputs):
                counts.wrong.append(f"a call, {question!r}: {told} instead of {before}")
        else:
            question, seed = rng.choice(self.questions), rng.randrange(SEEDS)
            leaves = rng.randrange(1, 12) if manner == "leaves" else None
            told = await self.stream(http, self.body(question, seed), leaves, 0.05 * (manner == "slow"))
            if told.ended and self.truth and told.text != self.truth[question, seed]:
                counts.wrong.append(f"{question!r}, seed {seed}: {told} instead of {self.truth[question, seed]}")

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


async def kill(server: Served, clients: Clients, rng: random.Random) -> None:
    """End a process that the server has started, again and again."""
    while time.monotonic() < clients.until - KILL_SECONDS[1]:
        await asyncio.sleep(rng.uniform(*KILL_SECONDS))
        victims = offspring(server.process.pid)
        if victims:
            os.kill(rng.choice(victims), signal.SIGKILL)
            clients.counts.kills += 1


async def load_test(url: str, server: Served | None, given: argparse.Namespace, truth: Truth) -> Counts:
    """All clients until the time is over; memory told once a quarter."""
    limits = httpx2.Limits(max_connections=given.clients + 8)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as http:
        clients = Clients(url, given.questions, truth, 0.0)
        if given.kills:
            await clients.learn(http)
        clients.until = time.monotonic() + 60 * given.minutes
        running = [asyncio.create_task(clients.one(http, random.Random(index))) for index in range(given.clients)]
        if given.kills and server is not None:
            running.append(asyncio.create_task(kill(server, clients, random.Random(-1))))
        for quarter in range(1, 5):
            await asyncio.sleep(15 * given.minutes)
            memory = "" if server is None else f", {server.resident:.0f} MiB"
            print(f"  quarter {quarter}: {clients.counts.whole} replies{memory}", flush=True)
        await asyncio.gather(*running)
        if server is not None:
            health = (await http.get(url.removesuffix("/v1") + "/health")).json()
            if health["running"] or health["waiting"]:
                clients.counts.wrong.append(f"rows left behind: {health}")
    return clients.counts


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def tell(counts: Counts, minutes: float) -> None:
    """What came out."""
    print(f"{counts.whole} replies whole, {counts.left} left midway, {counts.refused} malformed bodies refused")
    if counts.kills:
        print(f"{counts.kills} processes killed; {counts.called} calls made, {counts.broken} said what went wrong")
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
            tools = ("--mcp", f"{sys.executable} {name}/square.py") if given.kills else ()
            truth = expected(model, given.questions)
            with served(str(model), *tools) as server:
                counts = asyncio.run(load_test(server.url, server, given, truth))
    tell(counts, given.minutes)
    return bool(counts.wrong)


if __name__ == "__main__":
    sys.exit(main())
