"""Reading of short answers: what several verifiers share.

Knows: how to read whole numbers from an answer that states nothing else, and to judge one. Doesn't know: any family.
"""

import re
from typing import Any

from thinkaloud.problems.types import Verdict


def whole_numbers(answer: str) -> tuple[int, ...]:
    """The whole numbers that an answer consists of: "(5, 6)." is (5, 6); empty when it holds anything else.

    Signs, fractions, leading zeros and numbers of more than nine digits count as something else.
    """
    text = answer.strip(" \t\r\n*'\"`()[]").rstrip(".!;, \t\r\n*'\"`)]")
    parts = re.split(r"[\s,+]+", text)
    if all(re.fullmatch(r"0|[1-9][0-9]{0,8}", part) for part in parts):
        return tuple(int(part) for part in parts)
    return ()


def same_number(answer: str, reference: Any) -> Verdict:
    """The verdict on an answer that must be one whole number and nothing else."""
    if type(reference) is not int:
        return Verdict.ungradable("reference")
    return Verdict.right() if whole_numbers(answer) == (reference,) else Verdict.wrong("different")


def guesses(thinking: str) -> bool:
    """Whether a monologue gives up: it holds the word guess."""
    return re.search(r"\bguess\b", thinking) is not None


def lines_of(thinking: str) -> list[str]:
    """The lines of a monologue, without the empty space around it."""
    return thinking.strip().split("\n")


def cut_short(lines: list[str], most: int) -> tuple[list[str], str]:
    """The hasty way: at most `most` lines, then the word guess; and the way that the result shows."""
    if len(lines) <= most:
        return lines, "careful"
    return [*lines[:most], "guess"], "hasty"
