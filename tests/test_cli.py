"""The command line: pages of help, mistakes, what training looks like, conversations. Models are stand-ins here."""

import io
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from thinkaloud.base.config import load_settings
from thinkaloud.base.errors import UserError
from thinkaloud.base.run import write_json
from thinkaloud.cli import display
from thinkaloud.cli.chat import greet
from thinkaloud.cli.console import CONTROL, clean, duration, resumable, say_json, say_table
from thinkaloud.cli.keys import Keys
from thinkaloud.cli.main import VERBS, run
from thinkaloud.cli.recipes import find_recipe, watch
from thinkaloud.cli.talk import MORE, _obey
from thinkaloud.inference import Reply, Usage
from thinkaloud.inference.defaults import Upbringing
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.reports.evaluation import evaluation_table, numbers
from thinkaloud.reports.load import Evaluation, evaluation_of
from thinkaloud.text import Message, Piece
from thinkaloud.train.pace import SEEN, Pace
from thinkaloud.train.pipeline import prepare
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.status import StageStatus, Work

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "recipes" / "smoke.toml"


# --- help ---


@pytest.mark.parametrize("verb", [[], *([name] for name in VERBS)], ids=lambda verb: "".join(verb) or "all")
def test_help_loads_no_torch_and_is_quick(verb: list[str]) -> None:
    code = (
        "import sys\nfrom thinkaloud.cli.main import run\n"
        f"code = run({[*verb, '--help']!r})\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'reasoning_gym'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "Usage: thinkaloud" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    if verb:
        assert "--help" in done.stdout and not done.stderr
    else:
        assert all(f"  {name} " in done.stdout for name in VERBS)
        assert "..." not in done.stdout.split("Commands:")[1], "a verb's first line is too long for the list"


def test_no_arguments_is_help_and_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: thinkaloud" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("thinkaloud 0.")


# --- mistakes ---


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["trian"], "train"),
        (["train"], "RECIPE"),
        (["train", "nowhere.toml"], "nowhere.toml does not exist"),
        (["train", "smoke", "--sede", "1"], "--sede"),
        (["train", "smoke", "run.sed=2"], "run.seed"),
        (["train", "smoke", "stages.think.bugdet=2"], "did you mean stages.think.budget?"),
        (["train", "smoke", "stages.think.budget=-1"], "stages.think.budget"),
        (["train", "smoke", "run.seed"], "section.key=value"),
        (["study", "smoke", "--seeds", "1,one"], "1,2,3"),
        (["study", "smoke", "--seeds", "2,2"], "different"),
        (["report", "nowhere"], "nowhere"),
        (["eval", "one", "--model", "two"], "name one"),
        (["eval", "nowhere"], "nowhere"),
        (["ask", "--model", "nowhere", "hello"], "nowhere"),
        (["ask", "   "], "empty"),
        (["ask", "--temperature", "hot", "hello"], "--temperature"),
        (["chat", "--model", "nowhere"], "nowhere"),
        (["serve", "--api-key", " "], "--api-key is empty"),
        (
            ["serve", "m", "--engine", "vllm", "--url", "http://[::1]:1", "--adapter", "a"],
            "the other server has the weights",
        ),
    ],
)
def test_a_mistake_is_one_clear_line_and_code_2(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and named in said.err
    assert "\x1b" not in said.err
    assert not list(tmp_path.iterdir()), "a mistake must leave nothing behind"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to Ctrl-C, which a process begun in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_training_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        closed = []

        def progress(number: int = number, closed: list[bool] = closed) -> Iterator[list[StageStatus]]:
            try:
                yield [status("think", "training")]
                signal.raise_signal(number)
                yield []
            finally:
                closed.append(True)

        with pytest.raises(typer.Exit) as exit:
            watch(progress())
        assert exit.value.exit_code == code
        assert closed == [True]
        assert "same command" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_only_an_interruption_becomes_code_130() -> None:
    with pytest.raises(typer.Exit), resumable():
        raise KeyboardInterrupt
    with pytest.raises(UserError), resumable():
        raise UserError("passes")


# --- recipes ---


def test_recipes_of_ours_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("smoke", "smoke.toml", "recipes/smoke.toml"):
        assert find_recipe(Path(name)).resolve() == SMOKE
    (tmp_path / "smoke.toml").write_text("")
    assert find_recipe(Path("smoke.toml")) == Path("smoke.toml"), "a file that is there goes first"
    assert find_recipe(Path("other/smoke.toml")) == Path("other/smoke.toml")


def test_the_smoke_recipe_has_all_stages() -> None:
    recipe = load_settings(Recipe, SMOKE)
    assert list(recipe.stages) == ["direct", "think", "think_rl", "direct_rl", "think_sft", "think_rft"]
    assert {stage.kind for stage in recipe.stages.values()} == {"sft", "rl", "rft"}
    assert recipe.run.dir == Path("runs/smoke") and recipe.evaluation.probe and recipe.evaluation.compare


def test_a_finished_run_is_told_and_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    prepare(load_settings(Recipe, SMOKE, [f"run.dir={folder}"]))
    for name, right in (("think", [1, 0, 0, 0]), ("think_rl", [1, 1, 1, 0])):
        problems = [
            {"id": f"cups-{i}", "family": "cups", "level": 3, "right": [one], "thinking_tokens": [9]}
            for i, one in enumerate(right)
        ]
        write_json(folder / "evaluations" / f"{name}.json", {"model": name, "samples": 1, "problems": problems})
    write_json(folder / "summary.json", {})
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert run(["train", "smoke", f"run.dir={folder}"]) == 0
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    said = capsys.readouterr().out
    assert "is finished" in said and "think_rl" in said and "75.0" in said
    assert f"thinkaloud chat {folder}" in said
    assert run(["train", "smoke", f"run.dir={folder}", "run.seed=9"]) == 2


# --- training watched ---


def status(name: str, state: str, progress: float = 0.0, **values: Any) -> StageStatus:
    kind = "rl" if name.endswith("_rl") else "sft"
    told = {key: values.pop(key) for key in ("rollouts", "looks", "measuring") if key in values}
    work = Work(budget=1000.0, sampling=None if kind == "rl" else 0.0, **told)
    made = StageStatus(run=Path("runs/demo"), name=name, kind=kind, work=work, places=2)
    made.state, made.progress, made.seconds = state, progress, values.pop("seconds", 0.0)
    made.row = values
    return made


SAMPLE = {
    "question": "Red under [bold]A[/bold]?",
    "thinking": "\x1b[2J[red]AB[/red]\nBC",
    "answer": "C\x07",
    "right": True,
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pace_counts_waiting_stages_and_those_side_by_side() -> None:
    clock = Clock()
    pace = Pace(clock)
    running = [status("think", "training", 0.1, seconds=8.0), status("direct", "training", 0.1, seconds=8.0)]
    waiting = [status("think_sft", "waiting"), status("think_rl", "waiting")]
    pace.observe([*running, *waiting])
    assert pace.all_left([*running, *waiting]) is None, "one look is no speed: the start is slow"
    for one in running:
        one.progress, one.seconds = 0.5, 12.0  # 400 training tokens in 4 seconds: 100 a second
    pace.observe([*running, *waiting])
    assert pace.left(running[0], running) == pytest.approx(5.0)
    assert pace.left(waiting[0], [*running, *waiting]) == pytest.approx(10.0)
    assert pace.left(waiting[1], [*running, *waiting]) == pytest.approx(10), "no speed of its kind"
    assert pace.all_left([*running, *waiting]) == pytest.approx(5 + 10)
    waiting[1].needs = frozenset([waiting[0].folder])
    assert pace.all_left([*running, *waiting]) == pytest.approx(5 + 10 + 10), "one after the other"
    waiting[1].needs = frozenset([Path("elsewhere")])
    assert pace.all_left([*running, *waiting]) == pytest.approx(5 + 10), "what is none of these is there"
    running[0].work, waiting[0].work = Work(budget=1000.0, measuring=20), Work(budget=1000.0, measuring=80)
    running[0].state, running[0].progress, running[0].seconds = "measuring", 1.0, 17.0
    pace.observe([*running, *waiting])
    clock.now = 6.0
    running[0].state = "done"
    pace.observe([*running, *waiting])
    assert pace.left(waiting[0], [*running, *waiting]) == pytest.approx(10.0 + 4 * 6.0), "measuring takes time too"


def test_a_kind_that_has_told_nothing_is_reckoned_by_replies_on_dev_problems() -> None:
    """Fine-tuning takes 0.01 s a token, a reply of 24 tokens 0.1 s; a stage of 30 replies costs 1 and 1/3 a token."""
    pace = Pace(Clock())
    one = status("think", "training", 0.1, seconds=10.0, dev_seconds=2.0, dev_problems=20, dev_tokens=24.0, looks=100)
    two = status("think_rl", "waiting", rollouts=30, measuring=50, looks=10)
    pace.observe([one, two])
    one.progress, one.seconds = 0.6, 10.0 + 5.0 + 0.5 * 100 * 0.1  # 500 tokens, half of the learning curve's replies
    trained, sampled, watched, measured = 30 * 24 * 0.01, 30 * 0.1, 10 * 0.1, 50 * 0.1
    assert pace.left(two, [one, two]) == pytest.approx(trained + sampled + watched + measured)
    two.state, two.progress, two.seconds = "training", 0.1, 2.0
    pace.observe([one, two])
    two.progress, two.seconds = 0.6, 2.0 + 0.5 * 2 * (trained + sampled + watched)
    again = status("think_rl", "waiting", rollouts=30, measuring=50, looks=10)
    again.run = Path("runs/other")
    kind = (0.5 * 2 + SEEN) / (0.5 + SEEN)  # half of one was seen, and took twice as long
    name = (0.5 * 2 + SEEN * kind) / (0.5 + SEEN)
    assert 1.9 < name < 2.0
    expected = name * (trained + sampled + watched) + measured
    assert pace.left(again, [one, two, again]) == pytest.approx(expected), "as the other seed's"


def test_a_stage_replies_as_the_one_that_it_starts_from() -> None:
    pace = Pace(Clock())
    think = status("think", "training", 0.1, seconds=10.0, dev_seconds=4.0, dev_problems=20, dev_tokens=40.0)
    direct = status("direct", "training", 0.1, seconds=10.0, dev_seconds=1.0, dev_problems=20, dev_tokens=4.0)
    direct.row["dev_prompt_tokens"] = 44.0
    stages = [think, direct, status("think_rl", "waiting"), status("direct_rl", "waiting")]
    stages[2].needs, stages[3].needs = frozenset([think.folder]), frozenset([direct.folder])
    pace.observe(stages)
    for one in (think, direct):
        one.progress, one.seconds = 0.6, 15.0  # 0.01 s a token
    long, short = 1000 / (40 / 3 + 40), 1000 / (4 / 3 + 24)  # replies: sampled, and half of them learnt from
    assert pace.left(stages[2], stages) == pytest.approx(long * (40 * 0.01 + 0.2))
    assert pace.left(stages[3], stages) == pytest.approx(short * (24 * 0.01 + 0.05))


def test_plain_lines_tell_start_tenths_measuring_and_end() -> None:
    lines = display.Lines(Pace(Clock()))
    one = status("think", "waiting")
    said = lines.update([one])
    for state, progress in [
        *(("training", share / 100) for share in range(100)),
        ("measuring", 1.0),
        ("measuring", 1.0),
        ("done", 1.0),
    ]:
        one.state, one.progress, one.row = state, progress, {"dev_accuracy": progress, "thinking_tokens": 12.0}
        said += lines.update([one])
        assert lines.update([one]) == []
    texts = [line.split("think: ")[1] for line in said]
    assert texts[0] == "starts (sft)"
    assert [text.split(",")[0] for text in texts[1:10]] == [f"{tenth}0 %" for tenth in range(1, 10)]
    assert texts[5] == "50 %, accuracy 50.0 %, thoughts of 12.0 tokens"
    assert texts[10].startswith("measuring") and texts[11].startswith("done") and len(texts) == 12


def test_plain_lines_of_a_resumed_study_name_the_run() -> None:
    first, second = status("think", "done", 1.0), status("think", "training", 0.47, seconds=3.0)
    second.run = Path("runs/demo-study/seeds/2")
    second.state, lines = "waiting", display.Lines(Pace(Clock()))
    said = lines.update([first, second])
    second.state = "training"
    said += lines.update([first, second])
    assert [line.strip().split("  ")[1] for line in said] == ["demo/think: done before", "2/think: goes on at 47 %"]


def test_off_a_terminal_no_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    rows = {"dev_accuracy": 0.5, "sample": SAMPLE}
    display.follow(iter([[status("think", "training", 0.1, **rows)]]), Console(file=file, force_terminal=True))
    assert "think: " in file.getvalue() and "\x1b" not in file.getvalue()


def panel(statuses: list[StageStatus], width: int = 110, height: int = 30) -> str:
    console = Console(file=io.StringIO(), record=True, force_terminal=True, width=width, height=height)
    pace = Pace(Clock())
    pace.observe(statuses)
    console.print(display.draw(statuses, pace, console))
    return console.export_text()


def test_the_panel_shows_stages_and_the_monologue_without_reading_markup() -> None:
    rl = status("think_rl", "training", 0.31, seconds=5.0, dev_accuracy=0.612, dev_accuracy_cups=0.4, sample=SAMPLE)
    rl.row["thinking_tokens"] = 31.25
    sft = status("think_sft", "training", 0.9, seconds=5.0, sample={**SAMPLE, "question": "another"})
    text = panel([status("think", "done", 1.0, seconds=62.0), rl, sft, status("direct", "waiting")])
    assert "1 of 4 stages done" in text
    for part in (
        "done, 1 min 02 s",
        "31 %",
        "61.2 %",
        "40.0 %",
        "31.2 tokens",
        "waiting",
        "cups",
        "think_rl thinks aloud",
    ):
        assert part in text
    assert "Red under [bold]A[/bold]?" in text and "[red]AB[/red]" in text and "✓ right" in text
    assert "\x1b" not in text and "\x07" not in text and "another" not in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (200, 60)])
def test_the_panel_of_a_study_fits_the_terminal(width: int, height: int) -> None:
    long = {**SAMPLE, "thinking": "\n".join(f"line {i}" for i in range(60))}
    statuses = [status(f"stage_{i}", "done" if i < 20 else "waiting", float(i < 20)) for i in range(40)]
    statuses[20] = status("busy_rl", "training", 0.5, seconds=1.0, sample=long)
    text = panel(statuses, width, height)
    assert "busy_rl" in text and "line 59" in text and "line 1\n" not in text
    assert len(text.splitlines()) <= height and all(len(line) <= width for line in text.splitlines())


# --- printing ---


@given(st.text())
def test_cleaned_text_is_harmless(text: str) -> None:
    assert not CONTROL.search(clean(text))
    assert clean(text) == text or CONTROL.search(text)
    assert "\x1b" not in clean(f"\x1b]0;title\x07{text}")


def test_json_is_harmless_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": "a\x1b[2J\x9b\u202eé\n"}
    say_json(value)
    said = capsys.readouterr().out
    assert json.loads(said) == value and not CONTROL.search(said) and "é" in said


def test_tables_off_a_terminal_are_aligned_and_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([["model", "accuracy"], ["a" * 90, "1 (0 to 2)"], ["b", "[red]"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and {len(line) for line in lines} == {102}


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 59.4, 60, 200, 3900)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 05 min",
    ]


# --- conversations ---


class Stream:
    """A reply that was written beforehand; Ctrl-C may come after its first piece."""

    def __init__(self, pieces: list[Piece], interrupt: bool = False, thinking: bool = False) -> None:
        self.pieces, self.interrupt, self.cancelled, self.thinking = pieces, interrupt, False, thinking
        self.reply: Reply | None = None

    def __iter__(self) -> Iterator[Piece]:
        said: list[Piece] = []
        for piece in self.pieces:
            if self.cancelled:
                break
            if self.interrupt and not said:
                signal.raise_signal(signal.SIGINT)
            said.append(piece)
            yield piece
        parts = {kind: "".join(p.text for p in said if p.kind == kind) for kind in ("thinking", "answer")}
        usage = Usage(prompt_tokens=3, thinking_tokens=4, forced_tokens=1, answer_tokens=2)
        finish = "cancelled" if self.cancelled else "stop"
        self.reply = Reply(**parts, tool_calls=(), usage=usage, finish=finish, thought_end="natural")

    def answer_now(self) -> bool:
        return self.thinking

    def cancel(self) -> None:
        self.cancelled = True


PIECES = [Piece("thinking", "7 + 3"), Piece("thinking", " = 10\x1b[2J"), Piece("answer", "10")]


@dataclass
class Talker:
    """A model that says the same thing whatever it is asked, and refuses the word 'long'."""

    asked: list[Any]
    interrupt: bool = False
    thinking: bool = False
    path: Path = Path("stand-in")
    upbringing: Upbringing = Upbringing()

    def stream(self, messages: Any, **settings: Any) -> Stream:
        if any("long" in message.content for message in messages if isinstance(message, Message)):
            raise UserError("the conversation does not fit: shorten it")
        if settings.get("thought") and settings["effort"] == "off":
            raise UserError("there is no thought to begin: this prompt leaves no room for one")
        self.asked.append((messages, settings))
        return Stream(PIECES, self.interrupt, self.thinking)


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Talker:
    made = Talker(asked=[])
    monkeypatch.setattr("thinkaloud.inference.load", lambda path, **settings: made)
    return made


def test_ask_thinks_aloud_then_answers(talker: Talker, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "What is 7 + 3?", "--effort", "low", "--budget", "9", "--seed", "3"]) == 0
    assert capsys.readouterr().out == "7 + 3 = 10\ufffd[2J\n\n10\n"
    assert talker.asked[0][0] == "What is 7 + 3?"
    assert talker.asked[0][1] == {
        "effort": "low",
        "thinking_budget": 9,
        "max_tokens": None,
        "temperature": None,
        "seed": 3,
        "max_accuracy_loss": None,
        "instruction": None,
        "kind": "sums",
    }
    assert run(["ask", "What is 7 + 3?", "--hide-thinking"]) == 0
    assert capsys.readouterr().out == "10\n"


@pytest.mark.parametrize("verb", ["ask", "chat"])
def test_words_behind_each_question_of_training_are_told_and_may_be_left_out(
    verb: str, talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    talker.upbringing = Upbringing(instruction="Be [bold] brief.")
    for more, told in (([], True), (["--instruction", ""], False), (["--instruction", "Be long."], False)):
        monkeypatch.setattr("sys.stdin", io.StringIO("What is 7 + 3?\n"))
        assert run([verb, *more]) == 0
        assert talker.asked[-1][1]["instruction"] == (more[1] if more else None)
        assert ("behind each question" in (said := capsys.readouterr().err)) == told
        assert ("Be [bold] brief.)" in said) == told


def test_eval_takes_an_instruction_for_files_of_ones_own_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--instruction", ""]) == 2 and "give --on FILE" in capsys.readouterr().err


@pytest.mark.parametrize("budgets", ["64,\u00b2", "x", ","])
def test_budgets_that_are_no_numbers_are_a_mistake(budgets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--budgets", budgets]) == 2 and "is no list of numbers" in capsys.readouterr().err


def test_ask_reads_stdin_and_gives_json(
    talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is 7 + 3?\n"))
    assert run(["ask", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert talker.asked[0][0] == "What is 7 + 3?"
    assert (reply["thinking"], reply["answer"], reply["finish"]) == ("7 + 3 = 10\x1b[2J", "10", "stop")
    assert reply["usage"]["completion_tokens"] == 7


def test_ctrl_c_ends_a_reply_and_keeps_what_is_there(talker: Talker, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    talker.interrupt = True
    assert run(["ask", "What is 7 + 3?"]) == 130
    assert capsys.readouterr().out == "7 + 3\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_ctrl_c_of_a_thought_asks_for_the_answer(talker: Talker, capsys: pytest.CaptureFixture[str]) -> None:
    talker.interrupt = talker.thinking = True
    assert run(["ask", "What is 7 + 3?"]) == 0
    assert capsys.readouterr().out.endswith("10\n")


def test_chat_takes_wishes_for_the_next_thought(
    talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "/budget 9",
        "/effort high",
        "/add so far",
        "/history keep",
        "one",
        "/budget",
        "two",
        "/budget x",
        "/effort x",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert run(["chat"]) == 0
    (_, first), (_, second) = talker.asked
    wished = ("effort", "thinking_budget", "thought", "history")
    assert [first[name] for name in wished] == ["high", 9, "so far\n", "keep"]
    assert [second[name] for name in wished] == ["high", None, "", "keep"]
    said = capsys.readouterr().err
    assert "'x' makes no sense" in said and "/effort x is unknown" in said


def test_a_beginning_of_a_thought_that_cannot_be_is_refused_once(
    talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["/effort off", "/add so far", "one", "/effort low", "/add so far", "/effort off", "two", "three"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert run(["chat"]) == 0
    assert [messages[-1].content for messages, _ in talker.asked] == ["one", "three"]
    said = capsys.readouterr().err
    assert said.count("with effort off there is no thought") == 1
    assert said.count("there is no thought to begin: this prompt") == 1 == said.count("/add gave is forgotten")


@pytest.mark.parametrize("ended_by", ["p", "x", "Ctrl-C"])
def test_any_key_ends_a_pause(ended_by: str, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted, waited = Event(), []

    class Pressed(Keys):
        def pressed(self, wait: float = 0.0) -> str:
            waited.append(wait)
            assert len(waited) < 9, "it goes on waiting"
            if len(waited) == 4 and ended_by == "Ctrl-C":
                interrupted.set()
            return "p" if len(waited) == 1 else ended_by if len(waited) == 4 and len(ended_by) == 1 else ""

    _obey(cast(Any, Stream([])), Pressed(None), interrupted)
    assert len(waited) == 4


def test_a_plus_that_finds_no_room_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    class Plus(Keys):
        def pressed(self, wait: float = 0.0) -> str:
            return "+"

    class Full(Stream):
        def think_on(self, tokens: int) -> bool:
            return tokens <= room

    for room in (MORE, MORE - 1):
        _obey(cast(Any, Full([])), Plus(None), Event())
        assert ("no room to think on" in capsys.readouterr().err) == (room < MORE)


@pytest.mark.parametrize(
    ("words", "closed", "code", "said"),
    [("ask", "<&-", 2, "question is empty"), ("--version", ">&-", 0, ""), ("ask ' '", "2>&-", 2, "")],
)
def test_a_closed_stream_leads_nowhere(words: str, closed: str, code: int, said: str) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m thinkaloud {words} {closed}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr and "Traceback" not in ended.stderr


def test_keys_are_read_one_by_one_and_the_terminal_is_given_back() -> None:
    termios = pytest.importorskip("termios")
    person, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    pressed = Keys(terminal)
    pressed._take()
    os.write(person, b"a+")
    assert [pressed.pressed(1), pressed.pressed(1), pressed.pressed()] == ["a", "+", ""]
    pressed._give_back()
    assert termios.tcgetattr(terminal) == before and not Keys(None).pressed() and not Keys(None).there


def test_chat_keeps_the_conversation(
    talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["first", "", "/help", "/nonsense", "too long", "second", "/new", "third", "/exit", "never"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert run(["chat"]) == 0
    said = capsys.readouterr()
    assert [[m.content for m in messages] for messages, _ in talker.asked] == [
        ["first"],
        ["first", "10", "second"],
        ["third"],
    ]
    assert [settings["seed"] for _, settings in talker.asked] == [0, 1, 2]
    assert said.out.count("/exit         leave") == 2 and "there is no /nonsense" in said.out
    assert "shorten it" in said.err and "/new" in said.err
    monkeypatch.setattr("sys.stdin", io.StringIO("only\n"))
    assert run(["chat"]) == 0, "the end of input is a way to leave"


def test_chat_begins_anew_with_a_model_of_single_questions(
    talker: Talker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    talker.upbringing = Upbringing(families=("cups", "a family that is no more"), turns=1)
    monkeypatch.setattr("sys.stdin", io.StringIO("first\nsecond\n"))
    assert run(["chat"]) == 0
    assert [[m.content for m in messages] for messages, _ in talker.asked] == [["first"], ["second"]]
    greet(talker.upbringing.families, single=True)
    said = capsys.readouterr().out
    greet(["chains", "gym_gcd", "sums", "talk"], single=False)
    shown = capsys.readouterr().out
    assert "cups       Red under" in said and "of reasoning-gym: gcd" in shown and "it says so" in shown
    assert shown.count("\n") == 4 and max(map(len, shown.splitlines())) <= 80
    assert "each line begins a new conversation" in said


# --- evaluation ---


def graded(*entries: dict[str, Any], samples: int = 1) -> Evaluation:
    return evaluation_of(
        "stand-in", {"samples": samples, "problems": [{"id": str(i), **e} for i, e in enumerate(entries)]}
    )


def entry(family: str, level: int, right: list[int], **values: Any) -> dict[str, Any]:
    count = len(right)
    filled = {
        "ungradable": [0] * count,
        "answer": ["x" if one else "y" for one in right],
        "thinking_tokens": [10] * count,
        "finish": ["stop"] * count,
    }
    return {"family": family, "level": level, "right": right, **filled, **values}


def test_eval_counts_by_family_and_level() -> None:
    found = graded(entry("cups", 4, [1]), entry("cups", 3, [0]), entry("chains", 3, [1], finish=["length"]))
    rows = evaluation_table(found)
    assert [row[:2] for row in rows[1:]] == [
        ["cups", "all"],
        ["", "3"],
        ["", "4"],
        ["chains", "all"],
        ["", "3"],
        ["all", ""],
    ]
    assert rows[1][2].startswith("50.0 (") and rows[-1][2].startswith("66.7 (") and rows[-1][4] == "33.3"
    measured = numbers(found)
    low, high = measured["ci95"]
    assert 0 < low < measured["accuracy"] < high < 1 and measured["n"] == 3


def test_eval_votes_and_leaves_ungradable_samples_out() -> None:
    entries = [
        entry("cups", 3, [1, 1, 0], answer=["a", "a", "b"]),
        entry("cups", 3, [1, 0, 0], answer=["a", "b", "b"]),
        entry("cups", 3, [0, 0, 1], ungradable=[0, 1, 0], answer=["", "z", "a"]),
        entry("cups", 3, [0, 0, 0], ungradable=[1, 1, 1]),
    ]
    found = graded(*entries, samples=3)
    measured = numbers(found)
    assert measured["n"] == 3 and measured["ungradable"] == 4
    assert measured["accuracy"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3, abs=1e-6)
    assert measured["majority"] == pytest.approx(2 / 3, abs=1e-6) and measured["pass_at_k"] == 1.0
    rows = evaluation_table(found)
    assert rows[0][-1] == "ungradable" and rows[1][-1] == "4"
    assert numbers(graded(entries[-1], samples=3))["accuracy"] is None


def test_problems_lists_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    from thinkaloud.problems import FAMILIES

    assert run(["problems"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(FAMILIES) <= set(lines)


def test_export_finds_names_on_the_hub_and_takes_an_adapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def open_transformer(folder: Path, **settings: object) -> None:
        asked.append(settings["adapter"])
        raise UserError("that is all")

    monkeypatch.setattr("thinkaloud.inference.hub.locate", lambda path: asked.append(path) or BUNDLED)
    monkeypatch.setattr("thinkaloud.inference.loading.open_transformer", open_transformer)
    assert run(["export", "Qwen/QwQ-32B", str(tmp_path / "new"), "--adapter", "a/b"]) == 2
    assert asked == ["Qwen/QwQ-32B", "a/b", BUNDLED]


@pytest.mark.parametrize("verb", ["ask hi --model", "chat", "eval"])
def test_an_adapter_and_a_name_on_the_hub_reach_load(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[tuple[object, dict[str, object]]] = []

    def load(path: object, **settings: object) -> None:
        opened.append((path, settings))
        raise UserError("that is all")

    monkeypatch.setattr("thinkaloud.inference.load", load)
    assert run([*verb.split(), "Qwen/QwQ-32B", "--adapter", "a/b"]) == 2
    assert opened[0][0] == "Qwen/QwQ-32B" and opened[0][1]["adapter"] == "a/b"
    assert "that is all" in capsys.readouterr().err
