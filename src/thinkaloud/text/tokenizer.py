"""Text to token ids and back, in the files of the `tokenizers` library.

Knows: how to build our byte-level vocabulary, how to read a published one, and which text may be trusted to name
special tokens. Does not know: messages, templates, models.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from thinkaloud.base.errors import UserError
from thinkaloud.text.markup import DEFAULT_TEMPLATE, PAD, ROLE_WORDS, SPECIAL_TOKENS, TURN_CLOSE

MAXIMUM_VOCABULARY = 2048
"The most ids that a tokenizer of our own may have."


def _byte_symbols() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's table), by byte."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class Tokenizer:
    """Ids for text: `Tokenizer.build(words)` makes ours, `Tokenizer.load(folder)` opens ours or a published one.

    `special_names` maps roles such as `eos_token` to tokens; `chat_template` is the Jinja source that came along.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        special_names: Mapping[str, str] | None = None,
        chat_template: str | None = None,
    ) -> None:
        self.special_names = dict(special_names or {})
        self.chat_template = chat_template
        self._backend = backend
        description = json.loads(backend.to_str())
        added = description["added_tokens"]
        self.added: dict[str, int] = {token["content"]: token["id"] for token in added}
        self.special_ids = frozenset(token["id"] for token in added if token["special"])
        # The same tokenizer without its added tokens: text that goes through it cannot name a special one.
        self._plain = tokenizers.Tokenizer.from_str(
            json.dumps({**description, "added_tokens": [], "post_processor": None})
        )
        self._byte_level = '"ByteLevel"' in json.dumps(description["decoder"])
        longest_first = sorted(self.added, key=len, reverse=True)
        self.added_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @classmethod
    def build(cls, words: Iterable[str]) -> "Tokenizer":
        """A byte-level tokenizer in which each of `words` is one token: lossless on any text.

        A word is an exact piece of GPT-2's splitting: letters, digits or signs of one kind, perhaps after one space
        (" AB"). Raises `UserError` for a word that is not, and for more than `MAXIMUM_VOCABULARY` ids.
        """
        splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        vocabulary = {symbol: byte for byte, symbol in enumerate(_byte_symbols())}
        for word in (*ROLE_WORDS, *words):
            pieces = [piece for piece, _ in splitter.pre_tokenize_str(word)]
            if len(pieces) != 1 or (word.isspace() and len(word.encode()) > 1):
                raise UserError(f"the word {word!r} cannot be one token: give the pieces it splits into, {pieces}")
            vocabulary.setdefault(pieces[0], len(vocabulary))
        size = len(vocabulary) + len(SPECIAL_TOKENS)
        if size > MAXIMUM_VOCABULARY:
            raise UserError(f"{size} token ids are more than {MAXIMUM_VOCABULARY}: give fewer words")
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
        backend.pre_tokenizer = splitter
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(
            [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
        )
        return cls(backend, special_names={"eos_token": TURN_CLOSE, "pad_token": PAD}, chat_template=DEFAULT_TEMPLATE)

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Open `tokenizer.json` in `folder`, and `tokenizer_config.json` and `chat_template.jinja` if there."""
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"there is no tokenizer.json in {folder}: give the folder of a checkpoint")
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception for a file it cannot read
            raise UserError(f"{path} is not a tokenizer that `tokenizers` can read: {error}") from error
        config = _read_json(folder / "tokenizer_config.json")
        names = {**_token_names(_read_json(folder / "special_tokens_map.json")), **_token_names(config)}
        template_path = folder / "chat_template.jinja"
        template = template_path.read_text(encoding="utf-8") if template_path.is_file() else config.get("chat_template")
        if isinstance(template, list):  # several named templates: take the default one
            template = next((one.get("template") for one in template if one.get("name") == "default"), None)
        return cls(backend, special_names=names, chat_template=template)

    def save(self, folder: str | Path) -> None:
        """Write the files that `load` and `transformers.AutoTokenizer` open."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **self.special_names,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
        if self.chat_template is not None:
            (folder / "chat_template.jinja").write_text(self.chat_template, "utf-8")

    def encode(self, text: str) -> list[int]:
        """Ids of untrusted text: a special token spelled in it becomes plain ids, never the special one."""
        ids = _ids(self._plain, text)
        if not self.special_ids.isdisjoint(ids):
            raise UserError(f"this tokenizer makes a special token of plain text: take it out of {text[:80]!r}")
        return ids

    def encode_trusted(self, text: str) -> list[int]:
        """Ids of text of our own making: special tokens spelled in it are parsed."""
        return _ids(self._backend, text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens spelled out; bytes that are not UTF-8 become U+FFFD."""
        if self._byte_level:
            return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def bytes_of(self, token_id: int) -> bytes:
        """The bytes that one id stands for: empty for an id that the vocabulary does not name."""
        return self._bytes.get(token_id, b"")

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._bytes, default=-1) + 1

    def same_ids(self, other: "Tokenizer") -> bool:
        """Whether every id stands for the same bytes in both."""
        return self._bytes == other._bytes

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name, special or not; None if there is none."""
        if token in self.added:
            return self.added[token]
        identifier: int | None = self._backend.token_to_id(token)
        return identifier

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        byte_of = {symbol: byte for byte, symbol in enumerate(_byte_symbols())}
        added = {identifier: token for token, identifier in self.added.items()}
        table: dict[int, bytes] = {}
        for token, identifier in self._backend.get_vocab(with_added_tokens=True).items():
            if identifier in added:
                table[identifier] = added[identifier].encode()
            elif self._byte_level and all(symbol in byte_of for symbol in token):
                table[identifier] = bytes(byte_of[symbol] for symbol in token)
            elif fallback := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
                table[identifier] = bytes.fromhex(fallback[1])
            else:
                table[identifier] = token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
        return table


def _ids(backend: tokenizers.Tokenizer, text: str) -> list[int]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the text has half a character at position {error.start}: send whole Unicode text") from None
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    return content if isinstance(content, dict) else {}


def _token_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The entries such as `eos_token`, whose value is a token or an object that holds one."""
    names = {}
    for key, value in config.items():
        token = value.get("content") if isinstance(value, Mapping) else value
        if key.endswith("_token") and isinstance(token, str):
            names[key] = token
    return names
