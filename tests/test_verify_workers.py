"""Workers: from any kind of caller, killed at the limit, replaced, and never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from thinkaloud.problems import verify, verify_all, workers
from thinkaloud.problems.sandbox.process import Guest
from thinkaloud.problems.verifiers import VERIFIERS

SOURCE = str(Path(__file__).parents[1] / "src")
ENVIRONMENT = os.environ | {"PYTHONPATH": SOURCE}
CALL = 'print(verify("math", answer="\\\\boxed{\\\\sqrt{8}}", reference="2\\\\sqrt{2}").label)'
WITHOUT_GUARD = f'print("once")\nfrom thinkaloud.problems import verify\n{CALL}\n'
SLOW = {"answer": r"\boxed{\sqrt{2}}", "reference": "1.5"}


def workers_of(process: int) -> list[int]:
    """Living worker processes whose parent is that process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if b"thinkaloud.problems.worker" in command and parent == process:
            found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(processes: list[int], seconds: float) -> bool:
    """Whether all of them end in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(alive, processes)):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("way", ["script", "stdin", "command", "prompt"])
def test_verify_works_from_any_caller_and_never_runs_it_again(way: str, tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text(
        "raise SystemExit"
    )  # it would be found, were the folder on a worker's path
    script = tmp_path / "judge.py"
    script.write_text(WITHOUT_GUARD)
    words = {"script": [str(script)], "stdin": ["-"], "command": ["-c", WITHOUT_GUARD], "prompt": ["-i", "-q"]}[way]
    done = subprocess.run(
        [sys.executable, *words],
        input=WITHOUT_GUARD if way in ("stdin", "prompt") else "",
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.split() == ["once", "right"], done.stderr


def test_no_worker_outlives_its_parent_even_when_that_is_killed() -> None:
    code = f'from thinkaloud.problems import verify\n{CALL}\nimport time\nprint("ready", flush=True)\ntime.sleep(60)'
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert parent.stdout is not None
    while "ready" not in parent.stdout.readline():
        assert parent.poll() is None
    found = workers_of(parent.pid)
    assert found
    parent.kill()
    parent.wait()
    assert gone(found, 5.0)


def test_no_program_outlives_a_killed_parent() -> None:
    code = (
        "from thinkaloud.problems import verify\n"
        'case = {"input": "", "output": "1"}\n'
        'verify("code", answer="import time\\ntime.sleep(50)", reference={"cases": [case], "seconds": 20})'
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    deadline = time.monotonic() + 30
    programs: list[int] = []
    while not programs and time.monotonic() < deadline:
        time.sleep(0.1)
        tree = workers_of(parent.pid)
        programs = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            for worker in tree
            if f") S {worker} " in _text(folder / "stat")
        ]
    assert programs
    parent.kill()
    parent.wait()
    assert gone(programs + tree, 3.0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_worker_past_its_limit_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = workers.Pool(1)
    monkeypatch.setattr(workers, "pool", lambda: pool)
    assert verify("math", **SLOW).label == "wrong"
    (first,) = workers_of(os.getpid()) if not pool.idle else [pool.idle[0].process.pid]
    monkeypatch.setattr(VERIFIERS["math"], "seconds", lambda reference: 0.0)
    verdict = verify("math", **SLOW)
    assert (verdict.label, verdict.reason) == ("wrong", "limit")
    assert not alive(first) and pool.idle == []
    monkeypatch.undo()
    monkeypatch.setattr(workers, "pool", lambda: pool)
    assert verify("math", answer=r"\boxed{\sqrt{8}}", reference=r"2\sqrt{2}").label == "right"
    assert pool.idle[0].process.pid != first
    pool.close()


def test_a_worker_that_dies_is_ungradable_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = workers.Pool(1)
    monkeypatch.setattr(workers, "pool", lambda: pool)
    assert verify("math", **SLOW).label == "wrong"
    whole = workers.asked

    def killed(worker: Guest, line: bytes, seconds: float) -> dict[str, Any]:
        os.kill(worker.process.pid, signal.SIGKILL)
        return whole(worker, line, seconds)

    monkeypatch.setattr(workers, "asked", killed)
    verdict = verify("math", **SLOW)
    assert (verdict.label, verdict.reason, verdict.score) == ("ungradable", "worker", 0.0)
    monkeypatch.setattr(workers, "asked", whole)
    assert verify("math", **SLOW).label == "wrong"
    pool.close()


def test_a_worker_that_died_while_it_waited_costs_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = workers.Pool(1)
    monkeypatch.setattr(workers, "pool", lambda: pool)
    assert verify("math", **SLOW).label == "wrong"
    waiting = pool.idle[0].process.pid
    os.kill(waiting, signal.SIGKILL)
    assert pool.idle[0].process.wait(5) == -signal.SIGKILL  # its last thread too: before that it seems to live
    assert verify("math", **SLOW).label == "wrong" and pool.idle[0].process.pid != waiting
    pool.close()

    def none() -> Guest:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(workers, "started", none)
    assert verify("math", **SLOW).reason == "worker"


def test_the_first_answer_does_not_pay_for_what_the_library_makes_once() -> None:
    script = """
import time
from thinkaloud.problems.verifiers import VERIFIERS
VERIFIERS["math"].prepare()
began = time.process_time()
assert VERIFIERS["math"].judge("$3+2$", "5", False).label == "right"
print(time.process_time() - began)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert float(said.stdout) < 0.1, "0.001 s; unprepared 0.24 s of the two that an answer has"


def test_threads_share_the_workers() -> None:
    labels: list[str] = []

    def ask() -> None:
        for _ in range(5):
            labels.append(verify("math", answer=r"\boxed{\sqrt{8}}", reference=r"2\sqrt{2}").label)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert labels == ["right"] * 30
    assert len(workers_of(os.getpid())) <= workers.pool().size


def test_a_forked_child_has_workers_of_its_own() -> None:
    verify("math", **SLOW)
    reading, writing = os.pipe()
    parents = workers.pool()
    waiting = [worker.process.pid for worker in parents.idle]
    child = os.fork()
    if child == 0:
        label = verify("math", answer=r"\boxed{\sqrt{8}}", reference=r"2\sqrt{2}").label
        os.write(writing, label.encode())
        workers.pool().close()
        parents.close()
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 99) == b"right"
    assert waiting and all(map(alive, waiting))
    os.close(reading)
    assert verify("math", answer=r"\boxed{\sqrt{8}}", reference=r"2\sqrt{2}").label == "right"


def test_bombs_cost_little_and_the_next_answer_is_judged() -> None:
    bombs = [r"9^{9^{9^{9}}}", "9**9**9**9", "9^9^9", "7^{50000000}", "100000000!", "3000000!", "(x+1)^{100000}"]
    bombs += [
        r"\int_0^1 \int_0^1 \int_0^1 \sin(xyz) dx dy dz",
        r"\sum_{k=1}^{100000000} k",
        r"\binom{100000000}{50000000}",
    ]
    bombs += [
        "(" * 140 + "1" + ")" * 140,
        r"\frac{1}{" * 33 + "1" + "}" * 33,
        "2^{99999}^{2}",
        r"\sqrt{" * 42 + "2" + "}" * 42,
    ]
    start = time.monotonic()
    verdicts = verify_all([("math", f"\\boxed{{{bomb}}}", r"\sqrt{3}") for bomb in bombs])
    assert {verdict.label for verdict in verdicts} == {"wrong"}
    assert time.monotonic() - start < 2.5 * len(bombs)
    assert verify("math", answer=r"\boxed{\sqrt{8}}", reference=r"2\sqrt{2}").label == "right"
