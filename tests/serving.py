"""A live server in this process, on a tiny model with random weights or on any service; for tests and benchmarks."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import uvicorn

from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.model.weights import save_model
from thinkaloud.serve.app import build
from thinkaloud.serve.running import Server, address, listen
from thinkaloud.serve.visit import Service
from thinkaloud.text import Tokenizer

WORDS = ("Red", "Blue", *map(str, range(10)), *(f" {number}" for number in range(10)))
QUESTION = [{"role": "user", "content": "Red Blue 1 2 3"}]


def random_model(folder: Path, *, context: int = 4096, seed: int = 1, words: Sequence[str] = WORDS) -> Path:
    """A checkpoint that says anything at all, and hardly ever ends by itself."""
    tokenizer = Tokenizer.build(words)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=context,
        tie_word_embeddings=False,
    )
    model = Transformer(config).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    eos, pad = (tokenizer.id_of(tokenizer.special_names[name]) for name in ("eos_token", "pad_token"))
    assert eos is not None and pad is not None
    tokenizer.save(folder)
    save_model(model, folder, eos_token_id=eos, pad_token_id=pad)
    return folder


class Live:
    """`with Live(service) as live: live.url`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._listener = listen("127.0.0.1", 0)
        self.root = address(self._listener)
        self.url = self.root + "/v1"
        config = uvicorn.Config(build(service), log_level="error")
        self.server = Server(config, service)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]}, daemon=True)

    def __enter__(self) -> "Live":
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < deadline and self.thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def client(self, **more: Any) -> Any:
        """OpenAI's own client."""
        import openai

        return openai.OpenAI(base_url=self.url, **{"api_key": "none", "max_retries": 0, **more})

    def idle(self, seconds: float = 60.0) -> bool:
        """Whether nothing is under way, or soon will be."""
        voice = self.service.voice
        return until(lambda: not (voice.running or voice.waiting or self.service.under_way), seconds)


def until(comes: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether that comes true: at once as a rule, but a machine that has other work may take its time."""
    deadline = time.monotonic() + seconds
    while not comes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
