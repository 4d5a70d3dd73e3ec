"""What a machine is and what this process may use of it, as the system tells it.

Knows: /proc and control groups of Linux; elsewhere only what Python knows. Doesn't know: what it means for a model.
"""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The parts that matter here."""

    cpu: str
    "name of the processor"
    cores: int
    "cores that the system has, threads counted"
    allowed: int
    "those of them that this process may run on"
    quota: float | None
    "cores' worth of time that its control group may take; None: no limit"
    flags: frozenset[str]
    "what its instructions can do, by Linux's names; empty where it is not told"
    memory: int | None
    "bytes of memory, or what the control group may take where that is less; None where it is not told"
    free: int | None
    "bytes of it that programs can still take"

    @property
    def usable(self) -> float:
        """Cores' worth of time that this process can have."""
        return self.allowed if self.quota is None else min(float(self.allowed), self.quota)


def machine_here(root: Path = Path("/")) -> Machine:
    """This machine; `root` is where /proc and /sys are looked for."""
    lines = _lines(root / "proc/cpuinfo")
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines(root / "proc/meminfo") if ":" in line}
    cores = os.cpu_count() or 1
    total, free = sizes.get("MemTotal"), sizes.get("MemAvailable")
    limit, used = _group_memory(root)
    if limit is not None and (total is None or limit < total):
        total, free = limit, min(limit - used, free if free is not None else limit)
    return Machine(
        cpu=told.get("model name") or platform.processor() or platform.machine(),
        cores=cores,
        allowed=allowed_cores(),
        quota=_quota(root),
        flags=frozenset((told.get("flags") or told.get("Features") or "").split()),
        memory=total,
        free=free,
    )


def allowed_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1


def gpu_here(root: Path = Path("/")) -> bool:
    """Whether there may be a GPU that PyTorch could use: where its driver has left no device, there is none."""
    devices = ("nvidiactl", "nvmap", "dxg", "kfd")
    return platform.system() != "Linux" or any((root / "dev" / name).exists() for name in devices)


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is, or would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _groups(root: Path, kind: str) -> list[Path]:
    """The folders of this process's control group and of those above it; the names of both versions of Linux's."""
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / (kind if kind in kinds.split(",") else "")
        if (not kinds or kind in kinds.split(",")) and base.is_dir():
            inner = base / path.strip("/")
            return [folder for folder in (inner, *inner.parents) if folder.is_relative_to(base)]
    return []


def _quota(root: Path) -> float | None:
    """Cores' worth of time that the tightest group allows."""
    found = []
    for folder in _groups(root, "cpu"):
        words = " ".join(_lines(folder / "cpu.max")).split()
        words = words or [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def _group_memory(root: Path) -> tuple[int | None, int]:
    """The tightest group's limit of memory, and how much of it is in use."""
    found = []
    for folder in _groups(root, "memory"):
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, now = _lines(folder / most), _lines(folder / used)
            if limit and limit[0].isdigit() and int(limit[0]) < 1 << 60:
                found.append((int(limit[0]), int(now[0]) if now else 0))
    return min(found, default=(None, 0))
