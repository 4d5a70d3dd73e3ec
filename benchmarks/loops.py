"""How often the detector of loops fires where there is none: on thoughts of the bundled model, and on demonstrations.

    python benchmarks/loops.py [THOUGHTS]

Each thought is read as it was sampled. Demonstrations of all families, joined to one long thought for each family,
stand for long work that is alike line by line.
"""

import random
import sys

import torch

import thinkaloud
from thinkaloud.engine import Request
from thinkaloud.problems import FAMILIES, draw
from thinkaloud.text import Message
from thinkaloud.text.loops import LoopWatch


def fires(tokens: list[int], bytes_of) -> bool:  # type: ignore[no-untyped-def]
    """Whether a thought of these tokens is taken for a loop."""
    watch = LoopWatch(bytes_of)
    return any(watch.feed(token) is not None for token in tokens)


def main() -> None:
    """Print both counts."""
    torch.set_num_threads(1)
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    model = thinkaloud.load()
    families = model.upbringing.families
    problems = [one for name in families for one in draw(name, "test", wanted // len(families), seed=11)]
    requests = [
        Request(
            prompt_ids=tuple(model.template.prompt([Message("user", problem.question)])),
            max_tokens=128,
            seed=index,
            stop_ids=model.template.stop_ids,
            policy=model.template.policy(),
        )
        for index, problem in enumerate(problems)
    ]
    done = model.engine.generate(requests)
    thoughts = [list(one.token_ids[: one.thinking_tokens]) for one in done]
    tokens, fired = sum(map(len, thoughts)), sum(fires(one, model.tokenizer.bytes_of) for one in thoughts)
    print(f"bundled model: {fired} of {len(thoughts)} thoughts ({tokens} tokens) taken for loops", flush=True)
    rng = random.Random(1)
    for name, family in FAMILIES.items():
        try:
            shown = [
                family.demonstrate(family.generate(rng, max(family.levels)), family.ways[0], rng) for _ in range(40)
            ]
        except NotImplementedError:
            continue
        text = list("\n".join(one.thinking for one in shown).encode()[:6000])
        verdict = "taken for a loop" if fires(text, lambda one: bytes([one])) else "read through"
        print(f"{name}: {len(text)} bytes, {verdict}", flush=True)


if __name__ == "__main__":
    main()
