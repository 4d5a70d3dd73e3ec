"""The parts of our recipe: memory, portions, steering, replay, variants, distillation, and studies of arms."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkaloud.base.config import parse_settings, to_toml
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl, write_text
from thinkaloud.problems import FAMILIES, draw, verify
from thinkaloud.problems.families.chains import GAINS
from thinkaloud.problems.families.gym_legs import LEGS_OF
from thinkaloud.problems.sets import split_of
from thinkaloud.rollouts import Ask, Rollout, Sampling, attempt
from thinkaloud.text import Tokenizer
from thinkaloud.train import groups as drawing
from thinkaloud.train.batches import Sample
from thinkaloud.train.distil import OwnTeacher
from thinkaloud.train.groups import Drawing, Group
from thinkaloud.train.memory import ProblemMemory
from thinkaloud.train.pipeline import train
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.replay import EACH, Kept, Replay
from thinkaloud.train.sft import train_sft
from thinkaloud.train.stage import Stage, stage_folder
from thinkaloud.train.stages import GivenSettings, RlSettings, SftSettings
from thinkaloud.train.study import arms_of, seeded
from thinkaloud.train.worker import run_stage

torch.set_num_threads(1)

# --- memory ---

outcomes = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8), st.integers(0, 8)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(outcomes=outcomes, decay=st.floats(0.1, 1.0))
def test_a_belief_is_a_proper_distribution_that_outcomes_move(
    outcomes: list[tuple[str, int, int]], decay: float
) -> None:
    memory = ProblemMemory(decay)
    for problem, right, wrong in outcomes:
        before = memory.rate(problem)
        memory.record(problem, right, wrong)
        a, b = memory.posterior(problem)
        assert a > 0 and b > 0 and 0 < memory.rate(problem) < 1
        if right and not wrong:
            assert memory.rate(problem) > before - 0.35 * (decay < 1)  # older wins fade as well
    again = ProblemMemory(decay, None, json.loads(json.dumps(memory.state())))
    assert again.state() == memory.state()


def test_what_was_never_tried_is_believed_to_be_as_hard_as_its_kind() -> None:
    memory = ProblemMemory(1.0, {"a": "easy", "b": "hard", "c": "easy", "d": "hard", "e": "other"})
    for _ in range(100):
        memory.record("a", 9, 1)
        memory.record("b", 1, 9)
    assert memory.rate("c") == pytest.approx(0.9, abs=0.02) and memory.rate("d") == pytest.approx(0.1, abs=0.02)
    assert memory.rate("e") == pytest.approx(0.5, abs=0.05)
    assert memory.rate("a") == pytest.approx(0.9, abs=1e-3) and sum(memory.posterior("c")) == pytest.approx(2, abs=0.01)


def test_what_is_left_to_learn_is_most_where_a_coin_decides() -> None:
    memory = ProblemMemory(1.0)
    for problem, right in (("even", 500), ("known", 1000), ("hopeless", 0), ("often", 900)):
        memory.record(problem, right, 1000 - right)
    assert memory.left(["even"]) == pytest.approx(1.0, abs=1e-3)
    assert memory.left(["known"]) < 0.01 and memory.left(["hopeless"]) < 0.01
    assert memory.left(["often"]) == pytest.approx(4 * 0.9 * 0.1, abs=0.01)
    assert memory.left(["even", "known"]) == pytest.approx(0.5, abs=0.01)


def test_the_memory_chooses_what_can_be_learnt_and_rechecks_the_rest() -> None:
    memory = ProblemMemory(1.0)
    rates = {f"p{rate}": rate for rate in (0.0, 0.02, 0.3, 0.5, 0.7, 0.98, 1.0)}
    for problem, rate in rates.items():
        memory.record(problem, round(100 * rate), 100 - round(100 * rate))
    problems = list(rates)
    rng = random.Random(1)
    plain: Counter[str] = Counter()
    for _ in range(200):
        plain.update(problems[i] for i in memory.choose(problems, 2, uniform=0.0, retire=0.95, rng=rng))
    assert set(plain) <= {"p0.3", "p0.5", "p0.7"} and plain["p0.5"] == 200
    mixed: Counter[str] = Counter()
    for _ in range(400):
        mixed.update(problems[i] for i in memory.choose(problems, 2, uniform=0.2, retire=0.95, rng=rng))
    assert set(mixed) == set(problems)
    settled = sum(mixed[p] for p in ("p0.0", "p0.02", "p0.98", "p1.0"))
    assert settled == pytest.approx(800 * 0.2 * 4 / 7, rel=0.35)


def test_fewer_problems_than_wanted_come_twice_and_none_where_all_is_known() -> None:
    memory = ProblemMemory(1.0)
    chosen = memory.choose(["a", "b"], 6, uniform=0.0, retire=0.95, rng=random.Random(1))
    assert Counter(chosen) == {0: 3, 1: 3}
    for problem in "ab":
        memory.record(problem, 100, 0)
    assert memory.choose(["a", "b"], 6, uniform=0.0, retire=0.95, rng=random.Random(1)) == []


@settings(max_examples=60, deadline=None)
@given(rewards=st.lists(st.integers(0, 1), min_size=2, max_size=9), right=st.integers(0, 20), wrong=st.integers(0, 20))
def test_a_reply_has_no_part_in_its_own_baseline(rewards: list[int], right: int, wrong: int) -> None:
    """Which keeps the gradient unbiased; and the baseline lies between the others' mean and the belief."""
    memory = ProblemMemory(1.0)
    memory.record("a", right, wrong)
    values = [float(reward) for reward in rewards]
    found = memory.baselines("a", values)
    for index in range(len(values)):
        other = list(values)
        other[index] = 1.0 - other[index]
        assert memory.baselines("a", other)[index] == pytest.approx(found[index])
        mean = (sum(values) - values[index]) / (len(values) - 1)
        low, high = sorted((mean, memory.rate("a")))
        assert low - 1e-9 <= found[index] <= high + 1e-9


# --- replay ---


def kept(problem: str, step: int, first: int = 1) -> Kept:
    sample = Sample(ids=(first, 2, 3), mask=(False, True, True), logprobs=(0.0, -0.1, -1 / 3))
    return Kept(problem=problem, step=step, sample=sample)


def test_replay_keeps_the_newest_of_each_problem_and_forgets_the_old() -> None:
    replay = Replay(age=10)
    for step in range(EACH + 3):
        replay.keep(kept("a", step))
    replay.keep(kept("b", 0))
    assert len(replay) == EACH + 1
    rng = random.Random(1)
    drawn = Counter(one.problem for one in replay.draw(400, 10, rng))
    assert abs(drawn["a"] - drawn["b"]) < 100  # problems, not replies, are equally likely
    assert {one.problem for one in replay.draw(50, 12, rng)} == {"a"}
    assert replay.draw(5, 100, rng) == [] and len(replay) == 0


def test_replay_comes_back_from_a_checkpoint_and_from_another_run(tmp_path: Path) -> None:
    replay = Replay(age=10)
    for step in range(3):
        replay.keep(kept("a", step))
    assert Replay(10, json.loads(json.dumps(replay.state()))).state() == replay.state()
    replay.save(tmp_path / "replay.jsonl")
    other = Replay(age=10)
    other.load(tmp_path / "replay.jsonl", 4)
    assert [row[1] for row in other.state()] == [-2, -1, 0]
    assert [row[2:] for row in other.state()] == [row[2:] for row in replay.state()]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ('["a", 1, [1, 2], "01", [0.0]]\n', "is damaged"),
        ('{"a": 1}\n', "is damaged"),
        ('["a", 1, [1, 9], "01", [0.0, -1.0]]\n', "another tokenizer"),
    ],
)
def test_replay_refuses_what_it_cannot_use(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "replay.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        Replay(age=10).load(path, 4)


# --- variants ---


@pytest.mark.parametrize("name", sorted(FAMILIES))
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_variant_is_a_problem_that_the_family_could_have_set(name: str, seed: int) -> None:
    family, rng = FAMILIES[name], random.Random(seed)
    problem = family.generate(rng, rng.choice(family.levels))
    varied = family.variant(problem, rng)
    shown = family.demonstrate(varied, "careful", rng)
    assert verify(varied.verifier, answer=shown.answer, reference=varied.reference).label == "right"
    assert family.way_of(varied, shown.thinking) == "careful" and varied.level in family.levels
    tokenizer = Tokenizer.build(family.words)
    assert len(tokenizer.encode(varied.question)) <= 1.6 * len(tokenizer.encode(problem.question)) + 24  # whole words


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_variants_by_arithmetic_of_their_own(seed: int) -> None:
    """What the questions themselves say, read and computed here."""
    rng = random.Random(seed)
    for name in ("chains", "pairs", "gym_leg_counting", "gym_gcd", "gym_chain_sum"):
        family = FAMILIES[name]
        problem = family.generate(rng, rng.choice(family.levels))
        for one in (problem, family.variant(problem, rng)):
            key = one.reference
            known = key if name == "chains" else key["target"] if name == "pairs" else int(key["answer"])
            assert total_of(name, one.question) == known, one.question


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_variant_of_cups_by_moving_balls(seed: int) -> None:
    """A row of five places whose contents change places, as the question says."""
    rng = random.Random(seed)
    family = FAMILIES["cups"]
    problem = family.generate(rng, rng.choice(family.levels))
    varied = family.variant(problem, rng)
    red, blue = re.findall(r"under ([A-E])", varied.question)
    under = {red: "red", blue: "blue"}
    swaps = re.findall(r"\b([A-E])([A-E])\b", varied.question)
    for one, other in swaps:
        under[one], under[other] = under.get(other, ""), under.get(one, "")
    assert {ball: cup for cup, ball in under.items() if ball} == varied.reference
    assert len(swaps) == problem.level == varied.level


def total_of(name: str, question: str) -> int:
    """What a question adds up to; of pairs, what two of its numbers must; of divisors the greatest."""
    numbers = [int(number) for number in re.findall(r"[0-9]+", question)]
    if name == "chains":
        clauses = re.findall(r"([a-z]+) ([0-9]+)", question.partition(":")[2])
        return numbers[0] + sum((1 if verb in GAINS else -1) * int(change) for verb, change in clauses)
    if name == "pairs":
        *given, target = numbers
        assert any(a + b == target for index, a in enumerate(given) for b in given[index + 1 :])
        assert len(set(given)) == len(given) and set(given) <= set(range(1, 31))
        return target
    if name == "gym_chain_sum":
        return sum(int(one.replace(" ", "")) for one in re.findall(r"(?:^|[+-] )[0-9]", question.partition(": ")[2]))
    if name == "gym_gcd":
        return max(one for one in range(1, 61) if all(number % one == 0 for number in numbers))
    counted = re.findall(r"([0-9]+) ([a-z ]+?)s?(?=,|\?)", question.rpartition(" you have ")[2])
    assert len({animal for _, animal in counted}) == len(counted)
    return sum(int(count) * LEGS_OF[animal if animal in LEGS_OF else f"{animal}s"] for count, animal in counted)


def test_variants_are_others_where_a_family_has_such() -> None:
    rng = random.Random(1)
    for name in ("chains", "pairs", "gym_leg_counting", "gym_gcd", "gym_chain_sum", "cups"):
        family = FAMILIES[name]
        problems = [family.generate(rng, family.levels[-1]) for _ in range(20)]
        assert sum(family.variant(problem, rng).question != problem.question for problem in problems) > 15


def test_no_variant_is_sealed_for_the_test() -> None:
    rng = random.Random(1)
    for problem in draw("chains", "train", 200, 1):
        assert split_of(drawing._variant(problem, rng).canonical) == "train"


# --- stages ---


def tiny_recipe(run: Path, stages: dict[str, Any], **other: Any) -> Recipe:
    raw = {
        "run": {"name": "tiny", "dir": str(run), "result": next(iter(stages))},
        "model": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48},
        "families": {"chains": {"train": 40, "levels": [3]}},
        "stages": stages,
        "evaluation": {"test": 8, "dev": 4, "points": 2},
        **other,
    }
    recipe = parse_settings(Recipe, raw, "test")
    write_text(run / "recipe.toml", to_toml(recipe))
    return recipe


def tiny_stage(run: Path, **settings: Any) -> Stage:
    return Stage(run, tiny_recipe(run, {"rl": {"kind": "rl", "budget": 1e6, "max_tokens": 12, **settings}}), "rl")


def test_longer_demonstrations_are_left_out(tmp_path: Path) -> None:
    stage = {"kind": "sft", "budget": 2_000, "batch_tokens": 600, "max_tokens": 30}
    stages = {"all": stage, "short": stage | {"longest": 25}, "none": stage | {"longest": 1}}
    recipe = tiny_recipe(tmp_path / "run", stages, families={"chains": {"train": 40, "levels": [3, 5]}})
    kept = {}
    for name in ("all", "short"):
        trained = Stage(recipe.run.dir, recipe, name)
        train_sft(trained)
        kept[name] = trained.ledger.demonstrations, trained.ledger.demonstration_tokens
    assert (kept["short"][0], kept["all"][0]) == (20, 40)
    assert kept["short"][1] <= 25 * kept["short"][0]
    with pytest.raises(UserError, match="raise longest"):
        train_sft(Stage(recipe.run.dir, recipe, "none"))


def rollout_of(problem: Any, right: bool, thought: tuple[int, ...] = (), close: int = 0) -> Rollout:
    verdict = verify(problem.verifier, answer=str(problem.reference if right else -1), reference=problem.reference)
    ids = (1, *thought, close, 5)
    return Rollout(
        problem=problem,
        ids=ids,
        sampled=(False,) + (True,) * (len(ids) - 1),
        logprobs=(0.0,) * len(ids),
        thinking="",
        answer="",
        verdict=verdict,
        way="other",
        thinking_tokens=len(thought),
        prompt_tokens=1,
        prefix_tokens=0,
        finish="stop",
        version=0,
    )


def test_portions_end_once_both_outcomes_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problem 0 is mixed in its first portion, problem 1 in its second, problem 2 never."""
    stage = tiny_stage(tmp_path / "run", problems=3, samples=6, adaptive=2)
    calls: list[list[tuple[int, int]]] = []

    def judged(asks: list[Ask], sampling: Sampling, *, part: int) -> list[list[Rollout]]:
        calls.append([(ask.samples, ask.first) for ask in asks])
        mixed_in = {stage.problems[0].id: 0, stage.problems[1].id: 1}
        return [
            [
                rollout_of(ask.problem, right=number == 0 and mixed_in.get(ask.problem.id) == part)
                for number in range(ask.samples)
            ]
            for ask in asks
        ]

    monkeypatch.setattr(stage, "attempts", judged)
    assert isinstance(stage.settings, RlSettings)
    draws = Drawing(stage, stage.settings, ProblemMemory(0.7))
    groups = [Group(problem=problem, asked=problem) for problem in stage.problems[:3]]
    assert draws._draw(groups, 0, Counter()) == 3
    assert [len(group.rollouts) for group in groups] == [2, 4, 6]
    assert calls == [[(2, 0)] * 3, [(2, 2)] * 2, [(2, 4)]]


def test_a_group_in_portions_holds_the_replies_of_one_at_once(tmp_path: Path) -> None:
    """Noise is keyed by the reply's number; the same problem asked twice in a step gives other replies."""
    stage = tiny_stage(tmp_path / "run")
    problem, sampling = stage.problems[0], Sampling(max_tokens=12)
    (whole,) = attempt(stage.engine, stage.template, [Ask(problem=problem, samples=6)], sampling, seed=3)
    parts = attempt(
        stage.engine,
        stage.template,
        [Ask(problem=problem, samples=2, first=4), Ask(problem=problem, samples=4)],
        sampling,
        seed=3,
    )
    assert [r.ids for r in parts[1] + parts[0]] == [r.ids for r in whole]
    assert len({r.ids for r in whole}) > 1


def test_a_problem_drawn_twice_in_a_step_gives_other_replies(tmp_path: Path) -> None:
    stage = tiny_stage(tmp_path / "run", problems=4, samples=3, subset=1)
    assert isinstance(stage.settings, RlSettings)
    groups = Drawing(stage, stage.settings, ProblemMemory(0.7)).groups(random.Random(1))
    assert len(groups) == 4 and {group.problem.id for group in groups} == {stage.problems[0].id}
    replies = [rollout.ids for group in groups for rollout in group.rollouts]
    assert len(set(replies)) == len(replies) == 12


def test_what_is_given_is_neither_trained_on_nor_believed(tmp_path: Path) -> None:
    """A problem that always fails goes on from its own success: prefix masked, pass rate untouched, help adapted."""
    stage = tiny_stage(
        tmp_path / "run",
        problems=1,
        samples=4,
        subset=1,
        memory=True,
        steering=True,
        uniform=0.0,
        max_tokens=40,
    )
    assert isinstance(stage.settings, RlSettings)
    memory = ProblemMemory(1.0)
    problem = stage.problems[0]
    memory.record(problem.id, 0, 60)
    memory.of(problem.id).success = stage.tokenizer.encode("7 + 3 = 10\n")
    draws = Drawing(stage, stage.settings, memory)
    (group,) = draws.groups(random.Random(1))
    thought = memory.of(problem.id).success
    assert group.prefix == tuple(thought[: len(thought) // 2]) and group.prefix
    for rollout in group.rollouts:
        start = rollout.prompt_tokens
        assert rollout.ids[start : start + len(group.prefix)] == group.prefix
        assert not any(rollout.sampled[: start + len(group.prefix)]) and rollout.prefix_tokens == len(group.prefix)
        assert any(rollout.sampled[start + len(group.prefix) :])
    assert stage.ledger.steered == 4
    memory.of(problem.id).success = []
    (plain,) = draws.groups(random.Random(1))
    assert plain.prefix == ()


def test_a_hint_is_a_demonstration_in_the_ledger(tmp_path: Path) -> None:
    stage = tiny_stage(
        tmp_path / "run", problems=1, samples=2, subset=1, memory=True, steering=True, hints=True, uniform=0.0
    )
    assert isinstance(stage.settings, RlSettings)
    memory = ProblemMemory(1.0)
    memory.record(stage.problems[0].id, 0, 60)
    draws = Drawing(stage, stage.settings, memory)
    first, second = (draws.groups(random.Random(seed))[0] for seed in (1, 2))
    assert first.prefix == second.prefix != ()
    assert stage.ledger.demonstrations == 1 and stage.ledger.hint_tokens == 2 * len(first.prefix)
    shown = FAMILIES["chains"].demonstrate(stage.problems[0], "careful", random.Random(1)).thinking
    assert shown.startswith(stage.tokenizer.decode(first.prefix))


def test_dynamic_sampling_keeps_informative_groups_and_counts_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tiny_stage(tmp_path / "run", problems=2, samples=2, dynamic=True)
    mixed = {problem.id for problem in stage.problems[::3]}

    def judged(asks: list[Ask], sampling: Sampling, *, part: int) -> list[list[Rollout]]:
        return [[rollout_of(ask.problem, right=bool(n) and ask.problem.id in mixed) for n in range(2)] for ask in asks]

    monkeypatch.setattr(stage, "attempts", judged)
    assert isinstance(stage.settings, RlSettings)
    found = Drawing(stage, stage.settings, ProblemMemory(0.7)).groups(random.Random(1))
    assert len(found) == 2 and all(group.informative for group in found)
    assert stage.ledger.discarded_tokens > 0


def test_the_teacher_says_what_its_model_says_and_pulls_the_student(tmp_path: Path) -> None:
    """Log-probs agree with the plain forward pass; the divergence falls; another tokenizer is refused."""
    run = tmp_path / "run"
    recipe = tiny_recipe(
        run,
        {
            "teacher": {"kind": "sft", "budget": 60_000, "batch_tokens": 600, "max_tokens": 30},
            "student": {"kind": "sft", "budget": 8_000, "batch_tokens": 600, "max_tokens": 30},
            "taught": {
                "kind": "distil",
                "init": "student",
                "teacher": str(stage_folder(run, "teacher")),
                "budget": 1e7,
                "rollouts": 640,
                "problems": 8,
                "max_tokens": 30,
            },
        },
    )
    for name in recipe.stages:
        run_stage(run, name)
    rows = read_jsonl(stage_folder(run, "taught") / "metrics.jsonl")
    early, late = (sum(row["divergence"] for row in part) / 4 for part in (rows[:4], rows[-4:]))
    assert late < 0.8 * early
    ledger = read_json(stage_folder(run, "taught") / "ledger.json")
    assert ledger["teacher_tokens"] == ledger["update_tokens"] > 0 and ledger["rollouts"] == 640
    stage = Stage(run, recipe, "taught")
    teacher = OwnTeacher(stage_folder(run, "teacher"), stage.tokenizer)
    sequences = [tuple(range(3, 3 + length)) for length in (5, 9, 2, 9)]
    for sequence, found in zip(sequences, teacher.logprobs(sequences), strict=True):
        logits = teacher.model.logits(teacher.model(torch.tensor([sequence])))[0, :-1]
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(sequence)[1:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(found[1:]), expected, atol=1e-5, rtol=1e-5)
        assert found[0] == 0.0
    other = tiny_recipe(
        tmp_path / "other", {"rl": {"kind": "rl", "budget": 1}}, families={"cups": {"train": 4, "levels": [3]}}
    )
    with pytest.raises(UserError, match="another tokenizer"):
        OwnTeacher(stage_folder(run, "teacher"), Stage(tmp_path / "other", other, "rl").tokenizer)


# --- studies of arms ---


def study_recipe(arms: dict[str, Any], **study: Any) -> Recipe:
    raw = {
        "run": {"name": "tiny", "dir": "runs/tiny", "result": "chains.start"},
        "families": {"chains": {"train": 40}, "pairs": {"train": 40}},
        "stages": {
            f"{family}.start": {"kind": "sft", "budget": 10, "families": [family], "max_tokens": 33}
            for family in ("chains", "pairs")
        },
        "study": {"families": ["chains", "pairs"], "sizes": [4, 16], "arms": arms, **study},
    }
    return parse_settings(Recipe, raw, "test")


def test_arms_become_stages_and_are_read_again(tmp_path: Path) -> None:
    recipe = study_recipe(
        {
            "b0": {"kind": "rl", "budget": 5, "rollouts": 64, "kl": 0.1},
            "ours": {"like": "b0", "memory": True, "kl": 0},
            "ours_no_memory": {"like": "ours", "memory": False, "sizes": [16]},
        }
    )
    stages = arms_of(recipe)
    assert list(stages) == [
        f"{family}.{arm}"
        for family in ("chains", "pairs")
        for arm in ("b0.4", "b0.16", "ours.4", "ours.16", "ours_no_memory.16")
    ]
    ours, without = stages["pairs.ours.16"], stages["pairs.ours_no_memory.16"]
    assert isinstance(ours, RlSettings) and isinstance(without, RlSettings)
    assert ours.init == "pairs.start" and ours.families == ["pairs"] and ours.subset == 16 and ours.max_tokens == 33
    assert (ours.memory, ours.kl, ours.rollouts) == (True, 0, 64) and not without.memory
    (one,) = seeded(recipe, [3])
    write_text(tmp_path / "recipe.toml", to_toml(one))
    assert list(one.stages)[2:] == list(stages) and list(one.study.arms) == ["b0", "ours", "ours_no_memory"]


def test_seeds_share_cold_starts_in_turn() -> None:
    recipe = study_recipe({"b0": {"kind": "rl", "budget": 5}}, starts=2)
    runs = seeded(recipe, [3, 5, 7, 9])
    for run, first in zip(runs, (None, None, runs[0], runs[1]), strict=True):
        for family in ("chains", "pairs"):
            start = run.stages[f"{family}.start"]
            if first is None:
                assert isinstance(start, SftSettings)
            else:
                assert isinstance(start, GivenSettings) and start.max_tokens == 33
                assert start.stage == stage_folder(first.run.dir, f"{family}.start")


def test_seeds_share_cold_starts_of_any_name_and_keep_how_they_think() -> None:
    raw = study_recipe({}).model_dump(mode="json", exclude_none=True)
    raw["study"] = {"starts": 1}
    raw["stages"] = {
        "direct": {"kind": "sft", "budget": 10, "thinking": False},
        "rl": {"kind": "rl", "budget": 10, "init": "direct"},
    }
    one, other = seeded(parse_settings(Recipe, raw, "test"), [1, 2])
    assert [stage.kind for stage in one.stages.values()] == ["sft", "rl"]
    assert [stage.kind for stage in other.stages.values()] == ["given", "rl"]
    assert not other.stages["direct"].thinking and other.stages["rl"] == one.stages["rl"]


def test_a_stage_is_taken_over_with_its_model_and_ledger(tmp_path: Path) -> None:
    first = tiny_recipe(tmp_path / "first", {"start": {"kind": "sft", "budget": 300}})
    given = {"kind": "given", "budget": 300, "stage": str(stage_folder(first.run.dir, "start"))}
    second = tiny_recipe(tmp_path / "second", {"start": given})
    with pytest.raises(UserError, match=r"no run has trained .*first/checkpoints/start"):
        list(train([second]))
    list(train([first, second]))
    one, other = (stage_folder(recipe.run.dir, "start") for recipe in (first, second))
    assert (one / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()
    spent = [read_json(folder / "ledger.json")["update_tokens"] for folder in (one, other)]
    assert spent[0] == spent[1] > 0 and (second.run.dir / "evaluations" / "start.json").exists()


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"a": {"like": "b"}}, "study.arms.a is like b"),
        ({"a": {"like": "b"}, "b": {"like": "a"}}, "is like"),
        ({"a": {"kind": "rl", "budget": 5, "memry": True}}, "study.arms.a: .*memry"),
        ({"a": {"kind": "rl"}}, "study.arms.a: .*budget"),
    ],
)
def test_an_arm_that_is_none_is_named(arms: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        arms_of(study_recipe(arms))


def test_a_study_of_a_family_needs_its_start() -> None:
    with pytest.raises(UserError, match=r"bot.start"):
        arms_of(study_recipe({}, families=["bot"]))
