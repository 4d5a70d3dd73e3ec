"""A server in a process of its own, for benchmarks: started, found, ended; and the processes that it has started."""

import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

STARTING = 600
"Seconds that another's server may take until it answers: vLLM compiles the first time."


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server that runs."""

    url: str
    "its /v1"
    process: subprocess.Popen[str]
    "it"

    @property
    def resident(self) -> float:
        """Memory that it holds now, in MiB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize() / 2**20


@contextmanager
def served(*arguments: str, program: Sequence[str] = ("-m", "thinkaloud")) -> Iterator[Served]:
    """`thinkaloud serve` with these arguments at a free port; AssertionError unless it ends well."""
    command = [sys.executable, *program, "serve", *arguments, "--port", "0"]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+:\d+/v1", process.stdout.readline())
        assert found is not None, "the server did not start"
        try:
            yield Served(url=found[0], process=process)
        finally:
            process.terminate()
    assert process.returncode == 0, f"the server ended with {process.returncode}"


@contextmanager
def running(command: Sequence[str], threads: int, room: Path) -> Iterator[str]:
    """Any server of OpenAI's API that takes a port: its /v1 once it answers. What it says or caches goes to `room`."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"http://127.0.0.1:{port}/v1"
    environment = os.environ | {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CACHE_ROOT": str(room / "vllm-cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    log = (room / "server.log").open("w")
    with log, subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log, env=environment) as process:
        try:
            begun = time.monotonic()
            while True:
                assert process.poll() is None, f"the server ended: {log.name}"
                assert time.monotonic() - begun < STARTING, f"the server does not answer: {log.name}"
                try:
                    if httpx2.get(f"{address}/models", timeout=5).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                time.sleep(0.5)
            yield address
        finally:
            process.terminate()


def offspring(process: int) -> list[int]:
    """The processes that a process has started, and those that they have, the youngest last."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if after_name[0] != "Z":
            parents[int(folder.name)] = int(after_name[1])
    found: Sequence[int] = [process]
    while more := [child for child, parent in parents.items() if parent in found and child not in found]:
        found = [*found, *sorted(more)]
    return list(found[1:])


def command_of(process: int) -> str:
    """A process's command; nothing where it has ended."""
    try:
        return (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
