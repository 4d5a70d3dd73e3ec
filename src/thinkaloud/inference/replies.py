"""A reply as it comes and as a whole, what it cost, and what may be asked of it while it thinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from thinkaloud.base.errors import UserError
from thinkaloud.engine import Completion, Progress, Request
from thinkaloud.text import Piece, StopStrings, StreamParser, ToolCall
from thinkaloud.text.stream import PieceKind, PlainLayout

if TYPE_CHECKING:
    from thinkaloud.inference.model import ReasoningModel


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The token ledger of a reply; each token that was paid for stands in one place."""

    prompt_tokens: int
    "tokens of the rendered conversation, and of a beginning of the thought that was given"
    cached_tokens: int = field(default=0, compare=False)
    "those of them that were known from before"
    thinking_tokens: int
    "sampled tokens of the thought, its closing tag included"
    forced_tokens: int
    "tokens that were forced: to close the thought, or put into it by the client"
    answer_tokens: int
    "sampled tokens after the thought, the end of turn included"
    probe_tokens: int = 0
    "tokens sampled to find out whether the answer is settled"
    discarded_tokens: int = 0
    "sampled tokens that were taken back, as those of a loop"

    @property
    def completion_tokens(self) -> int:
        """All tokens after the prompt."""
        said = self.thinking_tokens + self.forced_tokens + self.answer_tokens
        return said + self.probe_tokens + self.discarded_tokens


@dataclass(frozen=True, kw_only=True)
class SaidToken:
    """One token of a reply, for those who ask for log-probs."""

    kind: PieceKind
    "the part of the reply that it stands in, its tags counted to the part they end"
    token_id: int
    "the token"
    logprob: float | None
    "log-softmax of the raw logits at temperature 1; None: the first of a prompt, which nothing foretells"
    top: tuple[tuple[int, float], ...]
    "the likeliest ids at its place and their log-probs, as many as were asked for"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model said."""

    thinking: str
    "the monologue"
    answer: str
    "the answer"
    tool_calls: tuple[ToolCall, ...]
    "calls it asks for"
    usage: Usage
    "what it cost"
    finish: str
    "'stop' (its end of turn, or a stop string), 'length', 'cancelled' or 'fault'"
    thought_end: str
    "'natural', 'budget', 'early', 'loop' or 'client' (who had it closed), 'open' (never ended) or 'none' (no thought)"
    tokens: tuple[SaidToken, ...] = ()
    "its tokens, where log-probs were asked for"


class Taker(Protocol):
    """Who is given the tokens of a request as they come."""

    handle: int
    "the request's number"

    def take(self, progress: Progress) -> None:
        """One more token."""


class ReplyStream(Iterator[Piece]):
    """Iterates over pieces; at its end StopIteration carries the `Reply`. `cancel` ends it early and keeps the rest.

    Whoever iterates runs the engine. A server runs `model.advance()` in the one thread that owns the model, and there
    too takes from each stream what has come: `take_pieces`, then `reply` once it is not None. The wishes are made in
    that thread, between two steps; each says whether it could be had.
    """

    def __init__(
        self,
        model: ReasoningModel,
        request: Request,
        *,
        thinking: bool = False,
        plain: bool = False,
        parallel: bool = True,
        begun: Sequence[int] = (),
        stop: Sequence[str] = (),
        logprobs: bool = False,
    ) -> None:
        self._model = model
        self._request = request
        self._thinking, self._begun, self._ids = thinking, begun, list[int]()
        self._layout = PlainLayout(model.template) if plain else model.template
        self._parallel = parallel
        self._full = False  # the one call that it may hold has come
        self._parser = StreamParser(self._layout, thinking)
        self._pieces: list[Piece] = self._parser.feed(begun)
        self._stops = StopStrings(stop)
        self._answer = ""
        self._logprobs = logprobs
        self._paused = False
        self.tokens: list[SaidToken] = []
        self.reply: Reply | None = None
        self.handle = model.engine.submit(request)
        model.watch(self)

    def __next__(self) -> Piece:
        while not self._pieces:
            if self.reply is not None:
                raise StopIteration(self.reply)
            if self._paused:
                raise UserError("the reply is paused: resume it before reading on")
            self._model.advance()
        return self._pieces.pop(0)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that it goes on from."""
        return len(self._request.prompt_ids)

    def take_pieces(self) -> list[Piece]:
        """What has come and was not taken yet, without running the engine."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def tell_prompt(self) -> None:
        """Put the prompt's tokens before its own, with their log-probs. UserError where the weights are not whole."""
        from thinkaloud.inference.scoring import scored  # PyTorch

        ids = self._request.prompt_ids
        first = SaidToken(kind="answer", token_id=ids[0], logprob=None, top=())
        scores = scored(self._model.transformer, ids, self._request.top_logprobs)
        told = zip(ids[1:], scores, strict=True)
        rest = [SaidToken(kind="answer", token_id=token, logprob=own, top=top) for token, (own, top) in told]
        self.tokens[:0] = [first, *rest]

    # --- wishes ---

    def answer_now(self) -> bool:
        """Close the thought now and answer."""
        return self._model.engine.close_thought(self.handle)

    def add(self, text: str) -> bool:
        """Put a fact or a decision into the thought, as a line of its own."""
        if not text.strip():
            raise UserError("there is nothing to add: give some words")
        tokenizer = self._model.tokenizer
        new_line = not self._ids or tokenizer.bytes_of(self._ids[-1]).endswith(b"\n")
        return self._model.engine.insert(self.handle, tokenizer.encode(f"{'' if new_line else chr(10)}{text}\n"))

    def think_on(self, tokens: int) -> bool:
        """Let the thought take so many more tokens, as far as max_tokens leave room; false where they leave none."""
        if tokens < 1:
            raise UserError(f"{tokens} more tokens of thought make no sense: give 1 or more")
        return self._model.engine.extend(self.handle, tokens)

    def pause(self) -> bool:
        """Stand still, the cache kept, until `resume`."""
        self._paused = self._model.engine.pause(self.handle)
        return self._paused

    def resume(self) -> bool:
        """Go on after `pause`."""
        self._paused = False
        return self._model.engine.resume(self.handle)

    def cancel(self) -> Reply:
        """End the reply now."""
        if self.reply is None:
            completion = self._model.engine.cancel(self.handle)
            assert completion is not None
            self._end(completion, completion.finish)
        assert self.reply is not None
        return self.reply

    # --- what comes ---

    def take(self, progress: Progress) -> None:
        """The model's next token, and the completion if it is the last. Raises what has gone wrong for this reply."""
        if self.reply is not None:
            return
        if progress.fault is not None:
            assert progress.completion is not None
            self._end(progress.completion, "fault")
            raise progress.fault
        if progress.kept is not None:
            self._take_back(progress.kept)
            return
        if self._logprobs:
            token, logprob, top = progress.token_id, progress.logprob, progress.top_logprobs
            self.tokens.append(SaidToken(kind=self._parser.kind, token_id=token, logprob=logprob, top=top))
        self._ids.append(progress.token_id)
        self._say(self._parser.feed([progress.token_id]))
        completion, finish = progress.completion, progress.completion.finish if progress.completion else ""
        if self._stops.found is not None or self._full:
            completion, finish = completion or self._model.engine.cancel(self.handle), "stop"
        if completion is not None:
            self._end(completion, finish)

    def _take_back(self, kept: int) -> None:
        """Only the first tokens still stand: say what is to be struck out of the thought."""
        before = self._parser.message.thinking or ""
        del self._ids[kept:], self.tokens[kept:]
        self._parser = StreamParser(self._layout, self._thinking)
        self._parser.feed([*self._begun, *self._ids])
        lost = before[len(self._parser.message.thinking or "") :]
        if lost:
            self._pieces.append(Piece("taken_back", lost))

    def _say(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if piece.kind != "answer":
                self._tell("answer", self._stops.finish() if piece.kind == "tool_call" else "")
                self._pieces += [] if self._stops.found else [piece]
                self._full = self._full or (piece.kind == "tool_call" and not self._parallel)
            else:
                self._tell("answer", self._stops.feed(piece.text))

    def _tell(self, kind: PieceKind, text: str) -> None:
        if text:
            self._answer += text
            self._pieces.append(Piece(kind, text))

    def _end(self, completion: Completion, finish: str) -> None:
        self._say(self._parser.finish())
        self._tell("answer", self._stops.finish())
        message = self._parser.message
        sampled = sum(completion.sampled)
        self.reply = Reply(
            thinking=message.thinking or "",
            answer=self._answer,
            tool_calls=message.tool_calls,
            usage=Usage(
                prompt_tokens=len(self._request.prompt_ids),
                cached_tokens=completion.cached_tokens,
                thinking_tokens=completion.thinking_tokens,
                forced_tokens=len(completion.sampled) - sampled,
                answer_tokens=sampled - completion.thinking_tokens,
                discarded_tokens=completion.discarded_tokens,
            ),
            finish=finish,
            thought_end=completion.thought_end,
            tokens=tuple(self.tokens),
        )
