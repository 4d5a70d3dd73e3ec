"""Where the seconds of a training step go, told the same way for us and for a peer.

Knows: phases, and that what runs inside another's phase is not counted there. Doesn't know: what is timed.
"""

import functools
import time
from collections import defaultdict
from typing import Any

PHASES = ("rollout", "verify", "update", "other")


class Clock:
    """Wall-clock seconds by phase. What no wrapped function accounts for is "other"."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack = ["other"]
        self._since = time.perf_counter()

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count the time of `owner.name` to `phase`, but for what wrapped functions within it take."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **how: Any) -> Any:
            self._switch()
            self._stack.append(phase)
            try:
                return inner(*args, **how)
            finally:
                self._switch()
                self._stack.pop()

        setattr(owner, name, timed)

    def lap(self) -> dict[str, float]:
        """Seconds by phase since the last lap."""
        self._switch()
        row = {phase: self.seconds[phase] for phase in PHASES}
        self.seconds.clear()
        return row

    def skip(self) -> None:
        """Forget what passed since the last lap."""
        self.lap()
