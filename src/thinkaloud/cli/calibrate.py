"""`thinkaloud calibrate`: what effort, early exit and a vote mean for one checkpoint, measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import err, on_terminal, resumable, say, say_json, say_table
from thinkaloud.cli.evaluate import known_families, slug
from thinkaloud.cli.opening import open_model
from thinkaloud.cli.talk import CacheOption, ModelArgument, ModelOption, QuantizeOption, chosen_model

if TYPE_CHECKING:
    from thinkaloud.inference import ReasoningModel
    from thinkaloud.inference.calibration import Calibration
    from thinkaloud.problems import Problem
    from thinkaloud.rollouts import Sampling
    from thinkaloud.rollouts.calibrate import Measurement

LEAST = 100
"Problems of a file that each half needs."


def calibrate(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    problems: Annotated[
        Path | None,
        typer.Option(help="Your own problems, none that it was trained on: half of them choose, half report."),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="A family, or some of its levels: pairs=4,5,6. By default all that the model was taught."),
    ] = None,
    count: Annotated[int, typer.Option(min=20, help="Dev problems of each family.")] = 1000,
    sealed: Annotated[int, typer.Option(min=0, help="Sealed problems of each family, for reporting only.")] = 1000,
    votes: Annotated[int, typer.Option(min=0, help="Replies a vote.")] = 8,
    probe_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a trial answer.")] = 32,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same replies.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of traces, plot and table; one is chosen.")] = None,
    keep: Annotated[bool, typer.Option(help="Write calibration.json beside the weights, or into --out only.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print calibration.json.")] = False,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Measure what efforts and early exits mean for a model.

    calibration.json goes beside the weights and is used from then on: efforts become measured budgets, and
    max_accuracy_loss can be asked for. The same command again goes on where it was stopped.
    """
    from thinkaloud.base.run import write_text
    from thinkaloud.inference.calibration import FILE
    from thinkaloud.inference.calibration import as_json as text_of
    from thinkaloud.reports.calibration import budget_plot
    from thinkaloud.rollouts.calibrate import How, Measurement

    opened = open_model(chosen_model(model, model_option), quantize=quantize, cache=cache)
    if problems is not None and family:
        raise UserError("--problems and --family are both given: give one")
    dev, test = (
        _brought(problems, opened.upbringing.instruction) if problems else _drawn(opened, family or (), count, sealed)
    )
    folder = out or Path("runs/calibrate") / slug(str(opened.path))
    how = How(sampling=_sampling(opened, max_tokens), votes=votes, probe_tokens=probe_tokens, seed=seed)
    with Measurement(opened, dev, test, how, folder) as measurement, resumable():
        _watch(measurement)
        found = measurement.calibration()
    write_text(folder / FILE, text_of(found))
    if keep:
        write_text(opened.path / FILE, text_of(found))
    raw = found.model_dump(mode="json")
    plot = budget_plot(raw)
    if plot is not None:
        write_text(folder / "calibration.svg", plot)
    if as_json:
        say_json(raw)
        return
    _tell(found)
    say()
    say(f"Written: {(opened.path if keep else folder) / FILE}; the plot: {folder / 'calibration.svg'}")


def _sampling(opened: "ReasoningModel", max_tokens: int | None) -> "Sampling":
    """As `ask` draws where nothing is said."""
    from thinkaloud.rollouts import Sampling

    wish = opened.defaults
    return Sampling(
        max_tokens=max_tokens or wish.max_tokens,
        temperature=wish.temperature,
        top_p=wish.top_p,
        top_k=wish.top_k,
        min_p=wish.min_p,
    )


def _drawn(
    opened: "ReasoningModel", families: Sequence[str], count: int, sealed: int
) -> tuple[list["Problem"], list["Problem"]]:
    from thinkaloud.problems import draw
    from thinkaloud.train.data import SEALED_SEED

    levels = dict(map(_levels, families or opened.upbringing.families or known_families(opened.tokenizer)))
    names = list(levels)
    dev = [one for name in names for one in draw(name, "dev", count, SEALED_SEED, levels[name])]
    test = [one for name in names for one in draw(name, "test", sealed, SEALED_SEED, levels[name])]
    return dev, test


def _levels(text: str) -> tuple[str, list[int] | None]:
    """A family and its levels: "pairs" or "pairs=4,5,6"."""
    name, _, levels = text.partition("=")
    words = levels.split(",") if levels else []
    if not all(word.strip().isdecimal() for word in words):
        raise UserError(f"--family {text!r} is not of the form pairs or pairs=4,5,6")
    return name, [int(word) for word in words] or None


def _brought(path: Path, instruction: str) -> tuple[list["Problem"], list["Problem"]]:
    """A user's own problems in two halves, by what they ask, each with what `ask` puts behind it."""
    from thinkaloud.problems.brought import check
    from thinkaloud.problems.chosen import as_asked

    found = [as_asked(problem, problem.family, instruction) for problem in check(path).problems]
    found.sort(key=lambda problem: problem.id)
    if len(found) < 2 * LEAST:
        raise UserError(
            f"{path} holds {len(found)} sound problems: give at least {2 * LEAST}, half choose, half report"
        )
    return found[::2], found[1::2]


def _watch(measurement: "Measurement") -> None:
    """Trace all, with a bar on a terminal, a line every tenth elsewhere."""
    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f} problems"), BarColumn(), TimeRemainingColumn())
    watched = on_terminal(err())
    with Progress(*columns, console=err(), transient=True, disable=not watched) as bar:
        task = bar.add_task("", total=measurement.total, completed=measurement.done)
        told = 10 * measurement.done // max(1, measurement.total)
        for _ in measurement.run():
            bar.update(task, completed=measurement.done)
            tenth = 10 * measurement.done // measurement.total
            if not watched and tenth > told:
                told = tenth
                print(f"{measurement.done:,} of {measurement.total:,} problems", file=err().file, flush=True)


def _tell(found: "Calibration") -> None:
    from thinkaloud.reports.calibration import effort_table, exit_table

    raw = found.model_dump(mode="json")
    for table in (effort_table(raw), exit_table(raw)):
        if len(table) > 1:
            say_table(table)
            say()
