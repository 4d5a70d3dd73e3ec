"""`thinkaloud serve --engine vllm` before a real vLLM server, and our own engine on one model: is it the same?

    thinkaloud train recipes/smoke.toml
    python benchmarks/through_vllm.py runs/smoke

The model is exported, opened by vLLM on a CPU in float32 (`make peers`), and asked greedily through both ways: free,
for two choices, with a stop word, without a thought, without a budget. Thought, answer, why each ended and the counts
of tokens must agree. Near a budget our engine closes a thought where a sentence ends, which another server can't be led
to: there the budget must hold and an answer be given. Heads must be 32 wide, or what else vLLM's kernels take.
"""

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from published import VLLM
from served import running, served

from thinkaloud.problems import draw

MANNERS: dict[str, dict[str, Any]] = {
    "free": {},
    "two choices": {"n": 2},
    "stop word": {"stop": ["1"]},
    "no thought": {"reasoning_effort": "none"},
    "budget 0": {"thinking_budget": 0},
    "budget 5": {"thinking_budget": 5},
    "20 tokens in all": {"max_tokens": 20},
}
"Manner -> fields of the request."
MOST = {"budget 5": 5, "20 tokens in all": 20}
"Those near a budget -> most tokens of the thought."


def told(reply: dict[str, Any]) -> dict[str, Any]:
    """What must agree of a reply. An end of turn that our engine does not draw is drawn and discarded there."""
    details = reply["usage"]["completion_tokens_details"]
    counts = {name: count for name, count in details.items() if name != "discarded_tokens"}
    choices = [
        {key: one["message"].get(key) for key in ("reasoning_content", "content")}
        | {key: one[key] for key in ("thought_end", "finish_reason")}
        for one in reply["choices"]
    ]
    return {"choices": choices, "counts": counts, "prompt": reply["usage"]["prompt_tokens"]}


async def compared(ours: str, theirs: str, questions: list[str]) -> list[str]:
    """All manners of all questions at both; what differs."""
    different: list[str] = []
    async with httpx2.AsyncClient(timeout=600) as http:
        for manner, fields in MANNERS.items():
            found: Counter[str] = Counter()
            for question in questions:
                body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "seed": 1, **fields}
                replies = [await http.post(f"{url}/chat/completions", json=body) for url in (ours, theirs)]
                assert all(reply.status_code == 200 for reply in replies), [reply.text[:300] for reply in replies]
                mine, other = (told(reply.json()) for reply in replies)
                found[mine["choices"][0]["thought_end"]] += 1
                if manner in MOST:
                    kept = other["counts"]["reasoning_tokens"] <= MOST[manner] and other["choices"][0]["content"]
                else:
                    kept = mine == other
                if not kept:
                    different.append(f"{manner}, {question!r}:\n  ours {mine}\n  vLLM {other}")
            print(f"{manner}: {len(questions)} asked, thoughts ended {dict(found)}", flush=True)
    return different


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or a checkpoint's folder")
    parser.add_argument("--problems", type=int, default=20, help="of each of two families")
    given = parser.parse_args()
    from thinkaloud.cli.main import run

    questions = [one.question for name in ("cups", "chains") for one in draw(name, "test", given.problems, 1)]
    with TemporaryDirectory() as name:
        folder = str(Path(name) / "exported")
        assert run(["export", given.model, folder, "--dtype", "float32"]) == 0
        vllm = [*VLLM, folder, "--dtype", "float32", "--enforce-eager"]
        with (
            running([*vllm, "--served-model-name", "exported"], 1, Path(name)) as behind,
            served(folder, "--name", "exported", "--engine", "vllm", "--url", behind) as through,
            served(folder, "--name", "exported") as own,
        ):
            different = asyncio.run(compared(own.url, through.url, questions))
    asked = len(MANNERS) * len(questions)
    print(f"{asked - len(different)} of {asked} agree")
    print("\n".join(different[:5]))
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
