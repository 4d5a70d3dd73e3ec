"""What stops a stage of training: each alarm is one small function over its metrics rows.

Knows the keys of metrics rows and what they mean together; does not know models, files or torch. A stage asks after
every step (`alarmed`), a doctor afterwards. Every threshold stands here once, with its reason.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

STEPS = 5
"Steps that a mean is taken over, so that one odd step raises no alarm; the first ones are compared with the newest."
REPLIES = 32
"Replies that such a step holds at least: smaller ones are put together."
AVERAGED = ("reward", "earned", "entropy", "tokens", "truncated", "looping", "thoughtless", "ungradable", "skipped")
"What is averaged over steps that are put together; of all else the newest counts."
BEGINS = 2
"Newest steps of which an alarm, though not raised yet, keeps a state from counting as good."
LOW, CLEAR = 0.2, 0.1
"A reward below LOW is low; one that differs by CLEAR differs for more than luck (160 replies: standard error 0.04)."
SPENT_ENTROPY = 0.02
"Nats a token below which hardly any token is ever drawn differently; demonstrations learnt well leave 0.05 and more."
DEVIATIONS = 3.0
"Standard errors by which dev accuracy must fall: by chance about once in a thousand points."


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Example: name "truncation", words "61 % of the replies were cut off at max_tokens", cure "raise max_tokens"."""

    name: str
    "short name"
    words: str
    "what is wrong, with its numbers"
    cure: str
    "what to change"

    def __str__(self) -> str:
        return f"{self.words}: {self.cure}"

    def note(self) -> dict[str, str]:
        """As it is noted in a metrics row when it raised an alarm."""
        return {"alarm": self.name, "words": self.words, "cure": self.cure}


def history(rows: Sequence[Row]) -> list[Row]:
    """The rows that led to the newest weights: those that were taken back are left out, and so are the notes."""
    kept: list[Row] = []
    for row in rows:
        if "taken_back_to" in row:
            kept = [one for one in kept if one["step"] <= row["taken_back_to"]]
        elif "alarm" not in row:
            kept.append(row)
    return kept


def together(rows: Sequence[Row]) -> list[Row]:
    """Rows of at least REPLIES replies each, the last perhaps of fewer: small steps put together."""
    found: list[Row] = []
    pool: list[Row] = []
    before = 0
    for row in rows:
        pool.append(row)
        if "reward" not in row or row.get("rollouts", before + REPLIES) - before >= REPLIES:
            found.append(_averaged(pool))
            pool, before = [], row.get("rollouts", 0)
    return [*found, _averaged(pool)] if pool else found


def _averaged(pool: Sequence[Row]) -> Row:
    if len(pool) == 1:  # as most are, and a stage looks at all of them after every step
        return pool[0]
    newest_of_all = {key: value for row in pool for key, value in row.items()}
    return newest_of_all | {key: mean(found) for key in AVERAGED if (found := values(pool, key))}


# --- numbers of rows ---


def values(rows: Sequence[Row], key: str) -> list[float]:
    """What the rows that have it say of `key`, in their order."""
    return [float(row[key]) for row in rows if row.get(key) is not None]


def mean(numbers: Sequence[float]) -> float:
    """Their mean, NaN of none: no comparison with it is true."""
    return sum(numbers) / len(numbers) if numbers else float("nan")


def first(rows: Sequence[Row], key: str) -> float:
    """Mean of the first steps."""
    return mean(values(rows, key)[:STEPS])


def newest(rows: Sequence[Row], key: str, steps: int = STEPS) -> float:
    """Mean of the newest steps; NaN where there are not so many yet."""
    found = values(rows, key)[-steps:]
    return mean(found) if len(found) == steps else float("nan")


def best(rows: Sequence[Row], key: str) -> float:
    """Greatest mean of successive steps, or what the first weights had; NaN where there are too few."""
    found = values(rows, key)
    means = [mean(found[end - STEPS : end]) for end in range(STEPS, len(found) + 1)]
    return max([found[0], *means]) if means else float("nan")


def worse(rows: Sequence[Row], steps: int) -> bool:
    """Whether the reward has clearly fallen from its best, or is as low as it was.

    A memory chooses harder problems as it learns: where dev accuracy holds, only a third of the best reward is a fall.
    """
    now, top, points = newest(rows, "reward", steps), best(rows, "reward"), values(rows, "dev_accuracy")
    holds = len(points) > 1 and points[-1] > max(points) - CLEAR / 2
    fallen_to = 2 / 3 * top if holds else top - CLEAR
    return now < fallen_to or (now < LOW and now <= first(rows, "reward") + CLEAR / 2)


def dev_fall(rows: Sequence[Row]) -> float:
    """How much dev accuracy lies below its best and its start, 0.0 where chance may explain it."""
    points = values(rows, "dev_accuracy")
    count = next((row["dev_problems"] for row in rows if row.get("dev_problems")), 0)
    if len(points) < 2 or not count:
        return 0.0
    fall = max(points) - points[-1]
    chance = DEVIATIONS * (2 * 0.25 / count) ** 0.5
    return fall if fall > max(CLEAR, chance) and points[-1] < points[0] else 0.0


# --- what stops a stage ---

Alarm = Callable[[Sequence[Row], int], Diagnosis | None]
"Over a stage's rows and the number of newest steps that it must hold for."
SLOWER = "take learning rates of a third (optimiser.muon_rate, optimiser.adamw_rate) or a longer optimiser.warmup"


def not_finite(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Weights that are no numbers, at once; or three of five updates skipped (one alone is no harm)."""
    updates = [row for row in rows if "gradient_norm" in row][-STEPS:]
    broken = bool(updates) and "weight_norm" in updates[-1] and updates[-1]["weight_norm"] is None
    skipped = sum(bool(row.get("skipped")) for row in updates)
    if not broken and skipped < min(3, steps):
        return None
    what = "the weights are not finite" if broken else f"{skipped} of the last {len(updates)} updates were not finite"
    return Diagnosis(name="not finite", words=what, cure=SLOWER)


def diverged(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """The loss of fine-tuning, in nats a token, one above its best: nothing that demonstrations differ by."""
    rows = [row for row in rows if "reward" not in row and "gradient_norm" in row]
    now, least = newest(rows, "loss", steps), -best([{"loss": -one} for one in values(rows, "loss")], "loss")
    if not now > least + 1.0:
        return None
    return Diagnosis(name="diverged", words=f"the loss rose from {least:.2f} to {now:.2f} nats a token", cure=SLOWER)


def collapse(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Entropy a tenth of what it was and almost nothing, while reward falls or stays low."""
    now, before = newest(rows, "entropy", steps), first(rows, "entropy")
    if not (now < SPENT_ENTROPY and now < before / 10 and worse(rows, steps)):
        return None
    words = f"entropy fell from {before:.3f} to {now:.3f} nats a token with the reward at {_reward(rows, steps)}"
    return Diagnosis(name="collapse", words=words, cure=f"{SLOWER}, or steer the entropy (entropy = {before / 2:.2g})")


def runaway(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Replies that grow until they are cut off, while reward falls."""
    now, before = newest(rows, "truncated", steps), first(rows, "truncated")
    if not (now > 0.8 and before < 0.3 and worse(rows, steps)):
        return None
    words = f"{now:.0%} of the replies run to max_tokens, at first {before:.0%}, the reward is {_reward(rows, steps)}"
    return Diagnosis(name="runaway length", words=words, cure=f"{SLOWER}, or reward brevity (brevity = 0.1)")


def silence(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Replies that shrink to a fifth, while reward falls; short ones that are right are none of it."""
    now, before = newest(rows, "tokens", steps), first(rows, "tokens")
    if not (now < before / 5 and worse(rows, steps)):
        return None
    words = f"replies shrank from {before:.0f} to {now:.1f} tokens with the reward at {_reward(rows, steps)}"
    return Diagnosis(name="vanishing length", words=words, cure=f'{SLOWER}, or length = "token" and no brevity')


def loops(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Replies that repeat themselves at their end, which they did not, while reward falls."""
    now, before = newest(rows, "looping", steps), first(rows, "looping")
    if not (now > 0.3 and before < 0.1 and worse(rows, steps)):
        return None
    words = f"{now:.0%} of the replies end in repeating themselves, at first {before:.0%}"
    return Diagnosis(name="repetition", words=words, cure=f"{SLOWER}, or a KL divergence (kl = 0.01)")


def fallen(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Reward half of its best and dev accuracy down too, since chosen problems get harder; or reward all but gone."""
    now, top = newest(rows, "reward", steps), best(rows, "reward")
    halved = now < top / 2 and now < top - LOW and dev_fall(rows) > 0
    if not (halved or (top >= LOW and now < top / 10)):
        return None
    return Diagnosis(name="fallen reward", words=f"the reward fell from {top:.2f} to {now:.2f}", cure=SLOWER)


def hacked(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Training reward that rises while dev accuracy falls below its start."""
    key = "earned" if values(rows, "earned") else "reward"
    now, before, fall = newest(rows, key, steps), first(rows, key), dev_fall(rows)
    if not (fall > 0 and now > 0.5 and now > before + CLEAR / 2):
        return None
    words = f"the reward rose from {before:.2f} to {now:.2f} while dev accuracy fell by {100 * fall:.0f} points"
    cure = (
        "look at replies in rollouts.jsonl for what earns reward without being right, or give more problems to train on"
    )
    return Diagnosis(name="reward hacking", words=words, cure=cure)


def thoughtless(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """Right answers with an empty thought, where thoughts are asked for and used to be there."""
    now, before = newest(rows, "thoughtless", steps), first(rows, "thoughtless")
    if not (now > 0.5 and before < 0.1):
        return None
    words = f"{now:.0%} of the replies earn their reward without a thought, at first {before:.0%}"
    return Diagnosis(name="no thought", words=words, cure="set thinking = false, or take problems that need thought")


def format_only(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """What is rewarded rises and the verdicts fall: the reward asks for the wrong thing."""
    earned, right = newest(rows, "earned", steps), newest(rows, "reward", steps)
    if not (earned > first(rows, "earned") + CLEAR and right < first(rows, "reward") - CLEAR):
        return None
    words = f"what is rewarded rose to {earned:.2f} while right answers fell to {right:.2f}"
    return Diagnosis(name="wrong reward", words=words, cure='set reward = "verdict", or watch = false for a control')


def unjudged(rows: Sequence[Row], steps: int) -> Diagnosis | None:
    """More than a fifth of the verdicts are the verifier's fault."""
    now = newest(rows, "ungradable", steps)
    if not now > LOW:
        return None
    words = f"{now:.0%} of the replies could not be graded"
    return Diagnosis(name="ungradable", words=words, cure="thinkaloud doctor --verifiers and thinkaloud problems check")


ALARMS: tuple[Alarm, ...] = (
    *(not_finite, diverged, unjudged, thoughtless, format_only, hacked),
    *(runaway, silence, loops, collapse, fallen),
)
"The surest and most telling first."


def alarmed(rows: Sequence[Row], steps: int = STEPS) -> Diagnosis | None:
    """The first alarm that a stage's rows raise; with fewer `steps` also what only begins."""
    return next(raised(rows, steps), None)


def raised(rows: Sequence[Row], steps: int = STEPS) -> Iterator[Diagnosis]:
    """All alarms that a stage's rows raise, the most telling first."""
    led = together(history(rows))
    return (found for alarm in ALARMS if (found := alarm(led, steps)) is not None)


def _reward(rows: Sequence[Row], steps: int) -> str:
    return f"{newest(rows, 'reward', steps):.2f}"
