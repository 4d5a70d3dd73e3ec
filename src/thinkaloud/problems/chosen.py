"""The sets that `--on` names: published ones, our own families, files that a user brings.

Knows: which name is which. Doesn't know: how any of them is read or drawn.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thinkaloud.base.errors import UserError
from thinkaloud.problems import benchmarks, brought
from thinkaloud.problems.benchmarks.types import asked
from thinkaloud.problems.families import FAMILIES
from thinkaloud.problems.sets import draw
from thinkaloud.problems.types import Problem, ProblemSet
from thinkaloud.text.messages import Message, followed

SEALED_SEED = 0
"Seed of the drawn problems: always the same ones, those that a run is measured on."


def drawn(family: str, count: int) -> ProblemSet:
    """The first sealed test problems of a family of ours."""
    problems = tuple(draw(family, "test", count, SEALED_SEED))
    return ProblemSet(name=family, problems=problems, source="drawn, sealed test", licence="Apache-2.0")


def chosen(
    names: Sequence[str],
    folder: Path | None = None,
    *,
    limit: int | None = None,
    count: int = 200,
    instruction: str | None = None,
    offline: bool = False,
) -> list[ProblemSet]:
    """The sets of these names, each once. `limit` keeps a set's first problems, `count` is how many a family draws.

    `instruction` is for files that a user brings, as for `as_asked`.
    """
    found: dict[str, ProblemSet] = {}
    for name in names:
        if name in FAMILIES:
            found[name] = drawn(name, count if limit is None else min(count, limit))
        elif name.lower().endswith((".jsonl", ".csv")):
            found[name] = own(Path(name), limit, instruction)
        else:
            for one in _named(name):
                found[one] = benchmarks.load(one, folder, limit=limit, offline=offline)
    if not found:
        raise UserError("no problems are named: give --on some, as in --on gsm8k,math500")
    return list(found.values())


def _named(name: str) -> tuple[str, ...]:
    known = [*benchmarks.BENCHMARKS, *benchmarks.GROUPS, *FAMILIES]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"take some of {', '.join(known)}, or a file .jsonl or .csv"
        raise UserError(f"there are no problems {name!r}; {hint}")
    return benchmarks.named(name)


def own(path: Path, limit: int | None, instruction: str | None = None) -> ProblemSet:
    """A user's file, whose problems must all be sound. `instruction` as for `as_asked`."""
    report = brought.check(path)
    if report.faults or not report.problems:
        raise UserError(f"{path} has faults: `thinkaloud problems check {path}` names each with its fix")
    name = called(path)
    problems = tuple(as_asked(one, name, instruction) for one in report.problems[:limit])
    return ProblemSet(name=name, problems=problems, source=str(path), licence="yours")


def called(path: Path) -> str:
    """What the problems of a user's file are called: as the file, but never as a family of ours."""
    return f"own_{path.stem}" if path.stem in FAMILIES else path.stem


def as_asked(problem: Problem, name: str, instruction: str | None = None) -> Problem:
    """A user's problem under the name of its set, with what is said after the question.

    `instruction` None is what its kind of verifier asks for; an empty one says nothing.
    """
    question = problem.question
    question = asked(question, problem.verifier) if instruction is None else followed(question, instruction)
    return replace(problem, family=name, messages=(Message(role="user", content=question),))
