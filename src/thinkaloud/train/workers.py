"""Processes that train stages one after another, as the pipeline hands them out.

Knows how such a process is started, given a stage and seen to be done. Does not know recipes, nor which stage is next.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from thinkaloud.base.errors import UserError
from thinkaloud.train.stage import stage_folder

PATIENCE = 8.0
"Seconds that a step may last until what is stopped is kept: systems that stop a program kill it after ten or more."


class Worker:
    """A process that trains one stage after another."""

    def __init__(self, threads: int, log: Path) -> None:
        """`log` takes what it says before its first stage."""
        self.threads = threads
        self.stage: tuple[Path, str] | None = None
        limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "thinkaloud.train.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env=os.environ | limits,
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def give(self, run: Path, name: str) -> None:
        """Let it train a stage."""
        assert self.stage is None and self._process.stdin is not None
        stage_folder(run, name).mkdir(parents=True, exist_ok=True)
        self.stage = run, name
        self._process.stdin.write(json.dumps([str(run), name]).encode() + b"\n")
        self._process.stdin.flush()

    def look(self) -> None:
        """See whether its stage is done; UserError if it ended instead, with the last words of the stage."""
        assert self._process.stdout is not None
        if self.stage is None:
            return
        run, name = self.stage
        ended, answer = self._process.poll() is not None, self._process.stdout.readline().decode()
        if answer.strip() == json.dumps([str(run), name]):
            self.stage = None
        elif answer:
            raise UserError(f"stage {name}: {answer.strip()} (more on it: thinkaloud doctor {run})")
        elif ended:
            log = stage_folder(run, name) / "log.txt"
            text = log.read_text(errors="replace") if log.exists() else ""
            words = [line for line in text.splitlines() if line.strip()][-1:]
            raise UserError(
                f"stage {name} ended with code {self._process.returncode}: {' '.join(words)} (all of it: "
                f"{log}); the same command again goes on from its last checkpoint"
            )

    def ask_to_end(self) -> None:
        """Let it end after the step that it is at."""
        self._process.terminate()

    def end(self) -> None:
        """Let it go, in whatever state it is; asked before, it has PATIENCE seconds."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def free_worker(workers: list[Worker], threads: int, log: Path) -> Worker:
    """One that has nothing to do and runs with so many threads; a new one where there is none."""
    for worker in workers:
        if worker.stage is None and worker.threads == threads:
            return worker
    workers.append(Worker(threads, log))
    return workers[-1]
