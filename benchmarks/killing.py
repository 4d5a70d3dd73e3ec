"""Processes that a server has started, by what they do: killed at random, and looked for at the end.

Knows: how to tell them by their command. Doesn't know: what is asked of the server.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter

from served import command_of, offspring

MARKS = {"worker": "thinkaloud.problems.worker", "tool": "square.py"}
"Kind -> what stands in its command; all else is a guest: bubblewrap, and the interpreter within."
MOST = {"worker": min(8, os.cpu_count() or 1), "tool": 1, "guest": 0}
"How many of a kind may be there when nothing is asked any more."
PAUSES = {"worker": (1.0, 8.0), "tool": (5.0, 40.0), "guest": (0.5, 5.0)}
"Seconds from one kill of a kind to the next."
LAST_SECONDS = 40.0
"Nothing is killed so shortly before the end."


class Killer:
    """Kills what a server has started, and remembers all that it has seen."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.killed = Counter[str]()
        "how many of each kind"
        self._seen: dict[int, str] = {}
        "process -> its command"

    def look(self) -> dict[str, list[int]]:
        """What runs now, by kind."""
        found: dict[str, list[int]] = {kind: [] for kind in PAUSES}
        for process in offspring(self.server):
            command = command_of(process)
            if not command:
                continue
            self._seen[process] = command
            found[next((kind for kind, mark in MARKS.items() if mark in command), "guest")].append(process)
        return found

    async def kill(self, kind: str, until: float, rng: random.Random) -> None:
        """One of that kind after another."""
        pause = rng.uniform(*PAUSES[kind])
        while time.monotonic() < until - LAST_SECONDS:
            await asyncio.sleep(pause)
            victims = self.look()[kind]
            pause = rng.uniform(*PAUSES[kind]) if victims else 0.2
            for victim in victims and [rng.choice(victims)]:
                self.killed[kind] += ended(victim)

    def left_behind(self, seconds: float) -> list[str]:
        """What still runs after that time and should not."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.look()
            surplus = [one for kind, those in found.items() if len(those) > MOST[kind] for one in those]
            owned = [one for those in found.values() for one in those]
            surplus += [one for one, command in self._seen.items() if one not in owned and command == command_of(one)]
            if not surplus or time.monotonic() > deadline:
                return [f"left behind: {command_of(one)[:100]}" for one in surplus]
            time.sleep(0.2)


def ended(process: int) -> bool:
    """Kill it; whether it was still there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
