"""What a machine is told to be, and what the doctor says of it; the machines are invented folders of /proc and /sys."""

import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from thinkaloud.base.machine import Machine, disk_free, gpu_here, machine_here
from thinkaloud.cli import checkup
from thinkaloud.cli.checkup import Check
from thinkaloud.cli.main import run

CORES = os.cpu_count() or 1
PLAIN = Machine(
    cpu="Invented 9000",
    cores=8,
    allowed=8,
    quota=None,
    flags=frozenset({"avx2", "fma"}),
    memory=16 << 30,
    free=8 << 30,
)


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


PROC = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Invented 9000\nflags\t\t: fpu avx2 fma\n",
    "proc/meminfo": "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\nHugePages_Total: 0\n",
}


def test_a_machine_is_read(tmp_path: Path) -> None:
    found = machine_here(system(tmp_path, PROC))
    assert (found.cpu, found.flags, found.quota) == ("Invented 9000", {"fpu", "avx2", "fma"}, None)
    assert (found.memory, found.free) == (16 << 30, 8 << 30)
    assert found.cores == CORES and found.usable == found.allowed


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere PyTorch is asked")
def test_a_gpu_is_there_where_its_driver_has_left_a_device(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert not gpu_here(tmp_path)
    (tmp_path / "dev" / "nvidiactl").touch()
    assert gpu_here(tmp_path)


def test_a_machine_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    found = machine_here(tmp_path)
    assert (found.memory, found.free, found.flags, found.quota) == (None, None, frozenset(), None) and found.cpu


@pytest.mark.parametrize(
    "groups",
    [
        {  # version 2, the limit on a group above this process's
            "proc/self/cgroup": "0::/box/inner\n",
            "sys/fs/cgroup/box/inner/cpu.max": "max 100000\n",
            "sys/fs/cgroup/box/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/box/inner/memory.max": "max\n",
            "sys/fs/cgroup/box/memory.max": f"{4 << 30}\n",
            "sys/fs/cgroup/box/memory.current": f"{1 << 30}\n",
        },
        {  # version 1
            "proc/self/cgroup": "4:memory:/box\n1:cpu,cpuacct:/\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{4 << 30}\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{1 << 30}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
        },
    ],
)
def test_control_groups_bound_what_may_be_used(tmp_path: Path, groups: dict[str, str]) -> None:
    found = machine_here(system(tmp_path, PROC | groups))
    assert found.quota == 0.5 == found.usable
    assert (found.memory, found.free) == (4 << 30, 3 << 30)


def test_disk_is_asked_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize(
    ("change", "check", "state", "words"),
    [
        ({}, checkup.processor, "good", "all for this process"),
        ({"allowed": 2}, checkup.processor, "slow", "may run on 2"),
        ({"quota": 1.5}, checkup.processor, "slow", "time of 1.5"),
        ({}, checkup.instructions, "good", "without AVX-512"),
        ({"flags": frozenset({"avx2", "fma", "avx512f"})}, checkup.instructions, "good", "without bfloat16 or VNNI"),
        ({"flags": frozenset(checkup.FASTEST | {"amx_tile"})}, checkup.instructions, "good", "fastest path"),
        ({"flags": frozenset()}, checkup.instructions, "slow", "portable path"),
        ({}, checkup.memory, "good", "8.0 free"),
        ({"free": 1 << 30}, checkup.memory, "slow", "1.0 free"),
        ({"free": None}, checkup.memory, "good", "does not say"),
    ],
)
def test_a_machine_in_words(change: dict[str, object], check: object, state: str, words: str) -> None:
    assert callable(check)
    said: Check = check(replace(PLAIN, **change))  # type: ignore[arg-type]
    assert said.state == state and words in said.words
    assert bool(said.cure) == (state != "good")


def test_a_folder_that_cannot_be_written_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkup.disk(tmp_path / "runs").state == "good"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert checkup.disk(tmp_path / "runs").state == "unusable"
    monkeypatch.undo()
    monkeypatch.setattr(checkup, "disk_free", lambda folder: 1 << 20)
    assert checkup.disk(tmp_path / "runs").state == "slow"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(checkup, "find_spec", lambda name: None)
    assert checkup.compiler().state == checkup.node().state == "missing"
    found = iter(["1.0", checkup.PackageNotFoundError(), "1.0", "1.0", "1.0"])  # type: ignore[attr-defined]

    def version(name: str) -> str:
        one = next(found)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(checkup, "version", version)
    assert checkup.software().state == "unusable" and checkup.software.__doc__
    monkeypatch.setenv("THINKALOUD_NATIVE", "off")
    assert checkup.native_step().state == "slow"


def test_the_doctor_tells_each_check_and_its_code_says_whether_all_can_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Check(name="memory", state="slow", words="little of it", cure="buy some")
    monkeypatch.setattr(checkup, "checks", lambda: iter([slow]))
    assert run(["doctor"]) == 0
    assert capsys.readouterr().out == "= memory: little of it\n    Cure: buy some\n"
    monkeypatch.setattr(checkup, "checks", lambda: iter([slow, replace(slow, name="disk", state="unusable")]))
    assert run(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["state"]) for one in told["machine"]] == [("memory", "slow"), ("disk", "unusable")]


def test_this_machine_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it for real: whatever is missing here, the package is usable, and its speed is a number."""
    assert run(["doctor", "--json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)["machine"]}
    assert {"processor", "memory", "disk", "GPU", "sandbox", "native step", "software"} <= told.keys()
    assert "tokens a second" in told["speed"]["words"] and "GFLOP/s" in told["arithmetic"]["words"]
    assert all(one["cure"] for one in told.values() if one["state"] != "good")
