"""A checkpoint of QwQ-32B's shapes, as many layers of it as the disk holds, in the memory of this machine.

Writes random weights in bfloat16 as published shards, opens them with `load(quantize=...)`, fills the cache up to the
context (all of its memory is touched; its numbers are arbitrary, since processing so long a prompt takes an hour here)
and decodes behind it. Reports memory beside what was told before, and seconds. `--source memory` makes the weights
while they are packed, so that all 64 layers run without the disk.

    .venv/bin/python benchmarks/large.py --layers 16 --folder /somewhere/large
    .venv/bin/python benchmarks/large.py --source memory --context 12288
    .venv/bin/python benchmarks/large.py --source memory --context 32768 --cache int8
"""

import argparse
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from thinkaloud.engine import Engine
from thinkaloud.engine.native_backend import NativeBackend
from thinkaloud.inference import load
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.model import ModelConfig
from thinkaloud.model.formats import format_of
from thinkaloud.model.memory import BITS, cache_bytes, check_memory, parameter_shapes, weight_bytes

DATA = Path(__file__).parents[1] / "docs" / "data" / "large.json"
QWQ = {
    "vocab_size": 152_064,
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "intermediate_size": 27_648,
    "tie_word_embeddings": False,
    "rope_theta": 1_000_000.0,
}
STEPS = 8


def random_tensors(config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """Every parameter, bfloat16; stretches of one supply of normal numbers, since drawing 32 billion takes longer."""
    supply = torch.randn(2**28, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    for index, (name, shape) in enumerate(parameter_shapes(config).items()):
        if len(shape) == 1:
            yield name, torch.ones(shape) if "norm" in name else torch.zeros(shape)
            continue
        step = (len(supply) - shape[1] - 1_000_000) // shape[0]
        yield name, supply.as_strided(shape, (step, 1), index * 1009)


def write(folder: Path, config: ModelConfig) -> None:
    """The checkpoint as shards of about 4 GB, with the tokenizer of the bundled model."""
    folder.mkdir(parents=True)
    config.save(folder, eos_token_id=1, pad_token_id=0, dtype="bfloat16")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BUNDLED / name, folder)
    index, shard, size = {}, {}, 0
    for name, tensor in itertools.chain(random_tensors(config), [("", torch.empty(0))]):
        if shard and (size > 4e9 or not name):
            file = f"model-{len(set(index.values())) + 1:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            index |= dict.fromkeys(shard, file)
            shard, size = {}, 0
        if name:
            shard[name] = tensor.bfloat16().contiguous()
            size += tensor.numel() * 2
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def memory(field: str) -> float:
    """GiB that this process holds, by a field of Linux's status: RssAnon is its own, VmHWM its peak with files read."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def decode(backend: NativeBackend, context: int) -> float:
    """Seconds a token of one row whose cache is full up to the last `STEPS` positions."""
    native, size = backend.native, backend.pool.size
    blocks = -(-context // size)
    for block in range(1, blocks + 1):
        native.copy_block(0, block)
    table = np.arange(1, blocks + 1, dtype=np.int32)[None]
    drawn, logprobs = np.array([7], dtype=np.int32), np.zeros(1, dtype=np.float32)
    one, keys, settings = np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.uint64), np.array([[1, 1, 0, 0]], np.float32)
    times = []
    for position in range(context - STEPS, context):
        start = time.perf_counter()
        places = np.array([position], dtype=np.int32)
        threads = torch.get_num_threads()
        native.step(drawn.copy(), places, one, table, one, one, one - 1, keys, settings, drawn, logprobs, threads)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    """Write or make the weights, load, decode, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--quantize", default="int4", choices=["int8", "int4"])
    parser.add_argument("--cache", default="auto", choices=["auto", "int8"])
    parser.add_argument("--context", type=int, default=12_288)
    parser.add_argument("--source", default="disk", choices=["disk", "memory"])
    parser.add_argument("--folder", type=Path, default=Path("runs/large"), help="written if it is not there; kept")
    settings = parser.parse_args()
    shape: dict[str, Any] = {**QWQ, "num_hidden_layers": settings.layers, "max_position_embeddings": settings.context}
    config = ModelConfig(**shape)
    kept = "bfloat16" if settings.cache == "auto" else settings.cache
    if settings.source == "disk" and not settings.folder.exists():
        write(settings.folder, config)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # so that its memory is not counted
    told: list[str] = []
    start = time.perf_counter()
    if settings.source == "disk":
        engine = load(
            settings.folder,
            quantize=settings.quantize,
            cache=settings.cache,
            context=settings.context,
            watch=lambda text, share: told.append(text),
        ).engine
        print(told[0])
    else:
        check_memory(config, settings.quantize, kept)
        source = random_tensors(config)
        engine = Engine(config, weights=settings.quantize, cache=settings.cache, max_rows=1, source=source)
    packed, peak = time.perf_counter() - start, memory("VmHWM")
    backend = engine._backend
    assert isinstance(backend, NativeBackend)
    seconds = decode(backend, settings.context)
    rows = config.vocab_size * config.hidden_size  # the embedding: one of its rows is read
    read = weight_bytes(config, settings.quantize) - rows * BITS[format_of("lm_head.weight", settings.quantize)] / 8
    read += settings.context * cache_bytes(config, kept)
    machine = int(Path("/proc/meminfo").read_text().split()[1])
    found = {
        "layers": settings.layers,
        "source": settings.source,
        "weights": settings.quantize,
        "cache": kept,
        "context": settings.context,
        "weights_gib": round(weight_bytes(config, settings.quantize) / 2**30, 2),
        "cache_gib": round(settings.context * cache_bytes(config, kept) / 2**30, 2),
        "peak_while_loading_gib": round(peak, 2),
        "held_gib": round(memory("RssAnon"), 2),
        "peak_gib": round(memory("VmHWM"), 2),
        "loading_seconds": round(packed, 1),
        "seconds_a_token": round(seconds, 3),
        "gb_a_second": round(read / seconds / 1e9, 1),
        "machine_gib": round(machine / 2**20, 1),
    }
    print(json.dumps(found, indent=1))
    old = json.loads(DATA.read_text()) if DATA.exists() else []
    key = ("layers", "source", "weights", "cache", "context")
    rest = [one for one in old if any(one[name] != found[name] for name in key)]
    DATA.write_text(json.dumps([*rest, found], indent=1) + "\n")


if __name__ == "__main__":
    main()
