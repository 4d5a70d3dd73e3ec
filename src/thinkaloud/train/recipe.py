"""The schema of a recipe: what is learnt, from what, in which stages, and how it is measured."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from thinkaloud.base.config import Settings
from thinkaloud.base.errors import UserError
from thinkaloud.problems.sets import checked_levels, family_named
from thinkaloud.rollouts.judge import JudgeSettings
from thinkaloud.train.guard import GuardSettings
from thinkaloud.train.optimiser import OptimiserSettings


class RunSettings(Settings):
    """Where a run lives and what it may use."""

    name: str
    "name of the run, shown in reports"
    dir: Path
    "the run's folder"
    seed: int = 1
    "keys everything random: problems, ways of working, order, weights, sampling"
    workers: int = 0
    "stages trained side by side; 0: as many as cores allow"
    threads: int = 1
    "threads of each; results are bit-equal only for an equal number"
    result: str
    "the stage whose model becomes RUN/model"


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

    test: int = 2000
    "sealed test problems, all families together"
    dev: int = 200
    "dev problems for the learning curves"
    points: int = 10
    "points of a learning curve"
    temperature: float = 1.0
    "of test and dev replies"
    samples: int = 1
    "replies to each test problem"
    beyond: int = 0
    "test problems out of range (longer, larger) besides, all families together that have such"
    probe: list[str] = []
    "stages whose budget curve and majority vote are measured"
    probe_problems: int = 500
    "test problems used for those"
    votes: int = 8
    "replies a vote"
    budgets: list[int] = [8, 16, 24, 32, 40, 48]
    "thinking budgets in tokens"
    everything: bool = False
    "whether every stage is measured on all families of the recipe, not only on those that it uses"
    compare: list[str] = []
    "two stages, before and after, whose monologues are shown side by side"


class _StageSettings(Settings):
    families: list[str] = []
    "families it uses; empty: all of the recipe's"
    subset: int | None = Field(default=None, ge=1)
    "how many training problems it may see, equally many of each family; None: all"
    skip: int = Field(default=0, ge=0)
    "training problems of each family passed over before those: the ones that another stage has seen"
    init: str | None = None
    "stage whose model this one starts from; None: fresh weights"
    thinking: bool = True
    "whether the model thinks before it answers"
    budget: float = Field(gt=0)
    "most compute in training tokens: a trained token counts 1, a processed or generated one 1/3 (6N against 2N)"
    batch_tokens: int = 4096
    "tokens of one fine-tuning step"
    max_tokens: int = 96
    "longest reply sampled"
    optimiser: OptimiserSettings = OptimiserSettings()
    "rates and their course"
    watch: bool = True
    "whether a stage that goes wrong is taken back to its last good state, once, and then stopped: docs/DOCTOR.md"
    guard: GuardSettings | None = None
    "what the stage must not lose on the way; None: it is not watched"

    @property
    def needs(self) -> list[str]:
        """Stages that must be done before this one."""
        return [stage for stage in (self.init, getattr(self, "source", None)) if stage is not None]


class SftSettings(_StageSettings):
    """Fine-tuning on demonstrations."""

    kind: Literal["sft"]
    "fine-tuning on demonstrations"
    ways: dict[str, dict[str, float]] = {}
    "for a family: other shares of the ways of working than the family's own"


class RlSettings(_StageSettings):
    """Reinforcement learning with verifiable rewards; the defaults are GRPO (arXiv 2402.03300) without its KL term."""

    kind: Literal["rl"]
    "reinforcement learning"
    rollouts: int | None = Field(default=None, ge=1)
    "the stage also ends once that many replies were sampled; None: only the compute counts"
    reward: Literal["verdict", "format"] = "verdict"
    "what is rewarded: a right answer, or (a control) any answer after a closed thought"
    form: float = Field(default=0.0, ge=0)
    "what any answer after a closed thought earns besides (R1's reward of format)"
    language: float = Field(default=0.0, ge=0)
    "what it earns besides, times the share of its words in the scripts of its question (R1's)"
    judge: JudgeSettings | None = None
    "a model that judges replies besides the verifier, behind any OpenAI-compatible address"
    brevity: float = Field(default=0.0, ge=0, lt=1)
    "what a right reply of max_tokens loses of its reward; shorter ones lose in proportion"
    problems: int = Field(default=32, ge=1)
    "problems a step"
    samples: int = Field(default=8, ge=1)
    "replies a problem: the group"
    temperature: float = 1.0
    "of the rollouts"
    minibatches: int = Field(default=1, ge=1)
    "parts that a step's replies are divided into, an update each"
    epochs: int = Field(default=1, ge=1)
    "how often each reply is used in its own step"

    advantage: Literal["grpo", "centred", "maxrl"] = "grpo"
    "reward minus the group's mean: over its standard deviation, as it is (Dr. GRPO), or over the mean (MaxRL)"
    loss: Literal["clip", "cispo", "gspo"] = "clip"
    "clipped surrogate a token, weighted log-likelihood (CISPO), clipped surrogate a reply (GSPO)"
    length: Literal["sample", "token", "constant"] = "sample"
    "mean of the loss: over each reply first (GRPO as published), over all tokens alike, or over max_tokens (Dr. GRPO)"
    clip_low: float = 0.2
    "the ratio is kept above 1 - clip_low"
    clip_high: float = 0.2
    "and below 1 + clip_high"
    kl: float = 0.0
    "weight of the KL divergence to the stage's first weights"
    entropy: float | None = None
    "entropy in nats a token that a bonus or a penalty steers to; None: left alone"
    drift: float | None = None
    "most that the sampler's drift from the trainer is corrected by, a factor a token; None: not corrected"

    least: int = Field(default=0, ge=0)
    "informative replies that an update waits for, collected over steps; 0: every step updates"

    dynamic: bool = False
    "sample on until enough groups hold both outcomes, the others discarded (DAPO, arXiv 2503.14476)"
    memory: bool = False
    "a belief of each problem's pass rate selects problems, gives the baseline and retires what is known"
    settle: bool = False
    "learning rates fall with what is left to learn: the mean of p (1 - p) over beliefs, against its greatest so far"
    decay: float = Field(default=0.7, gt=0, le=1)
    "what older outcomes weigh in a belief after each visit"
    uniform: float = Field(default=0.1, ge=0, le=1)
    "share of the problems that is chosen without regard to beliefs"
    retire: float = Field(default=0.95, gt=0.5, le=1)
    "pass rate above which (or below 1 minus which) a problem is left out, but for the uniform share"
    adaptive: int = Field(default=0, ge=0)
    "replies a problem drawn at a time, up to `samples`, until both outcomes are there; 0: all at once"
    steering: bool = False
    "problems hardly ever or nearly always solved go on from the beginning of an own right or wrong thought"
    hints: bool = False
    "steering takes a demonstration's beginning where no own right thought is known"
    replay: float = Field(default=0.0, ge=0, lt=1)
    "share of an update's replies that are right ones of earlier steps"
    replay_age: int = 50
    "steps after which a reply is no longer replayed"
    replay_from: Path | None = None
    "a stage's folder of another run whose kept replies are replayed too"
    traces: int = Field(default=0, ge=0)
    "fine-tuning updates on own right replies after every step"
    variants: float = Field(default=0.0, ge=0, le=1)
    "share of the problems met before that are asked in a variant with the same answer, where the family has such"


class RftSettings(_StageSettings):
    """Fine-tuning on own verified replies (rejection sampling, arXiv 2308.01825)."""

    kind: Literal["rft"]
    "fine-tuning on own verified replies"
    source: str | None = None
    "stage whose model gives the replies; None: the one that is trained"
    shown: list[str] = []
    "families whose demonstrations are learnt beside the replies"
    shown_share: float = Field(default=0.25, ge=0, lt=1)
    "most that those are of what is learnt"
    rounds: int = 1
    "rounds of sampling and fine-tuning"
    sampling: float = 0.35
    "share of a round's budget that goes into sampling"
    samples: int = 4
    "replies a problem"
    keep: int = 4
    "most different right replies kept a problem"
    temperature: float = 1.0
    "of the replies"


class DistilSettings(_StageSettings):
    """On-policy distillation: the student's own replies, token by token against a teacher (arXiv 2306.13649)."""

    kind: Literal["distil"]
    "on-policy distillation"
    teacher: Path
    "folder of a checkpoint with the student's tokenizer, or of a run"
    rollouts: int | None = Field(default=None, ge=1)
    "the stage also ends once that many replies were sampled; None: only the compute counts"
    problems: int = Field(default=32, ge=1)
    "problems a step"
    samples: int = Field(default=4, ge=1)
    "replies a problem"
    temperature: float = 1.0
    "of the replies"


StageSettings = Annotated[SftSettings | RlSettings | RftSettings | DistilSettings, Field(discriminator="kind")]


class StudySettings(Settings):
    """What `study` adds to a recipe: the same run over several seeds, with more arms."""

    stages: dict[str, StageSettings] = {}
    "stages that only the study runs"
    families: list[str] = []
    "families that the arms are tried on one by one; each starts from the stage FAMILY.start"
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
    model: ModelSettings = ModelSettings()
    "the decoder's shape"
    families: dict[str, FamilySettings]
    "the families of problems"
    stages: dict[str, StageSettings]
    "the stages by name; each may start where another ended"
    evaluation: EvaluationSettings = EvaluationSettings()
    "how models are measured"
    study: StudySettings = StudySettings()
    "what a study adds"


def check(recipe: Recipe) -> None:
    """Raise UserError for names that mean nothing: of families, their levels and ways of working, and of stages."""
    for name, settings in recipe.families.items():
        checked_levels(family_named(name), settings.levels)
        _check_ways(name, settings.ways)
    known: list[str] = []
    for name, stage in recipe.stages.items():
        for needed in stage.needs:
            if needed not in known:
                raise UserError(f"stage {name} starts from {needed}, which is no stage before it")
        for family, ways in stage.ways.items() if isinstance(stage, SftSettings) else ():
            if family not in recipe.families:
                raise UserError(f"stage {name} has ways for {family}, which is no family of the recipe")
            _check_ways(family, ways)
        for family in [*stage.families, *(stage.shown if isinstance(stage, RftSettings) else ())]:
            if family not in recipe.families:
                raise UserError(f"stage {name} names {family}, which is no family of the recipe")
        for family in stage.guard.families if stage.guard else ():
            if family not in recipe.families:
                raise UserError(f"stage {name} guards {family}, which is no family of the recipe")
        known.append(name)
    for name in [recipe.run.result, *recipe.evaluation.probe, *recipe.evaluation.compare]:
        if name not in known:
            raise UserError(f"the recipe names the stage {name}, which it does not have: {', '.join(known)}")
    if len(recipe.evaluation.compare) not in (0, 2):
        raise UserError("evaluation.compare takes two stages: before and after")


def _check_ways(family: str, ways: dict[str, float]) -> None:
    known = family_named(family).ways
    for way, share in ways.items():
        if way not in known:
            raise UserError(f"{family} has no way of working {way!r}; take some of {', '.join(known)}")
        if share < 0:
            raise UserError(f"{family}: the share of {way} is {share}; give 0 or more")
    if not sum(ways.values()) > 0:
        raise UserError(f"{family}: the shares of its ways of working are all zero; give one more than 0")
