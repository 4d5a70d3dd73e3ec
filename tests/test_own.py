"""Training on what people bring: their checkpoint, their problems, an adapter, and what it will cost them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from own_runs import RL, chains, checkpoint, problems_file, recipe_for
from test_train import Coin, write_recipe
from thinkaloud.base.config import load_settings, parse_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl
from thinkaloud.cli.display import Lines
from thinkaloud.cli.evaluate import sealed_of
from thinkaloud.cli.main import run as command_line
from thinkaloud.cli.recipes import tell_next
from thinkaloud.inference import load
from thinkaloud.inference.asking import instructed
from thinkaloud.model import load_adapter, load_model, merge_adapter
from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.problems.benchmarks.types import BOXED
from thinkaloud.problems.brought import check
from thinkaloud.problems.sets import LEAST_DEV, LEAST_TEST, split_brought, split_of
from thinkaloud.reports import load_run, summarise
from thinkaloud.reports.findings import training
from thinkaloud.rollouts import Sampling
from thinkaloud.text import Message
from thinkaloud.train import spending
from thinkaloud.train.adapter import adapted, merged, without
from thinkaloud.train.batches import Sample, batches
from thinkaloud.train.brought import brought, instruction_of
from thinkaloud.train.data import demonstrations
from thinkaloud.train.pace import Pace
from thinkaloud.train.pipeline import announce, gather, prepare
from thinkaloud.train.policy import logprobs_of
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.stage import Stage
from thinkaloud.train.status import statuses_of
from thinkaloud.train.worker import run_stage

torch.set_num_threads(1)
RECIPES = Path(__file__).parents[1] / "recipes"
LORA = {"rank": 4, "alpha": 8.0}


@pytest.fixture(scope="module")
def brought_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("theirs") / "Qwen2-tiny")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return problems_file(tmp_path_factory.mktemp("problems") / "mine.jsonl", chains(80))


# --- problems ---


def problem(canonical: str) -> Problem:
    message = Message(role="user", content=canonical)
    return Problem(
        id=canonical, family="own", level=1, messages=(message,), verifier="exact", reference="", canonical=canonical
    )


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 400), salt=st.integers(0, 1000))
def test_every_brought_problem_is_in_one_split_and_small_files_hold_out_enough(count: int, salt: int) -> None:
    problems = [problem(f"{salt} {number}") for number in range(count)]
    splits = split_brought(problems)
    assert sorted(one.id for part in splits.values() for one in part) == sorted(one.id for one in problems)
    assert len(splits["test"]) >= min(LEAST_TEST, count // 4) and len(splits["dev"]) >= min(LEAST_DEV, count // 8)
    assert count < 8 or len(splits["train"]) > count / 2
    natural = [split_of(one.canonical) for one in problems]
    assert len(splits["test"]) <= count // 4 and len(splits["dev"]) <= count // 8
    if LEAST_TEST <= natural.count("test") <= count // 4 and LEAST_DEV <= natural.count("dev") <= count // 8:
        assert all(split_of(one.canonical) == split for split, part in splits.items() for one in part)


def test_one_more_line_moves_few_others() -> None:
    problems = [problem(str(number)) for number in range(60)]
    before, after = (split_brought(some) for some in (problems[:-1], problems))
    moved = {one.id for one in before["train"]} ^ {one.id for one in after["train"]}
    assert len(moved) <= 2


def test_faults_are_told_by_line_and_the_sound_ones_used(tmp_path: Path, brought_model: Path) -> None:
    path = problems_file(tmp_path / "chains.jsonl", chains(30))
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:4], "{oops", *rows[4:], rows[0]]))
    recipe = recipe_for(tmp_path / "run", brought_model, path, {"rl": RL})
    lines = announce(recipe)
    assert lines[0] == f"{path}: 30 problems (20 train, 3 dev, 7 test)"
    assert lines[1].startswith("  left out, line 5: no JSON") and "line 32: the question of line 1 again" in lines[2]
    kept = brought(tmp_path / "run", "train")
    assert {one.family for one in kept} == {"own_chains"}, "a family of ours is not meant"
    assert all("\\boxed{}" in one.question for one in kept), "asked as `eval --on` asks"
    assert [len(sealed_of(str(recipe.run.dir), most)[0].problems) for most in (None, 3)] == [7, 3]
    path.unlink()
    assert brought(recipe.run.dir, "train") == kept and not prepare(recipe), "the run has its own copy"


def test_what_follows_a_question_can_be_chosen(tmp_path: Path, brought_model: Path, file: Path) -> None:
    questions = {one.question for one in chains(80)}
    for instruction, wanted in (("", questions), ("Be brief.", {f"{one}\n\nBe brief." for one in questions})):
        recipe = recipe_for(
            tmp_path / (instruction or "none"), brought_model, file, {"rl": RL}, instruction=instruction
        )
        prepare(load_settings_of(recipe, tmp_path))
        assert {one.question for one in brought(recipe.run.dir, "train")} <= wanted
        stage = Stage(recipe.run.dir, recipe, "rl")
        told = load(stage.finish())
        asked = next(iter(wanted))
        own = asked.removesuffix(f"\n\n{instruction}") if instruction else asked
        assert told.upbringing.instruction == instruction
        for question, said in ((own, None), (asked, None), (own, instruction), (asked, "")):
            prompt = told.stream(question, instruction=said, max_tokens=1)
            assert prompt.prompt_tokens == len(told.template.prompt([Message("user", asked)]))
            prompt.cancel()


def test_words_that_differ_from_problem_to_problem_are_not_remembered(tmp_path: Path, brought_model: Path) -> None:
    path = problems_file(tmp_path / "mine.jsonl", chains(40))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[::2]:
        row["verifier"] = "exact"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe_for(tmp_path / "run", brought_model, path, {"rl": RL})
    prepare(recipe)
    assert instruction_of(recipe.run.dir, None) == "" and instruction_of(recipe.run.dir, "Be brief.") == "Be brief."


def test_the_first_question_of_a_conversation_is_asked_as_in_training() -> None:
    turns = [Message("system", "s"), Message("user", "2 + 3?"), Message("assistant", "5"), Message("user", "Why?")]
    asked = instructed(turns, BOXED)
    assert [one.content for one in asked] == ["s", f"2 + 3?\n\n{BOXED}", "5", "Why?"]
    assert instructed(asked, BOXED) == asked and instructed(turns, "") == turns and instructed([], BOXED) == []


def load_settings_of(recipe: Recipe, tmp_path: Path) -> Recipe:
    """The recipe after a way through TOML."""
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_settings(Recipe, tmp_path / "recipe.toml") == recipe
    return recipe


def test_too_few_and_no_demonstrations_are_said(tmp_path: Path, brought_model: Path, file: Path) -> None:
    few = problems_file(tmp_path / "few.jsonl", chains(7))
    with pytest.raises(UserError, match="7 sound problems, and training needs 8"):
        prepare(recipe_for(tmp_path / "few", brought_model, few, {"rl": RL}))
    assert not (tmp_path / "few").exists()
    sft = {"kind": "sft", "budget": 500, "batch_tokens": 200}
    recipe = recipe_for(tmp_path / "run", brought_model, file, {"sft": sft}, instruction="")
    prepare(recipe)
    with pytest.raises(UserError, match="add a column `thinking`"):
        run_stage(tmp_path / "run", "sft")


@pytest.mark.parametrize("template", ["QwQ", "Qwen2.5"])
def test_demonstrations_of_ones_own_are_learnt(tmp_path: Path, template: str) -> None:
    model = checkpoint(tmp_path / "model", template)
    path = problems_file(tmp_path / "mine.jsonl", chains(16), thinking="1 + 1 = 2")
    sft = {"kind": "sft", "budget": 2_000, "batch_tokens": 400}
    rl = {**RL, "init": "sft", "rollouts": 32, "steering": True, "hints": True, "memory": True, "variants": 1.0}
    recipe = recipe_for(tmp_path / "run", model, path, {"sft": sft, "rl": rl}, instruction="")
    prepare(recipe)
    stage = Stage(tmp_path / "run", recipe, "sft")
    shown = demonstrations(stage.problems, stage.template, {}, thinking=True, seed=1)
    text = stage.tokenizer.decode([id_ for id_, learnt in zip(shown[0].ids, shown[0].mask, strict=True) if learnt])
    answer = f"\\boxed{{{stage.problems[0].reference}}}"
    thought = "1 + 1 = 2\n</think>\n\n" if template == "QwQ" else "1 + 1 = 2\n\n"
    assert text.endswith(f"{thought}{answer}<|im_end|>") and len(shown) == len(stage.problems) == 10
    for name in recipe.stages:
        run_stage(tmp_path / "run", name)
    rows = read_jsonl(tmp_path / "run" / "checkpoints" / "rl" / "rollouts.jsonl")
    assert {row["way"] for row in rows} == {"other"} and {row["family"] for row in rows} == {"mine"}
    assert any(row["prefix_tokens"] for row in rows) == (template == "QwQ")


# --- the checkpoint ---


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_trained_model_is_a_whole_checkpoint(tmp_path: Path, brought_model: Path, file: Path, lora: Any) -> None:
    stages = {"rl": {**RL, "lora": lora, "reward": "format", "optimiser": {"adamw_rate": 0.01}}}
    recipe = recipe_for(tmp_path / "run", brought_model, file, stages)
    prepare(recipe)
    run_stage(tmp_path / "run", "rl")
    folder = tmp_path / "run" / "checkpoints" / "rl" / "model"
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (brought_model / name).read_bytes()
    theirs, ours = (read_json(one / "config.json") for one in (brought_model, folder))
    assert ours == theirs and read_json(folder / "thinkaloud.json") == {
        "families": [],
        "turns": None,
        "instruction": BOXED,
    }
    theirs, ours = (read_json(one / "generation_config.json") for one in (brought_model, folder))
    assert ours == {**theirs, "eos_token_id": sorted(theirs["eos_token_id"])}
    model = load(folder)
    assert model.defaults.temperature == 0.7 and len(model.template.stop_ids) == 2
    before, after = (load_file(one / "model.safetensors") for one in (brought_model, folder))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    adapter = tmp_path / "run" / "checkpoints" / "rl" / "adapter"
    if lora is None:
        assert changed == set(before) and not adapter.exists()
    else:
        assert changed == {name for name in before if name.endswith("_proj.weight")}
        again = load_model(brought_model)
        load_adapter(again, adapter)
        merge_adapter(again)
        assert all(torch.equal(value, after[name]) for name, value in again.named_parameters())
        assert read_json(adapter / "adapter_config.json")["base_model_name_or_path"] == str(brought_model)
        assert load(brought_model, adapter=adapter).upbringing == model.upbringing
    measured = [read_json(tmp_path / "run" / "evaluations" / f"{name}.json") for name in ("before", "rl")]
    assert [one["model"] for one in measured] == ["before", "rl"]
    assert measured[0]["problems"][0]["id"] == measured[1]["problems"][0]["id"]
    ledger, size = read_json(folder.parent / "ledger.json"), load_model(brought_model).size
    own = (
        0 if lora is None else sum(value.numel() for value in load_file(adapter / "adapter_model.safetensors").values())
    )
    trained = 6 * size if lora is None else 4 * size + 6 * own  # frozen weights need no gradient of their own
    processed = ledger["prompt_tokens"] + ledger["generated_tokens"]
    assert ledger["compute_flops"] == ledger["update_tokens"] * trained + processed * 2 * size
    taken = {part: tokens for part, (tokens, _) in read_json(folder.parent / "measured.json").items()}
    assert taken["before"] >= len(measured[0]["problems"]) and taken["rl"] >= len(measured[1]["problems"])
    assert ledger["evaluation_tokens"] == sum(taken.values())


def test_transformers_opens_what_was_trained(tmp_path: Path, brought_model: Path, file: Path) -> None:
    transformers = pytest.importorskip("transformers")
    recipe = recipe_for(tmp_path / "run", brought_model, file, {"rl": {**RL, "rollouts": 16}})
    prepare(recipe)
    run_stage(tmp_path / "run", "rl")
    folder = tmp_path / "run" / "checkpoints" / "rl" / "model"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ours, chat = load(folder), [{"role": "user", "content": "2 + 3?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == ours.template.prompt([Message("user", "2 + 3?")])
    with torch.no_grad():
        expected = torch.log_softmax(theirs(torch.tensor([ids])).logits[0], -1)
    found = ours.logprobs([ids])[0]
    assert found == pytest.approx([float(expected[at, id_]) for at, id_ in enumerate(ids[1:])], abs=1e-4)


# --- the adapter ---


@pytest.fixture
def stage(tmp_path: Path, brought_model: Path, file: Path) -> Stage:
    """A stage whose adapter has moved away from zero."""
    stages = {"rl": {**RL, "lora": LORA, "kl": 0.1, "optimiser": {"adamw_rate": 0.02}}}
    recipe = recipe_for(tmp_path / "run", brought_model, file, stages)
    prepare(recipe)
    stage = Stage(tmp_path / "run", recipe, "rl")
    samples = [Sample(ids=tuple(range(5, 25)), mask=(False,) + (True,) * 19)]
    for _ in range(3):
        stage.fit(samples, divisor=19)
    return stage


@pytest.mark.parametrize("native", ["auto", "off"])
def test_sampled_and_trained_logprobs_agree_under_an_adapter(
    tmp_path: Path, stage: Stage, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native step runs merged weights, PyTorch the adapter beside them; both are what is trained."""
    if native == "off":
        monkeypatch.setenv("THINKALOUD_NATIVE", "off")
        stage = Stage(tmp_path / "run", stage.recipe, "rl")
        stage.fit([Sample(ids=tuple(range(5, 25)), mask=(False,) + (True,) * 19)], divisor=19)
    assert stage.engine.backend == ("torch" if native == "off" else "native")
    groups = stage.rollouts(stage.problems[:4], Sampling(max_tokens=24, samples=2))
    flat = [one for group in groups for one in group]
    known = logprobs_of(stage.model, [Sample(ids=one.ids, mask=one.sampled, logprobs=one.logprobs) for one in flat])
    gaps = [
        abs(theirs - ours)
        for one, logprobs in zip(flat, known, strict=True)
        for theirs, ours, sampled in zip(one.logprobs, logprobs, one.sampled, strict=True)
        if sampled
    ]
    assert max(gaps) < 1e-4
    plain = logprobs_of(without(stage.model), [Sample(ids=one.ids, mask=one.sampled) for one in flat])
    off = [abs(a - b) for one, two in zip(known, plain, strict=True) for a, b in zip(one, two, strict=True)]
    assert max(off) > 0.01, "the adapter does something, or this test shows nothing"


def test_only_the_adapter_moves_and_the_reference_is_the_model_without_it(stage: Stage, brought_model: Path) -> None:
    assert adapted(stage.model) and set(stage.optimiser.parameters) == {
        name for name, _ in stage.model.named_parameters() if "lora_" in name
    }
    first = dict(load_model(brought_model).named_parameters())
    reference = dict(stage.reference.named_parameters())
    own = dict(stage.model.named_parameters())
    for name, value in first.items():
        assert torch.equal(value, own[name]) and reference[name].data_ptr() == own[name].data_ptr()
    assert [name for name, _ in merged(stage.model)] == list(first)


def test_a_checkpoint_holds_the_adapter_only_and_goes_on_from_it(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.end_step({})
    state = max(stage.folder.glob("state-*"))
    names = set(load_file(state / "state.safetensors"))
    assert all("lora_" in name for name in names if name.startswith("model."))
    assert sum(name.startswith("optimiser.") for name in names) == 3 * len(stage.optimiser.parameters)
    again = Stage(stage.run, stage.recipe, "rl")
    for name, value in stage.optimiser.parameters.items():
        assert torch.equal(value, again.optimiser.parameters[name])
    drawn = [one.rollouts(stage.problems[:2], Sampling(max_tokens=12)) for one in (stage, again)]
    assert [group[0].ids for group in drawn[0]] == [group[0].ids for group in drawn[1]]
    assert again.engine.version == stage.engine.version


def test_frozen_weights_may_be_bfloat16_and_trained_ones_not(tmp_path: Path, brought_model: Path, file: Path) -> None:
    run = {"dtype": "bfloat16"}
    with pytest.raises(UserError, match="give it lora"):
        prepare(recipe_for(tmp_path / "no", brought_model, file, {"rl": RL}, run=run))
    recipe = recipe_for(tmp_path / "run", brought_model, file, {"rl": {**RL, "lora": LORA}}, run=run)
    prepare(recipe)
    stage = Stage(tmp_path / "run", recipe, "rl")
    types = {value.dtype for value in stage.optimiser.parameters.values()}
    assert types == {torch.float32} and stage.model.head.dtype == torch.bfloat16 and stage.engine.weights == "bfloat16"
    row = stage.fit([Sample(ids=tuple(range(5, 25)), mask=(False,) + (True,) * 19)], divisor=19)
    assert row["gradient_norm"] > 0 and not row["skipped"]


def test_a_batch_moves_whole() -> None:
    (batch,) = batches([Sample(ids=(1, 2, 3), mask=(False, True, True))])
    moved = batch.to(torch.device("meta"))
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert moved.tokens == batch.tokens


# --- what is said of the settings ---


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=nowhere", "is not a folder"),
        ("model=3", "model: "),
        ("model.hidden_sise=3", r"unknown key model.hidden_sise; did you mean model.hidden_size"),
        (
            "stages.think_rl.lora.rang=3",
            r"unknown key stages.think_rl.lora.rang; did you mean stages.think_rl.lora.rank",
        ),
        ("stages.think_rl.lora.rank=0", "stages.think_rl.lora.rank: "),
        ("run.threads=0", "run.threads: "),
        ("evaluation.points=0", "evaluation.points: "),
        ("stages.think_rl.max_tokens=0", "stages.think_rl.max_tokens: "),
        ("stages.think_rl.optimiser.adamw_rate=-0.1", "stages.think_rl.optimiser.adamw_rate: "),
        ("stages.think_rl.lora.targets=['q_proj', 'vproj']", "stages.think_rl.lora.targets.1: .*'v_proj'"),
        ("problems=", "problems: "),
        ("problems=nowhere.jsonl", "need a model that can read them"),
        ("run.dtype=int8", "run.dtype"),
        ("stages.think_rl.families=['mugs']", "none of the recipe's"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        prepare(load_settings(Recipe, RECIPES / "smoke.toml", [f"run.dir={tmp_path / 'run'}", override]))
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_nothing_of_the_users_is_written_over(tmp_path: Path, brought_model: Path, file: Path) -> None:
    shutil.copytree(brought_model, tmp_path / "mine" / "model")
    with pytest.raises(UserError, match="mine holds no run, but model"):
        prepare(recipe_for(tmp_path / "mine", tmp_path / "mine" / "model", file, {"rl": RL}))
    assert not (tmp_path / "mine" / "recipe.toml").exists()


def test_the_study_that_is_proposed_has_the_same_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_next(tmp_path, ["own", "model=my model"])
    assert "thinkaloud study own 'model=my model'\n" in capsys.readouterr().out


def test_own_settings_replace_a_recipes_on_the_command_line(brought_model: Path, file: Path) -> None:
    recipe = load_settings(Recipe, RECIPES / "smoke.toml", [f"model={brought_model}", f"problems={file}"])
    assert recipe.model == str(brought_model) and recipe.families == {} and recipe.problems == str(file)
    with pytest.raises(UserError, match="no GPU"):
        prepare(recipe.model_copy(update={"run": recipe.run.model_copy(update={"device": "cuda"})}))


# --- what it will spend ---


def test_what_cannot_fit_is_refused_with_cures(
    tmp_path: Path, brought_model: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tmp_path / "run", brought_model, file, {"rl": RL})
    lines = announce(recipe)
    assert lines[1].startswith(f"{brought_model}: ") and "64 replies of up to 24 tokens" in lines[2]
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr(spending, "free_memory", lambda: 100 << 20)
    with pytest.raises(UserError, match=r"does not fit: rl .*0.10 GiB .*lora.rank=16.*pass_tokens=1024"):
        announce(recipe)
    assert not (tmp_path / "run" / "recipe.toml").exists(), "other settings can be tried in the same folder"
    long = recipe_for(tmp_path / "run", brought_model, file, {"rl": {**RL, "max_tokens": 510}})
    with pytest.raises(UserError, match="longer than the model's 512 positions"):
        announce(long)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_problem_too_long_for_the_model_is_told_before_anything_is_spent(
    tmp_path: Path, brought_model: Path, split: str
) -> None:
    short, path = chains(40), tmp_path / "mine.jsonl"
    for number in range(99):
        long = replace(short[-1], messages=(Message("user", "Mia has 7 beads. " * 100 + f"{number}?"),))
        splits = split_brought(check(problems_file(path, [*short, long])).problems)
        if any(f"{number}?" in one.question and len(one.question) > 1000 for one in splits[split]):
            break
    recipe = recipe_for(tmp_path / "run", brought_model, path, {"rl": RL}, evaluation={"test": 40, "dev": 40})
    kind = {"train": "problem", "dev": "dev problem", "test": "test problem"}[split]
    words = rf"stage rl: {kind} .*Mia has 7 beads.*\) has a prompt of \d{{3,}} tokens, .*512 positions: "
    if split == "test":  # measured all the same
        (line,) = [one for one in announce(recipe) if "512 positions" in one]
        assert re.match(words + "such replies end sooner", line)
        return
    with pytest.raises(UserError, match=words + "lower max_tokens"):
        announce(recipe)
    assert not (tmp_path / "run" / "recipe.toml").exists()


PEAK = """
import json, random, resource, sys
from pathlib import Path
from thinkaloud.base.config import load_settings
from thinkaloud.train import rl
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.spending import needs_of
from thinkaloud.train.stage import Stage
run = Path(sys.argv[1])
recipe = load_settings(Recipe, run / "recipe.toml")
steps, rng = rl._Run(Stage(run, recipe, "rl")), random.Random(0)
steps._reward = lambda rollout: float(rng.random() < 0.5)  # of a random model no reply is right
steps.step()
status = Path("/proc/self/status")  # getrusage counts what the process that started this one held at the time
high = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line] if status.exists() else []
peak = int(high[0]) if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * 1024, needs_of(recipe)["rl"].total)
"""


@pytest.mark.parametrize(
    "change",
    [{}, *(pytest.param(change, marks=pytest.mark.slow) for change in ({"lora": LORA}, {"entropy": 0.1, "kl": 0.1}))],
)
def test_the_estimate_of_memory_is_within_a_factor_of_the_peak(
    tmp_path: Path, file: Path, change: dict[str, Any]
) -> None:
    """A model large enough that weights and a batch outweigh PyTorch itself: at most 1.5 too much, 1.25 too little."""
    model = checkpoint(tmp_path / "model", size={"hidden_size": 128, "vocab_size": 30_000, "num_hidden_layers": 4})
    stages = {"rl": {**RL, "problems": 8, **change}}
    recipe = recipe_for(tmp_path / "run", model, file, stages, evaluation={"dev": 0})
    prepare(recipe)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    peak, estimate = map(int, done.stdout.split())
    assert peak / 1.25 < estimate < peak * 1.5


def test_the_time_that_is_left_goes_by_replies_where_those_end_a_stage(
    tmp_path: Path, brought_model: Path, file: Path
) -> None:
    """A budget that is never reached says nothing of the time; what comes after is reckoned with before it is known."""
    settings = {**RL, "rollouts": 1000, "budget": 10**12}
    recipe = recipe_for(tmp_path / "run", brought_model, file, {"one": settings, "two": {**settings, "init": "one"}})
    prepare(recipe)
    one, two = statuses = statuses_of(recipe)
    assert one.work.measuring == 2 * two.work.measuring > 0
    now = [0.0]
    pace = Pace(lambda: now[0])
    lines = Lines(pace)
    for share, seconds in ((0.02, 30.0), (0.04, 40.0)):  # the first step is slow; then 2 % take 10 seconds
        one.state, one.progress, one.seconds = "training", share, seconds
        said = lines.update(statuses)
    training, measuring = 500.0, one.work.measuring / (4 * 1000 + one.work.looks) * 500
    assert pace.left(one, statuses) == pytest.approx(480 + measuring), "a reply costs a quarter of one that is learnt"
    assert pace.left(two, statuses) == pytest.approx(training + measuring / 2)
    assert "at the pace of the first steps about" in said[-1]
    one.progress, one.seconds = 0.06, 50.0
    assert not any("first steps" in line for line in lines.update(statuses))


# --- the page ---


PAGE = (RECIPES.parent / "docs" / "TRAINING.md").read_text()


def test_the_problems_of_the_page_are_sound(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```jsonl\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.jsonl").write_text(block)
    report = check(tmp_path / "page.jsonl")
    assert report.faults == () and report.verifiers == {"choice": 1, "math": 3, "code": 1}
    assert [one.thought for one in report.problems if one.thought] == ["9 / 2 = 4.5"]


@pytest.mark.slow
def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "my_model")
    problems_file(tmp_path / "my_problems.jsonl", chains(24))
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = [one for one in blocks if "thinkaloud" in one]
    small = ["stages.rl.rollouts=16", "stages.rl.max_tokens=16", "run.threads=1"]
    told = {}
    for command in block.splitlines():
        _, verb, *rest = shlex.split(command)
        extra = {"train": small, "eval": ["--max-tokens", "16"], "ask": []}.get(verb, [])
        assert command_line([verb, *rest, *extra]) == 0, capsys.readouterr().err
        told[verb] = capsys.readouterr().out
    assert "24 problems (" in told["train"] and "GiB of memory" in told["train"] and "before" in told["train"]
    assert load("runs/mine").upbringing.instruction == BOXED
    assert "my_problems" in told["eval"] and "runs/mine, sealed test" not in told["ask"]


# --- does it learn? ---


@pytest.mark.slow
def test_reward_goes_up_on_a_file_of_tosses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says heads half the time, brought back as anyone's with a file where heads is right."""
    monkeypatch.setitem(FAMILIES, "coin", Coin())
    shown = {"kind": "sft", "budget": 80_000, "batch_tokens": 400, "max_tokens": 24}
    families = {"coin": {"train": 60, "ways": {"careful": 1, "hasty": 1}}}
    start = write_recipe(tmp_path / "start", families, {"start": shown})
    run_stage(tmp_path / "start", "start")
    gather(start)
    path = tmp_path / "tosses.jsonl"
    rows = [{"question": one.question, "answer": "Heads"} for one in draw("coin", "train", 100, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rl = {**RL, "problems": 8, "samples": 8, "rollouts": 640, "advantage": "centred", "length": "token"}
    stages = {"full": rl, "lora": {**rl, "lora": LORA, "optimiser": {"adamw_rate": 0.02}}}
    recipe = recipe_for(tmp_path / "run", tmp_path / "start", path, stages, evaluation={"test": 16, "samples": 4})
    prepare(recipe)
    for name in stages:
        run_stage(tmp_path / "run", name)
    gather(recipe)
    models = summarise(tmp_path / "run")["models"]
    reached = {name: one["overall"]["accuracy"] for name, one in models.items()}
    assert reached["before"] < 0.75 and min(reached["full"], reached["lora"]) > 0.8, reached
    for name in stages:
        steps = read_jsonl(tmp_path / "run" / "checkpoints" / name / "metrics.jsonl")
        assert steps[-1]["reward"] > steps[0]["reward"] + 0.2
        assert max(step.get("logprob_gap_max", 0.0) for step in steps) < 1e-3
    assert load(tmp_path / "run").upbringing.families == ("coin",), "the result is a model as the one before it"


@pytest.mark.slow
def test_reward_goes_up_on_ones_own_problems(tmp_path: Path) -> None:
    """A small model from scratch, brought back as anyone's: full weights and an adapter both learn from a file."""
    shape = {"hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 100.0}
    rates = {"muon_rate": 0.006, "adamw_rate": 0.004}
    start = parse_settings(
        Recipe,
        {
            "run": {"name": "start", "dir": str(tmp_path / "start"), "result": "think"},
            "model": shape,
            "families": {"chains": {"train": 5000, "ways": {"careful": 0.35, "hasty": 0.65}}},
            "evaluation": {"test": 8, "dev": 0},
            "stages": {"think": {"kind": "sft", "budget": 1_500_000, "batch_tokens": 2048, "optimiser": rates}},
        },
        "test",
    )
    prepare(start)
    run_stage(tmp_path / "start", "think")
    gather(start)
    file = problems_file(tmp_path / "mine.jsonl", draw("chains", "train", 300, 1))
    rl = {**RL, "advantage": "centred", "memory": True, "settle": 1, "average": 0.2, "rollouts": 1536, "max_tokens": 80}
    single = {"problems": 8, "samples": 1, "epochs": 2, "least": 4, "length": "constant", "clip_high": 0.28}
    groups = {"samples": 8, "adaptive": 4, "least": 7, "length": "token", "loss": "cispo", "clip_high": 4.0}
    stages = {
        "full": {**rl, **single, "optimiser": {"muon_rate": 0.001, "adamw_rate": 2e-4}},
        "lora": {**rl, **groups, "lora": {"rank": 8, "alpha": 16.0}, "optimiser": {"adamw_rate": 4e-3}},
    }
    evaluation = {"test": 60, "dev": 20, "samples": 4}
    recipe = recipe_for(tmp_path / "run", tmp_path / "start", file, stages, evaluation=evaluation, instruction="")
    prepare(recipe)
    for name in stages:
        run_stage(tmp_path / "run", name)
    gather(recipe)
    models = summarise(tmp_path / "run")["models"]
    reached = {name: one["overall"]["accuracy"] for name, one in models.items()}
    print(reached)
    assert reached["full"] > reached["before"] + 0.1 and reached["lora"] > reached["before"] + 0.1
    lines = [one.headline for one in training(load_run(tmp_path / "run"))]
    assert len(lines) == 2 and all("lifted the model that it started from" in line for line in lines)
    for name in stages:
        rows = read_jsonl(tmp_path / "run" / "checkpoints" / name / "metrics.jsonl")
        assert max(row.get("logprob_gap_max", 0.0) for row in rows[:5]) < 0.5
