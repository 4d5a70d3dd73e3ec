"""The run folder: where each thing lies, written so that a kill at any moment loses nothing that was there."""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError

SCHEMA_VERSION = 2
"Of run folders; what an older one lacks is mended in `train/older.py`."
METRICS, ROLLOUTS = "metrics.jsonl", "rollouts.jsonl"
"The files that grow with a stage: its steps, and its judged replies."
JOURNALS = (METRICS, ROLLOUTS)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; UserError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: is this the folder of a finished run?") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): the file is damaged; run the command again") from None


def read_jsonl(path: Path) -> list[Any]:
    """All complete lines of a JSON-lines file; a missing file is empty, a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            rows += [json.loads(line)] if line else []
        except ValueError as error:
            raise UserError(f"{path}, line {number} is damaged ({error}): take that line out, or run it anew") from None
    return rows


def read_tail(path: Path, lines: int, *, most: int = 1 << 18) -> list[Any]:
    """The last complete lines of a JSON-lines file, at most so many, looked for in its last `most` bytes."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - most)
        file.seek(start)
        found = file.read().split(b"\n")
    whole = found[1 if start else 0 : -1]
    return [json.loads(line) for line in whole[-lines:] if line]


class Journal:
    """A JSON-lines file that can be cut back to a checkpoint."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Open `path` and cut it to its first `size` bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(size)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows, at once visible to readers."""
        for row in rows:
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    @property
    def size(self) -> int:
        """Bytes so far, all of them on the disk now."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def environment() -> dict[str, Any]:
    """The machine and the versions that a run depends on."""
    versions = {"python": platform.python_version()}
    for name in ("thinkaloud", "torch", "numpy", "tokenizers", "safetensors"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    machine = {"system": platform.system(), "cpu": cpu, "cores": os.cpu_count() or 1}
    return {"schema_version": SCHEMA_VERSION, "machine": machine, "versions": versions, "command": sys.argv}


@contextmanager
def locked(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the run folder: a second process that asks for it gets a UserError, or with `wait` its turn.

    The system lets go of it when this process ends, however it ends.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{run} is in use by process {file.read().strip() or 'unknown'}: wait for it, or choose another folder "
                "with run.dir= or --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
