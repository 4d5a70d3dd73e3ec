"""Why a stage of training does not learn, and what to change: each diagnosis is one small function over metrics rows.

Knows the alarms that stop a stage, and besides them what only hinders it; does not know models or torch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import METRICS, read_jsonl
from thinkaloud.reports.alarms import (
    CLEAR,
    LOW,
    SLOWER,
    SPENT_ENTROPY,
    STEPS,
    Diagnosis,
    Row,
    best,
    dev_fall,
    first,
    history,
    mean,
    newest,
    raised,
    values,
)


def broke(rows: Sequence[Row], key: str) -> bool:
    """Whether a share was small at first while the reward has halved since: a sign of what broke, not its cause."""
    now, top = newest(rows, "reward"), best(rows, "reward")
    return next(iter(values(rows, key)), 1.0) < 0.25 and now < top / 2 and top - now > CLEAR


def truncation(rows: Sequence[Row]) -> Diagnosis | None:
    """A quarter of the replies cut off, wrong whatever they would have said; or at first a quarter of the thoughts."""
    now, cut = newest(rows, "truncated"), first(rows, "thoughts_cut")
    words = f"{now:.0%} of the replies are cut off at max_tokens, and cut off is wrong"
    if first(rows, "unreadable") > 0.25:
        return None  # it does not know the form, and so not where to end
    if cut > 0.25 and newest(rows, "reward") < 0.8:
        words = f"{cut:.0%} of the thoughts were cut off at first, to leave room for an answer within max_tokens"
    elif not now > 0.25 or broke(rows, "truncated"):
        return None
    return Diagnosis(name="truncation", words=words, cure="raise max_tokens, or show shorter demonstrations first")


def unreadable(rows: Sequence[Row]) -> Diagnosis | None:
    """A quarter of the replies end without an answer that the verifier can read: form, not thought, is at fault."""
    now = newest(rows, "unreadable")
    if not now > 0.25 or broke(rows, "unreadable"):
        return None
    words = f"{now:.0%} of the replies end without a readable answer"
    return Diagnosis(
        name="format", words=words, cure="start from a stage fine-tuned on demonstrations of the form (init)"
    )


def references(rows: Sequence[Row]) -> Diagnosis | None:
    """In two of five first groups three quarters agree on one answer and nobody is right: doubt the reference first.

    Later ones say less: replies that chase wrong references no longer agree.
    """
    then, reward = first(rows, "agreed_wrong"), first(rows, "reward")
    if not (then > 0.4 and reward < LOW and newest(rows, "reward") < 0.5) or unreadable(rows):
        return None
    words = f"in {then:.0%} of the first groups the replies agreed on one answer that is judged wrong"
    cure = "check references and verifier (thinkaloud problems check FILE, thinkaloud doctor --verifiers)"
    return Diagnosis(name="references", words=words, cure=cure)


def too_hard(rows: Sequence[Row]) -> Diagnosis | None:
    """Seven groups of ten have no right reply, at first and still: nothing to prefer."""
    now = newest(rows, "all_wrong")
    if not (now > 0.7 and first(rows, "all_wrong") > 0.7) or broke(rows, "all_wrong"):
        return None
    if newest(rows, "truncated") > 0.25 or unreadable(rows) or references(rows):
        return None
    words = f"{now:.0%} of the groups are wrong throughout, so that nothing can be learnt from them"
    cure = "take easier levels, a longer cold start, more samples, or help (memory and steering with hints = true)"
    return Diagnosis(name="too hard", words=words, cure=cure)


def too_easy(rows: Sequence[Row]) -> Diagnosis | None:
    """Seven groups of ten were right throughout from the first step on: there was nothing left to learn."""
    then = first(rows, "all_right")
    if not then > 0.7 or len(values(rows, "all_right")) < STEPS or alike(rows):
        return None
    words = f"{then:.0%} of the groups were right throughout from the start"
    return Diagnosis(
        name="too easy", words=words, cure="take harder levels, or memory = true, which retires what is known"
    )


def faulty_verdicts(rows: Sequence[Row]) -> Diagnosis | None:
    """More than one verdict in fifty is the verifier's or the reference's fault."""
    now = mean(values(rows, "ungradable"))
    if not now > 0.02:
        return None
    words = f"{now:.0%} of the replies could not be graded"
    return Diagnosis(name="ungradable", words=words, cure="thinkaloud doctor --verifiers and thinkaloud problems check")


def drift(rows: Sequence[Row]) -> Diagnosis | None:
    """Sampler and trainer 0.03 nats a token apart where replies are fresh: more than rounding explains."""
    now = newest([row for row in rows if not row.get("replayed")], "logprob_gap_mean")
    if not now > 0.03:
        return None
    words = f"sampled and trained log-probs differ by {now:.3f} nats a token"
    cure = "find the fault (THINKALOUD_NATIVE=off tells whether the native step has it); drift = 2 corrects some of it"
    return Diagnosis(name="drift", words=words, cure=cure)


def alike(rows: Sequence[Row]) -> Diagnosis | None:
    """In most groups all replies are one and the same, and hardly any group holds right and wrong ones."""
    same, mixed, reward = mean(values(rows, "alike")), mean(values(rows, "informative_groups")), first(rows, "reward")
    if not (same > 0.5 and mixed < 0.15 and LOW < reward < 0.9):
        return None
    words = (
        f"in {same:.0%} of the groups all replies are the same, token for token; {mixed:.0%} hold right and wrong ones"
    )
    cure = "set temperature = 1.0, or start from a stage that was trained less"
    return Diagnosis(name="alike", words=words, cure=cure)


def stale(rows: Sequence[Row]) -> Diagnosis | None:
    """Hardly any token is drawn differently, and there is much left to learn."""
    now, reward, mixed = newest(rows, "entropy"), newest(rows, "reward"), newest(rows, "informative_groups")
    if not (now < SPENT_ENTROPY and reward < 0.8 and mixed < 0.3) or alike(rows):
        return None
    words = f"entropy is {now:.3f} nats a token: the replies of a group hardly differ"
    return Diagnosis(
        name="entropy", words=words, cure="raise temperature, steer the entropy (entropy = 0.1), or train less before"
    )


def too_fast(rows: Sequence[Row]) -> Diagnosis | None:
    """A step moves a third of the tokens past the clip, or the weights doubled, or the reward has halved."""
    clipped, reward, top = newest(rows, "clipped"), newest(rows, "reward"), best(rows, "reward")
    norms = values(rows, "weight_norm")
    signs = [f"{clipped:.0%} of the tokens are clipped at a step's end"] if clipped > 0.3 else []
    if "reward" in (rows[0] if rows else {}) and norms and norms[-1] > 2 * norms[0]:
        signs.append(f"the weights grew {norms[-1] / norms[0]:.1f} times")
    if reward < top / 2 and top - reward > LOW and not newest(rows, "steered") > 0:
        signs.append(f"the reward fell from {top:.2f} to {reward:.2f}")
    return Diagnosis(name="too fast", words=" and ".join(signs), cure=SLOWER) if signs else None


def held(rows: Sequence[Row]) -> Diagnosis | None:
    """The divergence from the first weights weighs about as much as a reply's advantage, which is of size one."""
    now = newest(rows, "kl_loss")
    if not now > 0.3:
        return None
    words = (
        f"{newest(rows, 'kl'):.2g} nats a token from its first weights cost {now:.2g} in the loss, where rewards are 1"
    )
    return Diagnosis(name="held", words=words, cure="take a smaller kl, usually 0.001 to 0.01, or none")


def same_replies(rows: Sequence[Row]) -> bool:
    """Whether dev problems, whose noise is the same at every point, get the same replies at four points or more."""
    right, lengths = values(rows, "dev_accuracy"), values(rows, "dev_thinking_tokens")
    if len(right) < 4 or not 0.05 < mean(right) < 0.95:
        return False
    one = 1 / max(values(rows, "dev_problems"), default=1.0)
    spread = max(lengths, default=0.0) - min(lengths, default=0.0)
    return max(right) - min(right) <= one + 1e-9 and spread <= 0.005 * mean(lengths)


def too_slow(rows: Sequence[Row]) -> Diagnosis | None:
    """Twenty updates on informative groups have moved neither the entropy nor the reward, or no dev reply."""
    mixed, updates = mean(values(rows, "informative_groups")), len(values(rows, "gradient_norm"))
    tried = max((index for index, row in enumerate(rows) if "reward" in row), default=0)
    late = len(values(rows[: tried + 1], "gradient_norm")) >= 20  # rejection sampling draws first and learns then
    reward, entropy = (newest(rows, key) - first(rows, key) for key in ("reward", "entropy"))
    still = late and abs(reward) < CLEAR / 2 and abs(entropy) < 0.05 * first(rows, "entropy")
    if not (updates >= 20 and mixed > 0.3 and (still or same_replies(rows))) or held(rows) or drift(rows):
        return None
    words = f"{updates} updates changed the reward by {reward:+.2f} and the entropy by {entropy:+.3f} nats"
    if same_replies(rows):
        words = f"after {updates} updates the dev problems, asked with the same noise, get the same replies as at first"
    return Diagnosis(name="too slow", words=words, cure="take learning rates of three times as much")


def overfitted(rows: Sequence[Row]) -> Diagnosis | None:
    """Dev accuracy clearly down, while what is trained on is answered as well as ever."""
    fall, now = dev_fall(rows), newest(rows, "reward")
    if not (fall > 0 and now > 0.5 and now > first(rows, "reward") - CLEAR / 2):
        return None
    words = f"dev accuracy fell by {100 * fall:.0f} points while the reward is {now:.2f}, no lower than at first"
    cure = "give more problems to train on, fewer epochs, lower learning rates or a KL divergence (kl = 0.01)"
    return Diagnosis(name="overfitting", words=words, cure=cure)


def skipped(rows: Sequence[Row]) -> Diagnosis | None:
    """Updates that were left out because a gradient was not finite."""
    count = int(sum(values(rows, "skipped")))
    if not count:
        return None
    return Diagnosis(name="skipped", words=f"{count} updates were not finite and left out", cure=SLOWER)


def cut_short(rows: Sequence[Row]) -> Diagnosis | None:
    """The budget ran out while the reward still rose, or within a few steps."""
    if not rows or rows[-1].get("progress", 0.0) < 0.97:
        return None
    rewards = values(rows, "reward")
    if 0 < len(rewards) < 2 * STEPS:
        words = f"the budget was spent in {len(rewards)} steps"
        cure = "raise budget, and rollouts where that is set, or take fewer problems or samples a step"
        return Diagnosis(name="budget", words=words, cure=cure)
    half = mean(rewards[len(rewards) // 2 - STEPS : len(rewards) // 2])
    if not (len(rewards) >= 4 * STEPS and newest(rows, "reward") < 0.9 and newest(rows, "reward") - half > CLEAR):
        return None
    words = f"the reward still rose when the budget was spent, from {half:.2f} at half of it"
    return Diagnosis(name="budget", words=words, cure="raise budget, and rollouts where that is set")


def setbacks(rows: Sequence[Row]) -> list[Diagnosis]:
    """What happened while the stage was trained: alarms, and the end that a guard set."""
    found = []
    for row in rows:
        done = "the stage was stopped" if row.get("stopped") else f"it went back to step {row.get('taken_back_to')}"
        if row.get("alarm"):
            words = f"at step {row['step']} {row['words']}, and {done}"
            found.append(Diagnosis(name=row["alarm"], words=words, cure=row["cure"]))
        elif row.get("ended"):
            words = f"the guard ended it at step {row['step']}, {row['ended']}, and {done}"
            cure = "take lower learning rates or a KL divergence (kl = 0.01), or train on the guarded families too"
            found.append(Diagnosis(name="guard", words=words, cure=cure))
    return found


COMPLAINTS: tuple[Callable[[Sequence[Row]], Diagnosis | None], ...] = (
    *(faulty_verdicts, references, truncation, unreadable, too_hard, too_easy, drift),
    *(alike, stale, overfitted, too_fast, held, too_slow, skipped, cut_short),
)


def diagnose(rows: Sequence[Row]) -> list[Diagnosis]:
    """All that is wrong with one stage, the worst first: what happened to it, what alarms now, what hinders it."""
    led = history(rows)
    found = setbacks(rows)
    found += raised(rows)
    found += [one for complaint in COMPLAINTS if (one := complaint(led)) is not None]
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def examine(run: Path) -> dict[str, list[Diagnosis]]:
    """The diagnoses of each stage of a run, finished or not; UserError where there is no such run."""
    journals = sorted((run / "checkpoints").glob(f"*/{METRICS}"))
    if not journals:
        raise UserError(f"{run} holds no stage that was trained: give the folder of a run (run.dir)")
    return {journal.parent.name: diagnose(read_jsonl(journal)) for journal in journals}
