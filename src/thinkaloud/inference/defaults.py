"""How a checkpoint wants to be sampled: its generation_config.json, and what its makers advise where that is silent.

Knows: files and names. Does not know: engines, templates.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What `ask` and `stream` use where the caller says nothing."""

    temperature: float = 0.6
    "divides the logits; 0 takes the likeliest token"
    top_p: float = 0.95
    "keep the likeliest tokens that together reach this probability"
    top_k: int = 0
    "keep the k likeliest tokens; 0 keeps all"
    min_p: float = 0.0
    "drop tokens below this share of the likeliest token's probability"
    max_tokens: int = 256
    "most tokens of thought and answer; the context bounds it too"


ADVICE: dict[str, dict[str, Any]] = {
    "qwq": {"temperature": 0.6, "top_p": 0.95, "top_k": 40, "min_p": 0.0, "max_tokens": 32_768},
    "deepseek-r1": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32_768},
}
"""The makers' advice, by a part of the model's name in lower case, which is the last of the folder's or of the hub id.

From the READMEs of QwenLM/QwQ and deepseek-ai/DeepSeek-R1; both warn of greedy decoding, which repeats without end."""


def defaults_of(folder: Path) -> Defaults:
    """The defaults of the checkpoint in `folder`: ours, then its makers' advice, then its own file over both.

    Raises UserError for a broken file.
    """
    hub = next((part for part in folder.parts if part.startswith("models--")), folder.name)
    name = hub.lower().split("--")[-1]
    defaults = Defaults()
    for part, advice in ADVICE.items():
        if part in name:
            defaults = replace(defaults, **advice)
    path = folder / "generation_config.json"
    file = read_json(path)
    if "max_new_tokens" in file:
        file["max_tokens"] = file["max_new_tokens"]
    if file.get("do_sample") is False:
        file["temperature"] = 0.0
    values = {field.name: file[field.name] for field in fields(Defaults) if file.get(field.name) is not None}
    wrong = [key for key, value in values.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is {values[wrong[0]]!r}: it must be a number")
    return replace(defaults, **values)


@dataclass(frozen=True, kw_only=True)
class Upbringing:
    """What a model was taught by us; nothing is known of others."""

    families: tuple[str, ...] = ()
    "families of problems that it learnt; empty if not known"
    turns: int | None = None
    "questions a conversation that it has seen; None if not known"
    instruction: str = ""
    "what followed each question of the user's own that it was last trained on; empty for nothing"


TAUGHT = "thinkaloud.json"
"Where training notes what it taught."


def note_of(folder: Path, adapter: Path | None = None) -> Path:
    """Where what was taught is noted, if it is: with an adapter to the checkpoint in `folder`, or with that."""
    own = None if adapter is None else adapter / TAUGHT
    return own if own is not None and own.exists() else folder / TAUGHT


def upbringing_of(folder: Path, adapter: Path | None = None) -> Upbringing:
    """What the training of the checkpoint in `folder` noted, or that of an adapter to it."""
    file = read_json(note_of(folder, adapter))
    return Upbringing(
        families=tuple(file.get("families", ())),
        turns=file.get("turns"),
        instruction=str(file.get("instruction") or ""),
    )


def end_ids(folder: Path, vocabulary: int) -> frozenset[int]:
    """The ids that end a reply by the checkpoint's config.json and generation_config.json: one number or a list."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        value = read_json(folder / name).get("eos_token_id")
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            if not isinstance(one, int) or not 0 <= one < vocabulary:
                raise UserError(f"{folder / name}: eos_token_id {one!r} is not an id below {vocabulary}: correct it")
            found.add(one)
    return frozenset(found)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file. Raises UserError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy the checkpoint again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object: copy the checkpoint again")
    return content
