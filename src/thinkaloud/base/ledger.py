"""What a run spent: the honest account that `compare` and every claim rest on."""

from dataclasses import asdict, dataclass, fields

GENERATED = 1 / 3
"A processed or generated token's compute (2N) in training tokens (6N)."


@dataclass(kw_only=True)
class Ledger:
    """Counters of one stage; they only grow. Ledgers add up with `+` (unique problems, a set's size, do not)."""

    unique_problems: int = 0
    "problems whose answer or verifier was consulted, those used only to tune or select included"
    demonstrations: int = 0
    "different demonstrations trained on"
    demonstration_tokens: int = 0
    "tokens of those demonstrations, once each"
    variants: int = 0
    "different problems made from those by a change whose effect on the answer is proven"
    hint_tokens: int = 0
    "tokens of demonstrations given as the beginning of a reply"
    rollouts: int = 0
    "completions sampled for training"
    prompt_tokens: int = 0
    "prompt tokens processed for those rollouts"
    generated_tokens: int = 0
    "tokens of those rollouts, discarded ones included"
    steered: int = 0
    "those of them that went on from a given beginning"
    replayed: int = 0
    "replies of earlier steps that were trained on once more, each time"
    discarded_tokens: int = 0
    "generated tokens that no update used"
    repeated_tokens: int = 0
    "compute, in training tokens, spent again because a killed run resumed from its last checkpoint"
    undone_tokens: int = 0
    "compute, in training tokens, whose updates were taken back with the weights"
    update_tokens: int = 0
    "tokens that went forward and backward"
    reference_tokens: int = 0
    "tokens that went forward only: through a reference for a KL divergence, or to correct the sampler's drift"
    teacher_tokens: int = 0
    "tokens that a teacher's log-probs were asked of"
    verifier_calls: int = 0
    "answers judged"
    line_verdicts: int = 0
    "lines of thoughts judged one by one"
    ungradable: int = 0
    "verdicts that were the verifier's or the reference's fault"
    judge_calls: int = 0
    "replies that a model was asked to judge, equal ones of a step once"
    judge_tokens: int = 0
    "tokens that it read and wrote, by its server's own count; not in the compute"
    evaluation_tokens: int = 0
    "tokens processed to measure, not to train"
    compute_flops: float = 0.0
    "6N per trained token (4N + 6A where an adapter of A is) + 2N per processed or generated one, N parameters; \
evaluation not counted"
    seconds: float = 0.0
    "wall time of training, its learning curve included"
    evaluation_seconds: float = 0.0
    "wall time of measuring on sealed problems"
    cpu_seconds: float = 0.0
    "processor time of training"

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def as_dict(self) -> dict[str, float]:
        """The counters by name."""
        return asdict(self)
