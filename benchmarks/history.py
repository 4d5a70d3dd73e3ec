"""What the second turn of a chat costs: a prompt of 2,000 tokens, a thought and an answer, then a turn of 50 tokens.

    python benchmarks/history.py

A small random model on the native step; for each way to treat earlier thoughts, the prompt tokens of the second turn
that were processed, and their share of the first turn's. Where thoughts are kept, nothing but the new turn is.
"""

import random
import time

import torch

from thinkaloud.engine import Engine, Request
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.text import ChatTemplate, Message, Tokenizer

WORDS = tuple(f" {number}" for number in range(100))
FIRST, SECOND, THOUGHT, ANSWER = 2000, 50, 300, 60


def small_model(vocabulary: int) -> Transformer:
    """Random weights: what is measured does not depend on them."""
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(1)
    return Transformer(config).eval().requires_grad_(False)


def measure(history: str) -> tuple[int, int, float, float]:
    """Processed prompt tokens of both turns, and the seconds until each turn's first token."""
    tokenizer = Tokenizer.build(WORDS)
    template = ChatTemplate(tokenizer)
    engine = Engine(small_model(tokenizer.vocab_size))
    rng = random.Random(1)

    def words(count: int) -> str:
        return "".join(rng.choice(WORDS) for _ in range(count))

    def first_token(messages: list[Message]) -> tuple[int, float]:
        before, start = engine.prefilled_tokens, time.perf_counter()
        prompt = template.prompt(messages, history=history)  # type: ignore[arg-type]
        engine.generate([Request(prompt_ids=tuple(prompt), max_tokens=1)])
        return engine.prefilled_tokens - before, time.perf_counter() - start

    chat = [Message("user", words(FIRST - 12))]
    first, waited = first_token(chat)
    reply = Message("assistant", words(ANSWER), thinking=words(THOUGHT))
    said = (*template.prompt(chat, history=history), *template.reply(reply))  # type: ignore[arg-type]
    engine.generate([Request(prompt_ids=said, max_tokens=1)])  # as if it had been sampled: it stands in the cache
    second, waited_again = first_token([*chat, reply, Message("user", words(SECOND - 6))])
    return first, second, waited, waited_again


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("history  first  second  share   first token, s  second turn's, s")
    for history in ("keep", "tools", "drop"):
        first, second, waited, again = measure(history)
        print(f"{history:7} {first:6} {second:7} {second / first:6.1%} {waited:16.3f} {again:17.3f}")


if __name__ == "__main__":
    main()
