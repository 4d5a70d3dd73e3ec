"""`thinkaloud problems`: what can be asked, with a worked sample of each family; a user's own problems, checked."""

import random
from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import complain, say, say_table


def problems(
    action: Annotated[str | None, typer.Argument(metavar="[check]", help="Check a file instead of listing.")] = None,
    file: Annotated[
        Path | None, typer.Argument(help="Problems of your own: .jsonl or .csv, a folder, a data set of the hub.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A folder with published sets that FILE must not overlap.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no hub.")] = False,
) -> None:
    """List the families of problems, or check a file of your own.

    The list shows their levels, their ways of working, and one worked sample each. `thinkaloud problems check FILE`
    reads question, answer, and optionally verifier, tests and id, and names each fault by line with its nearest fix.
    """
    if action is None:
        return _list()
    if action != "check" or file is None:
        raise UserError("name a file to check, as in thinkaloud problems check my_problems.jsonl")
    from thinkaloud.problems.brought import check
    from thinkaloud.problems.published import questions
    from thinkaloud.problems.sets import split_brought

    report = check(file, questions(against) if against is not None else None, offline=offline)
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.verifiers.items()) or "none"
    say(f"{len(report.problems)} sound problems ({kinds}), {len(report.faults)} faults")
    least, median, most = report.words
    say(f"questions of {least} to {most} words, median {median:g}")
    splits = ", ".join(f"{len(part)} {split}" for split, part in split_brought(report.problems).items())
    say(f"split for training into {splits}")
    for fault in report.faults:
        say(f"{fault.where}: {fault.words}")
    if report.faults or not report.problems:
        cure = "mend these lines" if report.faults else "give each line a question and its answer"
        complain(f"{file} is not ready: {cure}")
        raise typer.Exit(1)


def _list() -> None:
    """The families, with a sample of each."""
    from thinkaloud.problems import FAMILIES, draw
    from thinkaloud.problems.benchmarks import BENCHMARKS

    for name, family in FAMILIES.items():
        problem = draw(family, "train", 1, 1, [family.levels[len(family.levels) // 2]])[0]
        shown = family.demonstrate(problem, family.ways[0], random.Random(1))
        say(name, "bold")
        say(f"  levels {family.levels[0]} to {family.levels[-1]}; ways of working: {', '.join(family.ways)}")
        for line in problem.question.splitlines():
            say(f"  {line}")
        for line in shown.thinking.splitlines():
            say(f"    {line}", "dim")
        say(f"  {shown.answer}")
        say()
    say("published sets, for --on; fetched from the hub or read from --data FOLDER", "bold")
    rows = [["set", "what", "licence", "on the hub"]]
    say_table(rows + [[one.name, one.what, one.licence, one.hub] for one in BENCHMARKS.values()])
