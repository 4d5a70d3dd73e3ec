"""Several replies and a vote, questions from files and pipes. The model is a stand-in with answers known beforehand."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from thinkaloud.cli.ask import AT_ONCE, alike, voted
from thinkaloud.cli.main import run
from thinkaloud.inference import Reply, Usage
from thinkaloud.inference.defaults import Upbringing

USAGE = Usage(prompt_tokens=3, thinking_tokens=4, forced_tokens=1, answer_tokens=2)


def reply(answer: str, finish: str = "stop") -> Reply:
    return Reply(thinking="so", answer=answer, tool_calls=(), usage=USAGE, finish=finish, thought_end="natural")


@dataclass
class Stream:
    reply: Reply

    def __iter__(self) -> Iterator[None]:
        return iter(())


@dataclass
class Oracle:
    """Answers a question with its seed's of the answers given, and notes how many streams were open at once."""

    answers: tuple[str, ...]
    asked: list[tuple[str, int]] = field(default_factory=list)
    upbringing: Upbringing = Upbringing()

    def stream(self, question: str, *, seed: int, **settings: Any) -> Stream:
        self.asked.append((question, seed))
        answer = self.answers[seed % len(self.answers)]
        return Stream(reply(answer, "length" if answer == "cut" else "stop"))


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    made = Oracle(answers=("13", " 13.\n", "12", "cut"))
    monkeypatch.setattr("thinkaloud.inference.load", lambda path, **settings: made)
    return made


def test_equal_answers_are_counted_together() -> None:
    assert alike(" Red E,\n blue D. ") == alike("red e, Blue d")
    told = voted("q", [reply("12"), reply("13"), reply("13."), reply(""), reply("13", "length")])
    assert told["answer"] == "13" and told["without"] == 2 and len(told["replies"]) == 5
    assert told["votes"] == [{"answer": "13", "count": 2}, {"answer": "12", "count": 1}]
    assert voted("q", [reply("1"), reply("2")])["answer"] is None
    assert voted("q", [reply(" ")])["votes"] == []


def test_a_vote_is_printed_with_its_counts(oracle: Oracle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "--samples", "4", "--seed", "4", "How many?"]) == 0
    assert capsys.readouterr().out == "   2 x  13\n   1 x  12\n   1 x  no answer\n13\n"
    assert oracle.asked == [("How many?", seed) for seed in (4, 5, 6, 7)]


def test_no_winner_is_said_and_is_code_1(oracle: Oracle, capsys: pytest.CaptureFixture[str]) -> None:
    oracle.answers = ("1", "2")
    assert run(["ask", "--samples", "2", "How many?"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "no winner: 2 answers lead"
    oracle.answers = ("cut",)
    assert run(["ask", "--samples", "2", "--json", "How many?"]) == 1
    assert json.loads(capsys.readouterr().out)["answer"] is None


def test_a_file_is_answered_line_by_line(oracle: Oracle, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("first?\n\n  second? \n", encoding="utf-8-sig")  # as editors of Windows write it
    assert run(["ask", "--file", str(file)]) == 0
    assert capsys.readouterr().out == "13\n13\n"
    assert run(["ask", "--file", str(file), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["question"], row["answer"]) for row in rows] == [("first?", "13"), ("second?", "13")]
    assert run(["ask", "--file", str(file), "--samples", "3", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["answer"], len(row["replies"])) for row in rows] == [("13", 3), ("13", 3)]
    assert run(["ask", "--file", str(file), "--samples", "3"]) == 0
    assert capsys.readouterr().out.startswith("first?\n   2 x  13\n")


def test_a_long_file_is_answered_in_portions(
    oracle: Oracle, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many.txt").write_text("".join(f"number {index}?\n" for index in range(2 * AT_ONCE + 1)), "utf-8")
    portions: list[int] = []

    def counted(question: str, replies: Sequence[Reply]) -> dict[str, Any]:
        portions.append(len(oracle.asked))
        return voted(question, replies)

    monkeypatch.setattr("thinkaloud.cli.ask.voted", counted)
    assert run(["ask", "--file", str(tmp_path / "many.txt"), "--samples", "2", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * AT_ONCE + 1
    assert portions[0] == AT_ONCE and portions[-1] == len(oracle.asked) == 4 * AT_ONCE + 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--file", "nowhere.txt"], "nowhere.txt can't be read"),
        (["--file", "empty.txt"], "holds no question"),
        (["--file", "bytes.txt"], "not UTF-8"),
        (["--file", "empty.txt", "and a question"], "one of the two"),
        (["--samples", "0", "how?"], "--samples"),
        (["--abstain-below", "0.9", "how?"], "goes with --verify"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    assert run(["ask", *words]) == 2
    assert named in capsys.readouterr().err


def test_a_pipe_is_one_question(
    oracle: Oracle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("first line\nsecond line\n"))
    assert run(["ask", "--samples", "3"]) == 0
    assert {question for question, _ in oracle.asked} == {"first line\nsecond line"}


def test_bytes_on_stdin_that_are_no_text_are_named(
    oracle: Oracle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for errors in ("strict", "surrogateescape"):  # the second is Python's way in the locale C
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), "utf-8", errors))
        assert run(["ask"]) == 2
        assert "not UTF-8 text" in capsys.readouterr().err


def test_checked_answers_to_a_file_are_one_object_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sums.txt").write_text("331 + 92 is\nPlease work out 32 - 32\n", "utf-8")
    assert run(["ask", "--verify", "--file", str(tmp_path / "sums.txt"), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["question"], one["answer"]) for one in told] == [
        ("331 + 92 is", "423"),
        ("Please work out 32 - 32", "0"),
    ]


def test_the_bundled_model_votes(capsys: pytest.CaptureFixture[str]) -> None:
    """With the real one: the first of several replies is the one that a single sample gives."""
    question = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
    assert run(["ask", "--samples", "3", "--json", question]) == 0
    several = json.loads(capsys.readouterr().out)
    assert run(["ask", "--json", question]) == 0
    assert json.loads(capsys.readouterr().out) == several["replies"][0]
    assert sum(vote["count"] for vote in several["votes"]) + several["without"] == 3
