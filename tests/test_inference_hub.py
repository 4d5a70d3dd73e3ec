"""Models by name: fetched from a hub of our own on this machine, and every way in which that can fail."""

import errno
import functools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from published_models import rewrite, saved
from thinkaloud.base import hub
from thinkaloud.base.errors import UserError
from thinkaloud.inference import load
from thinkaloud.inference.defaults import Defaults, defaults_of
from thinkaloud.text import Tokenizer

torch.set_num_threads(1)
COMMIT = "c" * 40


def a_checkpoint(folder: Path) -> Path:
    """A small published checkpoint with a tokenizer."""
    tokenizer = Tokenizer.build(["Hello"])
    saved("Qwen3", folder, vocab_size=tokenizer.vocab_size)
    tokenizer.save(folder)
    return folder


class Hub(ThreadingHTTPServer):
    """As much of the hub as a download needs; `log` lists what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.log: list[str] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.break_off = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: Any) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.log.append(f"{self.command} {path} {self.headers.get('Range') or ''}".strip())
        for part, (status, code) in self.server.refuse.items():
            if part in path:
                return self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code)
        files = {file.name: file.read_bytes() for file in self.server.folder.iterdir()}
        if re.fullmatch(r"/api/models/a/b/revision/\w+", path):
            body = {"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            return self.answer(200, json.dumps(body).encode())
        if path.startswith(f"/api/models/a/b/tree/{COMMIT}"):
            tree = [{"type": "file", "path": n, "size": len(b), "oid": f"{len(b):040}"} for n, b in files.items()]
            return self.answer(200, json.dumps(tree).encode())
        name = path.removeprefix(f"/a/b/resolve/{COMMIT}/")
        if name not in files:
            return self.answer(404, b"{}", X_Error_Code="EntryNotFound")
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0])[0])
        body = files[name][start:]
        about = {"ETag": f'"{len(files[name]):040}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if start:
            about["Content_Range"] = f"bytes {start}-{len(files[name]) - 1}/{len(files[name])}"
        broken = name == self.server.break_off and self.command == "GET"  # half of it comes once, then no more
        sent = body[: len(files[name]) // 2 - start] if broken else body
        self.answer(206 if start else 200, sent, **{**about, "Content_Length": str(len(body))})
        if broken:
            self.close_connection = True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the model a/b, and a cache of its own for what is fetched from it."""
    server = Hub(a_checkpoint(tmp_path / "published"))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    download = functools.partial(huggingface_hub.snapshot_download, endpoint=server.url, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_once_and_without_pickles_or_code(server: Hub) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "README.md", "original.pth"):
        (server.folder / name).write_text("not wanted")
    (server.folder / "generation_config.json").write_text('{"temperature": 0.25}')
    model = load("a/b")
    assert {file.name for file in model.path.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    assert model.defaults == Defaults(temperature=0.25)
    first = model.logprobs([[1, 2, 3]])
    fetched = [line for line in server.log if line.startswith("GET /a/b/resolve")]
    assert load("a/b").logprobs([[1, 2, 3]]) == load("a/b", offline=True).logprobs([[1, 2, 3]]) == first
    assert [line for line in server.log if line.startswith("GET /a/b/resolve")] == fetched
    before = len(server.log)
    load("a/b", offline=True)
    assert len(server.log) == before, "offline asks nobody"


def test_a_revision_may_be_named(server: Hub) -> None:
    assert load("a/b@v2").path.name == COMMIT
    assert any("/revision/v2" in line for line in server.log)
    server.refuse = {"/revision/v3": (404, "RevisionNotFound")}
    with pytest.raises(UserError, match="a/b has no revision v3"):
        load("a/b@v3")


def test_a_download_that_broke_off_goes_on(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    server.break_off = "model.safetensors"
    with pytest.raises(UserError, match="fetching a/b failed.*the same command again goes on"):
        load("a/b")
    tries = [line.split("/")[-1] for line in server.log if line.startswith("GET") and "model.safetensors" in line]
    assert tries[0] == "model.safetensors" and re.fullmatch(r"model.safetensors bytes=\d+-", tries[1])
    assert [line for line in server.log if "tokenizer.json" in line]
    server.break_off, server.log = "", []
    load("a/b")
    fetched = [line.split("/")[-1] for line in server.log if line.startswith("GET /a/b/resolve")]
    assert fetched == ["model.safetensors"], "the library goes on within a file in one call, and by files in the next"


REFUSALS = {
    "gated": ({"/api/models": (403, "GatedRepo")}, "a/b is gated: ask for access at https://.*hf auth login"),
    "unknown": ({"/api/models": (404, "RepoNotFound")}, "a/b is not a folder here and not a model on the hub"),
    "odd": ({"/api/models": (401, "")}, "fetching a/b failed .*401 Unauthorized.*goes on"),
    "down": ({"/api/models": (503, "")}, "can not be reached: check the network"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_named(server: Hub, refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse, said = REFUSALS[refusal]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=said) as error:
        load("a/b")
    assert "\n" not in str(error.value)


def test_no_network_is_named(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(
        UserError, match="no whole copy of it was fetched before.*can not be reached: check the network"
    ):
        load("a/b")
    with pytest.raises(UserError, match="may not be asked .offline.: fetch it once online"):
        load("a/b", offline=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="may not be asked .offline.: fetch it once online"):
        load("a/b")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("(os error 28)")], ids=["python", "rust"]
)
def test_no_space_is_named(server: Hub, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*names: object, **settings: object) -> str:
        if isinstance(error, OSError):
            raise error
        raise hub.XetDownloadError(str(error))

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(UserError, match="no space is left for a/b.*HF_HOME"):
        load("a/b")


@pytest.mark.parametrize("path", ["./nowhere", "runs/nowhere", "/nowhere/at", "a b/c", "x", "a/b/c", Path("a/b")])
def test_a_folder_that_is_not_there_is_never_looked_for_on_the_hub(server: Hub, path: str | Path) -> None:
    Path("runs").mkdir()
    with pytest.raises(UserError, match="is not a folder: give"):
        load(path)
    assert server.log == []


def test_a_folder_goes_before_a_name(server: Hub) -> None:
    a_checkpoint(Path("a/b"))
    assert load("a/b").path == Path("a/b") and server.log == []


def test_an_adapter_may_be_fetched(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no adapter_config.json"):
        load(server.folder, adapter="a/b")


# --- how a checkpoint wants to be sampled ---


QWQ = Defaults(temperature=0.6, top_p=0.95, top_k=40, min_p=0.0, max_tokens=32768)


@pytest.mark.parametrize(
    ("folder", "file", "expected"),
    [
        ("mine", None, Defaults()),
        ("mine", {"top_k": 20, "top_p": 0.8, "temperature": 0.7, "min_p": 0.1}, Defaults(temperature=0.7, top_p=0.8, top_k=20, min_p=0.1)),  # noqa: E501
        ("mine", {"do_sample": False, "temperature": 0.7}, Defaults(temperature=0.0)),
        ("mine", {"max_new_tokens": 9, "top_k": None}, Defaults(max_tokens=9)),
        ("QwQ-32B", None, QWQ),
        ("models--Qwen--QwQ-32B/snapshots/123", None, QWQ),
        ("qwq/mine", None, Defaults()),
        ("QwQ-32B", {"top_k": 30}, Defaults(top_k=30, max_tokens=32768)),
        ("DeepSeek-R1-Distill-Qwen-7B", None, Defaults(max_tokens=32768)),
    ],
)  # fmt: skip
def test_defaults_are_ours_then_the_makers_then_the_files(
    tmp_path: Path, folder: str, file: dict[str, object] | None, expected: Defaults
) -> None:
    path = tmp_path / folder
    path.mkdir(parents=True)
    if file is not None:
        (path / "generation_config.json").write_text(json.dumps(file))
    assert defaults_of(path) == expected


def test_ask_goes_by_them_and_generate_ids_does_not(tmp_path: Path) -> None:
    folder = a_checkpoint(tmp_path / "m")
    plain = load(folder)
    (folder / "generation_config.json").write_text('{"do_sample": false, "max_new_tokens": 12}')
    greedy = load(folder)
    assert (
        greedy.ask("Hello", seed=1) == greedy.ask("Hello", seed=2) == plain.ask("Hello", temperature=0, max_tokens=12)
    )
    assert greedy.ask("Hello", seed=1, temperature=1.0) == plain.ask("Hello", seed=1, temperature=1.0, max_tokens=12)
    assert plain.ask("Hello", seed=1, max_tokens=12) != plain.ask("Hello", seed=2, max_tokens=12)
    settings = {"max_tokens": 20, "temperature": 1.0, "ignore_eos": True}
    assert greedy.generate_ids([[1, 2]], **settings) == plain.generate_ids([[1, 2]], **settings)


def test_every_file_may_name_ends(tmp_path: Path) -> None:
    folder = a_checkpoint(tmp_path / "m")
    before = load(folder).template.stop_ids
    rewrite(folder / "config.json", eos_token_id=5)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    model = load(folder)
    assert model.template.stop_ids == before | {5, 7, 8}
    ends = {done.token_ids[-1] for done in model.generate_ids([[1, 2]] * 64, max_tokens=100) if done.finish == "stop"}
    assert ends & {5, 7, 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"temperature": "hot"}', "temperature is 'hot': it must be a number"),
        ('{"top_k": true}', "top_k is True"),
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"eos_token_id": [7, 999999]}', "eos_token_id 999999 is not an id below"),
        ('{"eos_token_id": "x"}', "eos_token_id 'x' is not an id"),
    ],
)
def test_a_broken_generation_config_is_named(tmp_path: Path, text: str, said: str) -> None:
    folder = a_checkpoint(tmp_path / "m")
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(UserError, match=f"generation_config.json.*{said}"):
        load(folder)


def test_what_is_missing_is_named_before_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_checkpoint(tmp_path / "m")
    monkeypatch.setattr("thinkaloud.model.weights.load_model", lambda *a, **k: pytest.fail("weights were read"))
    (folder / "tokenizer.json").rename(folder / "other.json")
    with pytest.raises(UserError, match="no tokenizer.json"):
        load(folder)


def test_context_and_adapter_reach_the_model(tmp_path: Path) -> None:
    from thinkaloud.model import LoraConfig, add_adapter, load_model, save_adapter

    folder = a_checkpoint(tmp_path / "m")
    carrier = load_model(folder)
    config = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")
    for part in add_adapter(carrier, config).values():
        torch.nn.init.normal_(part.lora_B)
    save_adapter(carrier, tmp_path / "adapter", config)
    (folder / "thinkaloud.json").write_text('{"families": ["first"], "instruction": "Be kind."}')
    plain, adapted = load(folder, context=20), load(folder, adapter=tmp_path / "adapter")
    assert plain.transformer.cos.shape[0] == 20
    with pytest.raises(UserError, match="context of 20: shorten it, or load with a larger context"):
        plain.ask("Hello " * 30)
    assert not any("lora" in name for name, _ in adapted.transformer.named_parameters()), "merged"
    assert adapted.upbringing == plain.upbringing and plain.upbringing.instruction == "Be kind."
    (tmp_path / "adapter/thinkaloud.json").write_text('{"families": ["own"], "instruction": "Be brief."}')
    taught = load(folder, adapter=tmp_path / "adapter").upbringing
    assert (taught.families, taught.instruction) == (("own",), "Be brief.")
    assert plain.logprobs([[1, 2, 3]]) != adapted.logprobs([[1, 2, 3]])
    from thinkaloud.inference import ReasoningModel

    carried = ReasoningModel(folder, carrier, Tokenizer.load(folder)).logprobs([[1, 2, 3]])
    assert adapted.logprobs([[1, 2, 3]])[0] == pytest.approx(carried[0], abs=1e-4)
