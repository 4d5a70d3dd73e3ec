"""A reply whose thought may end early: at ends of lines it stands still while the answer is tried.

Knows: how a rule's trials are asked of the engine and paid for. Does not know: how rules are found (`exits` runs one).
A trial that ends the thought is the answer, token for token; the others are billed as probe tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from thinkaloud.engine import Completion, Progress, Request
from thinkaloud.inference.exits import Trial, Watch
from thinkaloud.inference.replies import Reply, ReplyStream, SaidToken

if TYPE_CHECKING:
    from thinkaloud.inference.calibration import ExitRule
    from thinkaloud.inference.model import ReasoningModel


class ExitingStream(ReplyStream):
    """As `ReplyStream`. A thought that the client steers is still stopped by the rule, but the risk holds no longer."""

    def __init__(
        self,
        model: ReasoningModel,
        request: Request,
        rule: ExitRule,
        *,
        probe_tokens: int,
        stop: Sequence[str] = (),
        logprobs: bool = False,
    ) -> None:
        assert request.policy is not None and request.policy.close_id is not None
        self._watch = Watch(rule)
        self._most = probe_tokens
        self._thinks = request.policy.starts_thinking
        self._probe: _Probe | None = None
        self._probe_tokens = 0
        self._drawn = 0  # tokens that count for `max_tokens`
        forced, close = request.policy.forced_close, request.policy.close_id
        self._close_id = close
        self._closing = forced[forced.index(close) :]
        super().__init__(model, request, thinking=True, stop=stop, logprobs=logprobs)

    def take(self, progress: Progress) -> None:
        """The model's next token; where a trial is due, the thought pauses for it."""
        super().take(progress)
        self._drawn += progress.sampled
        if progress.kept is not None:
            return  # a loop was taken back
        if progress.token_id == self._close_id:
            self._thinks = False
        if self.reply is not None or not self._thinks or not self._ends_line(progress.token_id):
            return
        if not progress.sampled:
            return  # a line that was put into the thought, or closes it
        if self._watch.due(len(self._ids)):
            self._try()

    def _ends_line(self, token_id: int) -> bool:
        return self._model.tokenizer.bytes_of(token_id).endswith(b"\n")

    def _try(self) -> None:
        """Ask for the answer that the thought so far leads to, where there is room for it."""
        prefix = (*self._request.prompt_ids, *self._ids, *self._closing)
        room = self._model.config.max_position_embeddings - len(prefix)
        most = min(self._most, self._request.max_tokens - self._drawn)
        if room < most or not self._model.engine.pause(self.handle):
            return
        request = Request(
            prompt_ids=prefix,
            max_tokens=most,
            temperature=0.0,
            stop_ids=self._request.stop_ids,
            top_logprobs=self._request.top_logprobs,
        )
        self._probe = _Probe(self, request, len(self._ids))

    def _tried(self, probe: _Probe, trial: Trial) -> None:
        """A trial is over: the thought ends with it, or goes on."""
        self._probe = None
        if not self._watch.take(trial):
            self._probe_tokens += len(trial.ids)
            if not self._paused:
                self._model.engine.resume(self.handle)
            return
        thought = self._model.engine.cancel(self.handle)
        assert thought is not None, "a paused request waits"
        self._say(self._parser.feed(self._closing))
        for progress in probe.came:
            if self._logprobs:
                self.tokens.append(
                    SaidToken(
                        kind=self._parser.kind,
                        token_id=progress.token_id,
                        logprob=progress.logprob,
                        top=progress.top_logprobs,
                    )
                )
            self._say(self._parser.feed([progress.token_id]))
        self._end(self._joined(thought, trial), "stop")

    def _joined(self, thought: Completion, trial: Trial) -> Completion:
        """The thought, its close and the trial's answer as one completion."""
        closed = len(self._closing)
        return replace(
            thought,
            token_ids=thought.token_ids + self._closing + trial.ids,
            logprobs=thought.logprobs + (0.0,) * closed + trial.logprobs,
            sampled=thought.sampled + (False,) * closed + (True,) * len(trial.ids),
            finish="stop",
            thought_end="early",
        )

    def resume(self) -> bool:
        """Go on after `pause`; a trial under way is waited for."""
        if self._probe is None:
            return super().resume()
        self._paused = False
        return True

    def cancel(self) -> Reply:
        """End the reply now, and a trial under way with it."""
        if self._probe is not None:
            self._probe_tokens += self._probe.cancel()
            self._probe = None
        return super().cancel()

    def _end(self, completion: Completion, finish: str) -> None:
        super()._end(completion, finish)
        assert self.reply is not None
        usage = replace(self.reply.usage, probe_tokens=self._probe_tokens)
        self.reply = replace(self.reply, usage=usage)


class _Probe:
    """A trial under way; it is given up at its first token that is not likely enough."""

    def __init__(self, owner: ExitingStream, request: Request, place: int) -> None:
        self._owner, self._place = owner, place
        self.came: list[Progress] = []
        self.handle = owner._model.engine.submit(request)
        owner._model.watch(self)

    def take(self, progress: Progress) -> None:
        """The trial's next token."""
        self.came.append(progress)
        doubtful = math.exp(progress.logprob) < self._owner._watch.confidence
        if progress.completion is None and not doubtful:
            return
        if progress.completion is None:
            self._owner._model.engine.cancel(self.handle)
        trial = Trial(
            place=self._place,
            ids=tuple(one.token_id for one in self.came),
            logprobs=tuple(one.logprob for one in self.came),
            finished=progress.completion is not None and progress.completion.finish == "stop",
        )
        self._owner._tried(self, trial)

    def cancel(self) -> int:
        """End it; how many tokens it took."""
        self._owner._model.engine.cancel(self.handle)
        return len(self.came)
