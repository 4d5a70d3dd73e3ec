"""Problems -> rollouts: render, generate, parse, judge."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.problems import FAMILIES, Problem, Verdict, verify
from thinkaloud.text import ChatTemplate


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How replies are drawn."""

    thinking: bool = True
    "whether the prompt opens a thought; off, an empty thought is given and the answer follows at once"
    budget: int | None = None
    "most thought tokens before the thought is closed; None leaves it to max_tokens"
    max_tokens: int = 96
    "most sampled tokens: thought and answer"
    temperature: float = 1.0
    "divides the logits"
    top_p: float = 1.0
    "keep the likeliest tokens that together reach this probability"
    top_k: int = 0
    "keep the k likeliest tokens; 0 keeps all"
    min_p: float = 0.0
    "drop tokens below this share of the likeliest token's probability"
    samples: int = 1
    "replies a problem"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Replies wanted to one problem.

    Example: `Ask(problem=problem, samples=4, first=4)` is the second four of a group of eight.
    """

    problem: Problem
    "what is asked"
    samples: int
    "how many replies"
    first: int = 0
    "number of the first one: a reply's noise is keyed by its number"
    prefix: tuple[int, ...] = ()
    "ids of a thought's beginning that every reply goes on from"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One judged reply: a flat sequence with a mask.

    Example: prompt 1 2, sampled 3 4: ids (1, 2, 3, 4), sampled (False, False, True, True).
    """

    problem: Problem
    "what was asked"
    ids: tuple[int, ...]
    "prompt and completion"
    sampled: tuple[bool, ...]
    "true for tokens the policy sampled; prompt, given and forced tokens are never trained on"
    logprobs: tuple[float, ...]
    "the sampler's log-prob of each id (0 for the prompt)"
    thinking: str
    "text of the monologue"
    answer: str
    "text after it"
    verdict: Verdict
    "the verifier's judgement of the answer"
    way: str
    "way of working that the monologue shows, by the family's own classifier"
    thinking_tokens: int
    "sampled tokens of the monologue"
    prompt_tokens: int
    "tokens of the prompt"
    prefix_tokens: int
    "tokens of the thought that were given, not sampled"
    finish: str
    "why it ended: 'stop' or 'length'"
    version: int
    "version of the weights that sampled it"

    def row(self) -> dict[str, Any]:
        """The rollout as it is kept on disk."""
        return {
            "problem": self.problem.id,
            "family": self.problem.family,
            "level": self.problem.level,
            "thinking": self.thinking,
            "answer": self.answer,
            "verdict": self.verdict.label,
            "reason": self.verdict.reason,
            "way": self.way,
            "tokens": len(self.ids) - self.prompt_tokens - self.prefix_tokens,
            "prefix_tokens": self.prefix_tokens,
            "thinking_tokens": self.thinking_tokens,
            "finish": self.finish,
            "version": self.version,
        }


def rows_of(groups: Sequence[Sequence[Rollout]]) -> list[dict[str, Any]]:
    """Replies as they are kept on disk, group by group; the question stands with the first of its group."""
    rows = []
    for group in groups:
        asked = {"question": group[0].problem.question} if group else {}
        rows += [rollout.row() | ({} if number else asked) for number, rollout in enumerate(group)]
    return rows


def noise_seed(*parts: object) -> int:
    """A 63-bit seed from anything that names a place in a run, the same on every machine."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def collect(
    engine: Engine, template: ChatTemplate, problems: Sequence[Problem], sampling: Sampling, *, seed: int
) -> list[list[Rollout]]:
    """`sampling.samples` judged replies to each problem, in the order of `problems`.

    What was asked before is forgotten: every prompt is prefilled once, and none for free.
    """
    engine.forget()
    asks = [Ask(problem=problem, samples=sampling.samples) for problem in problems]
    return attempt(engine, template, asks, sampling, seed=seed)


def attempt(
    engine: Engine, template: ChatTemplate, asks: Sequence[Ask], sampling: Sampling, *, seed: int
) -> list[list[Rollout]]:
    """The judged replies of each ask, in order; an ask's noise depends on `seed`, its problem and its numbers only."""
    prompts = [tuple(template.prompt(ask.problem.messages, thinking=sampling.thinking)) for ask in asks]
    requests = [
        request_for(
            template, prompt + ask.prefix, sampling, seed=noise_seed(seed, ask.problem.id), sample=ask.first + number
        )
        for ask, prompt in zip(asks, prompts, strict=True)
        for number in range(ask.samples)
    ]
    completions = iter(engine.generate(requests))
    return [
        [_judge(ask, prompt, next(completions), template, sampling.thinking) for _ in range(ask.samples)]
        for ask, prompt in zip(asks, prompts, strict=True)
    ]


def request_for(
    template: ChatTemplate, prompt: tuple[int, ...], sampling: Sampling, *, seed: int, sample: int
) -> Request:
    """What an engine is asked for one reply."""
    return Request(
        prompt_ids=prompt,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=seed,
        sample=sample,
        stop_ids=template.stop_ids,
        policy=template.policy(thinking=sampling.thinking, budget=sampling.budget),
    )


def verdict_on(problem: Problem, answer: str, finish: str, *, unsafe_exec: bool = False) -> Verdict:
    """The verdict on a reply's answer; a reply that was cut off is wrong, whatever it says."""
    if finish != "stop":
        return Verdict.wrong("limit")
    return verify(problem.verifier, answer=answer, reference=problem.reference, unsafe_exec=unsafe_exec)


def way_of(problem: Problem, thinking: str, thinks: bool) -> str:
    """The way of working that a thought shows; published problems have none."""
    if not thinks:
        return "direct"
    return FAMILIES[problem.family].way_of(problem, thinking) if problem.family in FAMILIES else "other"


def _judge(
    ask: Ask, prompt: tuple[int, ...], completion: Completion, template: ChatTemplate, thinking: bool
) -> Rollout:
    problem, given = ask.problem, prompt + ask.prefix
    message = template.parse(ask.prefix + completion.token_ids, thinking=thinking)
    thought = message.thinking or ""
    return Rollout(
        problem=problem,
        ids=given + completion.token_ids,
        sampled=(False,) * len(given) + completion.sampled,
        logprobs=(0.0,) * len(given) + completion.logprobs,
        thinking=thought,
        answer=message.content,
        verdict=verdict_on(problem, message.content, completion.finish),
        way=way_of(problem, thought, thinking),
        thinking_tokens=completion.thinking_tokens,
        prompt_tokens=len(prompt),
        prefix_tokens=len(ask.prefix),
        finish=completion.finish,
        version=completion.version,
    )
