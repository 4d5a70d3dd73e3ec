"""What the engine asks of whoever runs the model: rows in, a token a row, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from thinkaloud.engine.row import Draw, Row

if TYPE_CHECKING:
    from torch import Tensor

Source = Iterable[tuple[str, "Tensor | NDArray[np.float32]"]]
"Weights by their published names, each given once."


class Backend(Protocol):
    """Runs the model on the rows that the engine schedules."""

    name: str
    "'cuda', 'native' or 'torch'"
    weights: str
    "the format of the weights it runs: 'float32', 'bfloat16', 'int8' or 'int4'; on a GPU also 'fp8'"

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens really processed: an equal prompt of one batch, and a prefix found in the cache, count once."""
        ...

    def capacity(self) -> int:
        """How many tokens a single thread may have."""
        ...

    def admit(self, row: Row) -> bool:
        """Take in a row; false where there is no room before others leave."""
        ...

    def step(self, rows: Sequence[Row]) -> list[Draw | None]:
        """The next token of each row, all of them admitted; None where its prompt is not processed yet or it pauses."""
        ...

    def ahead(self, rows: Sequence[Row], waiting: int) -> int:
        """Give rows several tokens at once, where nobody has to look at them in between; how many came in all.

        0: a step has to be taken instead. So many others are `waiting` for the place of those that end.
        """
        ...

    def grow(self, row: Row, tokens: int) -> bool:
        """Keep room for so many more tokens of a row; false where there is none."""
        ...

    def steer(self, row: Row) -> None:
        """A row's plan, noise or tokens have changed: what was drawn ahead is void, it goes on from its own tokens."""
        ...

    def rest(self, row: Row) -> None:
        """A row pauses or has been woken; it keeps its place in the cache."""
        ...

    def release(self, row: Row) -> None:
        """A row is done."""
        ...

    def forget(self) -> None:
        """Drop every cached prefix."""
        ...

    def refresh(self, source: Source | None = None) -> None:
        """The weights have changed, to those of `source` where it is given; no row is under way."""
        ...
