"""Speed of generation on this CPU, side by side: our native step in each format, our PyTorch path, transformers, peers.

All contenders of a line run in turn, a few rounds, on the same random weights and equal lengths, sampling on for all.
Machines are noisy and shared: quote the ratios, which are medians over rounds. The bounds are measured here too. Peers
run in environments of their own, one process each for all lines of a shape, asked in turn with ours: `--peers FILE`
names a TOML file, `[peers] name = "command"`; what a command gets and answers stands in `peers/contract.py`. One that
fails says so in one line and is left out. A line is kept once it is measured; `--resume` leaves out those that are.

    .venv/bin/python benchmarks/cpu.py --shapes T,S,M --threads 1
    make bench-peers
    make bench-peers BENCH="--shapes M --only native,q4_0 --resume"
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from peers.contract import BATCHES, HEADS, LONG_PROMPT, NEW, PROMPT, SHAPES, Run, job

from thinkaloud.engine import Engine, Request
from thinkaloud.engine.native_backend import native_available
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.model.formats import ENDS
from thinkaloud.model.memory import BITS
from thinkaloud.train.batches import Sample, batches
from thinkaloud.train.losses import token_logprobs

DATA = Path(__file__).parents[1] / "docs" / "data" / "cpu.json"
OURS = ("bfloat16", "float32", "int8", "int4")
EQUAL = {"bf16": "bfloat16", "int8": "int8", "q8_0": "int8", "int4": "int4", "q4_0": "int4"}
"The last word of a peer's name, and our format of as many bits."
PATIENCE = 400
"Seconds that a peer may take to load and answer once."


def make_model(shape: str, dtype: torch.dtype) -> Transformer:
    """Random weights in a shape; M is that of Qwen2.5-0.5B."""
    heads, shared = HEADS[shape]
    config = ModelConfig(
        num_attention_heads=heads, num_key_value_heads=shared, max_position_embeddings=33_000, **SHAPES[shape]
    )
    model = Transformer(config)
    model.initialise(0)
    return model.to(dtype).eval().requires_grad_(False)


def prompts(vocabulary: int, rows: int, length: int, salt: int) -> list[tuple[int, ...]]:
    """Random prompts, new ones for every `salt`, so that no cache helps."""
    generator = torch.Generator().manual_seed(1000 * salt + rows)
    ids = torch.randint(0, vocabulary, (rows, length), generator=generator)
    return [tuple(row) for row in ids.tolist()]


def run_engine(engine: Engine, rows: int, prompt: int, new: int, salt: int) -> tuple[float, float]:
    """Prompt tokens a second, and tokens a second once the prompts are through (0 where there are none)."""
    vocabulary = engine.config.vocab_size
    handles = [
        engine.submit(Request(prompt_ids=ids, max_tokens=new + rows * prompt // 256 + 2, seed=index))
        for index, ids in enumerate(prompts(vocabulary, rows, prompt, salt))
    ]
    start = time.perf_counter()
    while len(engine.step()) < rows:
        pass
    middle = time.perf_counter()
    for _ in range(new - 1):
        engine.step()
    end = time.perf_counter()
    for handle in handles:
        engine.cancel(handle)
    engine.forget()
    return rows * prompt / (middle - start), rows * (new - 1) / (end - middle) if new > 1 else 0.0


def transformers_runner(model: Transformer) -> Run | None:
    """The same by transformers, without its `generate`, whose own work for each token would only slow it down."""
    try:
        from transformers import Qwen2Config, Qwen2ForCausalLM
    except ImportError:
        return None
    config = model.config
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    sizes = {name: getattr(config, name) for name in (*names, "intermediate_size", "max_position_embeddings")}
    peer = Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True)).to(model.head.dtype).eval()
    peer.load_state_dict(model.state_dict(), strict=False)

    @torch.inference_mode()
    def run(rows: int, prompt: int, new: int, salt: int) -> tuple[float, float]:
        ids = torch.tensor(prompts(config.vocab_size, rows, prompt, salt))

        def step(ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
            out = peer(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logprobs = torch.log_softmax(out.logits[:, -1].float(), -1)
            chosen = torch.multinomial(logprobs.exp(), 1)
            logprobs.gather(1, chosen)
            return chosen, out.past_key_values

        start = time.perf_counter()
        ids, cache = step(ids, None)
        middle = time.perf_counter()
        for _ in range(new - 1):
            ids, cache = step(ids, cache)
        end = time.perf_counter()
        return rows * prompt / (middle - start), rows * (new - 1) / (end - middle) if new > 1 else 0.0

    return run


def measure_bounds(limits: dict[str, float], threads: int) -> None:
    """What this machine can do at most, bytes read and bfloat16 operations a second: the best of all times measured."""
    x, w = torch.randn(512, 1024).bfloat16(), torch.randn(1024, 1024).bfloat16()
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.linear(x, w)
        rate = 2 * 512 * 1024 * 1024 / (time.perf_counter() - start) / 1e9
        limits["gemm_bf16_gflop_s"] = max(limits.get("gemm_bf16_gflop_s", 0.0), rate)
    if native_available():
        from thinkaloud.engine import _native

        rate = _native.read_bandwidth(512 << 20, threads) / 1e9
        limits["read_gb_s"] = max(limits.get("read_gb_s", 0.0), rate)


def bound(shape: str, weights: str, rows: int, limits: dict[str, float], regime: str) -> float:
    """The most tokens a second that the bounds allow: weights read once a step, and all operations done."""
    model = SHAPES[shape]
    heads, shared = HEADS[shape]
    width = model["hidden_size"] // heads
    layer = model["hidden_size"] * (2 * model["hidden_size"] + 2 * shared * width + 3 * model["intermediate_size"])
    body, head = layer * model["num_hidden_layers"], model["vocab_size"] * model["hidden_size"]
    context = LONG_PROMPT / 2 if regime == "prefill" else PROMPT + NEW[shape] / 2
    attention = 2 * context * heads * width * model["num_hidden_layers"]
    rate = limits["gemm_bf16_gflop_s"] * 1e9 * {"float32": 0.5, "bfloat16": 1.0}.get(weights, 2.0)
    per_token = 2 * (body + attention + (0 if regime == "prefill" else head)) / rate
    if regime == "prefill":
        return 1 / per_token
    bits = body * BITS[weights] + head * BITS[ENDS.get(weights, weights)]
    read = bits / 8 / (limits["read_gb_s"] * 1e9)
    return 1 / max(per_token, read / rows)


class Peer:
    """A peer's process for one shape: asked a line, answers a line. One that fails says why once, and is gone."""

    def __init__(self, name: str, command: str, shape: str, threads: int):
        words = [*shlex.split(command), "--shape", shape, "--threads", str(threads)]
        self.name, pipe = name, subprocess.PIPE
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        around = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # huge pages, as ours: up to 15 % faster
        try:
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=around)
        except OSError as error:
            self.process = None
            print(f"  {name}: left out, {error} (make peers)", flush=True)

    def rate(self, regime: str, batch: int, new: int) -> float | None:
        """Tokens a second, or nothing from a peer that failed."""
        if self.process is None:
            return None
        too_long = threading.Timer(PATIENCE, self.process.kill)
        too_long.start()
        try:
            self.process.stdin.write(json.dumps({"regime": regime, "batch": batch, "new": new}) + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                if line.startswith('{"tokens_per_second"'):
                    return float(json.loads(line)["tokens_per_second"])
        except BrokenPipeError:
            pass
        finally:
            late = not too_long.is_alive()
            too_long.cancel()
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()] or ["it ended without a word"]
        print(f"  {self.name}: left out, {f'no answer in {PATIENCE} s' if late else said[-1][:200]}", flush=True)
        self.close()
        return None

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def runners_of(shape: str, only: str) -> dict[str, Run]:
    """All contenders of this process, the native bfloat16 step first; `only` narrows them by a part of their names."""

    def of(engine: Engine) -> Run:
        return lambda *how: run_engine(engine, *how)

    half = make_model(shape, torch.bfloat16)
    runners = {}
    for weights in OURS if native_available() else ():
        if wanted(f"native {weights}", only):
            runners[f"native {weights}"] = of(Engine(half, backend="native", weights=weights))
    runners["torch bfloat16"] = of(Engine(half, backend="torch"))
    theirs = transformers_runner(half)
    if theirs is not None:
        runners["transformers bfloat16"] = theirs
    return {name: runner for name, runner in runners.items() if wanted(name, only)}


def wanted(name: str, only: str) -> bool:
    """Whether a contender is among those that `only` names by parts, with commas between."""
    return any(part in name for part in only.split(","))


def compare(
    shape: str, jobs: list[tuple[str, int]], rounds: int, limits: dict[str, float], peers: dict[str, str], only: str
) -> Iterator[dict[str, Any]]:
    """The lines of a shape, as they are measured; the peers' processes live as long."""
    runners = runners_of(shape, only)
    others = [Peer(name, command, shape, torch.get_num_threads()) for name, command in peers.items()]
    for regime, batch in jobs:
        measure_bounds(limits, torch.get_num_threads())
        rates: dict[str, list[float]] = {}
        rows, prompt, new = job(shape, regime, batch)
        for round_ in range(rounds + 1):  # the first one warms up
            for name, runner in runners.items():
                # The slow ones take fewer tokens: a shorter context, which flatters them if anything.
                fewer = new if name.startswith("native") or new == 1 else max(6, new // 6)
                rate = runner(rows, prompt, fewer if round_ else min(fewer, 4), round_)[regime == "decode"]
                if round_:
                    rates.setdefault(name, []).append(rate)
            for peer in others:
                found = peer.rate(regime, batch, new if round_ else min(new, 4))
                if found is None:
                    rates.pop(peer.name, None)
                elif round_:
                    rates.setdefault(peer.name, []).append(found)
        if rates:
            contenders = told(rates, shape, batch, limits, regime)
            yield {"shape": shape, "regime": regime, "batch": batch, "contenders": contenders}
    for peer in others:
        peer.close()


def told(
    rates: dict[str, list[float]], shape: str, batch: int, limits: dict[str, float], regime: str
) -> dict[str, Any]:
    """One line's contenders: median rates, and ratios as medians over rounds; printed.

    Against a peer stands ours of equal bits, where it was measured; against the others the first of all.
    """
    contenders = {}
    print(f"{shape}, {regime}, {batch} rows")
    for name, found in rates.items():
        equal = f"native {EQUAL.get(name.split()[-1], '')}"
        first = equal if equal in rates and equal != name else next(iter(rates))
        pairs = zip(rates[first], found, strict=False)
        entry = {"tokens_per_second": statistics.median(found), "against": first}
        entry["is_times"] = statistics.median(ours / theirs for ours, theirs in pairs)
        share = ""
        if name.startswith("native"):
            entry["share_of_bound"] = entry["tokens_per_second"] / bound(shape, name.split()[1], batch, limits, regime)
            share = f"{entry['share_of_bound']:6.0%} of the bound"
        rate = entry["tokens_per_second"]
        print(f"  {name:24}{rate:10.1f} tok/s  {first} is {entry['is_times']:6.2f}x  {share}", flush=True)
        contenders[name] = entry
    return contenders


def growth(longest: int) -> dict[str, Any]:
    """Two threads against one, alternating; a step of shape T against the context at one row, and against the rows."""
    engines = {
        shape: Engine(make_model(shape, torch.bfloat16), backend="native", weights="bfloat16", cache_tokens=80_000)
        for shape in ("T", "M")
    }
    before = torch.get_num_threads()
    gains = {}
    for shape, regime, rows, prompt, new in (
        ("T", "decode", 64, PROMPT, 24),
        ("M", "decode", 16, PROMPT, 6),
        ("M", "prefill", 1, LONG_PROMPT, 1),
    ):
        rates: dict[int, list[float]] = {1: [], 2: []}
        for round_ in range(4):
            for threads, found in rates.items():
                torch.set_num_threads(threads)
                found.append(run_engine(engines[shape], rows, prompt, new, round_)[0 if regime == "prefill" else 1])
        name = f"{shape}, {regime}, {rows} rows"
        gains[name] = statistics.median([two / one for one, two in zip(rates[1], rates[2], strict=True)][1:])
        print(f"{name}: two threads are {gains[name]:.2f}x one")
    torch.set_num_threads(before)
    engine = engines["T"]
    curve, ids = {}, prompts(engine.config.vocab_size, 1, longest, 7)[0]
    context = 1024
    while context <= longest:
        handle = engine.submit(Request(prompt_ids=ids[:context], max_tokens=80))
        while not engine.step():
            pass
        times = [timed(engine.step) for _ in range(64)]
        curve[context] = statistics.median(times) * 1e3
        engine.cancel(handle)
        context *= 2
    print("T, decode, 1 row: " + ", ".join(f"context {c}: {ms:.2f} ms" for c, ms in curve.items()))
    by_rows = {}
    for rows in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        by_rows[rows] = rows * 1e3 / run_engine(engine, rows, PROMPT, 48, rows)[1]
    print("T, decode, context 64 to 112: " + ", ".join(f"{rows} rows: {ms:.2f} ms" for rows, ms in by_rows.items()))
    return {"two_threads": gains, "milliseconds_at_context": curve, "milliseconds_at_rows": by_rows}


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def training(rounds: int) -> float:
    """Tokens a second, forward and backward, of sequences of 64 tokens, half of them learnt."""
    model = make_model("demo", torch.float32).train().requires_grad_(True)
    rows = prompts(model.config.vocab_size, 256, 64, 0)
    samples = [Sample(ids=row, mask=(False,) * 32 + (True,) * 32) for row in rows]
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for batch in batches(samples):
            hidden = model(batch.ids)[batch.predicts]
            (-token_logprobs(model.logits(hidden), batch.targets).sum()).backward()
        model.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    rate = len(rows) * 64 / statistics.median(times[1:])
    print(f"demo, training: {rate:.0f} tokens/s")
    return rate


def processor() -> str:
    """The processor's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def all_lines(shapes: Iterable[str]) -> list[tuple[str, str, int]]:
    """Shape, regime and batch of every line, in order: decoding at all batch sizes, and prefill."""
    return [
        line
        for shape in shapes
        for line in [*((shape, "decode", batch) for batch in BATCHES[shape]), (shape, "prefill", 1)]
    ]


def main() -> None:
    """All that the command line names; the data goes to docs/data/cpu.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="demo,T,S,M")
    parser.add_argument("--only", default="", help="contenders whose names hold one of these parts: native,q4_0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="0 only warms up")
    parser.add_argument("--context", type=int, default=32_768, help="longest context of the curve")
    parser.add_argument("--peers", type=Path, help="TOML file with a command for each peer")
    parser.add_argument("--resume", action="store_true", help="leave out the lines that the data has already")
    parser.add_argument("--brief", action="store_true", help="the lines only: no growth, no training")
    parser.add_argument("--out", type=Path, default=DATA)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    peers = tomllib.loads(chosen.peers.read_text())["peers"] if chosen.peers else {}
    peers = {name: command for name, command in peers.items() if wanted(name, chosen.only)}
    limits: dict[str, float] = {}
    for _ in range(3):
        measure_bounds(limits, chosen.threads)
    result: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    lines = {(line["shape"], line["regime"], line["batch"]): line for line in result.get("lines", ())}

    def keep() -> None:
        machine = {"processor": processor(), "threads": chosen.threads, **limits}
        result.update(machine=machine, lines=[lines[key] for key in all_lines(SHAPES) if key in lines])
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")

    for shape in chosen.shapes.split(","):
        jobs = [key[1:] for key in all_lines([shape]) if not (chosen.resume and key in lines)]
        for line in compare(shape, jobs, chosen.rounds, limits, peers, chosen.only) if jobs else ():
            lines[shape, line["regime"], line["batch"]] = line
            keep()
    print(json.dumps({"processor": processor(), "threads": chosen.threads, **limits}))
    if not chosen.brief:
        if native_available():
            result["growth"] = growth(chosen.context)
        result["training_tokens_per_second"] = training(chosen.rounds)
        keep()


if __name__ == "__main__":
    main()
