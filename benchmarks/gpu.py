"""Speed of generation on one GPU: checks against float64 first, then shares of what the machine measurably can.

One call, within `--minutes`: each section looks at the time that is left, the most important come first, and the data
is written after each, to `$OUT/gpu.json` or docs/data/gpu.json. Random weights, made on the device; sampling at
temperature 1 with log-probs, unless said otherwise. Without a GPU only the checks run, small; the rest is named.

    .venv/bin/python benchmarks/gpu.py --minutes 9
"""

import argparse
import gc
import importlib.util
import json
import os
import random
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.engine.cuda_backend import CudaBackend
from thinkaloud.engine.gpu.matrix import Matrix, pack
from thinkaloud.engine.gpu.operations import operations_for
from thinkaloud.engine.gpu.state import TOP_K, Heads, State
from thinkaloud.engine.gpu.truncate import draw_few, draw_sorted
from thinkaloud.engine.noise import uniforms
from thinkaloud.engine.row import Row
from thinkaloud.engine.sampling import Sampler
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.model.formats import format_of
from thinkaloud.text.policy import ThinkingPolicy

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
OUT = (
    Path(os.environ["OUT"]) / "gpu.json" if os.environ.get("OUT") else Path(__file__).parents[1] / "docs/data/gpu.json"
)
CONTEXT = 8192
SHAPES: dict[str, dict[str, Any]] = {
    "32B": {"vocab_size": 152_064, "hidden_size": 5120, "num_hidden_layers": 64, "intermediate_size": 27_648},
    "7B": {"vocab_size": 152_064, "hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18_944},
    "0.5B": {"vocab_size": 151_936, "hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864},
}
"32B is QwQ-32B, the others Qwen2.5's."
HEADS = {"32B": (40, 8), "7B": (28, 4), "0.5B": (14, 2)}
FORMATS = ("plain", "int4", "int8", "fp8")
start = time.perf_counter()
results: dict[str, Any] = {"sections": {}}


# --- sections, within the time ---


class Late(Exception):
    """A time box has run out."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise Late in the main thread when the seconds are over."""

    def ring(*_: object) -> None:
        raise Late(f"over {seconds:.0f} s")

    before, begun = signal.signal(signal.SIGALRM, ring), time.perf_counter()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1))
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        left = outer - (time.perf_counter() - begun) if outer else 0
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.1) if outer else 0)


def section(name: str, least: float, minutes: float, work: Callable[[], Any]) -> Any:
    """Run one section if `least` seconds are left; its failure is kept beside the results, and never ends the run."""
    left = minutes * 60 - (time.perf_counter() - start)
    if left < least:
        results["sections"][name] = {"skipped": f"{left:.0f} s left, {least:.0f} needed"}
        print(f"-- {name}: skipped, {left:.0f} s left", flush=True)
        return None
    print(f"-- {name} ({time.perf_counter() - start:.0f} s)", flush=True)
    begun, found = time.perf_counter(), None
    try:
        with at_most(left):
            found = work()
        results["sections"][name] = {"seconds": time.perf_counter() - begun, "data": found}
    except Exception as error:  # one section's fault must not cost the others
        traceback.print_exc()
        results["sections"][name] = {"failed": repr(error), "partly": partly.copy()}
    partly.clear()
    results["seconds"] = time.perf_counter() - start
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")
    return found


partly: list[Any] = []
"Lines of the section under way."


def line(**fields: Any) -> dict[str, Any]:
    """Print one line of a table and keep it."""
    words = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items()]
    print("   " + "  ".join(words), flush=True)
    partly.append(fields)
    return fields


# --- correctness ---


def away(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative distance; NaN never passes."""
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30))


def check(name: str, error: float, most: float) -> dict[str, Any]:
    """One line; a failed check is counted and shown, and the run goes on."""
    good = error <= most
    results["failed_checks"] = results.get("failed_checks", 0) + (not good)
    return line(check=name, error=error, most=most, good="yes" if good else "NO <<<<<<")


def check_matrices() -> None:
    """Every format, one row with all that is fused, and more rows."""
    run = operations_for(DEVICE)
    sizes = ((1536, 5120), (5120, 1536), (1154, 896)) if ON_GPU else ((70, 200),)
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        for format in FORMATS:
            worst = {"gemv": 0.0, "matmul": 0.0}
            for outputs, inputs in sizes:
                x, norm, bias = (torch.randn(n, device=DEVICE).to(dtype) for n in (inputs, inputs, outputs))
                matrix = pack((torch.randn(outputs, inputs, device=DEVICE) / inputs**0.5).to(dtype), format, bias)
                weight, residual = matrix.expand(torch.float32).double(), x[None, : outputs // 2]
                if outputs // 2 > inputs:
                    residual = torch.randn(1, outputs // 2, device=DEVICE).to(dtype)
                y = F.rms_norm(x[None].double(), (inputs,), norm.double(), 1e-6) @ weight.T + bias.double()
                y = F.silu(y[:, : outputs // 2]) * y[:, outputs // 2 :] + residual.double()
                fused = run.gemv(x[None], matrix, norm=norm, eps=1e-6, gated=True, residual=residual)
                plain = run.gemv(x[None], matrix)
                expected = x[None].double() @ weight.T + bias.double()
                worst["gemv"] = max(worst["gemv"], away(fused, y), away(plain, expected))
                for rows in (2, 17, 64, 100, 300):
                    many = torch.randn(rows, inputs, device=DEVICE).to(dtype)
                    expected = many.double() @ weight.T + bias.double()
                    worst["matmul"] = max(worst["matmul"], away(run.matmul(many, matrix), expected))
            for name, error in worst.items():
                check(f"{name} {format} {str(dtype)[6:]}", error, most)


def check_attention() -> None:
    """Real shapes, contexts of many lengths, blocks all over the cache; and a row's bits alone and in a batch."""
    run = operations_for(DEVICE)
    shapes = ((40, 8, 128), (14, 2, 64)) if ON_GPU else ((6, 2, 24),)
    lengths = [1, 0, 31, 32, 257, 1000, 3001] if ON_GPU else [1, 0, 70]
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        for query, key_value, width in shapes:
            heads = Heads(query=query, key_value=key_value, width=width, split=256 if ON_GPU else 32)
            per_row, rows = -(-max(lengths) // 32), len(lengths)
            cache = torch.randn(2, rows * per_row + 1, key_value, 32, width, device=DEVICE).to(dtype)
            order = 1 + torch.randperm(rows * per_row, device=DEVICE).view(rows, per_row)
            tables = F.pad(order, (0, 0, 1, 0)).to(torch.int32)
            qkv = torch.randn(rows, (query + 2 * key_value) * width, device=DEVICE).to(dtype)
            lines, counts = torch.arange(1, rows + 1, device=DEVICE), torch.tensor(lengths, device=DEVICE)
            found = run.attend(qkv, cache, tables, lines, counts, heads)
            expected = torch.zeros(rows, query, width, dtype=torch.float64, device=DEVICE)
            for row, length in enumerate(lengths):
                keys, values = cache[:, order[row]].transpose(1, 2).flatten(2, 3)[:, :, :length].double()
                q = qkv[row, : query * width].view(key_value, -1, width).double()
                seen = (q @ keys.transpose(1, 2) / width**0.5).softmax(-1) @ values
                expected[row] = seen.reshape(query, width) if length else 0
            check(f"attention {query}/{key_value}x{width} {str(dtype)[6:]}", away(found, expected.flatten(1)), most)
            alone = run.attend(qkv[4:5], cache, tables, lines[4:5], counts[4:5], heads) if rows > 4 else found[4:5]
            check("  a row alone has the batch's bits", float((alone != found[4:5]).sum()), 0)


def check_draws() -> None:
    """Noise bit by bit; picks and truncated draws against the sampler, over a real vocabulary."""
    run, vocabulary = operations_for(DEVICE), 152_064 if ON_GPU else 3001
    settings = [(1.0, 1.0, 0, 0.0), (0.0, 1.0, 0, 0.0), (0.6, 1.0, 0, 0.0), (0.6, 0.95, 40, 0.0), (1.3, 0.7, 12, 0.05)]
    rows = [
        Row(i, Request(prompt_ids=(1,) * (i + 1), max_tokens=9, seed=i, temperature=t, top_p=p, top_k=k, min_p=m))
        for i, (t, p, k, m) in enumerate(settings)
    ]
    state = State(8, 2, DEVICE)
    state.write([1, 2, 3, 4, 5], rows, [[i] for i in range(5)])
    lines = torch.arange(1, 6, device=DEVICE)
    noise = run.begin(state.numbers, state.tables, lines, 32).noise
    expected = uniforms(np.array([r.key for r in rows], dtype=np.uint64), np.arange(1, 6))
    check("noise, differing bits", float((noise.cpu().numpy() != expected).sum()), 0)
    own, top_k = state.settings[1:6], state.numbers[1:6, TOP_K]
    wrong = {"pick": 0, "few": 0, "sorted": 0}
    for turn in range(20):
        logits = (torch.randn(5, vocabulary, device=DEVICE) * 3).bfloat16()
        uniform = np.random.default_rng(turn).random(5)
        device_noise = torch.from_numpy(uniform).to(DEVICE)
        ids, norms = run.pick(logits, state.settings, lines, device_noise)
        expected_ids, _ = Sampler([row.request for row in rows], DEVICE)(logits, uniform)
        wrong["pick"] += int((ids != expected_ids)[:3].sum())
        wrong["few"] += int((draw_few(logits, norms, own, top_k, device_noise) != expected_ids)[3:].sum())
        wrong["sorted"] += int((draw_sorted(logits, norms, own, top_k, device_noise) != expected_ids)[2:].sum())
    for name, count in wrong.items():
        check(f"draws that differ from the sampler's: {name}", float(count), 1)


def tiny(dtype: torch.dtype = torch.float32) -> Transformer:
    """A small model with everything random."""
    config = ModelConfig(
        vocab_size=300,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=2,
        intermediate_size=320,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
    )
    model = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.15 * noise)
    return model.to(dtype).to(DEVICE)


def engine_on(model: Transformer, *, max_rows: int = 512, **settings: Any) -> Engine:
    """An engine over the CUDA backend, on a CPU too."""
    engine = Engine(model, backend="torch", max_rows=max_rows)
    engine._backend = CudaBackend(model, max_rows=max_rows, **settings)
    return engine


def some_requests() -> list[Request]:
    """Groups, long prompts, budgets, stop ids, truncation."""
    rng, found = random.Random(0), []
    for index in range(24 if ON_GPU else 4):
        policy = ThinkingPolicy(
            starts_thinking=True, close_id=7, budget=rng.choice([0, 5, 30]), forced_close=(9, 7, 11), answer_floor=4
        )
        request = Request(
            prompt_ids=tuple(rng.randrange(300) for _ in range(rng.choice([1, 33, rng.randint(2, 600)]))),
            max_tokens=rng.randint(1, 90),
            temperature=rng.choice([0.0, 1.0, 0.7]),
            top_k=rng.choice([0, 0, 20]),
            top_p=rng.choice([1.0, 0.9]),
            seed=index,
            stop_ids=frozenset({3, 5}),
            policy=rng.choice([None, policy]),
        )
        found += [replace(request, sample=sample) for sample in range(rng.choice([1, 4]))]
    return found


def differing(found: list[Completion], expected: list[Completion]) -> float:
    """How many completions have other ids."""
    return float(sum(a.token_ids != b.token_ids for a, b in zip(found, expected, strict=True)))


def check_engine() -> None:
    """The whole engine in float32 against PyTorch's; and graphs, steps a launch and batches against each other."""
    model, asked = tiny(), some_requests()
    expected = Engine(model, backend="torch").generate(asked)
    found = engine_on(model).generate(asked)
    check(f"completions that differ from PyTorch's, of {len(asked)}", differing(found, expected), 0)
    gap = max(float(np.abs(np.subtract(a.logprobs, b.logprobs)).max()) for a, b in zip(found, expected, strict=True))
    check("log-probs, largest gap to PyTorch's", gap, 1e-4)
    for name, settings in {"1 step a launch": {"steps": 1}, "8 steps a launch": {"steps": 8}}.items():
        check(f"{name}: differ", differing(engine_on(model, **settings).generate(asked), found), 0)
    eager = engine_on(model)
    assert isinstance(eager._backend, CudaBackend)
    eager._backend.device_step.graphs = False
    check("without graphs: differ", differing(eager.generate(asked), found), 0)
    alone = [engine_on(model, max_rows=1).generate([one])[0] for one in asked[:6]]
    check("alone: differ", differing(alone, found[:6]), 0)
    half = tiny(torch.bfloat16)
    for weights in ("auto", "fp8", "int8", "int4"):
        meant = tiny()
        for name, parameter in meant.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter.copy_(pack(parameter.bfloat16(), format_of(name, weights)).expand(torch.float32))
            else:
                parameter.copy_(parameter.bfloat16())
        gaps = []
        for request, one in zip(asked, engine_on(half, weights=weights).generate(asked), strict=True):
            ids = torch.tensor([[*request.prompt_ids, *one.token_ids]], device=DEVICE)
            logprobs = meant.logits(meant(ids)).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            gaps += (logprobs[len(request.prompt_ids) - 1 :].cpu() - torch.tensor(one.logprobs)).abs().tolist()
        check(f"bfloat16, {weights}: mean gap of log-probs to what the weights mean", statistics.mean(gaps), 0.06)


# --- ceilings and tiles ---


def seconds_of(work: Callable[[], Any], most: float = 0.2) -> float:
    """Median time of one call on the device."""
    import triton

    return float(triton.testing.do_bench(work, warmup=10, rep=most * 1000, return_mode="median")) / 1e3


def ceilings() -> dict[str, Any]:
    """Bytes a second of a copy (read and written) and of a sum (read), and operations a second of a product."""
    source = torch.empty(1 << 31, dtype=torch.bfloat16, device=DEVICE).normal_()
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / seconds_of(lambda: target.copy_(source))
    read = source.nbytes / seconds_of(lambda: source.view(torch.int64).amax())
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * 8192**3 / seconds_of(lambda: a @ b)
    results["ceilings"] = found = {"copy": copy, "read": read, "matmul": rate}
    line(copy_TB_s=copy / 1e12, read_TB_s=read / 1e12, matmul_TFLOP_s=rate / 1e12)
    return found


def random_matrix(format: str, outputs: int, inputs: int) -> Matrix:
    """Random values in a format, made without quantising anything."""
    if format in ("plain", "fp8"):
        values = torch.randn(outputs, inputs, device=DEVICE, dtype=torch.bfloat16)
        if format == "plain":
            return Matrix(values=values, scales=None, bits=0, outputs=outputs, inputs=inputs)
        scales = torch.ones(outputs, device=DEVICE)
        return Matrix(values=values.to(torch.float8_e4m3fn), scales=scales, bits=0, outputs=outputs, inputs=inputs)
    bits = int(format[3:])
    size = (-(-inputs * bits // 1024), outputs, 32)
    words = torch.randint(-(1 << 31), 1 << 31, size, device=DEVICE, dtype=torch.int64).to(torch.int32)
    scales = torch.rand(size[0] * 16 // bits, outputs, 2, device=DEVICE).bfloat16().view(torch.int32)[..., 0]
    return Matrix(values=words, scales=scales, bits=bits, outputs=outputs, inputs=inputs)


CANDIDATES = (
    *((4, 4, 1, 1), (4, 4, 1, 3), (1, 4, 1, 1), (2, 4, 1, 1), (1, 4, 2, 1), (4, 8, 1, 1), (8, 4, 1, 2)),
    *((4, 2, 1, 4), (1, 8, 1, 1), (1, 4, 1, 3), (8, 2, 1, 3), (2, 2, 2, 2)),
)
"Warps, rows of the matrix, loads of a thread in a row of it, stages."
MATRICES = {
    "down": (5120, 27_648),
    "gate_up": (55_296, 5120),
    "qkv": (7168, 5120),
    "head": (152_064, 5120),
    "o": (5120, 5120),
}
"Outputs and inputs in 32B."


def gemv_seconds(name: str, matrix: Matrix) -> float:
    """Time of one row times a matrix, with what is fused to it in the step."""
    run = operations_for(DEVICE)
    x, norm = (
        torch.randn(1, matrix.inputs, device=DEVICE).bfloat16(),
        torch.ones(matrix.inputs, device=DEVICE).bfloat16(),
    )
    residual = torch.randn(1, matrix.outputs, device=DEVICE).bfloat16()
    if name in ("o", "down"):
        return seconds_of(lambda: run.gemv(x, matrix, residual=residual), 0.02)
    return seconds_of(lambda: run.gemv(x, matrix, norm=norm, eps=1e-6, gated=name == "gate_up"), 0.02)


def tune(minutes: float) -> list[dict[str, Any]]:
    """A short search over tiles for one row, on the matrices of 32B; what it finds is used from here on."""
    from triton.errors import TritonError

    from thinkaloud.engine.gpu import tiles as sizes

    found, box, default = [], min(18.0, minutes * 60 / 25), sizes.GEMV
    choices = [default] + [
        sizes.Tiles(outputs, 8 * 32 * warps * times, warps, stages) for warps, outputs, times, stages in CANDIDATES
    ]
    begun = time.perf_counter()
    for name, key in MATRICES.items():
        matrix = random_matrix("plain", *key)
        times: dict[Any, float] = {}
        for tiles in choices:
            if times and time.perf_counter() - begun > box:
                break
            sizes.tuned[key] = tiles
            try:
                times[tiles] = gemv_seconds(name, matrix)
            except (RuntimeError, ValueError, TritonError) as error:  # tiles that do not fit the machine
                line(matrix=name, tiles=tuple(tiles), fails=repr(error)[:80])
        best = min(times, key=times.__getitem__) if times else default
        sizes.tuned[key] = best
        if name == "gate_up":
            sizes.GEMV = best  # for other shapes
        rate = matrix.bytes / times.get(best, float("inf"))
        of_copy = rate / results["ceilings"]["copy"]
        fields = {"us": times.get(best, 0.0) * 1e6, "TB_s": rate / 1e12, "of_copy": of_copy, "tried": len(times)}
        found.append(line(matrix=name, tiles=tuple(best), **fields, slowest_us=max(times.values(), default=0.0) * 1e6))
        del matrix
    torch.cuda.empty_cache()
    return found


FEW_CANDIDATES = {
    8: ((128, 4, 3, 2), (128, 4, 2, 4), (64, 2, 4, 5)),
    16: ((128, 4, 4, 2), (64, 4, 3, 6)),
    32: ((128, 4, 2, 3), (64, 4, 2, 5)),
    64: ((128, 4, 3, 1), (64, 4, 2, 4)),
}
"By rows that a program does: rows of the matrix, warps, stages, programs at once on a multiprocessor."


def replayed(work: Callable[[Matrix], Any], matrices: list[Matrix]) -> float:
    """Time of one of several in a graph: as the engine runs them, with none of the weights in the cache."""
    work(matrices[0])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for matrix in matrices:
            work(matrix)
    return seconds_of(graph.replay, 0.01) / len(matrices)


def tune_few() -> list[dict[str, Any]]:
    """Tiles for a few rows of int4, int8 on two matrices of 32B; beside fp8 and the library's product in bfloat16."""
    from triton.errors import TritonError

    from thinkaloud.engine.gpu import kernels
    from thinkaloud.engine.gpu import tiles as sizes

    found: list[dict[str, Any]] = []
    total: dict[tuple[int, Any], list[float]] = {}
    choices = {rows: [sizes.PACKED[rows], *(sizes.Few(*n) for n in more)] for rows, more in FEW_CANDIDATES.items()}
    for format, name in product(("int4", "int8", "fp8", "plain"), ("down", "gate_up")):
        matrices = [random_matrix(format, *MATRICES[name]) for _ in range(4)]
        for rows, candidates in choices.items():
            x = torch.randn(rows, matrices[0].inputs, device=DEVICE).bfloat16()
            for tiles in candidates if matrices[0].bits else [None]:
                if tiles is not None:
                    sizes.PACKED[rows] = tiles
                try:
                    taken = replayed(lambda matrix: kernels.matmul(x, matrix), matrices)  # noqa: B023
                except (RuntimeError, ValueError, TritonError) as error:  # tiles that do not fit the machine
                    line(format=format, rows=rows, tiles=tiles, fails=repr(error)[:80])
                    continue
                total.setdefault((rows, tiles), []).append(taken)
                rate = {"us": taken * 1e6, "of_copy": matrices[0].bytes / taken / results["ceilings"]["copy"]}
                found.append(line(format=format, matrix=name, rows=rows, tiles=tiles and tuple(tiles), **rate))
        del matrices
        torch.cuda.empty_cache()
    for rows, candidates in choices.items():
        whole = [tiles for tiles in candidates if len(total.get((rows, tiles), [])) == 4]
        sizes.PACKED[rows] = min(whole, key=lambda tiles: sum(total[rows, tiles]), default=candidates[0])  # noqa: B023
        line(rows=rows, chosen=tuple(sizes.PACKED[rows]))
    return found


def learning() -> list[dict[str, Any]]:
    """One pass forward and back through 0.5B in float32 over 4 x 1,024 tokens: with exact products, and in TF32."""
    model = make_model("0.5B").float().requires_grad_(True)
    ids = torch.randint(0, model.config.vocab_size, (4, 1024), device=DEVICE)
    found, before = [], torch.get_float32_matmul_precision()

    def once() -> None:
        model.zero_grad()
        logits = model.logits(model(ids)).flatten(0, 1)
        F.cross_entropy(logits, ids.flatten()).backward()

    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        took = seconds_of(once, 0.5)
        found.append(line(learning="0.5B float32", precision=precision, tokens_s=ids.numel() / took))
    torch.set_float32_matmul_precision(before)
    return found


# --- models ---


def make_model(shape: str) -> Transformer:
    """Random bfloat16 weights in a shape, made on the device."""
    query, key_value = HEADS[shape]
    sizes = {"max_position_embeddings": CONTEXT, "rope_theta": 1e6}
    config = ModelConfig(
        num_attention_heads=query,
        num_key_value_heads=key_value,
        tie_word_embeddings=shape == "0.5B",
        **sizes,  # type: ignore[arg-type]
        **SHAPES[shape],
    )
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(torch.bfloat16).to_empty(device=DEVICE).eval().requires_grad_(False)
    one_head = {"vocab_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    other = Transformer(ModelConfig(hidden_size=config.head_dim, intermediate_size=8, **one_head, **sizes))  # type: ignore[arg-type]
    model.cos, model.sin = other.cos.to(DEVICE), other.sin.to(DEVICE)  # the rotary tables depend on the head alone
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.normal_(std=0.7 / parameter.shape[1] ** 0.5)
        else:
            parameter.fill_(1.0 if "norm" in name else 0.0)
    return model


def some_prompt(vocabulary: int, length: int, seed: int) -> tuple[int, ...]:
    """A random prompt."""
    return tuple(np.random.default_rng(seed).integers(0, vocabulary, length).tolist())


def decode(
    engine: Engine, rows: int, weights: str, shape: str, seconds: float = 2.0, **settings: Any
) -> dict[str, Any]:
    """Tokens a second of `rows` rows once all have begun, with all that the engine does."""
    backend = engine._backend
    assert isinstance(backend, CudaBackend)
    vocabulary, prompt = engine.model.config.vocab_size, 64
    new = min(2000, backend.capacity() // rows - prompt - 64)
    handles = engine.submit_all(
        [
            Request(prompt_ids=some_prompt(vocabulary, prompt, i), max_tokens=new, seed=i, **settings)
            for i in range(rows)
        ]
    )
    steps = 0
    while steps < 12:  # all rows are there, graphs are captured
        steps += len(engine.step()) == rows
    torch.cuda.synchronize()
    begun, tokens, first = time.perf_counter(), 0, steps
    while time.perf_counter() - begun < seconds and steps < new - 20:
        tokens += len(engine.step())
        steps += 1
    took = time.perf_counter() - begun
    for handle in handles:
        engine.cancel(handle)
    engine.forget()
    torch.cuda.synchronize()
    step = backend.device_step
    matrices = [m for layer in step.weights.layers for m in (layer.qkv, layer.output, layer.gate_up, layer.down)]
    read = sum(matrix.bytes for matrix in (*matrices, step.weights.head))
    seen = prompt + (first + steps) / 2
    read_cache = rows * seen * step.cache[:, :, 0, :, 0].numel() * step.cache.element_size()
    rate = tokens / took
    share = rate / rows * (read + read_cache) / results["ceilings"]["copy"]
    kept = line(
        shape=shape, weights=weights, rows=rows, tok_s=rate, ms_a_step=1e3 * rows / rate, of_copy=share, **settings
    )
    return kept | {"weight_bytes": read, "steps": steps - first}


def prefill_rate(engine: Engine, length: int, shape: str, weights: str) -> dict[str, Any]:
    """Prompt tokens a second, the decode step of each prompt's one token included."""
    vocabulary = engine.model.config.vocab_size
    times = []
    for turn in range(4):
        asked = [Request(prompt_ids=some_prompt(vocabulary, length, 100 + turn), max_tokens=1)]
        begun = time.perf_counter()
        engine.generate(asked)
        times.append(time.perf_counter() - begun)
        engine.forget()
    took = statistics.median(times[1:])
    operations = 2 * (engine.model.size - vocabulary * engine.model.config.hidden_size) * length
    share = operations / took / results["ceilings"]["matmul"]
    return line(shape=shape, weights=weights, prefill=length, tok_s=length / took, of_matmul=share)


def where_time_goes(engine: Engine, rows: int) -> list[tuple[str, float, int]]:
    """Microseconds and launches of each kernel in one eager step (of dead rows: attention reads nothing)."""
    from torch.profiler import ProfilerActivity, profile

    backend = engine._backend
    assert isinstance(backend, CudaBackend)
    step = backend.device_step
    batch = step.batches[rows]
    batch.members = ()
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CUDA]) as trace:
        batch.lines.zero_()
        batch.tick.zero_()
        step.forward(batch, "free")
        torch.cuda.synchronize()
    events = sorted(trace.key_averages(), key=lambda event: -event.self_device_time_total)
    found = [(event.key[:60], float(event.self_device_time_total), event.count) for event in events[:8]]
    for name, micros, count in found:
        print(f"      {micros:9.0f} us {count:5} x  {name}", flush=True)
    return found


def speed(model: Transformer, shape: str, weights: str, batches: tuple[int, ...], cache_tokens: int) -> list[Any]:
    """All of a shape in one format: decode at its batch sizes, as QwQ's card advises, and where the time goes."""
    engine = Engine(model, backend="cuda", weights=weights, cache_tokens=cache_tokens, max_rows=max(batches))
    torch.cuda.synchronize()
    found: list[Any] = [decode(engine, rows, weights, shape) for rows in batches]
    if weights == "bfloat16":
        found.append(decode(engine, 1, weights, shape, temperature=0.6, top_p=0.95, top_k=40))
        found += [prefill_rate(engine, length, shape, weights) for length in (512, 4096)]
    found.append({"kernels": where_time_goes(engine, 1)})
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(f"      most memory {memory:.1f} GiB", flush=True)
    del engine
    gc.collect()
    torch.cuda.empty_cache()
    return found


def rollouts(model: Transformer, shape: str) -> list[Any]:
    """256 sequences of differing lengths: groups of 8 as in RL; and every prompt its own (nano-vllm's bench.py)."""
    found = []
    vocabulary = model.config.vocab_size
    for name, prompts, group, shortest, longest in (("groups of 8", 32, 8, 100, 300), ("no groups", 256, 1, 100, 1024)):
        rng = random.Random(0)
        asked = [
            Request(
                prompt_ids=some_prompt(vocabulary, length, prompt),
                max_tokens=rng.randint(100, 1024),
                seed=prompt,
                sample=i,
            )
            for prompt, length in enumerate(rng.randint(shortest, longest) for _ in range(prompts))
            for i in range(group)
        ]
        engine = Engine(model, backend="cuda", cache_tokens=600_000 if shape == "0.5B" else 400_000, max_rows=256)
        engine.generate(asked[:250])  # captures the graphs
        engine.forget()
        before = engine.generated_tokens, engine.prefilled_tokens
        begun = time.perf_counter()
        engine.generate(asked)
        took = time.perf_counter() - begun
        made, filled = engine.generated_tokens - before[0], engine.prefilled_tokens - before[1]
        found.append(line(shape=shape, rollouts=name, tokens=made, prompt_tokens=filled, s=took, tok_s=made / took))
        del engine
        gc.collect()
        torch.cuda.empty_cache()
    return found


# --- peers ---


def transformers_model(model: Transformer) -> Any:
    """transformers' model over our own weights, without a copy."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = model.config
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    names = (*names, "intermediate_size", "max_position_embeddings", "tie_word_embeddings")  # type: ignore[assignment]
    theirs = Qwen2Config(**{name: getattr(config, name) for name in names}, eos_token_id=None)
    with torch.device("meta"):
        peer = Qwen2ForCausalLM(theirs).to(torch.bfloat16)
    weights = {name: parameter.data for name, parameter in model.named_parameters()}
    peer.load_state_dict(weights, strict=False, assign=True)
    if config.tie_word_embeddings:
        peer.lm_head.weight = peer.model.embed_tokens.weight
    with DEVICE:
        peer.model.rotary_emb = type(peer.model.rotary_emb)(config=theirs)
    return peer.eval()


def transformers_rates(model: Transformer, shape: str, batches: tuple[int, ...], box: float) -> list[Any]:
    """`generate` with sampling: as it comes, then with a static cache, which it compiles, within a time box."""
    found: list[Any] = []
    peer = transformers_model(model)
    for rows in batches:
        prompt = torch.tensor([some_prompt(model.config.vocab_size, 64, i) for i in range(rows)], device=DEVICE)

        def generate(**how: Any) -> float:
            begun = time.perf_counter()
            peer.generate(prompt, do_sample=True, top_k=0, max_new_tokens=64, min_new_tokens=64, **how)  # noqa: B023
            torch.cuda.synchronize()
            return time.perf_counter() - begun

        for name, how in (("eager", {}), ("static, compiled", {"cache_implementation": "static"})):
            try:
                with at_most(box):
                    times = [generate(**how) for _ in range(2 if not how else 3)]
                found.append(line(peer="transformers", mode=name, shape=shape, rows=rows, tok_s=rows * 64 / times[-1]))
            except Exception as error:  # their failure is a result
                found.append(line(peer="transformers", mode=name, shape=shape, rows=rows, fails=repr(error)[:200]))
    return found


def vllm_rates(shape: str) -> list[Any]:
    """vLLM on dummy weights of the same shape: the rollouts without groups."""
    from tempfile import mkdtemp

    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    folder = Path(mkdtemp())
    model = make_model("0.5B")
    model.config.save(folder, eos_token_id=0, pad_token_id=0)
    vocabulary = model.config.vocab_size
    del model
    torch.cuda.empty_cache()
    peer = LLM(str(folder), load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", gpu_memory_utilization=0.7)
    rng = random.Random(0)
    prompts = [{"prompt_token_ids": list(some_prompt(vocabulary, rng.randint(100, 1024), i))} for i in range(256)]
    settings = [
        SamplingParams(
            temperature=1.0, max_tokens=rng.randint(100, 1024), ignore_eos=True, logprobs=0, detokenize=False
        )
        for _ in prompts
    ]
    peer.generate(prompts[:8], settings[:8])
    begun = time.perf_counter()
    peer.generate(prompts, settings)
    took = time.perf_counter() - begun
    return [line(peer="vllm", shape=shape, tok_s=sum(s.max_tokens for s in settings) / took)]


PLAN = """On a GPU this measures: copy, read and matmul ceilings; tiles for one row, and a few of packed weights; the
QwQ-32B shape at batch 1, 8, 64, 256 in bf16 and 1, 8, 64 in int4, int8 and fp8, and prefill of 512 and 4096 tokens;
7B and 0.5B; rollouts of 256 sequences with and without groups; a training pass in float32 and TF32; transformers eager
and compiled; vLLM where it is installed."""


def main() -> None:
    """All sections, as far as the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything")
    parser.add_argument("--only", default="", help="sections whose name holds this, and the ceilings")
    parser.add_argument("--unchecked", action="store_true", help="without the checks, two minutes of compilation")
    chosen = parser.parse_args()
    minutes, models = chosen.minutes, {}

    def run(name: str, least: float, work: Callable[[], Any]) -> None:
        if chosen.only in name or name == "ceilings":
            section(name, least, minutes, work)

    def model(shape: str) -> Transformer:
        if shape not in models:
            models.clear()
            gc.collect()
            torch.cuda.empty_cache()
            models[shape] = make_model(shape)
        return models[shape]

    checks = {"matrices": check_matrices, "attention": check_attention, "draws": check_draws, "engine": check_engine}
    results["machine"] = torch.cuda.get_device_name() if ON_GPU else "no GPU"
    results["torch"] = torch.__version__
    if not ON_GPU:
        print(PLAN)
    for name, work in ({} if chosen.unchecked else checks).items():
        run(f"check {name}", 5, torch.inference_mode()(work))
    print(f"checks that failed: {results.get('failed_checks', 0)}", flush=True)
    if not ON_GPU:
        return
    run("ceilings", 5, ceilings)
    run("tiles", 60, lambda: tune(minutes))
    run("tiles for a few rows", 60, tune_few)
    run("32B bfloat16", 60, lambda: speed(model("32B"), "32B", "bfloat16", (1, 8, 64, 256), 131_072))
    for weights in ("int4", "int8", "fp8"):
        run(f"32B {weights}", 45, lambda: speed(model("32B"), "32B", weights, (1, 8, 64), 32_768))  # noqa: B023
    run("32B transformers", 25, lambda: transformers_rates(model("32B"), "32B", (1,), 20))
    run("0.5B rollouts", 25, lambda: rollouts(model("0.5B"), "0.5B"))
    run("0.5B bfloat16", 20, lambda: speed(model("0.5B"), "0.5B", "bfloat16", (1, 8, 64, 256), 600_000))
    run("0.5B learning", 20, learning)
    run("0.5B transformers", 40, lambda: transformers_rates(model("0.5B"), "0.5B", (1, 64), 40))
    run("7B bfloat16", 25, lambda: speed(model("7B"), "7B", "bfloat16", (1, 8, 64, 256), 400_000))
    run("7B int4", 20, lambda: speed(model("7B"), "7B", "int4", (1, 8), 32_768))
    run("7B rollouts", 45, lambda: rollouts(model("7B"), "7B"))
    run("7B transformers", 40, lambda: transformers_rates(model("7B"), "7B", (1,), 60))
    if importlib.util.find_spec("vllm") is not None:
        run("0.5B vllm", 90, lambda: vllm_rates("0.5B"))
    else:
        print("vllm is not installed here")
    if results.get("failed_checks"):
        print(f"FAILED CHECKS: {results['failed_checks']}; the numbers above stand under that reserve")


if __name__ == "__main__":
    main()
