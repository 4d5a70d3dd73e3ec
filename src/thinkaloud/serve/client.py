"""A server that speaks OpenAI's chat completions, asked as a model of ours would be.

Knows: what is asked for, where servers put the thought. Doesn't know: who serves, problems' verdicts.
"""

from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from thinkaloud.base.endpoint import Endpoint, Stopped
from thinkaloud.base.errors import UserError
from thinkaloud.rollouts.collect import Sampling, noise_seed
from thinkaloud.rollouts.evaluate import Said, Task
from thinkaloud.text.messages import Message
from thinkaloud.text.thought import split_thought

WISH = Sampling(max_tokens=32_768, temperature=0.6, top_p=0.95)
"How replies are drawn unless something else is asked for: as the makers of QwQ and DeepSeek-R1 advise."


class Server:
    """One model of one server."""

    def __init__(self, url: str, model: str | None = None, *, concurrency: int = 8) -> None:
        """`url` ends in /v1 for most servers; without `model` the server must offer exactly one."""
        self.endpoint = Endpoint(url)
        self.url = self.endpoint.url
        self.concurrency = concurrency
        self.model = model or self._only_model()

    def _only_model(self) -> str:
        try:
            names = [str(one["id"]) for one in self.endpoint.call("/models")["data"]]
        except (KeyError, TypeError):
            names = []
        if len(names) != 1:
            offered = ", ".join(names[:20]) or "it lists none"
            raise UserError(f"say which model of {self.url} is meant, with --model-name ({offered})")
        return names[0]

    def asked(self, sampling: Sampling, *, seed: int) -> "Asked":
        """Who answers an evaluation's tasks."""
        return Asked(self, sampling, seed)


class Asked:
    """A server under an evaluation: several requests at a time."""

    def __init__(self, server: Server, sampling: Sampling, seed: int) -> None:
        self.server, self.sampling, self.seed = server, sampling, seed

    def respond(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
        """Each task with its reply, as they come; the first request that fails for good ends it.

        The threads are daemons: whoever stops an evaluation does not wait for replies that may take an hour.
        """
        stop, left, results = Event(), SimpleQueue[Task](), SimpleQueue[tuple[Task, Said] | UserError | None]()
        for task in tasks:
            left.put(task)

        def work() -> None:
            try:
                while not stop.is_set():
                    task = left.get_nowait()
                    results.put((task, self._reply(task, stop)))
            except (Empty, Stopped):
                pass
            except UserError as error:
                results.put(error)
            finally:
                results.put(None)

        workers = [Thread(target=work, daemon=True) for _ in range(min(self.server.concurrency, len(tasks)))]
        for worker in workers:
            worker.start()
        ended = 0
        try:
            while ended < len(workers):
                result = results.get()
                if isinstance(result, UserError):
                    raise result
                if result is None:
                    ended += 1
                else:
                    yield result
        finally:
            stop.set()

    def _reply(self, task: Task, stop: Event) -> Said:
        answer = self.server.endpoint.call("/chat/completions", self.body(task), stop)
        try:
            return said_in(answer)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.server.url} does not answer as OpenAI's API does ({error!r} in {str(answer)[:200]})"
            ) from None

    def body(self, task: Task) -> dict[str, Any]:
        """The request. What is not OpenAI's own goes along only where it is asked for."""
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self.server.model,
            "messages": [message.to_dict() for message in task.problem.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": noise_seed(self.seed, task.problem.id, task.sample) >> 32,
        }
        extra = {"top_k": sampling.top_k, "min_p": sampling.min_p}
        body |= {name: value for name, value in extra.items() if value}
        if task.budget is not None:
            body["thinking_budget"] = task.budget
        if not sampling.thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        return body


def said_in(answer: Mapping[str, Any]) -> Said:
    """The reply in a completion: the thought in a field of its own, or before its closing tag in the text.

    Tokens of the thought are the server's count, else (servers that give none, or 0 for a thought that the prompt
    opened) estimated as the thought's share of the characters.
    """
    choice = answer["choices"][0]
    message = Message.from_dict({"role": "assistant", **choice["message"]})
    thinking, content = message.thinking, message.content
    if thinking is None:
        thinking, content = split_thought(content)
    usage = answer.get("usage") or {}
    tokens = int(usage.get("completion_tokens") or 0)
    counted = int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
    if not counted and thinking:
        counted = round(tokens * len(thinking) / (len(thinking) + len(content)))
    return Said(
        thinking=thinking,
        answer=Message("assistant", content, None, message.tool_calls).spoken,
        thinking_tokens=counted,
        tokens=tokens,
        finish="length" if choice.get("finish_reason") == "length" else "stop",
    )
