"""The running mean of a model's weights (Polyak and Juditsky 1992): steadier than its last ones at a high rate.

Knows parameters. Does not know stages, engines, files.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor


class Average:
    """The mean over about the newest `share` of all updates; with a share of 0 none is kept."""

    def __init__(self, parameters: Iterable[Tensor], share: float) -> None:
        self.share, self.updates = share, 0
        self._parameters = list(parameters)
        self.weights = self._last() if share else []

    def update(self) -> None:
        """Take in the weights after one more update."""
        self.updates += 1
        taken = 1 / max(1.0, self.share * self.updates)
        for mean, parameter in zip(self.weights, self._parameters, strict=False):
            mean.lerp_(parameter.detach(), taken)

    @contextmanager
    def applied(self, changed: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The model with these weights for a while; `changed` is called whenever it has others than before."""
        last = self._last() if self.weights else []
        self._give(self.weights, changed)
        yield
        self._give(last, changed)

    def _last(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]

    def _give(self, weights: list[Tensor], changed: Callable[[], None]) -> None:
        for parameter, value in zip(self._parameters, weights, strict=False):
            parameter.data.copy_(value)
        if weights:
            changed()
