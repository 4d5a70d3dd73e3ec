"""A run's numbers sent to a tracker besides the JSON lines that are always written: one small interface over libraries.

Knows: how trackio, TensorBoard and Weights & Biases take numbers. Doesn't know: stages, nor what the numbers mean.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, write_json

Tracker = Literal["none", "trackio", "tensorboard", "wandb"]
PROJECT = "thinkaloud"
SENT = "tracked.json"
"The file of a run that says up to which step of each stage numbers were sent: none is sent twice."
Send = Callable[[dict[str, float], int], object]
End = Callable[[], object]


def check_tracker(tracker: Tracker) -> None:
    """Raise UserError where its library is not installed."""
    if tracker != "none" and find_spec(tracker) is None:
        raise UserError(f"run.track={tracker}, which is not installed: pip install {tracker}, or leave run.track out")


class Tracking:
    """Sends the numbers of a run's stages, each stage a run of the tracker's, its axis the stage's steps.

    Example: `Tracking("trackio", Path("runs/demo")).send("think_rl", [{"step": 1, "reward": 0.5}])`.
    """

    def __init__(self, tracker: Tracker, run: Path) -> None:
        self.tracker, self.run = tracker, run
        self._sent: dict[str, int] = read_json(run / SENT) if (run / SENT).exists() else {}
        self._open: dict[str, tuple[Send, End]] = {}

    def send(self, stage: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers of rows whose steps were not sent before."""
        fresh = [row for row in rows if row["step"] > self._sent.get(stage, 0)]
        if self.tracker == "none" or not fresh:
            return
        if stage not in self._open:
            with words_kept(self.run):
                self._open[stage] = OPENED[self.tracker](self.run, stage)
        for row in fresh:
            self._open[stage][0](numbers(row), row["step"])
        self._sent[stage] = fresh[-1]["step"]
        write_json(self.run / SENT, self._sent)

    def close(self) -> None:
        """Let the libraries finish what they still hold."""
        for _, end in self._open.values():
            with words_kept(self.run):
                end()
        self._open = {}


@contextmanager
def words_kept(run: Path) -> Iterator[None]:
    """What a library prints goes into RUN/tracking.txt: the terminal is for the run's progress."""
    with (run / "tracking.txt").open("a") as words, redirect_stdout(words):
        yield


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What of a row is a finite number, but for the step itself."""
    found = {key: value for key, value in row.items() if isinstance(value, int | float) and key != "step"}
    return {key: float(value) for key, value in found.items() if math.isfinite(value)}


def _trackio(run: Path, stage: str) -> tuple[Send, End]:
    import trackio

    settings = {"resume": "allow", "embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
    opened = trackio.init(project=PROJECT, name=f"{run.name}-{stage}", group=run.name, **settings)
    return opened.log, opened.finish


def _tensorboard(run: Path, stage: str) -> tuple[Send, End]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(run / "tensorboard" / stage)

    def send(row: dict[str, float], step: int) -> None:
        for key, value in row.items():
            writer.add_scalar(key, value, step)

    return send, writer.close


def _wandb(run: Path, stage: str) -> tuple[Send, End]:
    import wandb

    name = f"{run.name}-{stage}"
    settings = {"resume": "allow", "reinit": "create_new", "dir": run, "settings": wandb.Settings(silent=True)}
    opened = wandb.init(project=PROJECT, id=name, name=name, group=run.name, **settings)
    return opened.log, opened.finish


OPENED = {"trackio": _trackio, "tensorboard": _tensorboard, "wandb": _wandb}
