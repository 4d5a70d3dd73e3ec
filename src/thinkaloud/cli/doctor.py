"""`thinkaloud doctor`: what this machine can do, why a run does not learn, whether the verifiers are right."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from thinkaloud.cli.console import complain, say, say_json, say_table

MOST_FAULTS = 5
"Faults of one kind that are shown; the rest are counted."
MARKS = {"good": ("+", "green"), "slow": ("=", "yellow"), "missing": ("=", "yellow"), "unusable": ("-", "red")}
"How the state of a check is marked."


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
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check this machine, a run, or the verifiers.

    With what to change; exit code 1 where a run or a verifier is amiss, or something here is unusable.

    Examples: thinkaloud doctor; thinkaloud doctor runs/demo; thinkaloud doctor --verifiers
    """
    found: dict[str, Any] = {}
    faults = 0
    if run is None and not verifiers:
        found["machine"], faults = _machine(quiet=as_json)
    if run is not None:
        found["run"], count = _run_faults(run, quiet=as_json)
        faults += count
    if verifiers:
        found["verifiers"], count = _verifier_faults(data, unsafe_exec, quiet=as_json)
        faults += count
    if as_json:
        say_json(found)
    if faults:
        raise typer.Exit(1)


def _machine(*, quiet: bool) -> tuple[list[dict[str, str]], int]:
    """Tell each check as it is made; also how many parts are unusable."""
    from thinkaloud.cli.checkup import checks

    made = []
    for check in checks():
        made.append(check)
        if not quiet:
            mark, style = MARKS[check.state]
            say(f"{mark} {check.name}: {check.words}", style)
            if check.cure:
                say(f"    Cure: {check.cure}")
    return [asdict(check) for check in made], sum(check.state == "unusable" for check in made)


def _run_faults(run: Path, *, quiet: bool) -> tuple[dict[str, list[dict[str, str]]], int]:
    """Tell what is wrong with each stage of a run; also how much that is."""
    from thinkaloud.reports.diagnosis import examine

    found = examine(run)
    for stage, diagnoses in {} if quiet else found.items():
        for one in diagnoses:
            say(f"{stage}, {one.name}: {one.words}.")
            say(f"    Cure: {one.cure}.")
        if not diagnoses:
            say(f"{stage}: nothing to complain of")
    return {stage: [asdict(one) for one in ones] for stage, ones in found.items()}, sum(map(len, found.values()))


def _verifier_faults(data: Path | None, unsafe_exec: bool, *, quiet: bool) -> tuple[list[dict[str, Any]], int]:
    """Test the verifiers, and references where there are any; also how many verdicts are not what they must be."""
    from thinkaloud.problems.checks import outcome, self_test
    from thinkaloud.problems.published import published
    from thinkaloud.problems.sandbox.isolation import CURE, MONTY, bubblewrap_fault, sandbox_here
    from thinkaloud.problems.verify import KINDS

    outcomes = [self_test(kind, unsafe_exec=unsafe_exec) for kind in KINDS]
    for name, items in (published(data) if data is not None else {}).items():
        outcomes.append(outcome(name, items, unsafe_exec=unsafe_exec))
    faults = sum(len(one.faults) for one in outcomes)
    if quiet:
        return [asdict(one) for one in outcomes], faults
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
    if faults:
        complain(f"{faults} verdicts are not what they must be")
    return [], faults
