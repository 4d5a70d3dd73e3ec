"""Where the stages of runs stand: what each will do, as far as its recipe tells, and what its journals say by now.

Knows: recipes, a stage's files. Does not know: processes, how long anything takes.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from thinkaloud.base.run import METRICS
from thinkaloud.train.brought import brought
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.spending import workers_of
from thinkaloud.train.stage import stage_folder
from thinkaloud.train.stages import DistilSettings, GivenSettings, RftSettings, RlSettings, StageSettings

TRAINED = "ledger.json"
"The file that a stage writes once its model is there; measuring comes after it."


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage will do, as far as its recipe tells."""

    budget: float
    "most compute in training tokens"
    rollouts: int | None = None
    "replies that end it, if the compute does not before; None: only the compute does"
    sampling: float | None = 0.0
    "share of its compute that goes into sampling; None: what its replies and learning from them come to"
    longest: int = 96
    "most tokens of a reply"
    looks: int = 0
    "replies of its learning curve, a guard's included"
    measuring: int = 0
    "replies of its measuring"


@dataclass(kw_only=True)
class StageStatus:
    """Where one stage stands."""

    run: Path
    "its run's folder"
    name: str
    "its name"
    kind: str
    "sft, rl, rft, distil or given"
    work: Work
    "what it will do"
    needs: frozenset[Path] = frozenset()
    "folders of the stages that must be trained before it, of its run or of another"
    places: int = 1
    "stages that its run may train side by side"
    state: str = "waiting"
    "waiting, training, measuring or done"
    progress: float = 0.0
    "share of the budget that is spent"
    seconds: float = 0.0
    "wall time of its training so far"
    row: dict[str, Any] = field(default_factory=dict)
    "newest value of everything it logged"
    fresh: list[dict[str, Any]] = field(default_factory=list)
    "rows that it logged since somebody emptied this list"
    _read: int = 0

    @cached_property
    def folder(self) -> Path:
        """Its folder."""
        return stage_folder(self.run, self.name)

    @property
    def ready(self) -> bool:
        """Whether it waits for nothing but a free place."""
        return self.state == "waiting" and all((folder / TRAINED).exists() for folder in self.needs)

    def update(self, running: bool) -> None:
        """Read what its journals say by now."""
        if self.state == "done":
            return
        journal = self.folder / METRICS
        if journal.exists():
            rows = [json.loads(line) for line in self._lines(journal)]
            self.fresh += rows
            for row in rows:
                self.row |= row
            self.progress = self.row.get("progress", 0.0)
            self.seconds = self.row.get("seconds", 0.0)
        if (self.folder / "done.json").exists():
            self.state, self.progress = "done", 1.0
        elif running:
            self.state = "measuring" if (self.folder / TRAINED).exists() else "training"

    def _lines(self, journal: Path) -> list[bytes]:
        """The whole lines that were not read before; all of them where a stage went on from an earlier place."""
        with journal.open("rb") as file:
            file.seek(max(0, self._read - 1))
            if self._read and file.read(1) != b"\n":  # it was cut back, and has grown since
                self._read = 0
                file.seek(0)
            fresh = file.read()
        whole = fresh.rfind(b"\n") + 1
        self._read += whole
        return fresh[:whole].splitlines()


def statuses_of(recipe: Recipe) -> list[StageStatus]:
    """The stages of a prepared run, all of them waiting."""
    run = recipe.run.dir
    return [
        StageStatus(
            run=run,
            name=name,
            kind=stage.kind,
            work=work_of(recipe, stage),
            needs=frozenset(
                {stage.stage} if isinstance(stage, GivenSettings) else {stage_folder(run, one) for one in stage.needs}
            ),
            places=workers_of(recipe),
        )
        for name, stage in recipe.stages.items()
    ]


def work_of(recipe: Recipe, stage: StageSettings) -> Work:
    """What a stage will do; its measuring with a checkpoint's own evaluation, where it is the stage that makes it."""
    settings, times = recipe.evaluation, 1 + (isinstance(recipe.model, str) and stage.init is None)
    test, dev = settings.test, settings.dev
    if recipe.problems is not None:
        test, dev = min(test, len(brought(recipe.run.dir, "test"))), min(dev, len(brought(recipe.run.dir, "dev")))
    guarded = stage.guard.problems * len(stage.guard.families) if stage.guard else 0
    return Work(
        budget=0.0 if isinstance(stage, GivenSettings) else stage.budget,
        rollouts=stage.rollouts if isinstance(stage, RlSettings | DistilSettings) else None,
        sampling=_sampling(stage),
        longest=stage.max_tokens,
        looks=0 if isinstance(stage, GivenSettings) else (settings.points + 1) * (dev + guarded),
        measuring=times * test * settings.samples + settings.beyond,
    )


def _sampling(stage: StageSettings) -> float | None:
    if isinstance(stage, RftSettings):
        return stage.sampling
    return None if isinstance(stage, RlSettings | DistilSettings) else 0.0
