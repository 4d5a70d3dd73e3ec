"""`thinkaloud export`: what other software opens is what we run, and the card says what the run says."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from own_runs import RL, checkpoint
from thinkaloud import load
from thinkaloud.base.config import parse_settings, to_toml
from thinkaloud.base.run import environment, write_json, write_text
from thinkaloud.cli.main import run
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.model import LoraConfig, add_adapter, load_model, save_adapter
from thinkaloud.reports.card import Published, lineage, model_card, trained_by
from thinkaloud.text import Message
from thinkaloud.train.recipe import Recipe

QUESTIONS = (
    "Mia has 7 beads: finds 3, loses 2, buys 5. How many?",
    "Red under A, blue under B. Swap AC BD CE. Where now?",
    "Something it was never taught, <b>|</b> and é.",
)


def sample(family: str, right: int, index: int) -> dict[str, Any]:
    return {
        "id": f"{family}-{index}",
        "family": family,
        "level": 3,
        "question": QUESTIONS[family == "cups"],
        "right": [right],
        "thinking_tokens": [9],
    }


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run's folder with the bundled model, as if `think_rl` had made it."""
    folder = tmp_path / "run"
    stages = {
        "think": {"kind": "sft", "budget": 10},
        "think_sft": {"kind": "sft", "init": "think", "budget": 10},
        "think_rl": {"kind": "rl", "init": "think", "budget": 10},
    }
    raw = {
        "run": {"name": "tiny", "dir": str(folder), "result": "think_rl"},
        "families": {"cups": {}, "chains": {}},
        "stages": stages,
    }
    write_text(folder / "recipe.toml", to_toml(parse_settings(Recipe, raw, "test")))
    write_json(folder / "environment.json", environment())
    ledgers = {name: {"rollouts": 12.0, "compute_flops": 3e9} for name in stages}
    write_json(folder / "ledger.json", {"stages": ledgers, "total": {}})
    for name, right in (("think", 1), ("think_rl", 3)):
        entries = [sample(family, index < right, index) for family in ("cups", "chains") for index in range(4)]
        write_json(folder / "evaluations" / f"{name}.json", {"model": name, "samples": 1, "problems": entries})
    shutil.copytree(BUNDLED, folder / "model")
    return folder


def greedy(model: Any, ids: list[int], tokens: int) -> list[int]:
    """What transformers says, greedily."""
    given = torch.tensor([ids])
    out = model.generate(given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=tokens)
    return [int(one) for one in out[0, len(ids) :]]


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_transformers_runs_an_exported_model_as_we_do(dtype: str, trained: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "out"
    assert run(["export", str(trained), str(folder), "--dtype", dtype]) == 0
    stored = {"auto": torch.bfloat16, "float32": torch.float32}[dtype]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.dtype == stored and theirs.config.model_type == "llama", "or transformers takes Qwen's tokenizer"
    theirs = theirs.float().eval()
    tokenizer, ours = transformers.AutoTokenizer.from_pretrained(folder), load(folder)
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        ids = ours.template.prompt([Message("user", question)], thinking=True)
        assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == ids
        (done,) = ours.generate_ids([ids], max_tokens=40, temperature=0.0)
        assert greedy(theirs, ids, 40) == list(done.token_ids)
    assert ours.ask(QUESTIONS[0], seed=3).answer == load(trained).ask(QUESTIONS[0], seed=3).answer
    settings = theirs.generation_config
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (True, 0.6, 0.95, 0)
    assert set(settings.eos_token_id) == set(ours.template.stop_ids)
    assert load(folder).defaults == load(trained).defaults


def test_the_card_says_what_the_run_says(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert run(["export", str(trained), str(folder)]) == 0
    card = (folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "apache-2.0" and "base_model" not in facts
    (results,) = facts["model-index"]
    assert {one["dataset"]["type"]: one["metrics"][0]["value"] for one in results["results"]} == {
        "cups": 0.75,
        "chains": 0.75,
    }
    assert "`think` (fine-tuning on demonstrations), then `think_rl` (reinforcement" in text
    assert "| **think_rl** | 75.0 (40.9 to 92.9) |" in text and "| think | 25.0 (7.1 to 59.1) |" in text
    assert "think_sft" not in text.split("## What it cost")[1].split("## How to make")[0]
    (recipe,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert tomllib.loads(recipe) == tomllib.loads((trained / "recipe.toml").read_text())
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    pytest.importorskip("transformers")
    capsys.readouterr()
    exec(code.replace('from_pretrained("out")', f"from_pretrained({str(folder)!r})"), {})
    assert QUESTIONS[1].split()[0] in capsys.readouterr().out


def test_a_stage_has_a_card_of_its_own(trained: Path, tmp_path: Path) -> None:
    stage = trained / "checkpoints" / "think"
    shutil.copytree(trained / "model", stage / "model")
    assert trained_by(stage / "model") == (trained, "think")
    assert trained_by(trained / "model") == (trained, "think_rl")
    assert trained_by(BUNDLED) is None
    assert run(["export", str(stage), str(tmp_path / "out")]) == 0
    assert "| **think** | 25.0" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_that_no_run_has_made_claims_nothing(tmp_path: Path) -> None:
    card = model_card(Published(name="of mine", config={"architectures": ["Y"]}, parameters=12, dtype="float32"))
    assert "thinkaloud ask --model 'of mine' " in card, "as a shell reads it"
    assert '"other"' in card and "How well" not in card and "It was trained" not in card


def test_lineage_follows_the_starts() -> None:
    stages: dict[str, Any] = {"a": {}, "b": {"init": "a"}, "c": {"init": "b"}, "d": {"init": "a"}}
    assert lineage({"stages": stages}, "c") == ["a", "b", "c"]


def test_a_checkpoint_keeps_all_that_is_its_own(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "published")
    names = json.loads((source / "tokenizer_config.json").read_text())
    write_json(source / "tokenizer_config.json", names | {"tokenizer_class": "Qwen2Tokenizer"})
    assert run(["export", str(source), str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "out"))
    assert after == before | {"torch_dtype": "bfloat16"} and before["bos_token_id"] == 7
    sampling = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (sampling["temperature"], sampling["top_p"]) == (0.7, 0.8)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def lora_run(tmp_path: Path, base: Path, *, named: bool = True) -> Path:
    """A run whose only stage has trained an adapter."""
    folder = tmp_path / "lora"
    stage = folder / "checkpoints" / "rl"
    raw = {
        "run": {"name": "lora", "dir": str(folder), "result": "rl"},
        "model": str(base),
        "families": {"chains": {}},
        "stages": {"rl": {**RL, "lora": {"rank": 4}}},
    }
    write_text(folder / "recipe.toml", to_toml(parse_settings(Recipe, raw, "test")))
    model, config = load_model(base), LoraConfig(r=4, lora_alpha=8, target_modules=("q_proj", "up_proj"))
    for index, part in enumerate(add_adapter(model, config).values()):
        for matrix in (part.lora_A, part.lora_B):
            matrix.data = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(index)) / 8
    save_adapter(model, stage / "adapter", config, base=str(base) if named else None)
    shutil.copytree(base, folder / "model")
    (stage / "adapter" / "thinkaloud.json").write_text('{"families": ["chains"], "instruction": "Be brief."}')
    return folder


def test_what_was_exported_keeps_its_zero_biases(tmp_path: Path) -> None:
    """Its config.json names biases everywhere in attention; where it is read those that are zero are left out."""
    assert run(["export", str(BUNDLED), str(tmp_path / "again")]) == 0
    kept, again = (load_file(folder / "model.safetensors") for folder in (BUNDLED, tmp_path / "again"))
    assert kept.keys() == again.keys() and any(name.endswith("o_proj.bias") for name in again)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_an_adapter_alone_is_what_peft_opens(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    base = checkpoint(tmp_path / "published")
    trained, alone, whole = lora_run(tmp_path, base), tmp_path / "alone", tmp_path / "whole"
    assert run(["export", str(trained), str(alone), "--adapter-only"]) == 0
    assert not (alone / "model.safetensors").exists()
    facts = yaml.safe_load((alone / "README.md").read_text().split("---\n")[1])
    assert facts["library_name"] == "peft" and facts["license"] == "other"
    (base / "thinkaloud.json").write_text('{"families": []}')
    assert run(["export", str(base), str(whole), "--adapter", str(alone)]) == 0
    assert all("Be brief." in (one / "thinkaloud.json").read_text() for one in (alone, whole))
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(alone).float().eval()
    ids = [5, 9, 70, 33]
    (done,) = load(whole).generate_ids([ids], max_tokens=12, temperature=0.0, ignore_eos=True)
    theirs.generation_config.eos_token_id = None
    given = torch.tensor([ids])
    logits = theirs(given).logits[0, :-1].log_softmax(-1).gather(1, given[0, 1:, None])[:, 0]
    assert torch.allclose(logits, torch.tensor(load(whole).logprobs([ids])[0]), atol=1e-4)
    assert len(done.token_ids) == 12


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--dtype", "int4"], "choose one of"),
        (["--adapter-only"], "is no run"),
        (["--adapter-only", "--dtype", "bfloat16"], "leave --adapter and --dtype out"),
    ],
)
def test_what_cannot_be_exported_is_told(
    words: list[str], cure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(BUNDLED), str(tmp_path / "out"), *words]) == 2
    assert cure in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_is_not_there_or_for_no_published_model_is_told(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(trained), str(tmp_path / "a"), "--adapter-only"]) == 2
    assert "without `lora`" in capsys.readouterr().err
    nameless = lora_run(tmp_path, checkpoint(tmp_path / "published"), named=False)
    assert run(["export", str(nameless), str(tmp_path / "b"), "--adapter-only"]) == 2
    assert "export it whole" in capsys.readouterr().err
