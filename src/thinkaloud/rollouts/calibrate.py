"""Calibration: how much thought buys how much accuracy, when a thought may end early, what a vote is worth.

Knows: how traces of dev problems become budgets, rules and confidences, and what sealed ones then say of them. Doesn't
know: training, HTTP, how any of it is shown.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from thinkaloud.base.conformal import Knots, isotonic
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import Journal, locked, read_json, read_jsonl, write_json
from thinkaloud.base.statistics import change_bound, majority_vote, wilson_estimate
from thinkaloud.inference.calibration import (
    LEVELS,
    POOLED,
    Calibration,
    Held,
    Kind,
    Point,
    digest_of,
    format_of,
)
from thinkaloud.inference.model import ReasoningModel
from thinkaloud.problems import Problem
from thinkaloud.rollouts.collect import Sampling
from thinkaloud.rollouts.exits import Method, by_rule, saving, settle
from thinkaloud.rollouts.traces import Trace, Tracer, as_row, from_row

SHARES = {"low": 0.8, "medium": 0.95}
"Of what unlimited thought gains over none, the share that an effort's budget reaches."
MARGIN = 0.01
"High effort loses less than this against unlimited thought, with 95 % confidence."
STEPS = 24
"Budgets that are tried."
PILOT = 48
"Problems of each kind whose thoughts say how long they are."


@dataclass(frozen=True, kw_only=True)
class How:
    """How a model is calibrated."""

    sampling: Sampling
    "how replies are drawn: as `ask` draws them"
    votes: int = 8
    "replies a problem whose vote is calibrated; 0: none"
    probe_tokens: int = 32
    "most tokens of a trial answer"
    seed: int = 1
    "keys the replies"


class Measurement:
    """One calibration, in a folder or in memory: `run` it to its end, then take its `calibration`.

    Example: `with Measurement(model, dev, sealed, How(sampling=Sampling()), folder) as one: list(one.run())`.
    """

    def __init__(
        self,
        model: ReasoningModel,
        dev: Sequence[Problem],
        sealed: Sequence[Problem],
        how: How,
        folder: Path | None = None,
    ) -> None:
        if model.template.policy(thinking=True).close_id is None:
            raise UserError("this model's template has no thought to bound: there is nothing to calibrate")
        self.model, self.dev, self.sealed, self.how, self.folder = model, dev, sealed, how, folder
        self._traces: dict[str, dict[str, Trace]] = {"dev": {}, "sealed": {}}
        self._journals: dict[str, Journal] = {}
        self.budgets: list[int] = []

    def __enter__(self) -> "Measurement":
        """Hold the folder and take over what is there; UserError if it holds another calibration."""
        with ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(locked(self.folder))
                self._open(self.folder, stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    @property
    def total(self) -> int:
        """Problems to trace."""
        return len(self.dev) + len(self.sealed)

    @property
    def done(self) -> int:
        """Problems traced so far."""
        return sum(map(len, self._traces.values()))

    def run(self) -> Iterator[Trace]:
        """Trace what is left; each trace is on disk before it is yielded."""
        self.budgets = self.budgets or self._grid()
        if self.folder is not None:
            write_json(self.folder / "budgets.json", self.budgets)
        for split, problems in (("dev", self.dev), ("sealed", self.sealed)):
            left = [problem for problem in problems if problem.id not in self._traces[split]]
            for trace in self._tracer(self.how.votes).traces(left):
                self._traces[split][trace.problem] = trace
                if self.folder is not None:
                    self._journals[split].write([as_row(trace)])
                yield trace

    def traces(self, split: str) -> list[Trace]:
        """What was traced of a split, in the order of its problems."""
        problems = self.dev if split == "dev" else self.sealed
        return [self._traces[split][problem.id] for problem in problems if problem.id in self._traces[split]]

    def calibration(self) -> Calibration:
        """What dev problems settle, with what sealed ones say of it."""
        dev, sealed = (by_kind(self.traces(split)) for split in ("dev", "sealed"))
        return Calibration(
            weights=digest_of(self.model.path),
            format=format_of(self.model.engine.weights),
            temperature=self.how.sampling.temperature,
            max_tokens=self.how.sampling.max_tokens,
            probe_tokens=self.how.probe_tokens,
            kinds={kind: settled(traces, sealed.get(kind, []), self.budgets) for kind, traces in dev.items()},
        )

    def _tracer(self, votes: int, trials: bool = True) -> Tracer:
        return Tracer(
            self.model.engine,
            self.model.template,
            self.how.sampling,
            seed=self.how.seed,
            budgets=self.budgets,
            votes=votes,
            probe_tokens=self.how.probe_tokens,
            trials=trials,
        )

    def _grid(self) -> list[int]:
        """Budgets from none to about the longest thought."""
        kinds: dict[str, int] = {}
        pilot = []
        for problem in self.dev:
            kinds[problem.family] = kinds.get(problem.family, 0) + 1
            if kinds[problem.family] <= PILOT:
                pilot.append(problem)
        lengths = [trace.thinking_tokens for trace in self._tracer(0, trials=False).traces(pilot)]
        return sorted({round(one) for one in np.linspace(0, max(lengths), STEPS)})

    def _open(self, folder: Path, stack: ExitStack) -> None:
        settings = json.loads(json.dumps(self._settings()))
        if (folder / "settings.json").exists() and read_json(folder / "settings.json") != settings:
            raise UserError(f"{folder} holds a calibration of another model or other settings: name another --out")
        write_json(folder / "settings.json", settings)
        if (folder / "budgets.json").exists():
            self.budgets = read_json(folder / "budgets.json")
        for split, found in self._traces.items():
            path = folder / f"{split}.jsonl"
            rows = read_jsonl(path) if self.budgets else []
            found.update((row["problem"], from_row(row)) for row in rows)
            size = path.read_bytes().rfind(b"\n") + 1 if rows else 0
            self._journals[split] = Journal(path, size)
            stack.callback(self._journals[split].close)

    def _settings(self) -> dict[str, object]:
        return {
            "weights": digest_of(self.model.path),
            "format": format_of(self.model.engine.weights),
            **asdict(self.how),
            "problems": {"dev": [one.id for one in self.dev], "sealed": [one.id for one in self.sealed]},
        }


def by_kind(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Traces by kind, and all of them, kinds in turn, as pooled."""
    found: dict[str, list[Trace]] = {}
    for trace in traces:
        found.setdefault(trace.kind, []).append(trace)
    least = min(map(len, found.values()), default=0)
    order = np.random.default_rng(0).permutation(least * len(found))
    pooled = [trace for kind in found.values() for trace in kind[:least]]
    return {POOLED: [pooled[index] for index in order], **found}


def settled(dev: Sequence[Trace], sealed: Sequence[Trace], budgets: Sequence[int]) -> Kind:
    """All that is said of one kind of question."""
    efforts = effort_budgets(dev, budgets)
    rules = settle(dev)
    return Kind(
        budgets=efforts,
        exits=rules,
        votes=vote_knots(dev),
        problems=len(dev),
        curve=[point(dev, budget) for budget in [*budgets, None]],
        sealed={name: point(sealed, budget) for name, budget in [*efforts.items(), ("unlimited", None)] if sealed},
        held=[held(sealed, rule.risk, by_rule(rule)) for rule in rules if sealed],
    )


def held(traces: Sequence[Trace], risk: float, method: Method) -> Held:
    """What a rule loses and saves."""
    lost = wilson_estimate(sum(method(trace).lost(trace) for trace in traces), len(traces))
    return Held(risk=risk, lost=lost.mean, low=lost.low, high=lost.high, saved=round(saving(traces, method), 4))


def right_under(trace: Trace, budget: int | None) -> bool:
    """Whether the reply under a budget is right; one of the budgets that were tried."""
    found = next((cut for cut in trace.cuts if cut.budget == budget), None)
    return trace.right if found is None else found.right


def point(traces: Sequence[Trace], budget: int | None) -> Point:
    """Accuracy and mean length of the thought under one budget."""
    estimate = wilson_estimate(sum(right_under(trace, budget) for trace in traces), len(traces))
    spent = [min(trace.thinking_tokens, trace.thinking_tokens if budget is None else budget) for trace in traces]
    return Point(
        budget=budget,
        accuracy=round(estimate.mean, 4),
        low=round(estimate.low, 4),
        high=round(estimate.high, 4),
        thinking_tokens=round(sum(spent) / len(spent), 2),
    )


def effort_budgets(traces: Sequence[Trace], budgets: Sequence[int]) -> dict[str, int | None]:
    """The smallest budgets from which on an effort's promise holds.

    Low reaches 80 % and medium 95 % of what unlimited thought gains over none; high loses less than one point against
    unlimited thought, with 95 % confidence (paired by problem). None where no budget that was tried does.
    """
    count = len(traces)
    right = {budget: sum(right_under(trace, budget) for trace in traces) for budget in budgets}
    unlimited = sum(trace.right for trace in traces)
    least = right[budgets[0]]

    def from_which(kept: Mapping[int, bool]) -> int | None:
        found = None
        for budget in reversed(budgets):
            if not kept[budget]:
                break
            found = budget
        return found

    reached = {
        effort: from_which({one: right[one] >= least + share * (unlimited - least) for one in budgets})
        for effort, share in SHARES.items()
    }
    high = from_which({one: _loss_bound(traces, one, count) < MARGIN for one in budgets})
    reached["high"] = high
    for lower, higher in zip(LEVELS, LEVELS[1:], strict=False):  # no effort thinks less than a lower one
        under, over = reached[lower], reached[higher]
        reached[higher] = None if under is None or over is None else max(under, over)
    return reached


def _loss_bound(traces: Sequence[Trace], budget: int, count: int) -> float:
    """Upper bound of what a budget loses against unlimited thought."""
    pairs = [(trace.right, right_under(trace, budget)) for trace in traces]
    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    return change_bound(won, lost, count)


def vote_knots(traces: Sequence[Trace]) -> dict[int, Knots]:
    """How often the majority's answer is right, by its share of the votes, for 1, 2, 4 ... votes."""
    most = min((len(trace.votes) for trace in traces), default=0)
    found = {}
    for count in (2**power for power in range(most.bit_length())):
        voted = [voted_on(trace.votes[:count]) for trace in traces]
        knots = isotonic([share for share, _ in voted], [right for _, right in voted])
        found[count] = [(round(x, 4), round(y, 4)) for x, y in knots]
    return found


def voted_on(votes: Sequence[tuple[str, bool]]) -> tuple[float, bool]:
    """The share of the answer that most replies state, and whether it is right."""
    said = [text for text, _ in votes]
    first = majority_vote(said)
    return said.count(said[first]) / len(said), votes[first][1]
