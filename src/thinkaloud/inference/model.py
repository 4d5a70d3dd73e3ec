"""A loaded model: `ask` it, `stream` its reply; ids in and ids out underneath."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack
from weakref import WeakValueDictionary

import torch

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Engine, Request
from thinkaloud.inference.defaults import defaults_of, end_ids, upbringing_of
from thinkaloud.inference.replies import Reply, ReplyStream
from thinkaloud.model import Transformer
from thinkaloud.text import ChatTemplate, Message, Tokenizer
from thinkaloud.text.grammar import TokenGrammar, json_grammar, tool_grammar
from thinkaloud.text.template import History, Tool

EFFORTS: dict[str, float | None] = {"off": 0.0, "low": 1 / 8, "medium": 1 / 2, "high": None}
"Share of max_tokens that an effort lets the thought take; None: as much as it likes. Plain shares, not calibrated."


ANSWER_FLOOR = 16
"Tokens always kept for an answer; half of max_tokens, at most 512, for one that must keep to a grammar."
SOFT_FROM = 0.75
"Share of the budget from which on a careful thought is asked to end."
Conversation = str | Sequence[Message | dict[str, object]]
"A question, or messages: ours or OpenAI's dictionaries."


class AskSettings(TypedDict, total=False):
    """The settings of `ReasoningModel.stream`, where their meaning and defaults stand."""

    effort: str
    thinking_budget: int | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int
    sample: int
    stop: Sequence[str]
    tools: Sequence[Tool] | None
    tool_choice: str
    schema: Mapping[str, Any] | None
    history: History
    thought: str
    bias: Mapping[int, float] | None
    logprobs: bool
    top_logprobs: int
    careful: bool


class ReasoningModel:
    """A model that thinks aloud.

    Example: `load("runs/demo").ask("Mia has 7 beads: finds 3, loses 2, buys 5. How many?").answer`.
    """

    def __init__(
        self, path: Path, transformer: Transformer, tokenizer: Tokenizer, *, engine: Engine | None = None
    ) -> None:
        self.path = path
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.defaults = defaults_of(path)
        self.upbringing = upbringing_of(path)
        self.template = ChatTemplate(tokenizer, end_ids=end_ids(path, transformer.config.vocab_size))
        self.engine = Engine(transformer) if engine is None else engine
        self._streams: WeakValueDictionary[int, ReplyStream] = WeakValueDictionary()

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
        seed: int = 0,
        sample: int = 0,
        stop: Sequence[str] = (),
        tools: Sequence[Tool] | None = None,
        tool_choice: str = "auto",
        schema: Mapping[str, Any] | None = None,
        history: History = "tools",
        thought: str = "",
        bias: Mapping[int, float] | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        careful: bool = True,
    ) -> ReplyStream:
        """Pieces of thought and answer as they come; the iterator's value is the whole `Reply`.

        `effort` is off, low, medium or high; `thinking_budget` bounds the thought in tokens and goes before effort.
        `sample` tells apart several replies under one seed. `stop`: the answer, not the thought, ends before any of
        these strings. `tool_choice` is auto, none, required or the name of the one tool to call; `schema` is the JSON
        Schema that the answer must fit: {} for any JSON object. `history` says which earlier thoughts the model sees:
        drop (none), tools (those of a running tool loop) or keep (all). `thought` is a beginning of the thought to go
        on from. `bias` is added to the logits of ids. `logprobs` fills `Reply.tokens`, each with the `top_logprobs`
        likeliest ids at its place. `careful`: the thought is closed at the end of a sentence where its budget runs out,
        taken back where it goes round in circles, and always followed by an answer; off, as in training and evaluation,
        the budget alone cuts it. What is None is the checkpoint's own wish, `self.defaults`. Raises UserError for
        unknown settings and for a conversation that does not fit.
        """
        if effort not in EFFORTS:
            raise UserError(f"effort {effort!r} is unknown: choose one of {', '.join(EFFORTS)}")
        given: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
        }
        sampling = replace(self.defaults, **{name: value for name, value in given.items() if value is not None})
        thinking = effort != "off"
        share = EFFORTS[effort]
        shown = tools if tool_choice != "none" else None
        prompt = self.template.prompt(_conversation(messages), thinking=thinking, tools=shown, history=history)
        begun = self.template.begin_thought(thought, thinking=thinking) if thought else []
        room = self.transformer.config.max_position_embeddings - len(prompt) - len(begun)
        room -= len(self.template.policy(thinking=thinking).forced_close)
        if room < 1:
            raise UserError(
                f"the conversation has {len(prompt)} tokens, more than the model's context of "
                f"{self.transformer.config.max_position_embeddings}: shorten it, or load with a larger context"
            )
        tokens = min(sampling.max_tokens, room)
        if thinking_budget is None and share is not None:
            thinking_budget = int(share * tokens)
        grammar = self._grammar(schema, tools, tool_choice)
        floor = ANSWER_FLOOR if grammar is None else max(ANSWER_FLOOR, min(512, tokens // 2))
        policy = self.template.policy(thinking=thinking, budget=thinking_budget, answer_floor=floor, begun=bool(begun))
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
        return ReplyStream(
            self, request, thinking=thinking, begun=begun, stop=stop, logprobs=logprobs or top_logprobs > 0
        )

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

    def watch(self, stream: ReplyStream) -> None:
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
            stream = self._streams.get(progress.handle)
            if stream is not None:
                stream.take(progress)
        return done

    @torch.inference_mode()
    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """For each sequence the log-prob of every token after the first, teacher-forced, in float32."""
        if self.transformer.head.is_meta:
            raise UserError("the weights were packed as they were read: set THINKALOUD_NATIVE=off to keep them whole")
        limit, vocabulary = self.transformer.config.max_position_embeddings, self.transformer.config.vocab_size
        result = []
        for sequence in sequences:
            if not sequence or min(sequence) < 0 or max(sequence) >= vocabulary:
                raise UserError(f"a sequence is empty or leaves the vocabulary: give ids from 0 to {vocabulary - 1}")
            if len(sequence) > limit:
                raise UserError(
                    f"a sequence of {len(sequence)} tokens exceeds the model's {limit} positions: shorten it"
                )
            ids = torch.tensor([list(sequence)], device=self.transformer.head.device)
            logits = self.transformer.logits(self.transformer(ids)).float()[0, :-1]
            result.append(torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0].tolist())
        return result


def _conversation(messages: Conversation) -> list[Message]:
    if isinstance(messages, str):
        return [Message("user", messages)]
    return [message if isinstance(message, Message) else Message.from_dict(message) for message in messages]
