"""The reasoning-gym library: its datasets, those that are refused, its scores read strictly.

Knows: what of it is unsound. Doesn't know: our families. The library is imported on first use (two seconds).
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.problems.types import Verdict

BLOCKED = {
    "composite": "it mixes other families, so that nothing says which verifier applies",
    "boxnet": "it has no reference answer",
    "graph_color": "it has no reference answer",
    "rubiks_cube": "it has no reference answer",
    "rush_hour": "it has no reference answer",
    "game_of_life_halting": "its scorer gives full reward to wrong answers",
    "knight_swap": "one seed does not give the same problem twice",
    "list_functions": "one seed does not give the same problem twice",
    "futoshiki": "one problem takes a fifth of a second to generate",
}
FULL_SCORE = 0.99
INDICES = 2**31


def gym_dataset(name: str, **options: int) -> Any:
    """The reasoning-gym dataset of that name, made once a set of options; a UserError says why one is refused."""
    if name in BLOCKED:
        raise UserError(f"reasoning-gym's {name} is refused: {BLOCKED[name]}; take another one, such as chain_sum")
    return _dataset(name, tuple(sorted(options.items())))


@functools.cache
def _dataset(name: str, options: tuple[tuple[str, int], ...]) -> Any:
    with _silence():
        import reasoning_gym  # type: ignore[import-untyped, unused-ignore]
        from reasoning_gym.factory import DATASETS  # type: ignore[import-untyped, unused-ignore]

        if name not in DATASETS:
            raise UserError(f"reasoning-gym has no dataset {name!r}; take one of its own names, such as chain_sum")
        return reasoning_gym.create_dataset(name, seed=0, size=INDICES, **dict(options))


def exact_score(dataset: Any, answer: str, entry: dict[str, Any]) -> Verdict:
    """Right only at full score and when the answer, stripped, is no longer than the reference answer.

    The library gives part of the reward to an answer with text around it, and reads "1,2" as 12.
    """
    stripped = answer.strip(" \t\r\n*`'\"").rstrip(".")
    if not 0 < len(stripped) <= len(entry["answer"]):
        return Verdict.wrong("length")
    try:
        with _silence():
            score = float(dataset.score_answer(stripped, entry))
    except Exception:  # Scorers of the library raise errors of many kinds on text that they did not foresee.
        return Verdict.wrong("unreadable")
    return Verdict.right() if score >= FULL_SCORE else Verdict.wrong("different")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps what the library prints and warns of from the user's screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
