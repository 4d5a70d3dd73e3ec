"""Traces: whole replies with what the model would have answered earlier, at every line's end and under every budget.

Knows: how to get and judge them, many at a time. Doesn't know: rules, budgets' meaning, files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.inference.exits import Trial, line_ends
from thinkaloud.problems import Problem
from thinkaloud.problems.verify import stated
from thinkaloud.rollouts.collect import Sampling, noise_seed, request_for, verdict_on
from thinkaloud.text import ChatTemplate


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A trial and whether its answer is right."""

    trial: Trial
    "the answer that the thought would have ended with"
    right: bool
    "by the problem's verifier"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The reply that a budget would have given."""

    budget: int
    "most tokens of the thought"
    right: bool
    "by the problem's verifier"
    tokens: int
    "of the whole reply, forced ones included"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One problem: its whole reply, and what would have been answered earlier."""

    problem: str
    "id"
    kind: str
    "name of its family"
    right: bool
    "the whole reply's answer"
    thinking_tokens: int
    "sampled tokens of the thought, its end included"
    tokens: int
    "of the whole reply, forced ones included"
    trials: tuple[Judged, ...]
    "at every line's end of the thought, in order"
    cuts: tuple[Cut, ...]
    "under every budget below the thought's length"
    votes: tuple[tuple[str, bool], ...]
    "what each of several replies states, and whether it is right; none where a vote makes no sense"
    closing: int
    "tokens that ending a thought early forces"


class Tracer:
    """Gets traces from a model in this process. A trace depends on the seed and the problem only.

    `budgets` are tried on every problem, `votes` replies are drawn to each; `probe_tokens` bounds a trial answer.
    """

    def __init__(
        self,
        engine: Engine,
        template: ChatTemplate,
        sampling: Sampling,
        *,
        seed: int,
        budgets: Sequence[int] = (),
        votes: int = 0,
        probe_tokens: int = 32,
        trials: bool = True,
    ) -> None:
        self.engine, self.template, self.sampling, self.seed = engine, template, sampling, seed
        self.budgets, self.votes, self.probe_tokens, self.trials = budgets, votes, probe_tokens, trials
        policy = template.policy(thinking=True)
        self.stop = template.stop_ids
        self.forced = policy.forced_close
        self.close = policy.close_id
        self._texts: dict[int, str] = {}

    def traces(self, problems: Sequence[Problem], *, together: int = 128) -> Iterator[Trace]:
        """A trace a problem, in their order, so many problems in the engine at a time."""
        for start in range(0, len(problems), together):
            yield from self._batch(problems[start : start + together])

    def _batch(self, problems: Sequence[Problem]) -> list[Trace]:
        wholes = [self._request(problem, sample) for problem in problems for sample in range(max(1, self.votes))]
        completions = self.engine.generate(wholes)
        per = max(1, self.votes)
        groups = [completions[index * per : (index + 1) * per] for index in range(len(problems))]
        asked: list[tuple[int, int, bool, Request]] = []  # whose, after how many tokens, greedy, what
        for index, group in enumerate(groups):
            whole, first = wholes[index * per], group[0]
            if self.trials:
                asked += [(index, place, True, self._trial(whole, first, place)) for place in self._places(first)]
            asked += [
                (index, budget, False, self._cut(whole, first, budget))
                for budget in self.budgets
                if budget < first.thinking_tokens
            ]
        ended = self.engine.generate([request for _, _, _, request in asked])
        found: list[tuple[list[Judged], list[Cut]]] = [([], []) for _ in problems]
        verdicts: dict[tuple[str, str, str], bool] = {}
        for (index, place, greedy, request), answer in zip(asked, ended, strict=True):
            right = self._right(problems[index], request.prompt_ids, answer, verdicts)
            if greedy:
                trial = Trial(
                    place=place,
                    ids=answer.token_ids,
                    logprobs=tuple(round(one, 5) for one in answer.logprobs),
                    finished=answer.finish == "stop",
                )
                found[index][0].append(Judged(trial=trial, right=right))
            else:
                tokens = place + len(self.forced) + len(answer.token_ids)
                found[index][1].append(Cut(budget=place, right=right, tokens=tokens))
        return [
            self._trace(problem, group, *judged, verdicts)
            for problem, group, judged in zip(problems, groups, found, strict=True)
        ]

    def _request(self, problem: Problem, sample: int) -> Request:
        prompt = tuple(self.template.prompt(problem.messages, thinking=True))
        return request_for(self.template, prompt, self.sampling, seed=noise_seed(self.seed, problem.id), sample=sample)

    def _places(self, whole: Completion) -> list[int]:
        """Tokens of the thought at each end of a line."""
        thought = whole.token_ids[: whole.thinking_tokens]
        texts = [self._texts.setdefault(one, self.template.tokenizer.decode([one])) for one in thought]
        return line_ends(texts)

    def _trial(self, whole: Request, completion: Completion, place: int) -> Request:
        """The thought ended at a line's end, and answered greedily: the newline that is there need not be forced."""
        prefix = whole.prompt_ids + completion.token_ids[:place]
        return replace(
            whole,
            prompt_ids=prefix + closing(self.forced, self.close),
            max_tokens=self.probe_tokens,
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            policy=None,
        )

    def _cut(self, whole: Request, completion: Completion, budget: int) -> Request:
        """What the policy does where a budget is spent."""
        prefix = whole.prompt_ids + completion.token_ids[:budget] + self.forced
        return replace(whole, prompt_ids=prefix, max_tokens=max(1, self.sampling.max_tokens - budget), policy=None)

    def _right(
        self, problem: Problem, prefix: tuple[int, ...], answer: Completion, known: dict[tuple[str, str, str], bool]
    ) -> bool:
        """Whether an answer is right; `prefix` ends with the close of its thought."""
        said = self.template.parse((*self._closed(prefix), *answer.token_ids), thinking=True).spoken
        key = (problem.id, said, answer.finish)
        if key not in known:
            known[key] = verdict_on(problem, said, answer.finish).label == "right"
        return known[key]

    def _closed(self, prefix: tuple[int, ...]) -> tuple[int, ...]:
        """The end of a prefix from the id that closed the thought on."""
        assert self.close is not None
        return prefix[len(prefix) - 1 - prefix[::-1].index(self.close) :]

    def _trace(
        self,
        problem: Problem,
        group: Sequence[Completion],
        trials: list[Judged],
        cuts: list[Cut],
        known: dict[tuple[str, str, str], bool],
    ) -> Trace:
        said = []
        for one in group:
            spoken = self.template.parse(one.token_ids, thinking=True).spoken
            key = (problem.id, spoken, one.finish)
            if key not in known:
                known[key] = verdict_on(problem, spoken, one.finish).label == "right"
            said.append((stated(problem.verifier, spoken if one.finish == "stop" else ""), known[key]))
        votes = tuple((text, right) for text, right in said if text is not None) if self.votes else ()
        return Trace(
            problem=problem.id,
            kind=problem.family,
            right=said[0][1],
            thinking_tokens=group[0].thinking_tokens,
            tokens=len(group[0].token_ids),
            trials=tuple(trials),
            cuts=tuple(cuts),
            votes=votes,
            closing=len(closing(self.forced, self.close)),
        )


def closing(forced: tuple[int, ...], close: int | None) -> tuple[int, ...]:
    """What is forced to end a thought where a line has just ended: the close and what follows it."""
    assert close is not None, "a reply without a thought has none to close"
    return forced[forced.index(close) :]


def as_row(trace: Trace) -> dict[str, Any]:
    """A trace as it is kept on disk."""
    return asdict(trace)


def from_row(row: dict[str, Any]) -> Trace:
    """A trace as it was kept."""
    trials = tuple(
        Judged(
            trial=Trial(
                **{**one["trial"], "ids": tuple(one["trial"]["ids"]), "logprobs": tuple(one["trial"]["logprobs"])}
            ),
            right=one["right"],
        )
        for one in row["trials"]
    )
    cuts = tuple(Cut(**one) for one in row["cuts"])
    votes = tuple((text, right) for text, right in row["votes"])
    return Trace(**{**row, "trials": trials, "cuts": cuts, "votes": votes})


def _trial(row: dict[str, Any]) -> Trial:
    return Trial(**{**row, "ids": tuple(row["ids"]), "logprobs": tuple(row["logprobs"])})
