"""Training as it is watched: a live panel on a terminal, plain lines elsewhere. Draws statuses, knows nothing else."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thinkaloud.cli.console import clean, duration, on_terminal
from thinkaloud.train.pace import Pace

if TYPE_CHECKING:
    from thinkaloud.train.status import StageStatus

FAMILY = "dev_accuracy_"
"A row's key for the accuracy on one family begins so."
WIDE = 100
"Columns from which on the families get columns of their own."


def follow(progress: Iterator[list["StageStatus"]], console: Console) -> None:
    """Watch until all is done."""
    if not on_terminal(console):
        lines = Lines()
        for statuses in progress:
            for line in lines.update(statuses):
                print(line, file=console.file, flush=True)
        return
    pace = Pace()
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        for statuses in progress:
            pace.observe(statuses)
            live.update(draw(statuses, pace, console), refresh=True)


def label(status: "StageStatus", statuses: Sequence["StageStatus"]) -> str:
    """A stage's name; with several runs its run's name goes before it."""
    several = any(other.run != status.run for other in statuses)
    return clean(f"{status.run.name}/{status.name}" if several else status.name)


def accuracy(row: dict[str, Any]) -> float | None:
    """Accuracy so far: on dev problems, or else the reward."""
    value: float | None = row.get("dev_accuracy", row.get("reward"))
    return value


def thought(row: dict[str, Any]) -> float | None:
    """Mean tokens of a thought; None if it does not think."""
    value: float | None = row.get("thinking_tokens", row.get("dev_thinking_tokens"))
    return value or None


def percent(share: float | None) -> str:
    """61.2 %; nothing for None."""
    return "" if share is None else f"{100 * share:.1f} %"


class Lines:
    """Plain lines: a stage's start, each tenth of its progress, its measuring, its end."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._told: dict[tuple[Any, str], tuple[str, int]] = {}
        self._estimated = False

    def update(self, statuses: Sequence["StageStatus"]) -> list[str]:
        """What is new."""
        self._pace.observe(statuses)
        lines = []
        for status in statuses:
            key = (status.run, status.name)
            before = self._told.get(key, ("waiting", 0))
            now = (status.state, int(status.progress * 10 + 1e-9))
            if now != before and status.state != "waiting":
                self._told[key] = now
                text = self._text(status, statuses, before)
                if text:
                    lines.append(f"{duration(self._pace.elapsed):>12}  {label(status, statuses)}: {text}")
        left = None if self._estimated else self._pace.all_left(statuses)
        if left:
            self._estimated = True
            lines.append(
                f"{duration(self._pace.elapsed):>12}  at the pace of the first steps about {duration(left)} left"
            )
        return lines

    def _text(self, status: "StageStatus", statuses: Sequence["StageStatus"], before: tuple[str, int]) -> str:
        figures = _figures(status)
        if status.state == "done":
            return "done before" if before[0] == "waiting" else f"done{figures}"
        if status.state == "measuring":
            return f"measuring{figures}" if before[0] != "measuring" else ""
        if before[0] == "waiting":
            return f"starts ({status.kind})" if status.progress < 0.1 else f"goes on at {100 * status.progress:.0f} %"
        left = self._pace.all_left(statuses)
        rest = "" if left is None else f", about {duration(left)} left in all"
        return f"{100 * status.progress:.0f} %{figures}{rest}"


def _figures(status: "StageStatus") -> str:
    """', accuracy 61.2 %, thoughts of 31.0 tokens': what is known of it."""
    right, tokens = accuracy(status.row), thought(status.row)
    words = "" if right is None else f", accuracy {percent(right)}"
    return words if tokens is None else f"{words}, thoughts of {tokens:.1f} tokens"


def draw(statuses: Sequence["StageStatus"], pace: Pace, console: Console) -> RenderableType:
    """The whole panel, made to fit the terminal."""
    speaker = _speaker(statuses)
    rows = max(4, console.size.height - (14 if speaker else 5))
    done = sum(status.state == "done" for status in statuses)
    left = pace.all_left(statuses)
    head = f"{done} of {len(statuses)} stages done, {duration(pace.elapsed)} so far"
    head += f", about {duration(left)} left" if left else ""
    parts: list[RenderableType] = [Text(head, style="bold"), _stages(_chosen(statuses, rows), statuses, pace, console)]
    if speaker is not None:
        used = 5 + min(rows, len(statuses))
        parts.append(_monologue(speaker, statuses, max(4, console.size.height - used - 5)))
    return Group(*parts)


def _chosen(statuses: Sequence["StageStatus"], most: int) -> list["StageStatus"]:
    """All stages, or, where there are too many, those that run first, then the newest done, then the next ones."""
    if len(statuses) <= most:
        return list(statuses)
    order = {"training": 0, "measuring": 0, "done": 1, "waiting": 2}
    indices = sorted(
        range(len(statuses)), key=lambda i: (order[statuses[i].state], -i if statuses[i].state == "done" else i)
    )
    running = sum(order[status.state] == 0 for status in statuses)
    finished = [i for i in indices if statuses[i].state == "done"][: max(0, (most - running) // 2)]
    others = [i for i in indices if statuses[i].state != "done"]
    return [statuses[i] for i in sorted([*finished, *others[: most - len(finished)]])]


def _stages(shown: Sequence["StageStatus"], statuses: Sequence["StageStatus"], pace: Pace, console: Console) -> Table:
    families = list(dict.fromkeys(key for one in statuses for key in one.row if key.startswith(FAMILY)))
    families = families if console.size.width >= WIDE and len(families) <= 3 else []
    table = Table.grid(padding=(0, 2), expand=False)
    headings = ["stage", "", "", "", "accuracy", *(clean(key.removeprefix(FAMILY)) for key in families), "thought"]
    for index in range(len(headings)):
        table.add_column(justify="left" if index in (0, 1, 3) else "right", no_wrap=True)
    table.add_row(*(Text(heading, style="dim") for heading in headings))
    for status in shown:
        tokens = thought(status.row)
        table.add_row(
            Text(label(status, statuses), style="dim" if status.state == "waiting" else "bold"),
            ProgressBar(total=1.0, completed=status.progress, width=max(8, min(30, console.size.width - 65))),
            Text(f"{100 * status.progress:.0f} %"),
            _state(status, statuses, pace),
            Text(percent(accuracy(status.row)), style="green"),
            *(Text(percent(status.row.get(key))) for key in families),
            Text("" if tokens is None else f"{tokens:.1f} tokens"),
        )
    return table


def _state(status: "StageStatus", statuses: Sequence["StageStatus"], pace: Pace) -> Text:
    if status.state == "done":
        return Text(f"done, {duration(status.seconds)}", style="green")
    if status.state != "training":
        return Text(status.state, style="dim" if status.state == "waiting" else "cyan")
    left = pace.left(status, statuses)
    return Text("training" if left is None else f"{duration(left)} left", style="cyan")


def _speaker(statuses: Sequence["StageStatus"]) -> "StageStatus | None":
    """The stage whose monologue is shown: one that thinks, best one in training, best of all one that reinforces."""
    thinking = [status for status in statuses if status.row.get("sample", {}).get("thinking")]
    return max(
        thinking,
        key=lambda status: (status.state == "training", status.kind == "rl", status.progress < 1, status.progress),
        default=None,
    )


def _monologue(status: "StageStatus", statuses: Sequence["StageStatus"], most: int) -> Panel:
    """The newest sample of a stage: question, thought, answer; of a long thought the end."""
    sample = status.row["sample"]
    lines = clean(sample["thinking"]).strip("\n").split("\n")
    if len(lines) > most:
        lines = [f"({len(lines) - most + 1} lines before)", *lines[1 - most :]]
    mark = Text("  \u2713 right", style="green") if sample["right"] else Text("  \u2717 wrong", style="red")
    body = Group(
        Text(clean(sample["question"]).strip()),
        Text("\n".join(lines), style="dim"),
        Text(clean(sample["answer"]).strip() or "(no answer)", style="bold") + mark,
    )
    title = Text(f"{label(status, statuses)} thinks aloud", style="bold")
    return Panel(body, title=title, title_align="left", border_style="dim")
