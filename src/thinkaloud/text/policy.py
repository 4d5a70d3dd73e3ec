"""The plan of a reply's thought, as data that an engine runs, and what reads the thought for it.

Knows: how many tokens may be thought, which ids close the thought, where a sentence ends. Does not know: engines.
"""

from collections.abc import Callable
from dataclasses import dataclass

from thinkaloud.text.loops import LoopWatch


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """What a policy must know of the tokens' text."""

    bytes_of: Callable[[int], bytes]
    "The bytes that an id stands for; none where it stands for no text."
    blank: frozenset[int]
    "Ids that say nothing: space, tags, ends of turns, ids without a name."
    vocabulary: int
    "Ids from here on say nothing either."
    tool_call: tuple[int | None, int | None]
    "The ids that open and close a tool call."

    def says_nothing(self, token_id: int) -> bool:
        """Whether an answer of this token alone would be empty."""
        return token_id in self.blank or token_id >= self.vocabulary


@dataclass(frozen=True, kw_only=True)
class ThinkingPolicy:
    """A small automaton: thinking -> (the budget is spent: `forced_close` is forced) -> answering.

    With an `open_id` it starts in answering, and the first time that this id is sampled, at any place of the reply, it
    goes to thinking, once: the budget counts from the next token on.

    Example: `ThinkingPolicy(starts_thinking=True, close_id=7, budget=64, forced_close=(10, 7, 10, 10))` lets 64 thought
    tokens be sampled, then forces four ids, after which the answer is sampled freely. Forced ids are never trained on.
    What stands below `answer_floor` is for readers, and changes what is sampled: training and evaluation leave it out.
    """

    starts_thinking: bool
    "Whether the prompt ends inside an open thought."
    open_id: int | None = None
    "The id that opens a thought where that is left to the model, not counted as thought; None: it is not."
    close_id: int | None
    "The id that ends the thought when it appears, sampled or forced; None: the reply holds no thought."
    budget: int | None
    "The most thought tokens to sample before the thought is closed, in tokens, >= 0; None: as many as the model likes."
    forced_close: tuple[int, ...]
    "The ids forced, in order, once the budget is spent: they hold `close_id`. Empty: no thought to close."
    answer_floor: int = 16
    "Tokens of `max_tokens` always kept for the answer, >= 1: the thought is closed early where it would eat them."
    soft_from: float | None = None
    "Share of the budget from which on `close_id` gets a rising bias wherever a sentence ends; None: none."
    must_answer: bool = False
    "A stop id inside the thought closes it, and the answer does not end before it has said something."
    rescue: bool = False
    "A thought that goes round in circles is taken back to where they began, and concluded if it does so again."
    words: Words | None = None
    "What the three above need to know."

    def reader(self) -> "ThoughtReader | None":
        """Who tells where a sentence ends."""
        return None if self.soft_from is None or self.words is None else ThoughtReader(self.words)

    def watch(self) -> LoopWatch | None:
        """Who tells whether the thought goes round in circles."""
        return LoopWatch(self.words.bytes_of) if self.rescue and self.words is not None else None


class ThoughtReader:
    """Reads one thought and tells whether it may be closed here: at the end of a sentence or a line, and neither inside
    a tool call nor inside brackets, as of JSON, nor inside a code fence.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self._in_call = self._in_fence = False
        self._depth = self._ticks = 0
        self._before = self._last = 0  # the last two bytes

    def feed(self, token_id: int) -> None:
        """The thought's next token."""
        opening, closing = self._words.tool_call
        if token_id in (opening, closing):
            self._in_call = token_id == opening
            return
        for byte in self._words.bytes_of(token_id):
            self._ticks = self._ticks + 1 if byte == ord("`") else 0
            if self._ticks == 3:
                self._in_fence = not self._in_fence
            elif byte in b"{[":
                self._depth += not self._in_fence
            elif byte in b"}]":
                self._depth = max(0, self._depth - (not self._in_fence))
            elif byte == self._last == ord("\n") and not self._in_fence:
                self._depth = 0  # a blank line: what was left open was no bracket
            self._before, self._last = self._last, byte

    @property
    def may_close(self) -> bool:
        """Whether nothing would be torn apart."""
        if self._in_call or self._in_fence or self._depth:
            return False
        decimal = self._last == ord(".") and chr(self._before).isdigit()
        return self._last in b"\n.!?" and not decimal
