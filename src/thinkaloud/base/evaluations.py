"""What an evaluation leaves on disk, and how it goes on after a kill: one JSON line a sample, nothing lost or twice.

EVAL/settings.json says what is asked of whom (it never changes), problems.jsonl what is asked, samples.jsonl every
judged reply, journal.jsonl each opening of the sealed problems. Knows: files and keys. Doesn't know: models, problems.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import Journal, read_json, read_jsonl, write_json, write_text

Row = dict[str, Any]
Key = tuple[str, int, int | None]
"Problem, sample, thinking budget."

SCHEMA_VERSION = 1
"Of these folders."
LISTS = ("thinking_tokens", "tokens", "thinking", "answer", "stated", "way", "finish", "reason", "mixed")
"Keys of a sample that an entry holds as lists, a value a sample."


def key_of(row: Row) -> Key:
    """What tells a sample from all others."""
    return row["problem"], row["sample"], row["budget"]


class Samples:
    """The samples of one evaluation, in memory and, given a folder, on disk. Threads may add."""

    def __init__(self, path: Path | None, settings: Row, problems: Sequence[Row]) -> None:
        """Open or go on; a UserError names a setting that differs from the folder's."""
        self.path = path
        self.problems = problems
        self.rows: list[Row] = []
        self._lock = Lock()
        self._journal: Journal | None = None
        if path is None:
            return
        settings = {"schema_version": SCHEMA_VERSION, **settings}
        if (path / "settings.json").exists():
            _same(path, read_json(path / "settings.json"), json.loads(json.dumps(settings)))
        elif path.is_dir() and any(not one.name.startswith(".") for one in path.iterdir()):
            raise UserError(f"{path} holds something else than an evaluation: name another folder with --out")
        else:
            write_text(path / "problems.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in problems))
            write_json(path / "settings.json", settings)
        file = path / "samples.jsonl"
        self.rows = read_jsonl(file)
        whole = file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0
        self._journal = Journal(file, whole)

    def opened(self, hashes: dict[str, str], left: int) -> None:
        """Note that the sealed problems are opened, by whom and for how many replies."""
        if self.path is None:
            return
        journal = self.path / "journal.jsonl"
        whole = journal.read_bytes().rfind(b"\n") + 1 if journal.exists() else 0
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        note = Journal(journal, whole)
        note.write([{"opened": now, "sha256": hashes, "replies_left": left, "command": sys.argv[1:]}])
        note.close()

    @property
    def done(self) -> set[Key]:
        """What needs not be asked again."""
        return {key_of(row) for row in self.rows}

    def add(self, row: Row) -> None:
        """Keep a sample: it is on disk when this returns."""
        with self._lock:
            if self._journal is not None:
                self._journal.write([row])
            self.rows.append(row)

    def close(self) -> None:
        """Close the file."""
        if self._journal is not None:
            self._journal.close()


def _same(path: Path, old: Row, new: Row) -> None:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            raise UserError(
                f"{path} was begun with {name} {_short(old.get(name))}, not {_short(new.get(name))}: give the same "
                "settings to go on, or another folder with --out"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def entries(problems: Iterable[Row], rows: Iterable[Row], budget: int | None) -> list[Row]:
    """Samples under one budget by problem, in the order of `problems`: the form that reports read.

    A problem without a sample yet is left out.
    """
    by_problem: dict[str, list[Row]] = {}
    for row in rows:
        if row["budget"] == budget:
            by_problem.setdefault(row["problem"], []).append(row)
    return [
        {
            **problem,
            "right": [int(row["verdict"] == "right") for row in group],
            "ungradable": [int(row["verdict"] == "ungradable") for row in group],
            **{name: [row[name] for row in group] for name in LISTS},
        }
        for problem in problems
        if (group := sorted(by_problem.get(problem["id"], ()), key=lambda row: int(row["sample"])))
    ]
