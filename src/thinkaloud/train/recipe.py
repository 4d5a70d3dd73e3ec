"""The schema of a recipe: what is learnt, from what, in which stages, and how it is measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from thinkaloud.base.config import Settings
from thinkaloud.base.errors import UserError
from thinkaloud.problems import FAMILIES
from thinkaloud.problems.sets import checked_levels, family_named
from thinkaloud.train.stages import RftSettings, RlSettings, SftSettings, StageSettings
from thinkaloud.train.tracking import Tracker


class RunSettings(Settings):
    """Where a run lives and what it may use."""

    name: str
    "name of the run, shown in reports"
    dir: Path
    "the run's folder"
    seed: int = 1
    "keys everything random: problems, ways of working, order, weights, sampling"
    workers: int = Field(default=0, ge=0)
    "stages trained side by side; 0: as many as cores allow"
    threads: int = Field(default=1, ge=1)
    "threads of each; results are bit-equal only for an equal number"
    result: str
    "the stage whose model becomes RUN/model"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    "where it is trained; auto: a GPU where PyTorch finds one"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    "type of the weights, auto is float32; bfloat16 is for frozen ones, so that every stage needs `lora`"
    track: Tracker = "none"
    "where its numbers are sent besides its own files: trackio, tensorboard or wandb: docs/DOCTOR.md"


class ModelSettings(Settings):
    """The decoder's shape; see `thinkaloud.model.ModelConfig`."""

    hidden_size: int = 96
    "width of the residual stream"
    num_hidden_layers: int = 3
    "layers"
    num_attention_heads: int = 3
    "query heads"
    num_key_value_heads: int = 1
    "key/value heads"
    intermediate_size: int = 256
    "width of the feed-forward"
    rope_theta: float = 10_000.0
    "base of the rotary position embedding"
    max_position_embeddings: int = 512
    "longest sequence in tokens"


class FamilySettings(Settings):
    """How one family is used."""

    train: int = Field(default=4000, ge=1)
    "distinct problems to train on: their demonstrations and, in reinforcement learning, their verifier"
    levels: list[int] | None = None
    "levels of difficulty; all by default"
    ways: dict[str, float] = {"careful": 1.0}
    "shares of the ways of working among the demonstrations"


class EvaluationSettings(Settings):
    """How models are measured."""

    test: int = Field(default=2000, ge=1)
    "sealed test problems, all families together"
    dev: int = Field(default=200, ge=0)
    "dev problems for the learning curves"
    points: int = Field(default=10, ge=1)
    "points of a learning curve"
    temperature: float = Field(default=1.0, ge=0)
    "of test and dev replies"
    samples: int = Field(default=1, ge=1)
    "replies to each test problem"
    beyond: int = Field(default=0, ge=0)
    "test problems out of range (longer, larger) besides, all families together that have such"
    probe: list[str] = []
    "stages whose budget curve and majority vote are measured"
    probe_problems: int = 500
    "test problems used for those"
    votes: int = Field(default=8, ge=1)
    "replies a vote"
    budgets: list[int] = [8, 16, 24, 32, 40, 48]
    "thinking budgets in tokens"
    everything: bool = False
    "whether every stage is measured on all families of the recipe, not only on those that it uses"
    compare: list[str] = []
    "two stages, before and after, whose monologues are shown side by side"


class StudySettings(Settings):
    """What `study` adds to a recipe: the same run over several seeds, with more arms."""

    stages: dict[str, StageSettings] = {}
    "stages that only the study runs"
    families: list[str] = []
    "families that the arms are tried on one by one; each starts from the stage FAMILY.start"
    starts: int = Field(default=0, ge=0)
    "how often cold starts, stages without `init`, are trained, by the first seeds; others take them over. 0: always"
    sizes: list[int] = []
    "numbers of problems that an arm may see, one run each"
    arms: dict[str, dict[str, Any]] = {}
    "what is compared: settings of a stage; `like` names an arm to take others from, `sizes` stands for the study's"
    baselines: list[str] = []
    "arms that ours is measured against"
    ours: str = "ours"
    "our arm"
    margin: float = 0.01
    "how much less accuracy still counts as the same"
    target_share: float = 0.9
    "the target: the start and this share of what the tuned baseline gains on the most problems"


class Recipe(Settings):
    """All that a run is."""

    run: RunSettings
    "where it lives"
    model: ModelSettings | str = ModelSettings()
    "the shape of a fresh decoder; or a checkpoint to start from: a folder, a run's folder or a name on the hub"
    problems: str | None = Field(default=None, min_length=1)
    "your own problems, a file or folder, in place of families: docs/TRAINING.md"
    instruction: str | None = None
    "what follows each of your questions; None: what its verifier asks for, as in `thinkaloud eval --on`; '': nothing"
    families: dict[str, FamilySettings] = {}
    "the families of problems"
    stages: dict[str, StageSettings]
    "the stages by name; each may start where another ended"
    evaluation: EvaluationSettings = EvaluationSettings()
    "how models are measured"
    study: StudySettings = StudySettings()
    "what a study adds"

    @model_validator(mode="before")
    @classmethod
    def _own_problems_stand_for_families(cls, raw: Any) -> Any:
        return {**raw, "families": {}} if isinstance(raw, dict) and raw.get("problems") is not None else raw


def check(recipe: Recipe) -> None:
    """Raise UserError for names that mean nothing: of families, their levels and ways of working, and of stages."""
    if not recipe.families and recipe.problems is None:
        raise UserError("the recipe has no problems: give it [families.NAME] tables, or problems=FILE of your own")
    for name, settings in recipe.families.items():
        checked_levels(family_named(name), settings.levels)
        _check_ways(name, settings.ways)
    known: list[str] = []
    for name, stage in recipe.stages.items():
        for needed in stage.needs:
            if needed not in known:
                raise UserError(
                    f"stage {name} starts from {needed}, which is no stage before it: write that one above it, or "
                    "start from another"
                )
        for family, ways in stage.ways.items() if isinstance(stage, SftSettings) else ():
            if family not in recipe.families:
                raise UserError(f"stage {name} has ways for {family}, which is no family of the recipe")
            _check_ways(family, ways)
        shown = stage.shown if isinstance(stage, RftSettings) else ()
        for family in [*stage.families, *shown, *(stage.guard.families if stage.guard else ())]:
            if family not in recipe.families:
                raise UserError(f"stage {name} names the family {family}, which is none of the recipe's")
        if isinstance(stage, RlSettings) and stage.process:
            _check_process(name, stage.families or list(recipe.families))
        known.append(name)
    for name in [recipe.run.result, *recipe.evaluation.probe, *recipe.evaluation.compare]:
        if name not in known:
            raise UserError(f"the recipe names the stage {name}, which it does not have: {', '.join(known)}")
    if len(recipe.evaluation.compare) not in (0, 2):
        raise UserError("evaluation.compare takes two stages: before and after")


def _check_process(stage: str, families: Sequence[str]) -> None:
    if not any(FAMILIES[family].checks for family in families):
        able = ", ".join(family.name for family in FAMILIES.values() if family.checks)
        raise UserError(
            f"stage {stage} has process rewards, but no line of a thought on its problems can be checked: leave "
            f"process out, or take one of {able}"
        )


def _check_ways(family: str, ways: dict[str, float]) -> None:
    known = family_named(family).ways
    for way, share in ways.items():
        if way not in known:
            raise UserError(f"{family} has no way of working {way!r}; take some of {', '.join(known)}")
        if share < 0:
            raise UserError(f"{family}: the share of {way} is {share}; give 0 or more")
    if not sum(ways.values()) > 0:
        raise UserError(f"{family}: the shares of its ways of working are all zero; give one more than 0")
