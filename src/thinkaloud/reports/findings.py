"""Verdicts in plain words, each computed from the numbers of a run; whoever wins, it says so.

Knows what the comparisons of accuracy mean (thinking against answering at once, before against after RL, RL against its
controls); does not know pages or plots. "Wins" means that a 95 % interval, paired by problem, lies clear of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from thinkaloud.base.statistics import Estimate
from thinkaloud.reports.load import Run, share_right
from thinkaloud.reports.tables import (
    AFTER,
    BEFORE,
    LABELS,
    PLAIN,
    accuracy,
    controls,
    difference,
    percent,
    points,
    quantity,
)

FEWEST = 20
"Below this many paired problems a verdict is left open, whatever its interval."
START = "before"
"Evaluation of the checkpoint that a run started from."
MARGIN = 0.01
"Not worse: the interval of the difference in accuracy lies above minus this."
EQUAL_COMPUTE = 0.02
"Two stages had equal compute if their ratio is within this of 1."
SPENT = {"rollouts": "Rollouts", "generated_tokens": "Generated tokens", "compute_flops": "FLOP"}
"What our recipe and plain GRPO are compared by, besides problems."

Tone = Literal["yes", "no", "open", "missing"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One verdict: a headline that a reader can quote, and the numbers behind it."""

    topic: str
    "What it is about: training, thinking, lift, data, control, guard, length, ways, vote."
    tone: Tone
    "yes: what reinforcement learning or thinking was hoped to do; no: the opposite; open: the numbers don't tell."
    headline: str
    "One sentence."
    details: tuple[str, ...] = ()
    "The numbers, a sentence each."


def direction(estimate: Estimate) -> int:
    """+1, -1, or 0 where the interval touches zero or the problems are too few."""
    return estimate.direction if estimate.count >= FEWEST else 0


def tone_of(sign: int) -> Tone:
    """The tone of a difference that was hoped to be positive."""
    return "yes" if sign > 0 else "no" if sign < 0 else "open"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _absent(topic: str, models: Sequence[str], run: Run) -> list[Finding]:
    gone = [name for name in models if name not in run.evaluations]
    if not gone:
        return []
    return [Finding(topic=topic, tone="missing", headline=f"Not known: no evaluation of {listed(gone)}.")]


def thinking(run: Run) -> list[Finding]:
    """Thinking aloud against answering at once, a verdict for each family."""
    pairs = [("after the cold start", "think", "direct"), ("after RL on both", "think_rl", "direct_rl")]
    pairs = [pair for pair in pairs if pair[1] in run.evaluations and pair[2] in run.evaluations]
    if not pairs:
        return _absent("thinking", ["think", "direct"], run)
    findings = []
    for family in run.families():
        signs: dict[str, int] = {}
        details = []
        for when, aloud, once in pairs:
            change = difference(run.evaluations[aloud], run.evaluations[once], family)
            if change is not None:
                signs[when] = direction(change)
                details.append(f"{when[0].upper()}{when[1:]}: {_from_to(run, once, aloud, family)}, {points(change)}.")
        words, tone = _thinking_words(signs)
        headline = f"{family}: {words}."
        findings.append(Finding(topic="thinking", tone=tone, headline=headline, details=tuple(details)))
    return findings


def _thinking_words(signs: dict[str, int]) -> tuple[str, Tone]:
    """The verdict of one family from the signs of its comparisons, keyed by when they were made."""
    if not signs:
        return "not known, the models were not tested on the same problems", "missing"
    won = [when for when, sign in signs.items() if sign > 0]
    lost = [when for when, sign in signs.items() if sign < 0]
    if len(won) == len(signs):
        return "thinking aloud beats answering at once", "yes"
    if len(lost) == len(signs):
        return "answering at once beats thinking aloud", "no"
    if not won and not lost:
        return "no clear difference between thinking aloud and answering at once", "open"
    parts = [f"thinking aloud wins {listed(won)}"] if won else []
    parts += [f"answering at once wins {listed(lost)}"] if lost else []
    tied = [when for when, sign in signs.items() if not sign]
    parts += [f"no clear difference {listed(tied)}"] if tied else []
    return ", ".join(parts), "open"


def _from_to(run: Run, before: str, after: str, family: str | None) -> str:
    """'24.1 % -> 61.0 %' over the problems that both models hold."""
    old = run.evaluations[before].values(family, share_right)
    new = run.evaluations[after].values(family, share_right)
    shared = old.keys() & new.keys()
    ends = [percent(float(np.mean([values[key] for key in shared]))) for values in (old, new)]
    return f"{ends[0]} \u2192 {ends[1]}"


def lift(run: Run) -> list[Finding]:
    """What reinforcement learning did to the accuracy of each cold-started model."""
    missing = _absent("lift", [BEFORE, AFTER], run)
    if missing:
        return missing
    findings = []
    for who, before, after in (("the thinking model", BEFORE, AFTER), ("answering at once", "direct", "direct_rl")):
        if before not in run.evaluations or after not in run.evaluations:
            continue
        change = difference(run.evaluations[after], run.evaluations[before])
        if change is None:
            continue
        sign = direction(change)
        verb = {1: "lifted", -1: "lowered", 0: "did not clearly change"}[sign]
        clear = "clear of zero" if sign else "not clear of zero"
        if change.count < FEWEST:
            clear = f"but {change.count} problems are too few to say"
        headline = f"RL {verb} {who}: {points(change)}, {clear}."
        details = [f"Overall {_from_to(run, before, after, None)}, {change.count:,} problems."]
        for family in run.families():
            part = difference(run.evaluations[after], run.evaluations[before], family)
            if part is not None:
                details.append(f"{family}: {_from_to(run, before, after, family)}, {points(part)}.")
        findings.append(Finding(topic="lift", tone=tone_of(sign), headline=headline, details=tuple(details)))
    return findings


def training(run: Run) -> list[Finding]:
    """What each stage has made of the checkpoint that its run started from; nothing where it started from none."""
    findings = []
    for name, after in run.evaluations.items() if START in run.evaluations else ():
        change = None if name == START else difference(after, run.evaluations[START])
        if change is None:
            continue
        sign = direction(change)
        verb = {1: "lifted", -1: "lowered", 0: "did not clearly change"}[sign]
        few = f" ({change.count} problems are too few to say)" if change.count < FEWEST else ""
        headline = (
            f"{name} {verb} the model that it started from: {_from_to(run, START, name, None)}, {points(change)}{few}."
        )
        findings.append(Finding(topic="training", tone=tone_of(sign), headline=headline))
    return findings


def data(run: Run) -> list[Finding]:
    """Our recipe on few problems beside plain GRPO on many: what each met, spent and reached."""
    change = None
    if AFTER in run.evaluations and PLAIN in run.evaluations:
        change = difference(run.evaluations[AFTER], run.evaluations[PLAIN])
    few, many = (run.ledger.get(name, {}) for name in (AFTER, PLAIN))
    if change is None or not few.get("unique_problems") or not many.get("unique_problems"):
        return []
    sign, fewer = direction(change), few["unique_problems"] < many["unique_problems"]
    if change.count < FEWEST:
        word, tone = f"{change.count} problems are too few to say which is better", tone_of(0)
    elif sign < 0:
        word, tone = "clearly worse", tone_of(-1)
    elif change.low > -MARGIN:
        word, tone = "better" if sign > 0 else "not worse by more than a point", tone_of(1 if fewer else 0)
    else:
        word, tone = "not shown to be as good to within a point", tone_of(0)
    said = [accuracy(run.evaluations[name]) for name in (AFTER, PLAIN)]
    after, plain = (percent(one.mean) if one else "?" for one in said)
    headline = (
        f"Our recipe met {few['unique_problems']:,.0f} problems, the R1 recipe {many['unique_problems']:,.0f}: "
        f"{after} against {plain}, {points(change)}: {word}."
    )
    details = [
        f"{words}: {quantity(few[key])} against {quantity(many[key])}, {few[key] / many[key]:.2f} times as many."
        for key, words in SPENT.items()
        if few.get(key) and many.get(key)
    ]
    if few.get("variants"):
        details.append(f"Variants that were made of its problems, their answers proven: {quantity(few['variants'])}.")
    return [Finding(topic="data", tone=tone, headline=headline, details=tuple(details))]


def control_findings(run: Run) -> list[Finding]:
    """Each control beside reinforcement learning: who wins overall and in each family, and at what compute."""
    if AFTER not in run.evaluations:
        return []
    names = controls(run.evaluations)
    absent = [name for name in ("think_sft", "think_rft") if name not in names]
    findings = [_control(run, name) for name in names]
    if absent:
        headline = f"Not known: no evaluation of the control{'s' * (len(absent) > 1)} {listed(absent)}."
        findings.append(Finding(topic="control", tone="missing", headline=headline))
    return findings


def endings(run: Run) -> list[Finding]:
    """Stages that their guard ended, and what they had lost."""
    return [
        Finding(
            topic="guard",
            tone="no",
            headline=f"{row['stage']} was ended by its guard at {percent(row['progress'])} of its budget and taken"
            f" back to its last state that passed: {row['ended']}.",
        )
        for row in run.metrics
        if row.get("ended")
    ]


def _control(run: Run, name: str) -> Finding:
    label = LABELS.get(name, name)
    change = difference(run.evaluations[AFTER], run.evaluations[name])
    if change is None:
        headline = f"Not known: {name} and {AFTER} were not tested on the same problems."
        return Finding(topic="control", tone="missing", headline=headline)
    sign = direction(change)
    verdict = {1: "RL beats it", -1: "the control beats RL", 0: "a tie with RL, no clear winner"}[sign]
    by_family: dict[int, list[str]] = {1: [], 0: [], -1: []}
    details = [f"RL minus {name} overall: {points(change)}."]
    for family in run.families():
        part = difference(run.evaluations[AFTER], run.evaluations[name], family)
        if part is not None:
            by_family[direction(part)].append(family)
            details.append(f"{family}: {_from_to(run, name, AFTER, family)}, RL {points(part)}.")
    outcomes = ((1, "RL wins"), (0, "tied"), (-1, "the control wins"))
    families = "; ".join(f"{word} on {listed(by_family[key])}" for key, word in outcomes if by_family[key])
    compute = _compute(run, name)
    headline = f"{name} ({label}): {verdict} overall" + (f" ({families})." if families else ".")
    return Finding(topic="control", tone=tone_of(sign), headline=headline, details=(*details, *compute))


def _compute(run: Run, name: str) -> list[str]:
    ours = run.ledger.get(AFTER, {}).get("compute_flops")
    theirs = run.ledger.get(name, {}).get("compute_flops")
    if name == "think_careful":
        return ["It starts anew from careful demonstrations: an oracle, not a control at equal compute."]
    if not ours or not theirs:
        return ["Compute of the two stages is not in the ledger."]
    ratio = theirs / ours
    equal = "equal within 2 %" if abs(ratio - 1) <= EQUAL_COMPUTE else "not equal"
    return [f"Compute: {ratio:.2f} times that of RL ({equal})."]
