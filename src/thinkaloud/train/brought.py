"""A user's own problems within a run: checked and split once, then kept in RUN/problems.json.

Knows: files of problems and splits. Doesn't know: models, stages. Later changes of the user's file change no run.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, write_json
from thinkaloud.problems import Problem
from thinkaloud.problems.benchmarks.types import PROMPTS
from thinkaloud.problems.brought import check
from thinkaloud.problems.chosen import as_asked, called
from thinkaloud.problems.sets import Split, split_brought
from thinkaloud.text import Message

FILE = "problems.json"
"Their file within a run."
FEWEST = 8
"Below this many sound problems there is nothing to hold out."


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a source of problems gave.

    Example: `bring("mine.jsonl", None).splits["train"]`.
    """

    splits: dict[Split, list[Problem]]
    "the sound ones"
    faults: tuple[str, ...]
    "what is wrong with the other lines, one line each"


def bring(source: str, instruction: str | None) -> Brought:
    """Read, check and split problems; UserError where too few are sound. `instruction` as for `as_asked`."""
    report = check(Path(source))
    faults = tuple(f"{fault.where}: {fault.words}" for fault in report.faults)
    if len(report.problems) < FEWEST:
        first = f"; {faults[0]}" if faults else ""
        raise UserError(
            f"{source} holds {len(report.problems)} sound problems, and training needs {FEWEST} or more{first} "
            f"(`thinkaloud problems check {source}` tells all)"
        )
    name = called(Path(source))
    problems = [as_asked(problem, name, instruction) for problem in report.problems]
    return Brought(splits=split_brought(problems), faults=faults)


def keep(run: Path, found: Brought) -> None:
    """Write them into the run."""
    rows = [{"split": split, **_row(problem)} for split, problems in found.splits.items() for problem in problems]
    write_json(run / FILE, {"faults": found.faults, "problems": rows})


def kept(run: Path) -> Brought:
    """What `keep` wrote."""
    file = read_json(run / FILE)
    splits: dict[Split, list[Problem]] = {"train": [], "dev": [], "test": []}
    for row in file["problems"]:
        splits[row.pop("split")].append(Problem(messages=(Message(role="user", content=row.pop("question")),), **row))
    return Brought(splits=splits, faults=tuple(file["faults"]))


def instruction_of(run: Path, instruction: str | None) -> str:
    """What followed each question of the run; nothing where its kinds of verifiers ask for different things."""
    if instruction is not None:
        return instruction
    asked = {PROMPTS.get(problem.verifier, "") for problem in brought(run, "train")}
    return asked.pop() if len(asked) == 1 else ""


def brought(run: Path, split: Split) -> list[Problem]:
    """The run's problems of one split."""
    return kept(run).splits[split]


def _row(problem: Problem) -> dict[str, Any]:
    row = asdict(problem)
    del row["messages"]
    return row | {"question": problem.question}
