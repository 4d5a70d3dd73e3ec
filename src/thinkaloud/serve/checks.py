"""Replies with a check attached: which of them an exact check passes, and what the others' votes are worth.

Knows: which questions can be checked (`rollouts/verified`). Doesn't know: HTTP's shapes.
"""

import asyncio
import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from thinkaloud.inference import Reply
from thinkaloud.inference.calibration import Calibration
from thinkaloud.rollouts.verified import check_for, checked, kind_of, problem_of, stated
from thinkaloud.text import Message


class Checks:
    """The checks of one request."""

    def __init__(
        self, messages: Sequence[Message], settings: Mapping[str, Any], calibration: Calibration | None
    ) -> None:
        self._check, _ = check_for(problem_of(messages), None)
        self._kind = kind_of(messages)
        asked_whole = settings.get("effort") == "high" and settings.get("thinking_budget") is None
        self._calibration = calibration if asked_whole else None

    async def verdict(self, reply: Reply) -> dict[str, Any]:
        """Whether its answer is right; null where no check fits, and then its confidence is the vote's."""
        verified = await asyncio.get_running_loop().run_in_executor(_threads(), checked, self._check, reply)
        return {"verified": verified, "confidence": None if verified is None else float(verified)}

    def votes(self, replies: Sequence[Reply]) -> list[float | None]:
        """How often an answer with that share of the votes is right; null where a check decides, or nobody knows."""
        if self._check is not None or self._calibration is None:
            return [None] * len(replies)
        said = [stated(reply) for reply in replies]
        return [self._calibration.confidence(said.count(one) / len(said), len(said), self._kind) for one in said]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads of the verdicts' own: somebody's slow tools must not keep them waiting."""
    return ThreadPoolExecutor(4 + (os.cpu_count() or 1), "verdict")
