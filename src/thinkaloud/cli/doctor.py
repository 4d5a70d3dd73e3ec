"""`thinkaloud doctor`: why a run does not learn, and whether what we rely on works on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import complain, say, say_table

MOST_FAULTS = 5
"Faults of one kind that are shown; the rest are counted."


def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run's folder, finished or not: why does it not learn?")
    ] = None,
    verifiers: Annotated[bool, typer.Option("--verifiers", help="Test every verifier on known answers.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="A folder with published problem sets: judge all their references too.")
    ] = None,
    unsafe_exec: Annotated[
        bool, typer.Option("--unsafe-exec", help="Run programs WITHOUT isolation, with limits on resources only.")
    ] = False,
) -> None:
    """Say why a run does not learn, or check verifiers.

    With what to change; exit code 1 where something is amiss.

    Examples: thinkaloud doctor runs/demo; thinkaloud doctor --verifiers
    """
    if run is None and not verifiers:
        raise UserError("nothing to check: say what, as in thinkaloud doctor RUN or thinkaloud doctor --verifiers")
    faults = (_run_faults(run) if run is not None else 0, _verifier_faults(data, unsafe_exec) if verifiers else 0)
    if any(faults):
        raise typer.Exit(1)


def _run_faults(run: Path) -> int:
    """Tell what is wrong with each stage of a run; how much that is."""
    from thinkaloud.reports.diagnosis import examine

    found = examine(run)
    for stage, diagnoses in found.items():
        for one in diagnoses:
            say(f"{stage}, {one.name}: {one.words}.")
            say(f"    Cure: {one.cure}.")
        if not diagnoses:
            say(f"{stage}: nothing to complain of")
    return sum(map(len, found.values()))


def _verifier_faults(data: Path | None, unsafe_exec: bool) -> int:
    """Test the verifiers, and references where there are any; how many verdicts are not what they must be."""
    from thinkaloud.problems.checks import outcome, self_test
    from thinkaloud.problems.published import published
    from thinkaloud.problems.sandbox.isolation import CURE, MONTY, bubblewrap_fault, sandbox_here
    from thinkaloud.problems.verify import KINDS

    outcomes = [self_test(kind, unsafe_exec=unsafe_exec) for kind in KINDS]
    for name, items in (published(data) if data is not None else {}).items():
        outcomes.append(outcome(name, items, unsafe_exec=unsafe_exec))
    rows = [["verifier", "right", "wrong", "ungradable", "unsupported", "faults", "sandbox", "seconds"]]
    for one in outcomes:
        counts = [str(one.counts[label]) for label in ("right", "wrong", "ungradable")]
        names = ", ".join(one.sandboxes) or "-"
        rows.append([one.name, *counts, str(one.unsupported), str(len(one.faults)), names, f"{one.seconds:.2f}"])
    say_table(rows)
    for one in outcomes:
        for fault in one.faults[:MOST_FAULTS]:
            say(f"{one.name}: {fault}")
        if len(one.faults) > MOST_FAULTS:
            say(f"{one.name}: and {len(one.faults) - MOST_FAULTS} more")
    if sandbox_here(unsafe_exec) == MONTY:
        say(f"{bubblewrap_fault()}: programs run in the Monty interpreter, a subset of Python; {CURE}")
    faults = sum(len(one.faults) for one in outcomes)
    if faults:
        complain(f"{faults} verdicts are not what they must be")
    return faults
