"""Checkpoints and files of problems as people bring them, small: a random Qwen2 with a tokenizer in published style."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from chat_templates import TEMPLATES
from thinkaloud.base.config import parse_settings
from thinkaloud.model import ModelConfig, Transformer, save_model
from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.text import Tokenizer
from thinkaloud.train.recipe import Recipe

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
RL: dict[str, Any] = {"kind": "rl", "budget": 10_000_000, "rollouts": 64, "problems": 4, "samples": 4, "max_tokens": 24}


def checkpoint(folder: Path, template: str = "QwQ", *, size: dict[str, Any] | None = None) -> Path:
    """A random Qwen2, its vocabulary padded as published ones are, with the chat template of a published model."""
    backend = Tokenizer.build(FAMILIES["chains"].words)._backend
    if template == "Qwen2.5":  # which knows no tags for a thought
        text = backend.to_str().replace("<think>", "<unused0>").replace("</think>", "<unused1>")
        backend = tokenizers.Tokenizer.from_str(text)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = Tokenizer(backend, special_names=names, chat_template=TEMPLATES[template])
    shape = {"vocab_size": tokenizer.vocab_size + 11, "tie_word_embeddings": False, **SHAPE, **(size or {})}
    model = Transformer(ModelConfig(**shape))
    model.initialise(5)
    ids = [tokenizer.id_of(name) or 0 for name in names.values()]
    save_model(model, folder, eos_token_id=ids[0], pad_token_id=ids[1])
    tokenizer.save(folder)
    published = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**published, "bos_token_id": 7, "max_window_layers": 2}))
    generation = {"temperature": 0.7, "top_p": 0.8, "eos_token_id": ids}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    return folder


def chains(count: int) -> list[Problem]:
    """Word problems."""
    return draw("chains", "train", count, 1, [3])


def problems_file(path: Path, problems: list[Problem], **columns: Any) -> Path:
    """The problems as a user writes them down, a line each; `columns` are added to every line."""
    rows = [{"question": one.question, "answer": one.reference, **columns} for one in problems]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_for(folder: Path, model: Path, problems: Path, stages: dict[str, Any], **other: Any) -> Recipe:
    """A recipe of `stages` on those problems, its run in `folder`."""
    raw = {
        "run": {"name": "own", "dir": str(folder), "result": list(stages)[-1], **other.pop("run", {})},
        "model": str(model),
        "problems": str(problems),
        "stages": stages,
        "evaluation": {"test": 8, "dev": 4, "points": 3, **other.pop("evaluation", {})},
        **other,
    }
    return parse_settings(Recipe, raw, "test")
