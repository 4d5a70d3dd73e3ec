"""Reports on invented run folders: the words must follow the numbers, and missing parts must be named, not fatal."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.reports import (
    load_run,
    study_table,
    summarise,
    summarise_study,
    summary_table,
    write_report,
    write_study,
)
from thinkaloud.reports.findings import control_findings, data, lift, thinking
from thinkaloud.reports.load import Evaluation, Graded, majority_right, share_right
from thinkaloud.reports.monologue import length, ways
from thinkaloud.reports.study import study_markdown
from thinkaloud.reports.tables import quantity, signed, vote_scores

SKILL = {
    "direct": {"cups": 0.25, "chains": 0.20},
    "direct_rl": {"cups": 0.27, "chains": 0.22},
    "think": {"cups": 0.62, "chains": 0.66},
    "think_sft": {"cups": 0.64, "chains": 0.74},
    "think_rft": {"cups": 0.80, "chains": 0.78},
    "think_rl": {"cups": 0.93, "chains": 0.90},
}
"Share right by model and family: the story that the demo hopes for."

WAYS = {"think": {"careful": 0.5, "guess": 0.5}, "think_rl": {"careful": 0.98, "guess": 0.02}}
"Share of each way of working; models that are not listed work like `think`."


def invent(
    random_source: random.Random,
    model: str,
    skill: Mapping[str, float],
    shares: Mapping[str, float],
    *,
    count: int,
    samples: int = 1,
    stretch: float = 1.0,
) -> dict[str, object]:
    """An evaluation file: right or wrong by chance, careful monologues longer than guesses."""
    problems = []
    for family, level_skill in skill.items():
        for index in range(count):
            level = 2 + index % 5
            chance = min(max(level_skill - 0.03 * (level - 4), 0.0), 1.0)
            thinks = model.startswith("think")
            chosen = random_source.choices(list(shares), list(shares.values()), k=samples) if thinks else []
            right = [int(random_source.random() < chance) for _ in range(samples)]
            tokens = [round(stretch * (4 * level + (12 if way == "careful" else 4))) for way in chosen]
            problem = {"id": f"{family}-{index:012x}", "family": family, "level": level, "right": right}
            problem |= {"ungradable": [0] * samples, "thinking_tokens": tokens if thinks else [0] * samples}
            problem |= {"answer": ["7" if flag else str(random_source.randint(8, 99)) for flag in right]}
            problem |= {"way": chosen, "finish": ["stop"] * samples}
            problems.append(problem)
    return {"model": model, "samples": samples, "temperature": 1.0, "problems": problems}


def write_run(
    folder: Path,
    *,
    skill: Mapping[str, Mapping[str, float]] = SKILL,
    shares: Mapping[str, Mapping[str, float]] = WAYS,
    stretch: float = 1.0,
    count: int = 150,
    seed: int = 0,
    compute: Mapping[str, float] | None = None,
) -> Path:
    """A whole invented run folder."""
    source = random.Random(seed)
    (folder / "evaluations").mkdir(parents=True)

    def write(name: str, content: object) -> None:
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    for model, families in skill.items():
        mine = shares.get(model, shares["think"])
        longer = stretch if model == "think_rl" else 1.0
        write(f"evaluations/{model}.json", invent(source, model, families, mine, count=count, stretch=longer))
        if model in ("think", "think_rl"):
            several = invent(source, model, families, mine, count=40, samples=8, stretch=longer)
            write(f"evaluations/{model}-vote.json", several)
            budgets = {}
            for budget, share in (("8", 0.3), ("16", 0.6), ("32", 0.9), ("none", 1.0)):
                less = {family: 0.15 + (value - 0.15) * share for family, value in families.items()}
                budgets[budget] = invent(source, model, less, mine, count=40)
            write(f"evaluations/{model}-budget.json", {"model": model, "budgets": budgets})
    (folder / "recipe.toml").write_text('[run]\nname = "invented"\nseed = 0\n', encoding="utf-8")
    write(
        "environment.json", {"machine": {"cores": 2, "memory_gb": 8}, "versions": {"python": "3.11", "torch": "2.13.0"}}
    )
    stages = {}
    for model in skill:
        flops = (compute or {}).get(model, 2.0e12)
        stages[model] = {"rollouts": 40_000.0, "generated_tokens": 1.3e6, "update_tokens": 9e5, "compute_flops": flops}
        stages[model] |= {"seconds": 90.0, "unique_problems": 9_000, "verifier_calls": 40_000}
    total = {key: sum(one[key] for one in stages.values()) for key in next(iter(stages.values()))}
    write("ledger.json", {"stages": stages, "total": total})
    write_metrics(folder, skill, source)
    reply = {"thinking": "A under 1 <script>alert(1)</script>\nswap 1 3", "answer": "3", "right": True}
    before = {"thinking": "swap 1 3\nguess", "answer": "2", "right": False}
    example = {"family": "cups", "level": 4, "question": "Where is ball A & ball B?", "reference": "3"}
    write("examples.json", [{"id": f"cups-{i}", **example, "before": before, "after": reply} for i in range(5)])
    return folder


def write_metrics(folder: Path, skill: Mapping[str, Mapping[str, float]], source: random.Random) -> None:
    """Rows of metrics.jsonl, with gaps and a NaN as real ones have."""
    rows: list[dict[str, object]] = []
    for stage, families in skill.items():
        goal = sum(families.values()) / len(families)
        kind = "rl" if stage.endswith("_rl") else "rft" if "rft" in stage else "sft"
        for step in range(60):
            progress = (step + 1) / 60
            level = goal * (0.6 + 0.4 * progress**0.5) + source.gauss(0, 0.02)
            row: dict[str, object] = {"stage": stage, "kind": kind, "step": step, "progress": progress, "loss": 1.0}
            if kind == "rl":
                row |= {"reward": level, "thinking_tokens": 24 + 9 * progress + source.gauss(0, 1)}
            if step % 10 == 9:
                row |= {"dev_accuracy": level if step != 19 else float("nan")}
            rows.append(row)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def plain(file: Path) -> str:
    """Text of a page as a reader sees it."""
    text = re.sub(r"<(style|svg).*?</\1>", " ", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def changed(**models: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    """SKILL with some models changed or added."""
    return {**SKILL, **models}


@pytest.fixture(scope="module")
def hoped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "hoped")


def test_the_hoped_story_is_told_when_the_numbers_tell_it(hoped: Path) -> None:
    run = load_run(hoped)
    assert run.missing == ()
    page = plain(write_report(hoped))
    for words in (
        "cups: thinking aloud beats answering at once.",
        "chains: thinking aloud beats answering at once.",
        "RL lifted the thinking model: +",
        "RL did not clearly change answering at once",
        "think_sft (thinks, longer fine-tuning): RL beats it overall (RL wins on cups and chains).",
        "Compute: 1.00 times that of RL (equal within 2 %).",
        "The monologue grew as accuracy grew",
        "RL selected a way of working that was there before (cups: careful; chains: careful)",
        "thinkaloud train",
        "torch 2.13.0",
    ):
        assert words in page, words
    for words in ("found one", "lengthened one", "the control beats RL", "What is missing"):
        assert words not in page, words


def test_a_control_that_wins_or_ties_is_said_to(tmp_path: Path) -> None:
    skill = changed(think_rft={"cups": 0.99, "chains": 0.99}, think_sft={"cups": 0.93, "chains": 0.90})
    skill["think_rl"] = {"cups": 0.85, "chains": 0.90}
    skill["think_rft4"] = {"cups": 0.40, "chains": 0.99}
    run = load_run(write_run(tmp_path / "run", skill=skill, compute={"think_sft": 2.5e12}))
    found = {one.headline.split(" ")[0]: one for one in control_findings(run)}
    assert found["think_rft"].tone == "no"
    assert "the control beats RL overall (the control wins on cups and chains)" in found["think_rft"].headline
    assert "RL wins on cups; the control wins on chains" in found["think_rft4"].headline
    assert "not equal" in found["think_sft"].details[-1]
    page = plain(write_report(run.path))
    assert "think_rft (thinks, rejection sampling): the control beats RL overall" in page
    tie = load_run(write_run(tmp_path / "tie", skill=changed(think_sft=SKILL["think_rl"])))
    assert "a tie with RL, no clear winner" in control_findings(tie)[0].headline
    assert control_findings(tie)[0].tone == "open"


@pytest.mark.parametrize(
    ("plain_skill", "fewer", "words", "tone"),
    [
        (0.92, True, "not worse by more than a point", "yes"),
        (0.70, True, "better", "yes"),
        (0.92, False, "not worse by more than a point", "open"),
        (0.99, True, "clearly worse", "no"),
    ],
)
def test_few_problems_beside_many(tmp_path: Path, plain_skill: float, fewer: bool, words: str, tone: str) -> None:
    skill = changed(think_grpo={"cups": plain_skill}, think_rl={"cups": 0.92})
    path = write_run(tmp_path / "run", skill=skill, count=1000)
    ledger = json.loads((path / "ledger.json").read_text())
    if fewer:
        ledger["stages"]["think_rl"] |= {"unique_problems": 32, "variants": 700}
    (path / "ledger.json").write_text(json.dumps(ledger))
    if plain_skill == 0.92:  # the same replies: no difference, but for chance
        same = (path / "evaluations/think_rl.json").read_text().replace('"model": "think_rl"', '"model": "think_grpo"')
        (path / "evaluations/think_grpo.json").write_text(same)
    (found,) = data(load_run(path))
    assert found.headline.endswith(f": {words}.") and found.tone == tone
    assert f"Our recipe met {'32' if fewer else '9,000'} problems, the R1 recipe 9,000: " in found.headline
    assert "Rollouts: 40 k against 40 k, 1.00 times as many." in found.details
    assert ("Variants" in found.details[-1]) == fewer
    assert "A fraction of the data" in plain(write_report(path))


def test_few_problems_beside_many_may_be_unknown(hoped: Path) -> None:
    assert data(load_run(hoped)) == []


def test_answering_at_once_may_win_and_rl_may_fail(tmp_path: Path) -> None:
    skill = changed(direct={"cups": 0.9, "chains": 0.2}, direct_rl={"cups": 0.97, "chains": 0.9})
    skill["think_rl"] = {"cups": 0.4, "chains": 0.4}
    run = load_run(write_run(tmp_path / "run", skill=skill))
    cups, chains = thinking(run)
    assert cups.headline == "cups: answering at once beats thinking aloud." and cups.tone == "no"
    assert "thinking aloud wins after the cold start, answering at once wins after RL on both" in chains.headline
    assert "RL lowered the thinking model" in lift(run)[0].headline
    assert "clear of zero" in lift(run)[0].headline and lift(run)[0].tone == "no"
    assert "The monologue grew while accuracy fell" in length(run)[0].headline


@pytest.mark.parametrize(
    ("before", "after", "stretch", "said", "unsaid"),
    [
        ({"careful": 0.5, "guess": 0.5}, {"careful": 0.9, "guess": 0.1}, 1.0, ["selected"], ["lengthened", "found"]),
        ({"guess": 1.0}, {"careful": 0.5, "guess": 0.5}, 1.0, ["found"], ["selected", "lengthened"]),
        ({"careful": 1.0}, {"careful": 1.0}, 1.5, ["lengthened"], ["selected", "found"]),
        ({"careful": 0.5, "guess": 0.5}, {"careful": 1.0}, 1.5, ["selected", "lengthened"], ["found"]),
        ({"careful": 1.0}, {"careful": 1.0}, 1.0, ["neither"], ["selected a", "lengthened one", "found one"]),
        ({"careful": 1.0}, {"careful": 0.4, "other": 0.6}, 1.0, ["neither"], ["selected a", "found one"]),
    ],
)
def test_selected_lengthened_found(
    tmp_path: Path,
    before: dict[str, float],
    after: dict[str, float],
    stretch: float,
    said: list[str],
    unsaid: list[str],
) -> None:
    shares = {"think": before, "think_rl": after}
    only = {name: SKILL[name] for name in ("think", "think_rl")}
    run = load_run(write_run(tmp_path / "run", skill=only, shares=shares, stretch=stretch))
    headline = ways(run)[0].headline
    assert all(word in headline for word in said), headline
    assert not any(word in headline for word in unsaid), headline


def test_the_page_is_self_contained_and_escaped(hoped: Path) -> None:
    page = write_report(hoped).read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<script|<img|@import|src=", page)
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<svg") == 10
    assert "prefers-color-scheme:dark" in page
    assert not re.search(r"#0101[0-9a-f]{2}", page)  # every colour code became a variable
    names = set(re.findall(r"var\(--([\w-]+)\)", page))
    assert names <= set(re.findall(r"--([\w-]+):", page))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {one[1:] for one in re.findall(r'href="(#[^"]+)"', page)} <= set(ids)


def test_the_report_is_the_same_every_time(hoped: Path) -> None:
    assert write_report(hoped).read_bytes() == write_report(hoped).read_bytes()


def test_every_part_may_be_missing(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", count=30)
    names = (
        "recipe.toml",
        "environment.json",
        "ledger.json",
        "metrics.jsonl",
        "examples.json",
        "evaluations/think.json",
    )
    for part in (whole / name for name in names):
        kept = part.read_bytes()
        part.unlink()
        page = plain(write_report(whole))
        assert f"{part.name} is not there" in page or "Not known: no evaluation of think." in page
        part.write_bytes(kept)
    (tmp_path / "empty").mkdir()
    page = plain(write_report(tmp_path / "empty"))
    assert "holds no evaluated model" in page and "ledger.json is not there" in page
    assert summary_table(tmp_path / "empty") == [["model", "overall %", "thinking tokens", "problems"]]
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path / "nowhere")


def test_missing_models_and_broken_files_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", count=30, skill={"think": SKILL["think"], "think_rl": SKILL["think_rl"]})
    (run / "evaluations" / "direct.json").write_text("{", encoding="utf-8")
    (run / "evaluations" / "direct_rl.json").write_text('{"model": "direct_rl"}', encoding="utf-8")
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"stage": "think_rl", "st')
    page = plain(write_report(run))
    assert "direct.json is not valid JSON" in page
    assert "direct_rl.json has not the shape of an evaluation" in page
    assert "1 line(s) cannot be read" in page
    assert "Not known: no evaluation of direct." in page
    assert "Not known: no evaluation of the controls think_sft and think_rft." in page


def test_few_problems_leave_the_verdict_open(tmp_path: Path) -> None:
    skill = {"think": {"cups": 0.0}, "think_rl": {"cups": 1.0}}
    run = load_run(write_run(tmp_path / "run", count=5, skill=skill))
    assert "5 problems are too few to say" in lift(run)[0].headline and lift(run)[0].tone == "open"


def test_summary_leaves_ungradable_samples_out_and_counts_them(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", count=40, skill={"think": {"cups": 1.0, "chains": 0.0}}, shares={"think": {"careful": 1}}
    )
    file = run / "evaluations" / "think.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for problem in content["problems"]:
        problem["right"] = [int(problem["family"] == "cups")]
    content["problems"][0] |= {"right": [0], "ungradable": [1]}
    file.write_text(json.dumps(content), encoding="utf-8")
    summary = summarise(run)
    model = summary["models"]["think"]
    assert model["families"]["cups"] | {"thinking_tokens": 0} == {
        "accuracy": 1.0, "ci95": [pytest.approx(0.9103, abs=1e-4), 1.0], "n": 39, "thinking_tokens": 0, "ungradable": 1,
    }  # fmt: skip
    assert model["overall"]["accuracy"] == pytest.approx(39 / 79, abs=1e-6)
    assert model["overall"]["ungradable"] == 1
    assert summary["seconds"] == 90.0 and summary["machine"]["cores"] == 2
    assert summary_table(run)[1][:2] == ["think", "49.4 (38.6 to 60.2)"]
    assert "1 samples could not be graded" in plain(write_report(run))


def test_votes_over_what_could_be_graded() -> None:
    def graded(
        right: tuple[int, ...], answers: tuple[str, ...], ungradable: tuple[int, ...] = (), name: str = "p"
    ) -> Graded:
        return Graded(id=name, family="f", level=1, right=right, answers=answers, ungradable=ungradable)

    tie = graded((0, 1, 1, 0), ("2", "3", "3 ", "2"))
    assert majority_right(tie) == 0.0  # two against two: the first wins
    spoiled = graded((0, 1, 1, 0), ("2", "3", "3", "2"), (1, 0, 0, 0), "q")
    assert majority_right(spoiled) == 1.0
    silent = graded((0, 0, 1), ("", " ", "3"))
    assert majority_right(silent) == 1.0 and share_right(silent) == pytest.approx(1 / 3)
    assert majority_right(graded((0,), ("",))) == 0.0
    assert majority_right(graded((0,), ("1",), (1,))) is None
    scores = vote_scores(Evaluation(model="m", samples=4, problems=(tie, spoiled)))
    assert scores["pass"].count == 1  # pass@4 needs all four samples graded
    assert scores["majority"].mean == 0.5


def test_a_study_names_winners_seeds_and_gaps(tmp_path: Path) -> None:
    skill = changed(think_careful={"cups": 0.97, "chains": 0.97}, think_rft4={"cups": 0.93, "chains": 0.90})
    for seed in range(3):
        write_run(tmp_path / "study" / "seeds" / str(seed), skill=skill, seed=seed, count=60)
    (tmp_path / "study" / "seeds" / "1" / "evaluations" / "think_rft4.json").unlink()
    (tmp_path / "study" / "seeds" / "10").mkdir()
    report = write_study(tmp_path / "study")
    page = plain(report)
    assert "Seed 1: no evaluation of think_rft4" in page and "Seed 10: no evaluated model" in page
    assert "think_rl beats think_sft over 3 seeds" in page
    assert "think_rl loses to think_careful over 3 seeds" in page
    assert "think_rl and think_rft4: no clear winner over 2 seeds" in page
    assert "think beats direct over 3 seeds" in page
    content = json.loads((tmp_path / "study" / "study.json").read_text(encoding="utf-8"))
    assert content == summarise_study(tmp_path / "study")
    assert content["seeds"] == ["0", "1", "2", "10"] and set(content["incomplete"]) == {"1", "10"}
    difference = content["differences"]["think_rl - think_sft"]["cups"]
    assert difference["low"] < difference["mean"] < difference["high"] and set(difference["by_seed"]) == {"0", "1", "2"}
    markdown = (tmp_path / "study" / "study.md").read_text(encoding="utf-8")
    assert markdown == study_markdown(tmp_path / "study")
    assert "| think_rl − think_sft | +" in markdown and "Seed 10 is incomplete" in markdown
    assert len({len(row) for row in study_table(tmp_path / "study")}) == 1
    with pytest.raises(UserError, match="no seeds/SEED/"):
        write_study(tmp_path)


def test_stages_of_any_name_are_compared_with_what_they_start_from(tmp_path: Path) -> None:
    skill = {
        name: {"cups": share, "chains": 0.6} for name, share in (("start", 0.5), ("reason", 0.5), ("general", 0.9))
    }
    for seed in range(3):
        folder = write_run(tmp_path / "study" / "seeds" / str(seed), skill=skill, shares={"think": {}}, seed=seed)
        stages = {"start": None, "reason": "start", "general": "reason"}
        recipe = "".join(f"[stages.{one}]\n{f'init = {init!r}' * bool(init)}\n" for one, init in stages.items())
        (folder / "recipe.toml").write_text(f"{recipe}[evaluation]\ncompare = ['start', 'general']\n", encoding="utf-8")
    told = summarise_study(tmp_path / "study")["differences"]
    assert list(told) == ["reason - start", "general - reason", "general - start"]
    assert told["general - reason"]["cups"]["low"] > 0 > told["general - reason"]["chains"]["low"]


def test_numbers_are_written_for_people() -> None:
    assert [quantity(value) for value in (0, 950, 12_345, 1_234_567, 2e12, 1.5)] == [
        "0", "950", "12.3 k", "1.23 M", "2 T", "1.5",
    ]  # fmt: skip
    assert [signed(value) for value in (1.25, -0.04, -3.21, 0)] == ["+1.2", "0.0", "−3.2", "0.0"]


def test_importing_reports_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, thinkaloud.reports; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
