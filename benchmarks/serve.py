"""Many clients at one server: nothing lost, nothing mixed up, memory flat; tokens a second, time to the first token.

    python benchmarks/serve.py --minutes 2                     # ours, the bundled model
    python benchmarks/serve.py --minutes 2 --url http://...    # any server of OpenAI's chat completions, speed only

Clients stream seeded replies to problems of the model's families, all at once. One in eight leaves midway, one in eight
reads slowly, one in eight sends a body that is none. Every reply that was read to its end is compared with the same
request answered offline, before the server starts.
"""

import argparse
import asyncio
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from thinkaloud.problems import draw

MALFORMED = (b"", b"{", b"[]", b'{"messages": 5}', b'{"mesages": []}', b'{"messages": [], "n": NaN}', b"\xff\xfe")
SEEDS, PROBLEMS = 4, 16


@dataclass
class Counts:
    """What the clients saw."""

    whole: int = 0
    "replies read to their end"
    left: int = 0
    "replies left midway"
    refused: int = 0
    "malformed bodies that were refused with 400"
    wrong: list[str] = field(default_factory=list)
    "what should not have been"
    first: list[float] = field(default_factory=list)
    "seconds to the first token"
    tokens: int = 0
    "after the prompt, of replies that were read to their end"


def expected(questions: list[str]) -> dict[tuple[str, int], tuple[str, str]]:
    """Thought and answer of each question and seed, offline."""
    from thinkaloud.inference import load
    from thinkaloud.rollouts.verified import kind_of

    model = load()
    found = {}
    for question in questions:
        for seed in range(SEEDS):
            reply = model.ask(question, seed=seed, kind=kind_of(question))
            found[question, seed] = (reply.thinking, reply.answer)
    return found


async def client(
    http: httpx2.AsyncClient,
    url: str,
    questions: list[str],
    truth: dict[tuple[str, int], tuple[str, str]],
    counts: Counts,
    until: float,
    rng: random.Random,
) -> None:
    """One client, request after request."""
    while time.monotonic() < until:
        manner = rng.choice(("leaves", "slow", "malformed", *["plain"] * 5)) if truth else "plain"
        if manner == "malformed":
            headers = {"Content-Type": "application/json"}
            answer = await http.post(f"{url}/chat/completions", content=rng.choice(MALFORMED), headers=headers)
            counts.refused += answer.status_code == 400
            if answer.status_code != 400:
                counts.wrong.append(f"a malformed body got {answer.status_code}")
            continue
        question, seed = rng.choice(questions), rng.randrange(SEEDS)
        try:
            said = await _stream(http, url, question, seed, manner, counts, rng)
        except httpx2.HTTPError as error:
            counts.wrong.append(f"{type(error).__name__}: {error}")
            continue
        if said is not None and truth and said != truth[question, seed]:
            counts.wrong.append(f"{question!r}, seed {seed}: {said} instead of {truth[question, seed]}")


async def _stream(
    http: httpx2.AsyncClient, url: str, question: str, seed: int, manner: str, counts: Counts, rng: random.Random
) -> tuple[str, str] | None:
    """Thought and answer of one reply; None where the client left midway."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "seed": seed, "stream": True}
    body["stream_options"] = {"include_usage": True}
    begun, pieces, thought, answer, ended = time.monotonic(), 0, "", "", False
    leaves = rng.randrange(1, 12) if manner == "leaves" else None
    async with http.stream("POST", f"{url}/chat/completions", json=body) as response:
        if response.status_code != 200:
            counts.wrong.append(f"{response.status_code}: {(await response.aread()).decode()[:200]}")
            return None
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            if line == "data: [DONE]":
                ended = True
                continue
            chunk = json.loads(line[5:])
            for choice in chunk["choices"]:
                delta = choice["delta"]
                if delta.get("content") or delta.get("reasoning_content"):
                    pieces += 1
                    if pieces == 1:
                        counts.first.append(time.monotonic() - begun)
                thought += delta.get("reasoning_content") or ""
                answer += delta.get("content") or ""
            counts.tokens += (chunk.get("usage") or {}).get("completion_tokens", 0)
            if leaves is not None and pieces >= leaves:
                counts.left += 1
                return None
            if manner == "slow":
                await asyncio.sleep(0.05)
    if not ended:
        counts.wrong.append("a stream broke off")
        return None
    counts.whole += 1
    return thought, answer


def resident(process: int) -> float:
    """Memory that a process holds now, in MiB."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


async def load_test(url: str, process: int | None, given: argparse.Namespace, truth: dict[Any, Any]) -> Counts:
    """All clients until the time is over; memory told once a quarter."""
    counts, until = Counts(), time.monotonic() + 60 * given.minutes
    questions = given.questions
    limits = httpx2.Limits(max_connections=given.clients + 8)
    async with httpx2.AsyncClient(timeout=120, limits=limits) as http:
        rngs = [random.Random(number) for number in range(given.clients)]
        running = [asyncio.create_task(client(http, url, questions, truth, counts, until, rng)) for rng in rngs]
        for quarter in range(1, 5):
            await asyncio.sleep(15 * given.minutes)
            memory = "" if process is None else f", {resident(process):.0f} MiB"
            print(f"  quarter {quarter}: {counts.whole} replies{memory}", flush=True)
        await asyncio.gather(*running)
        if process is not None:
            health = (await http.get(url.removesuffix("/v1") + "/health")).json()
            if health["running"] or health["waiting"]:
                counts.wrong.append(f"rows left behind: {health}")
    return counts


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def tell(counts: Counts, minutes: float) -> None:
    """What came out."""
    print(f"{counts.whole} replies whole, {counts.left} left midway, {counts.refused} malformed bodies refused")
    print(f"{counts.tokens / (60 * minutes):.0f} tokens a second, {counts.whole / minutes:.0f} replies a minute")
    told = ", ".join(f"p{round(100 * share)} {percentile(counts.first, share):.0f} ms" for share in (0.5, 0.9, 0.99))
    print(f"time to the first token: {told}")
    print(f"faults: {len(counts.wrong)}" + "".join(f"\n  {one}" for one in counts.wrong[:10]))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--url", help="a server that runs already, as http://HOST:PORT/v1; speed only")
    given = parser.parse_args()
    given.questions = [one.question for name in ("cups", "chains") for one in draw(name, "test", PROBLEMS // 2, seed=3)]
    if given.url:
        counts = asyncio.run(load_test(given.url, None, given, {}))
        tell(counts, given.minutes)
        return bool(counts.wrong)
    truth = expected(given.questions)
    command = [sys.executable, "-m", "thinkaloud", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+:\d+/v1", server.stdout.readline())
        assert found is not None
        try:
            counts = asyncio.run(load_test(found[0], server.pid, given, truth))
        finally:
            server.terminate()
    if server.returncode:
        counts.wrong.append(f"the server ended with {server.returncode}")
    tell(counts, given.minutes)
    return bool(counts.wrong)


if __name__ == "__main__":
    sys.exit(main())
