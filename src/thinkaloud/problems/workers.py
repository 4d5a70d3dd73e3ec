"""The pool of workers: judgements in processes that can be killed, several at a time.

Knows: starting, asking, killing and replacing workers. Doesn't know: how anything is judged. A worker is started as
`python -m`, so that it never imports the caller's `__main__`, and a pool belongs to the process that made it.
"""

import atexit
import functools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from thinkaloud.problems.sandbox.process import Gone, Guest, Limit
from thinkaloud.problems.types import Verdict

START_SECONDS = 60.0
"Wall time for a worker to start and import what it needs; not counted against an answer."
MOST_WORKERS = 8


class Pool:
    """At most `size` workers; threads may share it. A worker that exceeded its time, or died, is never asked again."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slots = threading.BoundedSemaphore(size)
        self.idle: list[Guest] = []
        self.lock = threading.Lock()
        self.owner = os.getpid()
        atexit.register(self.close)

    def judge(self, job: dict[str, Any], seconds: float) -> Verdict:
        """The verdict on a job; past `seconds` of wall time it is wrong, and ungradable when the worker died."""
        line = json.dumps(job | {"seconds": seconds}).encode() + b"\n"
        with self.slots:
            try:
                worker = self.free()
            except OSError:  # this machine starts no process now
                return Verdict.ungradable("worker")
            sound = False
            try:
                reply = asked(worker, line, seconds)
                sound = True
            except Limit:
                return Verdict.wrong("limit")
            except Gone:
                return Verdict.ungradable("worker")
            finally:
                if sound:
                    self.idle.append(worker)
                else:
                    worker.kill()
        if "missing" in reply:
            return Verdict.ungradable(f"{reply['missing']} is missing")
        return Verdict(**reply)

    def free(self) -> Guest:
        """A worker that waits, or a new one; one that died while it waited costs no verdict."""
        with self.lock:
            while self.idle:
                worker = self.idle.pop()
                if worker.process.poll() is None:
                    return worker
                worker.kill()
        return started()

    def close(self) -> None:
        """Ends the workers that wait; not those of a parent, when a forked child ends."""
        while self.idle and os.getpid() == self.owner:
            self.idle.pop().kill()


def asked(worker: Guest, line: bytes, seconds: float) -> dict[str, Any]:
    """A worker's verdict; its time starts when it is ready."""
    worker.heard = 0
    worker.deadline = time.monotonic() + START_SECONDS
    try:
        worker.say(line)
        ready = worker.hear()
    except Limit:
        raise Gone from None
    if "missing" in ready:
        return dict(ready)
    worker.deadline = time.monotonic() + seconds
    return dict(worker.hear())


def started() -> Guest:
    """A new worker, which finds this very package, whatever the caller's working folder."""
    here = str(Path(__file__).parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
    command = (sys.executable, "-P", "-m", "thinkaloud.problems.worker")
    return Guest(command, {}, START_SECONDS, environment=environment)


def pool() -> Pool:
    """This process's pool, made when first used: one worker a core, at most eight."""
    return _pool_of(os.getpid())


@functools.cache
def _pool_of(process: int) -> Pool:
    """One pool a process: after a fork, the child must not speak with its parent's workers."""
    return Pool(min(MOST_WORKERS, os.cpu_count() or 1))
