"""Evaluation: whoever answers is asked, its answers are judged, each judged reply is a row.

Knows: what is left to ask, judging beside the asking. Doesn't know: HTTP, files, what is made of the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from thinkaloud.base.evaluations import Row, entries
from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.problems import Problem
from thinkaloud.problems.verify import stated
from thinkaloud.problems.workers import pool
from thinkaloud.rollouts.collect import Sampling, noise_seed, request_for, verdict_on, way_of
from thinkaloud.text import ChatTemplate
from thinkaloud.text.language import mixes_languages


@dataclass(frozen=True, kw_only=True)
class Task:
    """One reply to get."""

    problem: Problem
    "What is asked."
    sample: int
    "Which of the replies to it, from 0."
    budget: int | None
    "Most tokens of the thought; None for no limit."


@dataclass(frozen=True, kw_only=True)
class Said:
    """One reply as it was given."""

    thinking: str
    "The monologue."
    answer: str
    "What follows it; tool calls as JSON."
    thinking_tokens: int
    "Tokens of the monologue."
    tokens: int
    "Tokens of the reply."
    finish: str
    "'stop', or 'length' when it was cut off."


NO_ROOM = Said(thinking="", answer="", thinking_tokens=0, tokens=0, finish="length")
"The reply of a model whose context the prompt fills."


class Respondent(Protocol):
    """Who can be asked: a model of ours, a server."""

    def respond(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
        """Each task with its reply, as they come."""


class OwnModel:
    """A model in this process. A reply depends on the seed, the problem and the number of the sample only."""

    def __init__(self, engine: Engine, template: ChatTemplate, sampling: Sampling, *, seed: int) -> None:
        self.engine, self.template, self.sampling, self.seed = engine, template, sampling, seed

    def respond(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
        """All at once into the engine, which batches them."""
        self.engine.forget()
        prompts: dict[str, tuple[int, ...]] = {}
        for task in tasks:
            if task.problem.id not in prompts:
                prompt = self.template.prompt(task.problem.messages, thinking=self.sampling.thinking)
                prompts[task.problem.id] = tuple(prompt)
        requests = [(task, self._request(task, prompts[task.problem.id])) for task in tasks]
        yield from ((task, NO_ROOM) for task, request in requests if request is None)
        fitting = [(task, request) for task, request in requests if request is not None]
        for index, completion in self.engine.complete([request for _, request in fitting]):
            yield fitting[index][0], self._said(completion)

    def _request(self, task: Task, prompt: tuple[int, ...]) -> Request | None:
        """A reply may be as long as the context leaves room for; None where the prompt leaves none."""
        sampling = replace(self.sampling, budget=task.budget)
        request = request_for(
            self.template, prompt, sampling, seed=noise_seed(self.seed, task.problem.id), sample=task.sample
        )
        over = request.most_tokens - self.engine.config.max_position_embeddings
        if over >= request.max_tokens:
            return None
        return request if over <= 0 else replace(request, max_tokens=request.max_tokens - over)

    def _said(self, completion: Completion) -> Said:
        message = self.template.parse(completion.token_ids, thinking=self.sampling.thinking)
        return Said(
            thinking=message.thinking or "",
            answer=message.spoken,
            thinking_tokens=completion.thinking_tokens,
            tokens=len(completion.token_ids),
            finish=completion.finish,
        )


def tasks_for(problems: Sequence[Problem], samples: int, budgets: Sequence[int | None]) -> list[Task]:
    """Every reply of an evaluation, a problem's samples side by side."""
    return [
        Task(problem=problem, sample=sample, budget=budget)
        for budget in budgets
        for problem in problems
        for sample in range(samples)
    ]


def described(problem: Problem) -> Row:
    """A problem as an evaluation keeps it."""
    return {
        "id": problem.id,
        "family": problem.family,
        "level": problem.level,
        "question": problem.question,
        "reference": problem.reference,
    }


def judged(
    respondent: Respondent,
    tasks: Sequence[Task],
    keep: Callable[[Row], None],
    *,
    thinks: bool = True,
    unsafe_exec: bool = False,
) -> Iterator[Row]:
    """Ask and judge; each row is kept as soon as it is judged, then yielded."""

    def judge(task: Task, said: Said) -> Row:
        row = row_of(task, said, thinks=thinks, unsafe_exec=unsafe_exec)
        keep(row)
        return row

    with ThreadPoolExecutor(pool().size) as threads:
        under_way: list[Future[Row]] = []
        for task, said in respondent.respond(tasks):
            under_way.append(threads.submit(judge, task, said))
            done = [one for one in under_way if one.done()]
            under_way = [one for one in under_way if one not in done]
            yield from (one.result() for one in done)
        yield from (one.result() for one in under_way)


def row_of(task: Task, said: Said, *, thinks: bool, unsafe_exec: bool) -> Row:
    """One judged reply, as it is kept."""
    problem = task.problem
    verdict = verdict_on(problem, said.answer, said.finish, unsafe_exec=unsafe_exec)
    return {
        "problem": problem.id,
        "sample": task.sample,
        "budget": task.budget,
        "verdict": verdict.label,
        "reason": verdict.reason,
        "sandbox": verdict.sandbox,
        "stated": stated(problem.verifier, said.answer if said.finish == "stop" else ""),
        "thinking": said.thinking,
        "answer": said.answer,
        "thinking_tokens": said.thinking_tokens,
        "tokens": said.tokens,
        "finish": said.finish,
        "way": way_of(problem, said.thinking, thinks),
        "mixed": mixes_languages(problem.question, f"{said.thinking}\n{said.answer}"),
    }


def evaluate(
    engine: Engine, template: ChatTemplate, problems: Sequence[Problem], sampling: Sampling, *, seed: int
) -> dict[str, Any]:
    """Judged replies of a model in this process, one entry a problem with one value a sample, all in memory."""
    rows: list[Row] = []
    respondent = OwnModel(engine, template, sampling, seed=seed)
    tasks = tasks_for(problems, sampling.samples, [sampling.budget])
    _exhaust(judged(respondent, tasks, rows.append, thinks=sampling.thinking))
    return {
        "samples": sampling.samples,
        "temperature": sampling.temperature,
        "problems": entries([described(problem) for problem in problems], rows, sampling.budget),
    }


def _exhaust(rows: Iterable[Row]) -> None:
    for _ in rows:
        pass
