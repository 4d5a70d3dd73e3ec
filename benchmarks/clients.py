"""Other people's clients at our server: lm-eval and inspect-ai, their verdicts beside ours, item by item.

    make bench-clients                                              # their environments too
    python benchmarks/clients.py --count 100

Both ask the bundled model behind `thinkaloud serve` about the same problems, greedily; what it answers is known, since
the same is asked offline. lm-eval also has it choose between continuations by their likelihood, over /v1/completions.
Ends with 1 if an answer comes otherwise than offline, or a verdict differs from ours.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from served import served

from thinkaloud.inference import ReasoningModel, load
from thinkaloud.problems import draw, verify
from thinkaloud.problems.types import Problem
from thinkaloud.rollouts.verified import kind_of

HERE = Path(__file__).parent
COMMANDS = tomllib.loads((HERE / "peers.toml").read_text())["clients"]
FAMILIES = ("chains", "gym_gcd", "gym_spell_backward")
"Whose answers are one word: what right means is then the same for all three, and the model is wrong often enough."
TOKENS, SEED = 96, 7
GENERATE = """task: asked
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<nothing>"], do_sample: false, temperature: 0.0, max_gen_toks: {tokens}}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
CHOOSE = """task: chosen
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
Said = list[tuple[str, bool]]
"What was answered to each problem, and whether that is right."


def asked(count: int) -> list[Problem]:
    """The problems, family after family."""
    return [one for name in FAMILIES for one in draw(name, "test", count // len(FAMILIES), seed=SEED)]


def truth(problem: Problem) -> str:
    """The one right answer, as text."""
    return str(problem.reference["answer"] if isinstance(problem.reference, dict) else problem.reference)


def ours(model: ReasoningModel, problems: Sequence[Problem], seed: int) -> Said:
    """What the model answers offline, and our verdicts."""
    said = []
    for problem in problems:
        question = [{"role": "user", "content": problem.question}]
        kind = kind_of(question)
        answer = model.ask(question, max_tokens=TOKENS, temperature=0.0, seed=seed, kind=kind).answer
        right = verify(problem.verifier, answer=answer, reference=problem.reference).label == "right"
        said.append((answer, right))
    return said


def samples_of(command: str, arguments: Sequence[str], folder: Path, task: str) -> list[dict[str, Any]]:
    """lm-eval's own record of a task, item by item."""
    out = folder / f"out-{task}"
    whole = [*command.split(), *arguments, "--include_path", str(folder), "--tasks", task]
    done = subprocess.run([*whole, "--log_samples", "--output_path", str(out)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lm-eval failed:\n{done.stderr[-3000:]}")
    (file,) = out.rglob("samples_*.jsonl")
    return sorted((json.loads(line) for line in file.read_text().splitlines()), key=lambda one: one["doc_id"])


def lm_eval(url: str, problems: Sequence[Problem], folder: Path) -> Said:
    """lm-eval over /v1/chat/completions."""
    rows = folder / "asked.jsonl"
    docs = [{"question": one.question, "answer": truth(one)} for one in problems]
    rows.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (folder / "asked.yaml").write_text(GENERATE.format(rows=rows, tokens=TOKENS))
    where = f"base_url={url}/chat/completions,model=thinkaloud,num_concurrent=8,seed={SEED}"
    arguments = ["--model", "local-chat-completions", "--model_args", where, "--apply_chat_template"]
    found = samples_of(COMMANDS["lm-eval"], arguments, folder, "asked")
    return [(one["resps"][0][0], one["exact_match"] == 1.0) for one in found]


def inspect_ai(url: str, problems: Sequence[Problem], folder: Path) -> Said:
    """inspect-ai over /v1/chat/completions."""
    rows = [{"question": one.question, "answer": truth(one)} for one in problems]
    asked = {"url": url, "rows": rows, "tokens": TOKENS, "seed": SEED, "logs": str(folder / "logs")}
    command = COMMANDS["inspect-ai"].split()
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"inspect-ai failed:\n{done.stderr[-3000:]}")
    return [(text, right) for text, right in json.loads(done.stdout.strip().splitlines()[-1])]


def choices(count: int) -> list[dict[str, Any]]:
    """Sums as they stand in thoughts, each with four ends; lm-eval puts the space before them."""
    docs = []
    for index in range(count):
        first, other = 1 + index % 17, 1 + index * 7 % 9
        ends = [str(first + other + off) for off in (0, 1, 2, 3)]
        turn = index % 4
        docs.append({"question": f"{first} + {other} =", "choices": ends[turn:] + ends[:turn], "gold": -turn % 4})
    return docs


def chosen(model: ReasoningModel, url: str, docs: Sequence[Mapping[str, Any]], folder: Path) -> tuple[int, int, float]:
    """lm-eval over /v1/completions: items where its choice is ours, items that are right, the widest gap in nats."""
    rows = folder / "chosen.jsonl"
    rows.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (folder / "chosen.yaml").write_text(CHOOSE.format(rows=rows))
    where = f"base_url={url}/completions,model=thinkaloud,num_concurrent=4,tokenized_requests=True"
    where += f",tokenizer_backend=huggingface,tokenizer={model.path},max_length=336"
    found = samples_of(COMMANDS["lm-eval"], ["--model", "local-completions", "--model_args", where], folder, "chosen")
    same, right, gap = 0, 0, 0.0
    for one, doc in zip(found, docs, strict=True):
        theirs = [float(pair[0][0]) for pair in one["resps"]]
        mine = [likelihood(model, doc["question"], f" {end}") for end in doc["choices"]]
        best = mine.index(max(mine)) == doc["gold"]
        same += (one["acc"] == 1.0) == best
        right += best
        gap = max(gap, *(abs(one - other) for one, other in zip(theirs, mine, strict=True)))
    return same, right, gap


def likelihood(model: ReasoningModel, before: str, after: str) -> float:
    """The log-prob of a continuation."""
    ids = model.tokenizer.encode(before + after)
    return sum(model.logprobs([ids])[0][len(model.tokenizer.encode(before)) - 1 :])


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="problems; half as many choices")
    given = parser.parse_args()
    model, problems, docs = load(), asked(given.count), choices(given.count // 2)
    mine, failed = ours(model, problems, SEED), False
    print(f"ours: {sum(right for _, right in mine)} of {len(mine)} right", flush=True)
    with served() as server, tempfile.TemporaryDirectory() as name:
        for who, ask in (("lm-eval", lm_eval), ("inspect-ai", inspect_ai)):
            theirs = ask(server.url, problems, Path(name))
            heard = sum(one[0].strip() == other[0].strip() for one, other in zip(mine, theirs, strict=True))
            agreed = sum(one[1] == other[1] for one, other in zip(mine, theirs, strict=True))
            print(f"{who}: heard the answer given offline in {heard} of {len(mine)}, agrees in {agreed}", flush=True)
            for problem, one, other in zip(problems, mine, theirs, strict=True):
                if one != other:
                    print(f"    {problem.question!r}: ours {one}, theirs {other}, right {truth(problem)!r}")
            failed |= heard < len(mine) or agreed < len(mine)
        same, right, gap = chosen(model, server.url, docs, Path(name))
        print(f"lm-eval, by likelihood: agrees in {same} of {len(docs)} ({right} right), widest gap {gap:.1e} nats")
    return int(failed or same < len(docs) or gap > 0.001)


if __name__ == "__main__":
    sys.exit(main())
