"""Runs that are killed again and again and must end as if they had not been: `python tests/kills.py FOLDER COUNT`.

Everything is imported once; each attempt is a fork that does what the command line does, all in the same process. An
audit hook sees what an attempt does to files and kills it at a named moment, or at any: the package has no hooks.
"""

import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from test_train import OWN
from thinkaloud.base.run import Journal
from thinkaloud.cli import main as command_line
from thinkaloud.problems import FAMILIES
from thinkaloud.train import pipeline, rft
from thinkaloud.train.worker import run_stage
from toys import TOYS, toy_recipe

TIMES = {"seconds", "dev_seconds", "cpu_seconds", "evaluation_seconds", "repeated_tokens"}
"Keys that may differ."
LEFT_OUT = {"log.txt", "repeated.json", "measured.json", ".lock", "report.html", "live.html", "environment.json"}
"Files that may."


@dataclass(frozen=True, kw_only=True)
class Death:
    """When an attempt is killed."""

    event: str = ""
    "an audit event such as os.rename, which is raised before it is done"
    path: str = ""
    "an expression that one of its paths must hold"
    count: int = 1
    "at which such event"
    torn: int = 0
    "at which line of a journal, of which half is written; 0: at none"
    after: float = 0.0
    "seconds after which it is killed from outside; 0: it is not"
    polite: bool = False
    "whether it is asked to end instead of killed"


NAMED = (
    Death(event="os.rename", path=r"environment\.json$"),
    Death(event="os.rename", path=r"toy/recipe\.toml$"),
    Death(torn=3),
    Death(event="open", path=r"start/state-\d+\.partial/state\.json", count=2),
    Death(event="os.rename", path=r"start/state-\d+$", count=3),
    Death(event="os.rmdir", path=r"state-\d+$"),
    Death(event="os.rename", path=r"checkpoints/start/model/model\.safetensors$"),
    Death(event="os.rename", path=r"checkpoints/start/ledger\.json$"),
    Death(event="os.rename", path=r"evaluations/start\.json$"),
    Death(event="os.rename", path=r"checkpoints/start/done\.json$"),
    Death(torn=5),
    Death(event="os.rename", path=r"rl/state-\d+$", count=2),
    Death(event="os.rename", path=r"evaluations/rl-vote\.json$"),
    Death(event="os.rename", path=r"rft/state-\d+$", count=2),
    Death(event="os.rename", path=r"runs/toy/rollouts\.jsonl$"),
    Death(event="os.rename", path=r"runs/toy/model$"),
    Death(event="os.rename", path=r"summary\.json$"),
    Death(event="os.rename", path=r"live\.html$", count=2),  # told for the last time
)
"Moments in their order, one after another in the same run."
FEW = tuple(NAMED[number] for number in (2, 4, 12, 16, 17))
"The most telling of them."


class Here:
    """A worker in this very process."""

    stage = None

    def give(self, run: Path, name: str) -> None:
        run_stage(run, name)


def prepare_to_die(death: Death) -> None:
    """Watch files from now on."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == death.event or (death.event == "any" and event in ("open", "os.rename", "os.remove", "os.mkdir")):
            paths = [str(one) for one in arguments if isinstance(one, str | Path)]
            if any(re.search(death.path, one) for one in paths):
                seen += 1
                if seen == death.count:
                    os.kill(os.getpid(), signal.SIGKILL)

    whole, written = Journal.write, 0

    def write(journal: Journal, rows: list[dict[str, Any]]) -> None:
        nonlocal written
        written += len(rows)
        if written >= death.torn:
            line = json.dumps(rows[-1]).encode()
            journal._file.write(line[: len(line) // 2])
            journal._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        whole(journal, rows)

    if death.event:
        sys.addaudithook(watch)
    if death.torn:
        Journal.write = write  # type: ignore[method-assign]


def attempt(folder: Path, words: list[str], death: Death) -> int:
    """One command in a fork; its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(said, stream)
        prepare_to_die(death)
        try:
            code = command_line.run(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        os._exit(code)
    if death.after:
        time.sleep(death.after)
        os.kill(child, signal.SIGTERM if death.polite else signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def plain(value: Any) -> Any:
    """JSON without timings."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in TIMES}
    return [plain(one) for one in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """Every file below, timings apart."""
    found: dict[str, Any] = {}
    for file in sorted((folder / "runs").rglob("*")):
        if file.is_dir() or file.name in LEFT_OUT:
            continue
        text = file.read_bytes()
        if file.suffix == ".json":
            text = plain(json.loads(text))
        elif file.suffix == ".jsonl":
            text = [plain(json.loads(line)) for line in text.splitlines()]
        found[str(file.relative_to(folder))] = text
    return found


def write_recipe(folder: Path) -> None:
    """A recipe of all kinds of stages, of a second or two."""
    folder.mkdir()
    short = {"batch_tokens": 400, "max_tokens": 8}
    group = {"kind": "rl", "init": "start", "problems": 4, "samples": 4, **short}
    toy_recipe(
        folder,
        {"toss": {"train": 60, "ways": {"careful": 1, "hasty": 1}}},
        {
            "start": {"kind": "sft", "budget": 24_000, **short},
            "rl": {**group, "budget": 5_000, "guard": {"families": ["toss"], "problems": 20, "margin": 0.9}},
            "own": {**group, **OWN, "process": 0.0, "budget": 10_000_000, "rollouts": 120},  # no family here can check
            "rft": {"kind": "rft", "init": "start", "budget": 5_000, "rounds": 2, **short},
        },
        probe=["rl"],
        probe_problems=4,
        votes=2,
        budgets=[2],
        compare=["start", "rl"],
    )


def random_deaths(rng: random.Random, seconds: float, events: int) -> Iterator[Death]:
    """Moments without end: at any file, in any line, at any time, asked or not."""
    while True:
        kind = rng.randrange(4)
        if kind == 0:
            yield Death(event="any", path="runs", count=rng.randint(1, events))
        elif kind == 1:
            yield Death(torn=rng.randint(1, 60))
        else:
            yield Death(after=rng.uniform(0.01, seconds), polite=kind == 3)


def main() -> None:
    """Kill COUNT times at least; print what was killed how often, and what differs in the end."""
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    FAMILIES.update(TOYS)
    rft.PROBLEMS_A_STEP = 8
    pipeline.POLL_SECONDS = 0.0
    pipeline.free_worker = lambda *_: Here()  # type: ignore[assignment,return-value]
    train = ["train", "recipe.toml", "run.dir=runs/toy", "run.result=rl"]
    study = ["study", "recipe.toml", "run.dir=runs/toy", "run.result=rl", "--seeds", "1,2"]
    whole, expected = {}, {}
    kills, different = [], []

    def tried(name: str, words: list[str], deaths: Iterator[Death]) -> None:
        """One run, killed as long as there are deaths to die."""
        folder, code = root / f"{name}-{len(list(root.iterdir()))}", -1
        write_recipe(folder)
        for death in deaths:
            code = attempt(folder, words, death)
            if code in (0, 2):
                break
            assert code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), (code, folder)
            kills.append(str(death))
        code = code if code in (0, 2) else attempt(folder, words, Death())
        said = (folder / "said.txt").read_text()
        found = contents(folder) if code == 0 else {}
        names = expected[words[0]].keys() | found.keys()
        different.extend(f"{folder}: {one}" for one in names if expected[words[0]].get(one) != found.get(one))
        if code != 0:
            different.append(f"{folder}: code {code}: {said[-300:]}")

    for words in (train, study) if count > len(FEW) else (train,):
        folder = root / f"whole-{words[0]}"
        write_recipe(folder)
        began = time.monotonic()
        code = attempt(folder, words, Death())
        assert code == 0, (folder / "said.txt").read_text()
        whole[words[0]], expected[words[0]] = time.monotonic() - began, contents(folder)
    tried("named", train, iter(NAMED if count > len(FEW) else FEW))
    named, rng = len(kills), random.Random(1)
    while len(kills) < count:
        words = rng.choice([train, study])
        tried("random", words, random_deaths(rng, whole[words[0]], 400))
    print(json.dumps({"kills": len(kills), "named": named, "different": different, "seconds": whole}))


if __name__ == "__main__":
    main()
