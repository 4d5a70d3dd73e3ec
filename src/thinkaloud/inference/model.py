"""A loaded model: `ask` it, `stream` its reply; ids in and ids out underneath."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakValueDictionary

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Engine, Progress, Request
from thinkaloud.inference.asking import (
    ANSWER_FLOOR,
    EFFORTS,
    SOFT_FROM,
    AskSettings,
    Conversation,
    conversation_of,
    instructed,
)
from thinkaloud.inference.calibration import ExitRule, calibration_of
from thinkaloud.inference.defaults import defaults_of, end_ids, upbringing_of
from thinkaloud.inference.exiting import ExitingStream
from thinkaloud.inference.replies import Reply, ReplyStream, Taker
from thinkaloud.text import ChatTemplate, Tokenizer
from thinkaloud.text.grammar import TokenGrammar, json_grammar, tool_grammar
from thinkaloud.text.template import History, Tool

if TYPE_CHECKING:
    from thinkaloud.model import Transformer


class ReasoningModel:
    """A model that thinks aloud.

    Example: `load("runs/demo").ask("Mia has 7 beads: finds 3, loses 2, buys 5. How many?").answer`.
    """

    def __init__(
        self,
        path: Path,
        transformer: Transformer | Callable[[], Transformer],
        tokenizer: Tokenizer,
        *,
        engine: Engine | None = None,
        changed: bool = False,
        adapter: Path | None = None,
    ) -> None:
        """`transformer` may be what opens it, when the engine has weights of its own: only `logprobs` needs it then.

        `adapter`: the folder of what was merged into the weights, which may say what it was taught; `changed`: they are
        not those of the folder for another reason. Its calibration says nothing of them then.
        """
        self.path = path
        self._transformer = transformer
        self.tokenizer = tokenizer
        self.engine = Engine(self.transformer) if engine is None else engine
        self.config = self.engine.config
        self.defaults = defaults_of(path)
        self.upbringing = upbringing_of(path, adapter)
        self.template = ChatTemplate(tokenizer, end_ids=end_ids(path, self.config.vocab_size))
        self.calibration = None if changed or adapter is not None else calibration_of(path, self.engine.weights)
        self._streams: WeakValueDictionary[int, Taker] = WeakValueDictionary()

    @cached_property
    def transformer(self) -> Transformer:
        """The model in PyTorch."""
        from thinkaloud.model import Transformer

        opened = self._transformer
        return opened if isinstance(opened, Transformer) else opened()

    def ask(self, messages: Conversation, **settings: Unpack[AskSettings]) -> Reply:
        """The whole reply to a question or a conversation; settings as for `stream`."""
        pieces = self.stream(messages, **settings)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                reply: Reply = end.value
                return reply

    def stream(
        self,
        messages: Conversation,
        *,
        effort: str = "medium",
        thinking_budget: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        max_accuracy_loss: float | None = None,
        kind: str | None = None,
        seed: int = 0,
        sample: int = 0,
        stop: Sequence[str] = (),
        tools: Sequence[Tool] | None = None,
        tool_choice: str = "auto",
        parallel: bool = True,
        schema: Mapping[str, Any] | None = None,
        history: History = "tools",
        instruction: str | None = None,
        thought: str = "",
        bias: Mapping[int, float] | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        careful: bool = True,
    ) -> ReplyStream:
        """Pieces of thought and answer as they come; the iterator's value is the whole `Reply`.

        `effort` is off, low, medium or high; `thinking_budget` bounds the thought in tokens and goes before effort.
        `max_accuracy_loss` lets the thought end early where that loses at most this share of the answers that the whole
        thought would get right, for a calibrated model at its calibrated temperature; effort does not bound it then.
        `kind` is the kind of question, as the calibration names it, where that is known: docs/EXITS.md.
        `sample` tells apart several replies under one seed. `stop`: the answer, not the thought, ends before any of
        these strings. `tool_choice` is auto, none, required or the name of the one tool to call, and without
        `parallel` the reply ends with its first call; `schema` is the JSON Schema that the answer must fit: {} for any
        JSON object. `history` says which earlier thoughts the model sees: drop (none), tools (those of a running tool
        loop) or keep (all). `instruction` follows the first question: by default what followed each question that the
        model was trained on, `self.upbringing.instruction`; an empty one says nothing. `thought` is a beginning of the
        thought to go on from. `bias` is added to the logits of ids. `logprobs` fills `Reply.tokens`, each with the
        `top_logprobs` likeliest ids at its place. `careful`: the thought is closed at the end of a sentence where its
        budget runs out, taken back where it goes round in circles, and always followed by an answer; off, as in
        training and evaluation, the budget alone cuts it. What is None is the checkpoint's own wish, `self.defaults`.
        Raises UserError for unknown settings and for a conversation that does not fit.
        """
        if effort not in EFFORTS:
            raise UserError(f"effort {effort!r} is unknown: choose one of {', '.join(EFFORTS)}")
        given: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        given |= {"top_k": top_k, "min_p": min_p}
        sampling = replace(self.defaults, **{name: value for name, value in given.items() if value is not None})
        thinking = effort != "off"
        shown = tools if tool_choice != "none" else None
        behind = self.upbringing.instruction if instruction is None else instruction
        turns = instructed(conversation_of(messages), behind)
        prompt = self.template.prompt(turns, thinking=thinking, tools=shown, history=history)
        begun = self.template.begin_thought(thought, thinking=thinking) if thought else []
        room = self.config.max_position_embeddings - len(prompt) - len(begun)
        room -= len(self.template.policy(thinking=thinking).forced_close)
        if room < 1:
            raise UserError(
                f"the conversation has {len(prompt)} tokens, more than the model's context of "
                f"{self.config.max_position_embeddings}: shorten it, or load with a larger context"
            )
        tokens = min(sampling.max_tokens, room)
        rule = None if max_accuracy_loss is None else self._rule(max_accuracy_loss, kind, temperature)
        if thinking_budget is None and max_accuracy_loss is None:
            thinking_budget = self._budget(effort, kind, tokens)
        grammar = self._grammar(schema, tools, tool_choice)
        floor = ANSWER_FLOOR if grammar is None else max(ANSWER_FLOOR, min(512, tokens // 2))
        policy = self.template.policy(
            thinking=thinking,
            budget=thinking_budget,
            answer_floor=floor,
            begun=bool(begun),
            soft_from=SOFT_FROM if careful else None,
            must_answer=careful,
            rescue=careful,
        )
        request = Request(
            prompt_ids=(*prompt, *begun),
            max_tokens=tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=seed,
            sample=sample,
            stop_ids=self.template.stop_ids,
            policy=policy,
            grammar=grammar,
            bias=tuple((bias or {}).items()),
            top_logprobs=top_logprobs,
        )
        told = logprobs or top_logprobs > 0
        free = policy.starts_thinking and not (grammar or bias or begun or shown)
        if rule is not None and self.calibration is not None and free:
            most = self.calibration.probe_tokens
            return ExitingStream(self, request, rule, probe_tokens=most, stop=stop, logprobs=told)
        return ReplyStream(self, request, thinking=thinking, parallel=parallel, begun=begun, stop=stop, logprobs=told)

    def _budget(self, effort: str, kind: str | None, tokens: int) -> int | None:
        """The thinking budget that an effort means: measured, else a share of the tokens."""
        share = EFFORTS[effort]
        if self.calibration is not None and share != 0:
            return self.calibration.of(kind).budgets[effort]
        return None if share is None else int(share * tokens)

    def _rule(self, risk: float, kind: str | None, temperature: float | None) -> ExitRule | None:
        """When a thought may end at this risk; None: not before its end."""
        if not 0 <= risk <= 1:
            raise UserError(f"max_accuracy_loss is {risk}: give a share from 0 to 1, such as 0.01")
        if self.calibration is None:
            raise UserError(
                "max_accuracy_loss needs a calibration of this model: run thinkaloud calibrate MODEL, or leave it out"
            )
        if temperature not in (None, self.calibration.temperature):
            raise UserError(
                f"max_accuracy_loss was calibrated at temperature {self.calibration.temperature:g}, not at "
                f"{temperature:g}: leave one of them out"
            )
        return self.calibration.rule(risk, kind)

    def go_on(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 64,
        seed: int = 0,
        sample: int = 0,
        stop: Sequence[str] = (),
        logprobs: bool = False,
        top_logprobs: int = 0,
        **sampling: float | None,
    ) -> ReplyStream:
        """A text that goes on as it stands, or ids: no template and no thought; all of the reply is its answer.

        `sampling` is temperature, top_p, top_k and min_p, each the checkpoint's own wish where it is None.
        """
        wish = asdict(self.defaults) | {name: value for name, value in sampling.items() if value is not None}
        request = Request(
            **wish | {"max_tokens": max_tokens},
            prompt_ids=tuple(self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt),
            seed=seed,
            sample=sample,
            stop_ids=self.template.stop_ids,
            top_logprobs=top_logprobs,
        )
        return ReplyStream(self, request, plain=True, stop=stop, logprobs=logprobs or top_logprobs > 0)

    def _grammar(
        self, schema: Mapping[str, Any] | None, tools: Sequence[Tool] | None, tool_choice: str
    ) -> TokenGrammar | None:
        """What the answer must keep to; None: nothing."""
        if tool_choice not in ("auto", "none"):
            named = [one for one in tools or () if tool_choice in ("required", one.get("function", one).get("name"))]
            if schema is not None or not named:
                raise UserError(
                    f"tool_choice {tool_choice!r} can't be had: give auto, none, required or the name of one of the "
                    "tools, and no schema beside it"
                )
            return tool_grammar(self.tokenizer, named, required=True, stop_ids=self.template.stop_ids)
        return None if schema is None else json_grammar(self.tokenizer, schema, stop_ids=self.template.stop_ids)

    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        seed: int = 0,
        ignore_eos: bool = False,
    ) -> list[Completion]:
        """Continue each prompt, given as ids, by these arguments alone: no template, no policy, no defaults."""
        stop = frozenset[int]() if ignore_eos else self.template.stop_ids
        requests = [
            Request(
                prompt_ids=tuple(prompt),
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                min_p=min_p,
                seed=seed,
                sample=index,
                stop_ids=stop,
            )
            for index, prompt in enumerate(prompts)
        ]
        handles = self.engine.submit_all(requests)
        done: dict[int, Completion] = {}
        while not done.keys() >= set(handles):
            done |= self.advance()
        return [done[handle] for handle in handles]

    def watch(self, stream: Taker) -> None:
        """Give a stream the tokens of its request from now on, for as long as somebody holds it."""
        self._streams[stream.handle] = stream

    def advance(self) -> dict[int, Completion]:
        """One step of the engine: every open stream takes its token, whoever asked for it. Gives what was completed.

        The thread that calls it owns the model: it alone may start, steer and cancel replies.
        """
        done: dict[int, Completion] = {}
        for progress in self.engine.step():
            if progress.completion is not None:
                done[progress.handle] = progress.completion
            self.hear(progress)
        return done

    def hear(self, progress: Progress) -> None:
        """What a step of the engine added to one request goes to its stream, where one is open."""
        stream = self._streams.get(progress.handle)
        if stream is not None:
            stream.take(progress)

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """For each sequence the log-prob of every token after the first, teacher-forced, in float32."""
        from thinkaloud.inference.scoring import scored  # PyTorch

        limit, vocabulary = self.config.max_position_embeddings, self.config.vocab_size
        result = []
        for sequence in sequences:
            if not sequence or min(sequence) < 0 or max(sequence) >= vocabulary:
                raise UserError(f"a sequence is empty or leaves the vocabulary: give ids from 0 to {vocabulary - 1}")
            if len(sequence) > limit:
                raise UserError(
                    f"a sequence of {len(sequence)} tokens exceeds the model's {limit} positions: shorten it"
                )
            result.append([logprob for logprob, _ in scored(self.transformer, sequence)])
        return result
