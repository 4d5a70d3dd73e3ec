"""Early exit measured and settled on traces: what a rule would have cost and saved, and which rule keeps a risk.

Knows: rules, traces, conformal risk control; other published ways of stopping, to compare with. Doesn't know: models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from thinkaloud.base.conformal import least_cautious
from thinkaloud.base.statistics import Floats, bootstrap_mean
from thinkaloud.inference.calibration import ExitRule
from thinkaloud.inference.exits import Watch
from thinkaloud.rollouts.traces import Trace

CONFIDENCES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
"From the boldest to the most cautious."
RUNS = (1, 2, 3)
GAPS, SKIPS = (0.0, 0.08, 0.16, 0.3), (0.0, 0.1, 0.3)
"A gap as a share of the median thought; a skip as the place that this share of the oracle's exits comes before."
RISKS = (0.005, 0.01, 0.02, 0.05)
Shape = tuple[int, int, int]
"Run, gap, skip."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A reply as a way of stopping would have ended it."""

    right: bool
    "whether its answer is right"
    tokens: int
    "of the reply: thought, forced, answer, and the trials that did not end it"
    probe_tokens: int
    "sampled in trials that did not end it, part of `tokens`"
    read_tokens: int
    "closes that all trials had to read, not part of `tokens`"
    early: bool
    "whether the thought ended early"

    def lost(self, trace: Trace) -> bool:
        """Right with the whole thought, wrong without its rest."""
        return trace.right and not self.right


Method = Callable[[Trace], Outcome]


def whole(trace: Trace) -> Outcome:
    """The reply as it was given."""
    return Outcome(right=trace.right, tokens=trace.tokens, probe_tokens=0, read_tokens=0, early=False)


def oracle(trace: Trace) -> Outcome:
    """Ends at the earliest line from whose end on the answer stays right; pays no trial, and knows what is right."""
    stable = len(trace.trials)
    while trace.right and stable and trace.trials[stable - 1].right:
        stable -= 1
    if stable == len(trace.trials):
        return whole(trace)
    return _ended(trace, stable, probes=0, trials=0)


def by_rule(rule: ExitRule) -> Method:
    """What the engine does under a rule: a trial is given up at its first token that is not likely enough."""

    def method(trace: Trace) -> Outcome:
        if rule.confidence is None:
            return whole(trace)
        watch, probes, trials = Watch(rule), 0, 0
        for index, judged in enumerate(trace.trials):
            if not watch.due(judged.trial.place):
                continue
            trials += 1
            if watch.take(judged.trial):
                return _ended(trace, index, probes=probes, trials=trials)
            probes += judged.trial.tokens_until(watch.confidence)
        return _went_on(trace, probes, trials)

    return method


def by_mean_confidence(threshold: float = 0.95) -> Method:
    """DEER (arXiv 2504.15895): a trial at every line's end; ends where its tokens' geometric mean is above 0.95."""

    def method(trace: Trace) -> Outcome:
        probes = 0
        for index, judged in enumerate(trace.trials):
            trial = judged.trial
            if trial.finished and math.exp(sum(trial.logprobs) / len(trial.logprobs)) > threshold:
                return _ended(trace, index, probes=probes, trials=index + 1)
            probes += len(trial.ids)
        return _went_on(trace, probes, len(trace.trials))

    return method


def by_agreement(run: int = 3, gap: int = 32) -> Method:
    """Dynasor (arXiv 2412.20993): ends where so many trials in a row say the same, at least `gap` tokens apart."""
    return by_rule(ExitRule(risk=1.0, confidence=0.0, run=run, gap=gap))


def by_budget(budget: int) -> Method:
    """The thought is cut at a fixed length, which must be one of the traces' own."""

    def method(trace: Trace) -> Outcome:
        cut = next((one for one in trace.cuts if one.budget == budget), None)
        if cut is None:
            return whole(trace)
        return Outcome(right=cut.right, tokens=cut.tokens, probe_tokens=0, read_tokens=0, early=True)

    return method


def _ended(trace: Trace, index: int, *, probes: int, trials: int) -> Outcome:
    judged = trace.trials[index]
    return Outcome(
        right=judged.right,
        tokens=judged.trial.place + trace.closing + len(judged.trial.ids) + probes,
        probe_tokens=probes,
        read_tokens=max(0, trials - 1) * trace.closing,
        early=True,
    )


def _went_on(trace: Trace, probes: int, trials: int) -> Outcome:
    return Outcome(
        right=trace.right,
        tokens=trace.tokens + probes,
        probe_tokens=probes,
        read_tokens=trials * trace.closing,
        early=False,
    )


def saving(traces: Sequence[Trace], method: Method) -> float:
    """Share of all tokens that a way of stopping saves, its trials paid."""
    before = sum(trace.tokens for trace in traces)
    return 1 - sum(method(trace).tokens for trace in traces) / before if before else 0.0


def settle(traces: Sequence[Trace], risks: Sequence[float] = RISKS) -> list[ExitRule]:
    """A rule for every risk: its shape chosen on every other trace, its confidence certified on the rest.

    The rest alone carries the guarantee of `least_cautious`: it has no say in the shape. A rule that does not save
    tokens for certain (one-sided, 95 %) never ends a thought, and then tries nothing either.
    """
    choosing, certifying = traces[::2], traces[1::2]
    tried = [(shape, *at_all_confidences(choosing, shape)) for shape in shapes_for(choosing)]
    before = sum(trace.tokens for trace in choosing)
    return [_certified(certifying, best_shape(tried, before, risk), risk) for risk in sorted(risks)]


def best_shape(tried: Sequence[tuple[Shape, Floats, Floats]], before: float, risk: float) -> Shape | None:
    """The shape that saves most of `before` tokens within the risk; None where none saves any.

    `tried` are shapes with what they lose and take, (P, L) each.
    """
    best, least = None, float(before)
    for shape, losses_PL, tokens_PL in tried:
        index = least_cautious(losses_PL, risk)
        if index is not None and tokens_PL[:, index].sum() < least:
            best, least = shape, float(tokens_PL[:, index].sum())
    return best


def _certified(traces: Sequence[Trace], shape: Shape | None, risk: float) -> ExitRule:
    never = ExitRule(risk=risk, confidence=None)
    index = None if shape is None else least_cautious(losses(traces, shape), risk)
    if shape is None or index is None:
        return never
    rule = _rule(shape, risk, CONFIDENCES[index])
    mean_tokens = sum(trace.tokens for trace in traces) / len(traces)
    saved = [(trace.tokens - by_rule(rule)(trace).tokens) / mean_tokens for trace in traces]
    estimate = bootstrap_mean(saved, confidence=0.9)
    return rule.model_copy(update={"saving": round(estimate.mean, 4)}) if estimate.low > 0 else never


def shapes_for(traces: Sequence[Trace]) -> list[Shape]:
    """The shapes that are tried: how many trials must agree, how far they are apart, where the first may be."""
    if not traces:
        return []
    median = float(np.median([trace.thinking_tokens for trace in traces]))
    places = sorted(_first_stable(trace) for trace in traces)
    gaps = dict.fromkeys(max(1, round(share * median)) for share in GAPS)
    skips = dict.fromkeys(places[int(share * (len(places) - 1))] if share else 0 for share in SKIPS)
    return list(product(RUNS, gaps, skips))


def _first_stable(trace: Trace) -> int:
    """Where the oracle would end it; the thought's length where it would not."""
    places = [one.trial.place for one in trace.trials]
    found = trace.thinking_tokens
    for place, judged in zip(reversed(places), reversed(trace.trials), strict=True):
        if not (trace.right and judged.right):
            break
        found = place
    return found


def _rule(shape: Shape, risk: float, confidence: float) -> ExitRule:
    run, gap, skip = shape
    return ExitRule(risk=risk, confidence=confidence, run=run, gap=gap, skip=skip)


def losses(traces: Sequence[Trace], shape: Shape) -> Floats:
    """(P, L): what each confidence loses of each trace; the same as `by_rule` says, for all of them at once."""
    return at_all_confidences(traces, shape)[0]


def at_all_confidences(traces: Sequence[Trace], shape: Shape) -> tuple[Floats, Floats]:
    """(P, L) twice: what each confidence loses of each trace, and the tokens that it takes."""
    found = np.array([_run(trace, shape) for trace in traces], dtype=np.float64).reshape(-1, 2, len(CONFIDENCES))
    return found[:, 0], found[:, 1]


def _run(trace: Trace, shape: Shape) -> tuple[Floats, Floats]:
    """(L,) twice: when trials are due does not depend on the confidence, so one pass over them serves all."""
    watch, levels_L = Watch(_rule(shape, 0.0, 0.0)), np.array(CONFIDENCES)
    run_L, open_L = np.zeros(len(levels_L), dtype=int), np.ones(len(levels_L), dtype=bool)
    lost_L, probes_L = np.zeros(len(levels_L)), np.zeros(len(levels_L))
    tokens_L, before = np.full(len(levels_L), float(trace.tokens)), None
    for judged in trace.trials:
        trial = judged.trial
        if not watch.due(trial.place):
            continue
        watch.take(trial)
        holds_L = levels_L <= (math.exp(min(trial.logprobs)) if trial.finished else -1.0)
        run_L = np.where(holds_L, np.where(trial.ids == before, run_L, 0) + 1, 0)
        ends_L = open_L & (run_L >= watch.rule.run)
        lost_L += ends_L & trace.right & (not judged.right)
        tokens_L[ends_L] = trial.place + trace.closing + len(trial.ids)
        open_L, before = open_L & ~ends_L, trial.ids
        probes_L += np.where(open_L, [trial.tokens_until(level) for level in CONFIDENCES], 0)
    return lost_L, tokens_L + probes_L
