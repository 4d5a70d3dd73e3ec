"""What the verbs print with. Knows terminals and their traps; does not know what is said.

Text of a model or of a file is never read as markup, and its control characters never reach the terminal.
"""

import json
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"Characters that move the cursor, change colours or turn the direction of writing; tab and newline are harmless."


@cache
def out() -> Console:
    """Standard output."""
    return Console(highlight=False, markup=False, emoji=False)


@cache
def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def on_terminal(console: Console) -> bool:
    """Whether a person watches who can see a line change; a forced colour does not make a pipe a terminal."""
    return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal


def clean(text: str) -> str:
    """The text with every dangerous control character replaced."""
    return CONTROL.sub("\ufffd", text)


def say(text: str = "", style: str | None = None) -> None:
    """One line on standard output, never wrapped by us."""
    out().print(Text(clean(text), style=style or ""), soft_wrap=True)


def complain(message: str) -> None:
    """One line on standard error, red on a terminal."""
    err().print(Text(f"error: {clean(' '.join(message.split()))}", style="red"), soft_wrap=True)


def say_json(value: Any) -> None:
    """JSON on standard output, safe to look at on a terminal too."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    out().out(CONTROL.sub(lambda match: match[0] if match[0] in "\n" else f"\\u{ord(match[0]):04x}", text))


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """A table, the heading first: ruled on a terminal, else padded columns without wrapping."""
    heading, *body = [[clean(cell) for cell in row] for row in rows]
    if not on_terminal(out()):
        widths = [max(map(len, column)) for column in zip(heading, *body, strict=True)]
        for row in [heading, *body]:
            cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
            say("  ".join(cells).rstrip())
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, name in enumerate(heading):
        table.add_column(Text(name), justify="right" if index else "left", overflow="fold")
    for row in body:
        table.add_row(*(Text(cell) for cell in row))
    out().print(table)


def duration(seconds: float) -> str:
    """45 s, 3 min 20 s, 1 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C ends what runs inside with code 130, a polite kill with 143, and one line that says how it goes on."""
    received = [signal.SIGINT]

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        err().print("stopped; the same command again goes on from where it was kept last", soft_wrap=True)
        raise typer.Exit(128 + received[-1]) from None
    finally:
        signal.signal(signal.SIGTERM, before)
