"""Speed of the embedded default: decoding for one chat and for rollouts, and training, on one thread.

Prints tokens a second and, side by side and alternating, the ratio to `transformers` on the same weights (the test
dependencies bring it). Machines are noisy: quote the ratios.

    .venv/bin/python benchmarks/engine.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from thinkaloud.engine import Engine, Request
from thinkaloud.model import ModelConfig, Transformer, load_model, save_model
from thinkaloud.train.batches import Sample, batches
from thinkaloud.train.losses import token_logprobs

PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 32, 48, 3
CONFIG = ModelConfig(
    vocab_size=380,
    hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=256,
    rope_theta=100.0,
)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def prompts(rows: int) -> torch.Tensor:
    """Random prompts, the same for both sides."""
    return torch.randint(0, CONFIG.vocab_size, (rows, PROMPT_TOKENS), generator=torch.Generator().manual_seed(rows))


def decoding(folder: Path, rows: int) -> None:
    """Both engines in turn, a few rounds."""
    engine = Engine(load_model(folder))
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = prompts(rows)
    requests = [Request(prompt_ids=tuple(row), max_tokens=NEW_TOKENS, seed=i) for i, row in enumerate(ids.tolist())]

    def theirs() -> object:
        with torch.inference_mode():
            return peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
            )

    pairs = [(seconds(lambda: engine.generate(requests)), seconds(theirs)) for _ in range(ROUNDS + 1)][1:]
    ours = statistics.median(rows * NEW_TOKENS / pair[0] for pair in pairs)
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    print(f"decode, {rows:4} rows: {ours:8.0f} tokens/s, {ratio:.2f} times transformers")


def training(model: Transformer) -> None:
    """Forward and backward of packed sequences of 64 tokens, half of them learnt."""
    half = PROMPT_TOKENS
    rows = torch.randint(0, CONFIG.vocab_size, (256, 2 * half), generator=torch.Generator().manual_seed(0)).tolist()
    samples = [Sample(ids=tuple(row), mask=(False,) * half + (True,) * half) for row in rows]

    def step() -> None:
        for batch in batches(samples):
            hidden = model(batch.ids, batch.positions, batch.visible)[batch.predicts]
            (-token_logprobs(model.logits(hidden), batch.targets).sum()).backward()
        model.zero_grad(set_to_none=True)

    times = [seconds(step) for _ in range(ROUNDS + 1)][1:]
    print(f"train, packed: {len(rows) * 2 * half / statistics.median(times):10.0f} tokens/s")


def main() -> None:
    """All figures, on one thread."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = Transformer(CONFIG)
    model.initialise(0)
    print(f"{model.size:,} parameters, prompts of {PROMPT_TOKENS} tokens, {NEW_TOKENS} new ones, one thread")
    with tempfile.TemporaryDirectory() as name:
        save_model(model, Path(name), eos_token_id=0, pad_token_id=0)
        for rows in (1, 16, 256):
            decoding(Path(name), rows)
    training(model)


if __name__ == "__main__":
    main()
