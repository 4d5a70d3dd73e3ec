"""What an answer may say, as masks over ids: JSON of a schema, and calls of tools.

Knows: how a schema becomes a grammar (llguidance) and how tool calls are spelled. Does not know: engines, sampling,
thoughts. Whatever is sampled under a grammar up to a stop id parses and fits it.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from thinkaloud.base.errors import UserError
from thinkaloud.text.markup import BEFORE_TOOL_CALL, TOOL_CALL_CLOSE, TOOL_CALL_OPEN
from thinkaloud.text.tokenizer import Tokenizer

WHITESPACE = r"\n? {0,12}"
"Between the signs of JSON: enough to lay it out, too little to go on for ever."
BLANK_LINE = r"/\n{0,2}/"
"What may stand before the answer, as behind a thought."
Tools = Sequence[Mapping[str, Any]]
"OpenAI's descriptions of tools."


class TokenGrammar:
    """Where an answer stands in a grammar; an answer has its own, so `copy` it for each sample."""

    def __init__(self, matcher: LLMatcher, vocabulary: int, stop_ids: Collection[int]) -> None:
        self._matcher, self._vocabulary, self._stop_ids = matcher, vocabulary, sorted(stop_ids)

    def copy(self) -> "TokenGrammar":
        """Another answer that stands in the same place."""
        return TokenGrammar(self._matcher.deep_copy(), self._vocabulary, self._stop_ids)

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, bool [vocabulary]: a stop id only where the answer is whole."""
        if self._matcher.is_stopped():
            mask = np.zeros(self._vocabulary, dtype=np.bool_)
        else:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            mask = np.unpackbits(bits, count=self._vocabulary, bitorder="little").astype(np.bool_)
        mask[self._stop_ids] = self._matcher.is_accepting() or self._matcher.is_stopped()
        return mask

    def advance(self, token_id: int) -> None:
        """This id, an allowed one, has come."""
        if token_id not in self._stop_ids:
            taken = self._matcher.consume_token(token_id)
            assert taken, f"the grammar does not allow the id {token_id}"


def json_grammar(
    tokenizer: Tokenizer, schema: Mapping[str, Any] | None = None, *, stop_ids: Collection[int] = ()
) -> TokenGrammar:
    """JSON that fits a JSON Schema, or any JSON object.

    `stop_ids` end the answer; by default the tokenizer's end of turn. Raises UserError for a schema that can't be kept.
    """
    return _grammar(tokenizer, f"start: {BLANK_LINE} {_json(schema or {'type': 'object'})}", stop_ids)


def tool_grammar(
    tokenizer: Tokenizer, tools: Tools, *, required: bool = False, stop_ids: Collection[int] = ()
) -> TokenGrammar:
    """Words and then calls of these tools, their arguments as the tools' schemas have them; `required`: calls alone."""
    if tokenizer.id_of(TOOL_CALL_OPEN) is None or tokenizer.id_of(TOOL_CALL_CLOSE) is None:
        raise UserError("this model has no token that opens a tool call: ask it without tools")
    if not tools:
        raise UserError("there is no tool to call: give at least one")
    calls = {"anyOf": [_call(tool) for tool in tools]}
    between = json.dumps(BEFORE_TOOL_CALL)
    lead = BLANK_LINE if required else "/(.|\\n)*/"
    return _grammar(
        tokenizer,
        f"start: {lead} {'call' if required else '(call'} ({between} call)*{'' if required else ')?'}\n"
        f'call: {TOOL_CALL_OPEN} "\\n" {_json(calls)} "\\n" {TOOL_CALL_CLOSE}',
        stop_ids,
    )


def _call(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise UserError('a tool has no name: give {"type": "function", "function": {"name": ..., "parameters": ...}}')
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": function.get("parameters") or {"type": "object"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _json(schema: Mapping[str, Any]) -> str:
    """JSON of a schema, in Lark."""
    if not isinstance(schema, Mapping):
        raise UserError(f'a JSON schema must be an object such as {{"type": "object"}}, not {schema!r}')
    try:
        return "%json " + json.dumps({**schema, "x-guidance": {"whitespace_pattern": WHITESPACE}})
    except (TypeError, ValueError) as error:
        raise UserError(f"the schema is not JSON: {error}") from None


def _grammar(tokenizer: Tokenizer, lark: str, stop_ids: Collection[int]) -> TokenGrammar:
    end = tokenizer.id_of(tokenizer.special_names.get("eos_token", ""))
    stops = frozenset(stop_ids) or frozenset(() if end is None else (end,))
    if not stops:
        raise UserError("the tokenizer names no token that ends a turn: set eos_token in its tokenizer_config.json")
    words = _words(tokenizer, min(stops))
    matcher = LLMatcher(words, LLMatcher.grammar_from_lark(lark), log_level=0)
    if matcher.is_error():
        fault = " ".join(matcher.get_error().split())
        raise UserError(f"the schema can't be kept to: {fault}")
    return TokenGrammar(matcher, words.vocab_size, stops)


class _Spelling:
    """A tokenizer as llguidance wants it."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self.eos_token_id, self.bos_token_id = end, None
        self.tokens = [tokenizer.bytes_of(token_id) for token_id in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted({*tokenizer.special_ids, *tokenizer.added.values()})
        self._tokenizer = tokenizer

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace"))


@lru_cache(maxsize=4)
def _words(tokenizer: Tokenizer, end: int) -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Spelling(tokenizer, end)))
