"""Keys pressed while a model speaks. Knows terminals; does not know what a key is for.

Without a terminal, or without termios, no key is ever pressed. However it ends, the terminal is as it was.
"""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    import termios
    import tty
except ImportError:  # not on Windows
    termios = None  # type: ignore[assignment]


class Keys:
    """Keys of a terminal that is read key by key; `descriptor` is None where there is none."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None

    @property
    def there(self) -> bool:
        """Whether keys can be pressed at all."""
        return self._descriptor is not None

    def pressed(self, wait: float = 0.0) -> str:
        """The key that was pressed, at most `wait` seconds from now; empty for none."""
        if self._descriptor is None or not select.select([self._descriptor], [], [], wait)[0]:
            return ""
        return os.read(self._descriptor, 1).decode("utf-8", "replace")

    def line(self, prompt: str) -> str:
        """A whole line, typed as on any prompt; empty where it is left."""
        self._give_back()
        try:
            return input(prompt).strip()
        except EOFError:
            return ""
        finally:
            self._take()

    def _take(self) -> None:
        if self._descriptor is not None:
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)

    def _give_back(self) -> None:
        if self._descriptor is not None and self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._before = None


@contextmanager
def keys() -> Iterator[Keys]:
    """The keys of standard input, if that is a terminal that somebody sits at."""
    there = termios is not None and sys.stdin.isatty() and sys.stdout.isatty()
    found = Keys(sys.stdin.fileno() if there else None)
    found._take()
    try:
        yield found
    finally:
        found._give_back()
