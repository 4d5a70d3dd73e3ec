"""Our server beside llama.cpp's and vLLM's on the same machine: tokens a second and time to the first token.

    make bench-serve                                       # all, two rounds
    make bench-serve BENCH="--rounds 1 --clients 1,8"      # a part

All serve one model: random weights in the shape of Qwen2.5-0.5B with its tokenizer, in bfloat16, and in 8 bits (ours
int8, llama.cpp Q8_0). One server runs at a time, the rest of the machine quiet; a round has each once, so that they
alternate. So many clients at once stream greedy completions of prompts that nobody has asked before, all equally long;
each asks its next when its last has ended. Servers start and warm up beforehand. Ratios are of the medians.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx2
from cpu import processor
from peers.contract import MODELS, qwen2_config
from published import PYTHON, VLLM, convert, fetched, unpacked, write_published
from served import running

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "data" / "serve_peers.json"
PROMPT, REPLY = 64, 32
"Words of a prompt, each a token; tokens of a reply."
ASKED = {1: 4, 8: 2, 64: 1}
"Clients at once -> replies of each."
ROWS, CONTEXT = 64, 256
"Replies at a time and tokens of one, of every server."


def servers(folder: Path, threads: int) -> dict[str, list[str]]:
    """The commands, their port left out."""
    ours = [sys.executable, "-m", "thinkaloud", "serve", str(folder), "--rows", str(ROWS), "--context", str(CONTEXT)]
    llama = [str(PYTHON), str(HERE / "peers/serve_llama_cpp.py"), "--rows", str(ROWS), "--context", str(CONTEXT)]
    llama += ["--threads", str(threads)]
    vllm = [*VLLM, str(folder), "--dtype", "bfloat16"]
    vllm += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(ROWS), "--no-enable-prefix-caching"]
    return {
        "ours bf16": ours,
        "llama.cpp bf16": [*llama, f"{folder}.bf16.gguf"],
        "vLLM bf16": vllm,
        "ours int8": [*ours, "--quantize", "int8"],
        "llama.cpp q8_0": [*llama, f"{folder}.q8_0.gguf"],
    }


def prepared(sources: Path | None) -> Path:
    """The model as a folder, its GGUF files beside it; made once."""
    from thinkaloud.model import ModelConfig

    folder = MODELS / "served"
    if not Path(f"{folder}.q8_0.gguf").exists():
        with TemporaryDirectory() as name:
            unpacked_to = unpacked(sources or fetched(Path(name)), Path(name))
            assert unpacked_to is not None, "the sources of llama.cpp could not be fetched"
            write_published(folder, unpacked_to, ModelConfig(**qwen2_config("M")), "bfloat16")
            for form in ("bf16", "q8_0"):
                problem = convert(folder, Path(f"{folder}.{form}.gguf"), unpacked_to, form)
                assert not problem, problem
    return folder


class Load:
    """Clients that ask a server, and what they saw."""

    def __init__(self, address: str, model: str, rng: random.Random) -> None:
        self.address, self.model, self.rng = address, model, rng
        self.first: list[float] = []
        "seconds to the first piece, of every reply"
        self.tokens = 0
        "of all replies"

    def body(self) -> dict[str, object]:
        """A request whose prompt is new."""
        words = [self.rng.choice(("one", "two", "red", "blue", "cat", "dog", "sun", "sea")) for _ in range(PROMPT)]
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        return {"model": self.model, "prompt": " ".join(words), "max_tokens": REPLY, "temperature": 0.0, **stream}

    async def client(self, http: httpx2.AsyncClient, replies: int) -> None:
        """One client, reply after reply."""
        for _ in range(replies):
            begun, first, counted = time.monotonic(), None, 0
            async with http.stream("POST", f"{self.address}/completions", json=self.body()) as response:
                assert response.status_code == 200, (await response.aread())[:300]
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        chunk = json.loads(line[6:])
                        if first is None and chunk["choices"]:
                            first = time.monotonic() - begun
                        counted = (chunk.get("usage") or {}).get("completion_tokens", counted)
            assert first is not None and counted, "an empty reply"
            self.first.append(first)
            self.tokens += counted

    async def run(self, clients: int, replies: int) -> dict[str, float]:
        """All clients to their end: tokens a second, seconds to the first token."""
        self.first, self.tokens = [], 0
        # A connection a request: llama.cpp's server may end an idle one in the moment in which it is asked again.
        limits = httpx2.Limits(max_connections=clients + 8, max_keepalive_connections=0)
        begun = time.monotonic()
        async with httpx2.AsyncClient(timeout=600, limits=limits) as http:
            await asyncio.gather(*[self.client(http, replies) for _ in range(clients)])
        waited = sorted(self.first)
        return {
            "tokens_per_second": self.tokens / (time.monotonic() - begun),
            "first_p50": median(waited),
            "first_p90": waited[min(len(waited) - 1, int(0.9 * len(waited)))],
        }


async def measured(address: str, clients: list[int], rng: random.Random) -> dict[int, dict[str, float]]:
    """One server's numbers, for each number of clients."""
    async with httpx2.AsyncClient(timeout=60) as http:
        model = (await http.get(f"{address}/models")).json()["data"][0]["id"]
    load = Load(address, model, rng)
    await load.run(2, 1)
    return {many: await load.run(many, ASKED[many]) for many in clients}


def table(found: dict[str, list[dict[int, dict[str, float]]]], clients: list[int]) -> str:
    """Medians over the rounds, and ours over each peer of as many bits."""
    lines = [
        "| server | clients | tokens a second | first token, ms: median | p90 | ours over it | its wait over ours |"
    ]
    lines.append("| --- " + "| ---: " * 6 + "|")
    for many in clients:
        told = {
            name: {key: median(one[many][key] for one in rounds) for key in rounds[0][many]}
            for name, rounds in found.items()
            if rounds
        }
        for name, one in told.items():
            ours = told.get("ours int8" if name.endswith(("q8_0", "int8")) else "ours bf16", one)
            ratios = (ours["tokens_per_second"] / one["tokens_per_second"], one["first_p50"] / ours["first_p50"])
            last = ["", ""] if one is ours else [f"{ratio:.2f}" for ratio in ratios]
            first = [f"{1000 * one[key]:,.0f}" for key in ("first_p50", "first_p90")]
            cells = [name, str(many), f"{one['tokens_per_second']:.1f}", *first, *last]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", default="1,8,64", help="numbers of clients")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="names of servers, separated by commas")
    parser.add_argument("--sources", type=Path, help="the sources of llama-cpp-python, where they are at hand")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    clients = [int(one) for one in given.clients.split(",")]
    commands = servers(prepared(given.sources), given.threads)
    chosen = given.only.split(",") if given.only else list(commands)
    found: dict[str, list[dict[int, dict[str, float]]]] = {name: [] for name in chosen}
    for round_number in range(given.rounds):
        for name in chosen:
            if not Path(commands[name][0]).exists():
                print(f"{name}: {commands[name][0]} is not there: make peers")
                continue
            with running(commands[name], given.threads, MODELS) as address:
                found[name].append(asyncio.run(measured(address, clients, random.Random(round_number))))
            print(name, json.dumps(found[name][-1]), flush=True)
            about = {"processor": processor(), "threads": given.threads, "prompt": PROMPT, "reply": REPLY}
            given.out.write_text(json.dumps(about | {"servers": found}, indent=1) + "\n")
    print(table(found, clients))


if __name__ == "__main__":
    main()
