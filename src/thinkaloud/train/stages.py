"""The settings of a stage, kind by kind: what a recipe may say under [stages.NAME].

Knows what is meant by each key; does not know recipes, nor how a stage is run.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from thinkaloud.base.config import Settings
from thinkaloud.rollouts.judge import JudgeSettings
from thinkaloud.train.adapter import LoraSettings
from thinkaloud.train.guard import GuardSettings
from thinkaloud.train.optimiser import OptimiserSettings


class _StageSettings(Settings):
    families: list[str] = []
    "families it uses; empty: all of the recipe's"
    subset: int | None = Field(default=None, ge=1)
    "how many training problems it may see, equally many of each family; None: all"
    skip: int = Field(default=0, ge=0)
    "training problems of each family passed over before those: the ones that another stage has seen"
    init: str | None = None
    "stage whose model this one starts from; None: the recipe's model, fresh weights or a checkpoint's"
    lora: LoraSettings | None = None
    "an adapter that alone is trained, by AdamW, and merged at the stage's end; None: all weights are"
    thinking: bool = True
    "whether the model thinks before it answers"
    budget: float = Field(gt=0)
    "most compute in training tokens: a trained token counts 1 (about 2/3 with `lora`), a processed or sampled one 1/3"
    batch_tokens: int = Field(default=4096, ge=1)
    "tokens of one fine-tuning step"
    pass_tokens: int = Field(default=2048, ge=1)
    "tokens that go forward and backward at a time, padding counted, or one sequence: less takes less memory"
    max_tokens: int = Field(default=96, ge=1)
    "longest reply sampled"
    optimiser: OptimiserSettings = OptimiserSettings()
    "rates and their course"
    average: float = Field(default=0.0, ge=0, le=1)
    "the stage's model is the running mean of its weights over about this share of its updates; 0: the last ones"
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
    longest: int | None = Field(default=None, ge=1)
    "most tokens of a demonstration's reply; longer ones are left out; None: all are learnt from"


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
    process: float = Field(default=0.0, ge=0)
    "what a line of a thought earns or loses that its family can check; its tokens then go by that alone"
    brevity: float = Field(default=0.0, ge=0, lt=1)
    "what a right reply of max_tokens loses of its reward; shorter ones lose in proportion"
    problems: int = Field(default=32, ge=1)
    "problems a step"
    samples: int = Field(default=8, ge=1)
    "replies a problem: the group"
    temperature: float = Field(default=1.0, ge=0)
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

    least: float = Field(default=0.0, ge=0)
    "advantage without its sign, summed over replies and steps, that an update waits for; 0: every step updates"

    dynamic: bool = False
    "sample on until enough groups hold both outcomes, the others discarded (DAPO, arXiv 2503.14476)"
    memory: bool = False
    "a belief of each problem's pass rate selects problems, gives the baseline and retires what is known"
    settle: float = Field(default=0.0, ge=0)
    "rates are multiplied by this power of what is left to learn: the mean of 4 p (1 - p) over believed pass rates p"
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
    "share of the problems met before that are asked in a variant whose answer follows, where the family has such"

    @model_validator(mode="after")
    def _something_to_compare_with(self) -> Self:
        if self.samples == 1 and not self.memory:
            raise ValueError("samples = 1 compares a reply with nothing: take more, or memory = true")
        return self


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
    rounds: int = Field(default=1, ge=1)
    "rounds of sampling and fine-tuning"
    sampling: float = 0.35
    "share of a round's budget that goes into sampling"
    samples: int = Field(default=4, ge=1)
    "replies a problem"
    keep: int = Field(default=4, ge=1)
    "most different right replies kept a problem"
    temperature: float = Field(default=1.0, ge=0)
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
    temperature: float = Field(default=1.0, ge=0)
    "of the replies"


class GivenSettings(_StageSettings):
    """A stage that another run has trained: taken over with its ledger, and measured anew."""

    kind: Literal["given"]
    "taken over"
    stage: Path
    "folder of that stage, such as RUN/checkpoints/start"


StageSettings = Annotated[
    SftSettings | RlSettings | RftSettings | DistilSettings | GivenSettings, Field(discriminator="kind")
]
