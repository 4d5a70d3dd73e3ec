"""Losses by hand, batches, the optimiser, checkpoints, and stages that stop, go on and end where they should."""

import copy
import json
import math
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from thinkaloud.base.config import load_settings, parse_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl, write_text
from thinkaloud.engine import Request
from thinkaloud.inference import load
from thinkaloud.inference.defaults import Upbringing
from thinkaloud.model import ModelConfig, Transformer
from thinkaloud.problems import FAMILIES, Problem, Verdict
from thinkaloud.rollouts import Rollout
from thinkaloud.text import Message
from thinkaloud.train.batches import Sample, batches
from thinkaloud.train.checkpoints import drop_states, load_state, save_state
from thinkaloud.train.describe import describe
from thinkaloud.train.groups import Group
from thinkaloud.train.losses import (
    Advantage,
    advantages_of,
    cispo_loss,
    clipped_loss,
    drift_weights,
    entropies,
    gspo_loss,
    kl_to_reference,
    token_logprobs,
)
from thinkaloud.train.muon import Muon, orthogonal
from thinkaloud.train.optimiser import Optimiser, OptimiserSettings
from thinkaloud.train.pipeline import prepare, train
from thinkaloud.train.policy import logprobs_of
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.rl import learnable
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.stages import RlSettings
from thinkaloud.train.worker import run_stage
from thinkaloud.train.workers import Worker
from toys import Toss

torch.set_num_threads(1)


# --- losses and advantages ---


def test_advantages_by_hand() -> None:
    root = math.sqrt(2)
    np.testing.assert_allclose(advantages_of([1, 0, 0], "grpo"), [root, -root / 2, -root / 2])
    np.testing.assert_allclose(advantages_of([1, 0, 0], "centred"), [2 / 3, -1 / 3, -1 / 3])
    np.testing.assert_allclose(advantages_of([1, 0, 0], "maxrl"), [2, -1, -1])
    for kind in get_args(Advantage):
        assert advantages_of([1, 1, 1], kind).tolist() == [0, 0, 0] and advantages_of([], kind).tolist() == []
        assert advantages_of([0, 0], kind).tolist() == [0, 0]


def test_advantages_against_given_baselines() -> None:
    """A belief of one half makes a signal of a group that is right throughout."""
    np.testing.assert_allclose(advantages_of([1, 1], "centred", [0.5, 0.75]), [0.5, 0.25])
    np.testing.assert_allclose(advantages_of([1, 0], "maxrl", [0.5, 0.25]), [1, -1])
    np.testing.assert_allclose(advantages_of([1, 0], "grpo", [0.5, 0.5]), [1, -1])
    assert advantages_of([1.0], "grpo", [1.0]).tolist() == [0.0]


def test_clipped_loss_and_its_gradient_by_hand() -> None:
    """Ratios 1.5, 0.5, 1.1, 1.5, 0.5 under bounds 0.8 and 1.3: a clipped token has no gradient."""
    old = torch.tensor([-1.0, -2.0, -0.5, -1.0, -3.0])
    ratios = torch.tensor([1.5, 0.5, 1.1, 1.5, 0.5])
    logprobs = (old + ratios.log()).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 2.0, -1.0, 1.0])
    losses = clipped_loss(logprobs, old, advantages, clip_low=0.2, clip_high=0.3)
    torch.testing.assert_close(losses, torch.tensor([-1.3, 0.8, -2.2, 1.5, -0.5]))
    losses.sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, 0.0, -2.2, 1.5, -0.5]))


def test_cispo_keeps_the_gradient_of_every_token() -> None:
    """Ratios 0.5, 1, 8 under a bound of 5: the gradient is minus ratio (at most 5) times advantage."""
    old = torch.tensor([-2.0, -2.0, -4.0])
    logprobs = (old + torch.tensor([0.5, 1.0, 8.0]).log()).requires_grad_()
    cispo_loss(logprobs, old, torch.tensor([1.0, -2.0, 3.0]), clip_high=4.0).sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([-0.5, 2.0, -15.0]))


def test_gspo_has_one_ratio_a_reply() -> None:
    """Replies of ratios (2, 0.5) and (1.5, 1.5): geometric means 1 and 1.5, the second one clipped at 1.2."""
    old = torch.tensor([-2.0, -2.0, -2.0, -2.0])
    logprobs = (old + torch.tensor([2.0, 0.5, 1.5, 1.5]).log()).requires_grad_()
    samples, advantages = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 1.0, 2.0, 2.0])
    losses = gspo_loss(logprobs, old, advantages, samples, clip_low=0.2, clip_high=0.2)
    torch.testing.assert_close(losses, torch.tensor([-1.0, -1.0, -2.4, -2.4]))
    losses.sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([-1.0, -1.0, 0.0, 0.0]))


def test_drift_is_corrected_up_to_a_bound() -> None:
    sampled = torch.tensor([-1.0, -1.0, -5.0])
    trained = torch.tensor([-1.0, -2.0, -1.0], requires_grad=True)
    weights = drift_weights(trained, sampled, most=2.0)
    torch.testing.assert_close(weights, torch.tensor([1.0, math.exp(-1), 2.0]))
    assert not weights.requires_grad


def test_entropies_by_hand() -> None:
    found = entropies(torch.tensor([[0.0, 0.0], [100.0, 0.0], [math.log(3), 0.0]]))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0, expected]))


def test_on_policy_the_gradient_is_minus_the_advantage() -> None:
    old = torch.tensor([-1.0, -2.0, -3.0])
    logprobs = old.clone().requires_grad_()
    clipped_loss(logprobs, old, torch.tensor([0.5, 0.0, -2.0]), clip_low=0.2, clip_high=0.2).sum().backward()
    assert logprobs.grad is not None and logprobs.grad.tolist() == [-0.5, 0.0, 2.0]


def test_kl_and_logprobs_by_hand() -> None:
    kl = kl_to_reference(torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([-1.0, -1.0 + math.log(2), -1.0 - math.log(2)]))
    torch.testing.assert_close(kl, torch.tensor([0.0, 1 - math.log(2), math.log(2) - 0.5]))
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0], [-100.0, 100.0]])
    found = token_logprobs(logits, torch.tensor([0, 1, 1]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.25), math.log(0.5), 0.0]))


# --- batches ---


samples = st.lists(st.integers(1, 40), min_size=1, max_size=40).map(
    lambda lengths: [
        Sample(
            ids=tuple(100 * i + p for p in range(length)),
            mask=tuple((i + p) % 3 == 0 for p in range(length)),
            weight=i + 1.0,
            logprobs=tuple(-float(100 * i + p) for p in range(length)),
        )
        for i, length in enumerate(lengths)
    ]
)


@settings(max_examples=60, deadline=None)
@given(samples=samples, batch_tokens=st.integers(1, 128))
def test_batches_hold_what_was_given(samples: list[Sample], batch_tokens: int) -> None:
    """Every learnt token but a first one is a target, with its own weight and log-prob, predicted by the one before."""
    found = []
    tokens = 0
    for batch in batches(samples, batch_tokens=batch_tokens):
        assert batch.ids.numel() <= batch_tokens or batch.ids.shape[0] == 1
        tokens += batch.tokens
        before = batch.ids[batch.predicts]
        found += list(zip(*(x.tolist() for x in (before, batch.targets, batch.weights, batch.logprobs)), strict=True))
        for row in batch.ids.tolist():
            assert row[0] % 100 == 0 and not any(row[1 + max(i % 100 for i in row) :])  # whole, then padding only
    expected = [
        (s.ids[p] - 1, s.ids[p], s.weight, s.logprobs[p]) for s in samples for p in range(1, len(s.ids)) if s.mask[p]
    ]
    assert sorted(found) == sorted(expected) and tokens == sum(len(sample.ids) for sample in samples)


# --- the optimiser ---


def a_model(seed: int = 0) -> Transformer:
    model = Transformer(
        ModelConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=24,
            max_position_embeddings=64,
        )
    )
    model.initialise(seed)
    return model


def give_gradients(model: Transformer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_the_rate_rises_stays_and_falls() -> None:
    optimiser = Optimiser(a_model(), OptimiserSettings(warmup=0.1, decay=0.5, floor=0.1))
    rates = [optimiser.rate(progress / 100) for progress in range(101)]
    assert 0 < rates[0] < 0.05 and rates[5] == pytest.approx(0.51) and set(rates[10:51]) == {1.0}
    assert rates[75] == pytest.approx(0.5) and rates[100] == 0.1
    flat = Optimiser(a_model(), OptimiserSettings(warmup=0.0, decay=0.0))
    assert {flat.rate(progress / 10) for progress in range(11)} == {1.0}


def test_every_parameter_has_one_optimiser_and_moves() -> None:
    for rate in (0.02, 0.0):
        model = a_model()
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        give_gradients(model, 1)
        norm, faulty = Optimiser(model, OptimiserSettings(muon_rate=rate)).step(0.3)
        size = sum(parameter.numel() for parameter in model.parameters())
        assert faulty is None and norm == pytest.approx(math.sqrt(size), rel=0.1)
        for name, parameter in model.named_parameters():
            assert not torch.equal(parameter, before[name]), name
            assert parameter.grad is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_gradient_is_named_and_changes_nothing(value: float) -> None:
    model = a_model()
    optimiser = Optimiser(model, OptimiserSettings())
    give_gradients(model, 1)
    optimiser.step(0.3)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    moments = {name: tensor.clone() for name, tensor in optimiser.state().items()}
    give_gradients(model, 2)
    broken = "model.layers.0.mlp.down_proj.weight"
    gradient = model.get_parameter(broken).grad
    assert gradient is not None
    gradient[1, 2] = value
    _, faulty = optimiser.step(0.3)
    assert faulty == broken
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(torch.equal(tensor, moments[name]) for name, tensor in optimiser.state().items())
    give_gradients(model, 3)
    assert optimiser.step(0.3)[1] is None


def test_gradients_too_large_together_are_skipped_too() -> None:
    model = a_model()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3e38)
    assert Optimiser(model, OptimiserSettings()).step(0.3)[1] == "all parameters together"


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_muon_is_that_of_torch_in_more_bits(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    ours = [torch.randn(shape, generator=generator) for _ in range(3)]
    theirs = [matrix.clone() for matrix in ours]
    first, second = Muon(ours, lr=0.1, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1)
    for _ in range(4):
        before = [matrix.clone() for matrix in ours]
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(shape, generator=generator)
            other.grad = mine.grad.clone()
        first.step()
        second.step()
        for matrix, other, old in zip(ours, theirs, before, strict=True):
            assert torch.dist(matrix, other) < 0.05 * torch.dist(matrix, old)


def test_muon_makes_matrices_nearly_orthogonal_one_as_many() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(1))
    together = orthogonal(matrices)
    values = torch.linalg.svdvals(together)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    for matrix, update in zip(matrices, together, strict=True):
        assert torch.allclose(orthogonal(matrix[None])[0], update, atol=1e-5)
        assert torch.allclose(orthogonal(matrix.T[None])[0].T, update, atol=1e-5)


def test_the_optimiser_goes_on_from_its_state() -> None:
    model, twin = a_model(), a_model(1)
    first = Optimiser(model, OptimiserSettings())
    for seed in range(3):
        give_gradients(model, seed)
        first.step(0.2)
    twin.load_state_dict(model.state_dict())
    second = Optimiser(twin, OptimiserSettings())
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    for seed in range(3, 5):
        for one, optimiser in ((model, first), (twin, second)):
            give_gradients(one, seed)
            optimiser.step(0.4)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, twin.get_parameter(name)), name


# --- checkpoints ---


def test_states_are_kept_twice_and_the_newest_is_found(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    for step in (1, 20, 300):
        save_state(tmp_path, step, {"w": torch.full((3,), float(step))}, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-000020", "state-000300"]
    tensors, facts = load_state(tmp_path) or ({}, {})
    assert facts == {"step": 300} and tensors["w"].tolist() == [300.0] * 3
    drop_states(tmp_path)
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: flip(state / "state.safetensors"),
        lambda state: (state / "state.safetensors").write_bytes(b""),
        lambda state: (state / "state.safetensors").unlink(),
        lambda state: (state / "state.json").write_text('{"step": 2'),
        lambda state: (state / "state.json").unlink(),
        lambda state: state.rename(state.with_name(state.name + ".partial")),
    ],
    ids=["flipped bit", "empty", "no tensors", "facts cut off", "no facts", "never finished"],
)
def test_a_damaged_newest_state_costs_only_the_last_stretch(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    for step in (1, 2):
        save_state(tmp_path, step, {"w": torch.full((3,), float(step))}, {"step": step})
    damage(tmp_path / "state-000002")
    tensors, facts = load_state(tmp_path) or ({}, {})
    assert facts == {"step": 1} and tensors["w"].tolist() == [1.0] * 3
    save_state(tmp_path, 2, {"w": torch.zeros(1)}, {"step": 2})
    assert (load_state(tmp_path) or ({}, {}))[1] == {"step": 2}


# --- stages ---


def write_recipe(run: Path, families: dict[str, Any], stages: dict[str, Any], **other: dict[str, Any]) -> Recipe:
    raw = {
        "run": {"name": "tiny", "dir": str(run), "result": next(iter(stages)), **other.get("run", {})},
        "model": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 192,
        },
        "families": families,
        "stages": stages,
        "evaluation": {"test": 8, "dev": 4, "points": 12, **other.get("evaluation", {})},
    }
    recipe = parse_settings(Recipe, raw, "test")
    write_text(run / "recipe.toml", to_toml(recipe))
    return recipe


class Coin(Toss):
    """The toss of two numbers. Demonstrations say either, so that a model of them is right half the time."""

    name = "coin"

    def generate(self, rng: random.Random, level: int) -> Problem:
        toss = f"{rng.randrange(20)} {rng.randrange(20)}"
        problem = self.problem(level=1, question=f"Toss {toss}", reference="Heads", canonical=toss)
        return replace(problem, verifier="exact")

    def check(self, problem: Problem, lines: Sequence[str]) -> list[bool | None]:
        return [{"Heads": True, "Tails": False}.get(line) for line in lines]


@pytest.fixture(autouse=True, scope="module")
def the_coin() -> Iterator[None]:
    """The toy family among the others, and small steps for rejection sampling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "coin", Coin())
        patch.setattr("thinkaloud.train.rft.PROBLEMS_A_STEP", 8)
        yield


OWN = {
    "advantage": "centred",
    "loss": "cispo",
    "clip_high": 4.0,
    "length": "token",
    "entropy": 0.1,
    "drift": 2.0,
    "memory": True,
    "settle": 2,
    "least": 12,
    "process": 0.4,
    "adaptive": 2,
    "steering": True,
    "hints": True,
    "replay": 0.3,
    "traces": 1,
    "variants": 0.5,
    "epochs": 2,
}
"Every part of our own recipe."


def coin_recipe(run: Path) -> Recipe:
    common = {"batch_tokens": 400, "max_tokens": 24}
    group = {"problems": 8, "samples": 8, "minibatches": 2}
    return write_recipe(
        run,
        {"coin": {"train": 60, "ways": {"careful": 1, "hasty": 1}}},
        {
            "start": {"kind": "sft", "budget": 80_000, **common},
            "rl": {"kind": "rl", "init": "start", "budget": 25_000, **group, **common},
            "own": {
                "kind": "rl",
                "init": "start",
                "budget": 10_000_000,
                "rollouts": 900,
                **group,
                "samples": 4,
                **OWN,
                **common,
            },
            "rft": {"kind": "rft", "init": "start", "budget": 12_000, "rounds": 2, **common},
        },
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, the_coin: None) -> Iterator[tuple[Path, dict[str, list[float]]]]:
    """A run of three stages, never interrupted, with what each step cost."""
    run = tmp_path_factory.mktemp("whole") / "run"
    recipe = coin_recipe(run)
    costs: dict[str, list[float]] = {name: [] for name in recipe.stages}
    with pytest.MonkeyPatch.context() as patch:
        whole = Stage.end_step

        def noted(stage: Stage, row: dict[str, Any]) -> None:
            whole(stage, row)
            costs[stage.name].append(stage.last_cost)

        patch.setattr(Stage, "end_step", noted)
        for name in recipe.stages:
            run_stage(run, name)
    yield run, costs


STAGES = ["start", "rl", "own", "rft"]


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: one for key, one in row.items() if "seconds" not in key} for row in read_jsonl(folder / "metrics.jsonl")
    ]


class Interrupted(Exception):
    """The power is gone."""


@pytest.mark.parametrize("name", STAGES)
def test_an_interrupted_stage_ends_as_if_it_had_not_been(
    finished: tuple[Path, dict[str, list[float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Stopped three times, between checkpoints: bit-equal weights, metrics and rollouts."""
    whole, run = finished[0], tmp_path / "run"
    coin_recipe(run)
    (run / "checkpoints").mkdir()
    if name != "start":
        (run / "checkpoints" / "start").symlink_to(whole / "checkpoints" / "start")
    steps = 0
    real = Stage.end_step

    def cut_off(stage: Stage, row: dict[str, Any]) -> None:
        nonlocal steps
        real(stage, row)
        steps += 1
        if steps in (3, 14, 20):
            raise Interrupted

    monkeypatch.setattr(Stage, "end_step", cut_off)
    for _ in range(3):
        with pytest.raises(Interrupted):
            run_stage(run, name)
    run_stage(run, name)
    expected, found = stage_folder(whole, name), stage_folder(run, name)
    weights, again = (load_file(folder / "model" / "model.safetensors") for folder in (expected, found))
    assert weights.keys() == again.keys() and all(torch.equal(weights[key], again[key]) for key in weights)
    assert untimed(found) == untimed(expected)
    assert (found / "rollouts.jsonl").read_bytes() == (expected / "rollouts.jsonl").read_bytes()
    timings = {"seconds", "cpu_seconds", "repeated_tokens", "evaluation_seconds"}
    ledgers = [{k: v for k, v in read_json(f / "ledger.json").items() if k not in timings} for f in (expected, found)]
    assert ledgers[0] == ledgers[1]
    evaluations = [read_json(root / "evaluations" / f"{name}.json") for root in (whole, run)]
    assert evaluations[0] == evaluations[1]


def test_a_damaged_state_of_a_stage_is_no_loss(
    finished: tuple[Path, dict[str, list[float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    coin_recipe(run)
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "finish", lambda stage: (_ for _ in ()).throw(Interrupted()))
        with pytest.raises(Interrupted):
            run_stage(run, "start")
    states = sorted(stage_folder(run, "start").glob("state-*"))
    assert len(states) == 2
    flip(states[-1] / "state.safetensors")
    run_stage(run, "start")
    expected, found = (stage_folder(root, "start") / "model" / "model.safetensors" for root in (finished[0], run))
    assert expected.read_bytes() == found.read_bytes()


def test_a_stage_killed_while_it_tidies_up_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    coin_recipe(run)
    with monkeypatch.context() as patch:
        patch.setattr("thinkaloud.train.checkpoints.drop_states", lambda folder: (_ for _ in ()).throw(Interrupted()))
        with pytest.raises(Interrupted):
            run_stage(run, "start")
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "fit", lambda *_, **__: pytest.fail("trained again"))
        run_stage(run, "start")
    assert (stage_folder(run, "start") / "done.json").exists()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_spends_its_budget_to_within_half_a_step(
    finished: tuple[Path, dict[str, list[float]]], name: str
) -> None:
    run, costs = finished
    budget = coin_recipe(run).stages[name].budget
    if name == "own":  # its rollouts run out first: its budget is what it spent
        budget = sum(costs[name])
    ledger = read_json(stage_folder(run, name) / "ledger.json")
    processed = ledger["prompt_tokens"] + ledger["generated_tokens"] + ledger["reference_tokens"]
    spent = ledger["update_tokens"] + processed / 3
    assert spent == pytest.approx(sum(costs[name]))
    assert len(costs[name]) > 5 and abs(spent - budget) <= max(costs[name]) / 2 + abs(costs[name][-1] - costs[name][-2])
    weights = load_file(stage_folder(run, name) / "model" / "model.safetensors")
    size = sum(tensor.numel() for tensor in weights.values())
    assert ledger["compute_flops"] == pytest.approx(6 * size * spent)


def test_the_ledger_and_the_journals_agree(finished: tuple[Path, dict[str, list[float]]]) -> None:
    folder = stage_folder(finished[0], "rl")
    ledger, rollouts, metrics = (
        read_json(folder / "ledger.json"),
        read_jsonl(folder / "rollouts.jsonl"),
        untimed(folder),
    )
    assert ledger["rollouts"] == ledger["verifier_calls"] == len(rollouts) == len(metrics) * 8 * 8
    assert all(("question" in row) == (number % 8 == 0) for number, row in enumerate(rollouts)), "once a group"
    assert ledger["generated_tokens"] == sum(row["tokens"] for row in rollouts)
    assert ledger["unique_problems"] == len({row["problem"] for row in rollouts}) + 4
    assert [row["version"] for row in rollouts] == sorted(row["version"] for row in rollouts)
    assert metrics[-1]["progress"] == pytest.approx(1, abs=0.2) and "dev_accuracy" in metrics[-1]
    assert max(row.get("logprob_gap_max", 0) for row in metrics) > 0
    assert not list(folder.glob("state-*"))


def test_a_finished_stage_is_left_alone(finished: tuple[Path, dict[str, list[float]]]) -> None:
    run = finished[0]
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    run_stage(run, "rl")
    assert before == {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}


def test_problems_come_in_permutations_whatever_is_drawn_besides(tmp_path: Path) -> None:
    stage = Stage(tmp_path, coin_recipe(tmp_path), "start")
    drawn = []
    for _ in range(12):
        drawn += stage.order(5, "problems", 20)
        stage.order(3, "replies", 7)
    epochs = [drawn[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, coin_recipe(tmp_path), "start")


LEARNT = (
    Sample(ids=(10, 11, 12, 13, 14, 15), mask=(False, False, True, False, True, True), logprobs=(-2.0,) * 6),
    Sample(ids=(20, 21, 22), mask=(False, False, True), weight=-0.5, logprobs=(-3.0,) * 3),
)


@pytest.mark.parametrize("way", ["fit", "improve"])
def test_prompt_and_forced_tokens_get_no_gradient(stage: Stage, way: str) -> None:
    """The gradient reaches the hidden states that predict a learnt token, and no other."""
    seen: list[torch.Tensor] = []
    stage.model.model.norm.register_full_backward_hook(lambda *hooked: seen.append(hooked[2][0]))
    if way == "fit":
        stage.fit(LEARNT, divisor=4)
    else:
        settings = RlSettings(kind="rl", budget=1, clip_low=100, clip_high=1e9)
        stage.improve(LEARNT, settings, divisor=4)
    assert len(seen) == 1
    reached = seen[0].abs().sum(-1) > 0
    assert reached.tolist() == [[False, True, False, True, True, False], [False, True, False] + [False] * 3]


def test_logprobs_come_back_in_order_and_where_they_are_learnt(stage: Stage) -> None:
    samples = LEARNT[::-1] + LEARNT
    for sample, found in zip(samples, logprobs_of(stage.model, samples), strict=True):
        with torch.no_grad():
            logits = stage.model.logits(stage.model(torch.tensor([sample.ids])))[0, :-1]
        alone = torch.log_softmax(logits, -1).gather(1, torch.tensor(sample.ids[1:]).unsqueeze(1))[:, 0]
        kept = torch.where(torch.tensor(sample.mask[1:]), alone, 0.0)
        torch.testing.assert_close(torch.tensor(found), torch.cat([torch.zeros(1), kept]))


def test_fit_is_the_weighted_sum_over_the_divisor(stage: Stage) -> None:
    expected = 0.0
    for sample in LEARNT:
        with torch.no_grad():
            logits = stage.model.logits(stage.model(torch.tensor([sample.ids])))[0, :-1]
        logprobs = torch.log_softmax(logits, -1).gather(1, torch.tensor(sample.ids)[1:, None])[:, 0]
        expected -= float((logprobs * torch.tensor(sample.mask[1:])).sum()) * sample.weight / 8
    assert stage.fit(LEARNT, divisor=8)["loss"] == pytest.approx(expected, abs=1e-5)
    assert stage.ledger.update_tokens == 9 and stage.engine.version == 1


@pytest.mark.parametrize("length", ["sample", "token"])
def test_the_divergence_is_added_and_counted(stage: Stage, length: Literal["sample", "token"]) -> None:
    """Away from the first weights the loss grows by kl times the mean divergence, worked out here sample by sample."""
    frozen = copy.deepcopy(stage.model)
    with torch.no_grad():
        for parameter in stage.model.parameters():
            parameter.mul_(3)
    expected = 0.0
    for sample in LEARNT:
        ids, mask = torch.tensor([sample.ids]), torch.tensor(sample.mask[1:])
        with torch.no_grad():
            now, then = (
                torch.log_softmax(model.logits(model(ids))[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0][mask]
                for model in (stage.model, frozen)
            )
        divergence = (torch.exp(then - now) - (then - now) - 1).sum()
        expected += float(divergence) / (int(mask.sum()) if length == "sample" else 1)
    settings = RlSettings(kind="rl", budget=1, clip_low=100, clip_high=1e9, length=length)
    state = copy.deepcopy(stage.model.state_dict())
    without = stage.improve(LEARNT, settings, divisor=2)["loss"]
    stage.model.load_state_dict(state)
    spent = stage.spent
    with_it = stage.improve(LEARNT, settings.model_copy(update={"kl": 0.5}), divisor=2)["loss"]
    assert expected > 0.01 and with_it - without == pytest.approx(0.5 * expected / 2, rel=1e-3)
    assert stage.ledger.reference_tokens == 9 and stage.spent - spent == pytest.approx(9 + 9 / 3)


def test_a_broken_step_is_skipped_and_said(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = [parameter.detach().clone() for parameter in stage.model.parameters()]
    row = stage.fit([Sample(ids=(1, 2), mask=(False, True), weight=math.nan)], divisor=1)
    assert row["skipped"] == 1.0 and "not finite" in capsys.readouterr().out
    assert all(torch.equal(one, other) for one, other in zip(before, stage.model.parameters(), strict=True))


def a_rollout(label: str, length: int) -> Rollout:
    problem = FAMILIES["cups"].generate(random.Random(1), 3)
    verdict = Verdict(label=label, score=float(label == "right"), reason="")  # type: ignore[arg-type]
    return Rollout(
        problem=problem,
        ids=(1, 2, *range(3, 3 + length)),
        sampled=(False, False, *[True] * (length - 1), False),
        logprobs=(0.0,) * (2 + length),
        thinking="",
        answer="",
        verdict=verdict,
        way="other",
        thinking_tokens=0,
        prompt_tokens=2,
        prefix_tokens=0,
        finish="stop",
        version=0,
    )


def test_single_replies_are_described_as_one_group() -> None:
    right, wrong = a_rollout("right", 3), a_rollout("wrong", 5)
    row = describe([[right], [wrong], [right], [right]])
    assert (row["informative_groups"], row["all_right"], row["all_wrong"], row["alike"]) == (1.0, 0.0, 0.0, 0.0)
    assert describe([[right], [right]])["all_right"] == 1.0 and describe([[wrong]])["all_wrong"] == 1.0
    row = describe([[right, wrong], [right, right], [right]])
    assert (row["informative_groups"], row["all_right"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_learnable_drops_the_uninformative() -> None:
    settings = RlSettings(kind="rl", budget=1)
    group = [a_rollout("right", 3), a_rollout("wrong", 5), a_rollout("wrong", 3)]
    samples = learnable(group, [1.0, 0.0, 0.0], settings)
    root = math.sqrt(2)
    assert [sample.weight for sample in samples] == pytest.approx([root / 2, -root / 2 / 4, -root / 2 / 2])
    assert [sample.mask for sample in samples] == [rollout.sampled for rollout in group]
    by_token = learnable(
        group, [1.0, 0.0, 0.0], settings.model_copy(update={"length": "token", "advantage": "centred"})
    )
    assert [sample.weight for sample in by_token] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert learnable(group, [1.0, 1.0, 1.0], settings) == [] == learnable([], [], settings)


def test_an_ungradable_reply_is_none_of_its_group() -> None:
    replies = [a_rollout(label, 3) for label in ("right", "ungradable", "wrong")]
    group = Group(problem=replies[0].problem, asked=replies[0].problem, rollouts=replies)
    assert group.graded == [replies[0], replies[2]] and group.informative
    group.rollouts = replies[:2]
    assert not group.informative


def test_memorising_works(stage: Stage) -> None:
    """Fine-tuning brings the loss of one demonstration near zero, and the model then says it."""
    prompt = stage.template.prompt([Message("user", "Toss")])
    reply = stage.template.reply(Message("assistant", "Heads", thinking="Tails Heads"))
    sample = Sample(ids=(*prompt, *reply), mask=(False,) * len(prompt) + (True,) * len(reply))
    stage.spent = stage.settings.budget * 0.3
    losses = [stage.fit([sample], divisor=len(reply))["loss"] for _ in range(150)]
    assert losses[-1] < 0.05 < 3 < losses[0]
    request = Request(prompt_ids=tuple(prompt), max_tokens=len(reply), temperature=0.0)
    assert stage.engine.generate([request])[0].token_ids == tuple(reply)


def test_reward_goes_up(finished: tuple[Path, dict[str, list[float]]]) -> None:
    """From demonstrations of a fair coin to one that always shows heads."""
    rows = untimed(stage_folder(finished[0], "rl"))
    assert rows[0]["reward"] < 0.7 and rows[-1]["reward"] > 0.95
    assert rows[-1]["way_careful_coin"] > rows[0]["way_careful_coin"]
    more = [row["reward"] for row in untimed(stage_folder(finished[0], "rft")) if "reward" in row]
    assert more[-1] > more[0]


def test_the_curve_is_measured_at_its_points(finished: tuple[Path, dict[str, list[float]]]) -> None:
    rows = untimed(stage_folder(finished[0], "start"))
    measured = [row["progress"] for row in rows if "dev_accuracy" in row]
    assert len(measured) in (13, 14) and measured[0] < 0.1 and measured[-1] == rows[-1]["progress"]
    assert all("sample" in row for row in rows if "dev_accuracy" in row)
    assert json.dumps(rows)


# --- whole runs, every stage a process ---

SMOKE = Path(__file__).parents[1] / "recipes" / "smoke.toml"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("families.mugs.train=5", "no family 'mugs'"),
        ("families.cups.levels=[3, 99]", "unknown level 99"),
        ("families.cups.ways.lazy=1", "no way of working 'lazy'"),
        ("families.cups.ways.careful=-1", "0 or more"),
        ("families.cups.ways={careful = 0}", "all zero"),
        ("stages.think.ways.mugs.careful=1", "no family of the recipe"),
        ("stages.think.ways.cups.lazy=1", "no way of working 'lazy'"),
        ("stages.direct.init=think", "no stage before it"),
        ("evaluation.probe=['thinks']", "does not have"),
        ("run.result=thinks", "does not have"),
        ("evaluation.compare=['think']", "takes two stages"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        prepare(load_settings(Recipe, SMOKE, [f"run.dir={tmp_path / 'run'}", override]))
    assert not (tmp_path / "run").exists()


def test_a_whole_run_killed_on_the_way_goes_on_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["families.cups.train=60", "families.chains.train=60", "stages.think.budget=90_000"]
    small += ["stages.direct.budget=6_000", "evaluation.test=8", "evaluation.dev=4", "evaluation.probe_problems=4"]
    small += [f"stages.{name}.budget=3_000" for name in ("think_rl", "direct_rl", "think_sft", "think_rft")]
    recipe = load_settings(Recipe, SMOKE, [f"run.dir={tmp_path / 'run'}", *small])
    working: dict[str, Worker] = {}
    give = Worker.give

    def noted(worker: Worker, run: Path, name: str) -> None:
        working[name] = worker
        give(worker, run, name)

    monkeypatch.setattr(Worker, "give", noted)
    with pytest.raises(UserError, match=f"code -{signal.SIGKILL.value}.*goes on from its last checkpoint"):
        for statuses in train([recipe]):
            for status in statuses:
                if status.name == "think" and status.progress > 0.3:
                    working["think"]._process.kill()
    states = [[status.state for status in statuses] for statuses in train([recipe])]
    assert set(states[-1]) == {"done"}
    assert load(recipe.run.dir).upbringing == Upbringing(families=("cups", "chains"), turns=1)
    run = recipe.run.dir
    for name in ("summary.json", "report.html", "live.html", "examples.json", "ledger.json", "model/model.safetensors"):
        assert (run / name).stat().st_size > 0
    ledger = read_json(run / "ledger.json")
    assert set(ledger["stages"]) == set(recipe.stages)
    assert ledger["total"]["rollouts"] == len(read_jsonl(run / "rollouts.jsonl")) > 0
    assert ledger["stages"]["think"]["repeated_tokens"] > 0
    assert all(stage["evaluation_tokens"] > 0 for stage in ledger["stages"].values())
    budgets = read_json(run / "evaluations" / "think-budget.json")["budgets"]
    assert {key: len(curve["problems"]) for key, curve in budgets.items()} == {"8": 4, "16": 4, "none": 4}
    summary = (run / "summary.json").stat().st_mtime_ns
    assert [set(status.state for status in statuses) for statuses in train([recipe])][-1] == {"done"}
    assert (run / "summary.json").stat().st_mtime_ns == summary
    (run / "checkpoints" / "think").rename(run / "elsewhere")
    with pytest.raises(UserError, match=r"its stage think is gone: put .* back"):
        list(train([recipe]))
