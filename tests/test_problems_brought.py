"""Problems that a user brings: what is sound, and every fault by line with its fix."""

import json
from pathlib import Path

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.cli.main import run
from thinkaloud.problems.benchmarks.types import canonical
from thinkaloud.problems.brought import check

FIXTURES = Path(__file__).parent / "fixtures" / "published"
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
LINES = [
    ('{"question": "What is 2 + 3?", "answer": 5}', ""),
    ('{"question": "Halve one.", "answer": "\\\\frac{1}{2}", "id": "half"}', ""),
    ('{"question": "Capital of France?", "answer": "Paris"}', ""),
    ('{"question": "Write f.", "tests": "assert f(1) == 2"}', ""),
    ('{"question": "Which? A) x B) y", "answer": "B", "verifier": "choice"}', ""),
    ('{"question": "what is 2+3", "answer": 5}', "the question of line 1 again"),
    ("{'question': 1}", "no JSON"),
    ('["question"]', "no object"),
    ('{"problem": "What is 1?", "answer": 1}', "rename 'problem'"),
    ('{"question": " ", "answer": 1}', "no question"),
    ('{"question": "What?", "answer": ""}', "no answer"),
    ('{"question": "What is 7?", "answer": 7, "verifier": "maths"}', "take math"),
    ('{"question": "Write g.", "tests": "assert g("}', "mend the tests"),
    ('{"question": "What letter?", "answer": "both", "verifier": "choice"}', "judged ungradable"),
    ('{"question": "What is 9?", "answer": NaN}', "NaN is no value"),
    ('{"question": "What \\ud800 is 8?", "answer": 8}', "save the file as UTF-8"),
    ('{"Question": "What is 6?", "Answer": 6}', "rename 'Question'"),
    ('{"ask": "What is 5?", "result": 6}', "no column 'question' among 'ask', 'result'"),
    (json.dumps({"question": f"So {LONG} or so", "answer": 1}), "shares 13 words in a row with set line 1"),
]


def test_every_line_is_sound_or_its_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(line for line, _ in LINES) + "\n\n")
    report = check(path, {"set line 1": f"Before {LONG}, after"})
    faults = {fault.line: fault.words for fault in report.faults}
    for number, (_, fault) in enumerate(LINES, 1):
        assert fault in faults.get(number, "") and bool(fault) == (number in faults), (number, faults.get(number))
    assert report.verifiers == {"exact": 1, "choice": 1, "math": 2, "code": 1} and len(report.problems) == 5
    assert report.problems[1].id == "half" and report.problems[0].id.startswith("own-")
    assert report.words[0] == 2 and report.words[2] == 5


def test_a_csv_is_read_too_and_its_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('question,answer\n"What is\n1 + 1?",2\nWhat is 3?,\n')
    report = check(path)
    assert [problem.reference for problem in report.problems] == ["2"]
    assert [fault.line for fault in report.faults] == [4]


CSV: list[tuple[str | bytes, str]] = [
    ("question,answer,id", ""),
    ("What is 1,000 + 2?,1002,a", "more cells than the heading"),
    ("What\u2028is\x0c 3 + 4?,7,0", ""),
    ("Was ist fünf?,5,b".encode("latin-1"), "save the file as UTF-8"),
    ("x" * 150_000 + ",7,c", "no CSV (field larger"),
    ("What is 6?,6,d,,", ""),
    ('"What is 7?,7,e\nWhat is 8?,8', "no CSV (unexpected end"),
]


def test_a_csv_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "OWN.CSV"
    path.write_bytes(b"\r\n".join(line.encode() if isinstance(line, str) else line for line, _ in CSV))
    report = check(path)
    faults = {fault.line: fault.words for fault in report.faults}
    for number, (_, fault) in enumerate(CSV, 1):
        assert fault in faults.get(number, "") and bool(fault) == (number in faults), (number, faults.get(number))
    assert [(problem.id, problem.reference) for problem in report.problems] == [("0", "7"), ("d", "6")]


def test_columns_that_are_null_are_not_there(tmp_path: Path) -> None:
    rows = [
        {"question": "What is 1?", "answer": 1, "tests": None, "verifier": None},
        {"question": "Write f.", "answer": None, "tests": "assert f(1) == 2"},
        {"question": "What is 0?", "answer": 0, "id": 0},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = check(path)
    assert not report.faults and [one.verifier for one in report.problems] == ["math", "code", "math"]
    assert report.problems[2].id == "0"


def test_a_folder_and_a_data_set_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "What is\\u2028 1 + 1?", "answer": 2}\n{"question": ""}\n')
    (tmp_path / "b.csv").write_text("question,answer\nWhat is 3?,3\nwhat is 1 + 1,2\n")
    (tmp_path / "readme.md").write_text("no problems")
    asked: list[tuple[str, bool]] = []

    def snapshot_download(name: str, **settings: object) -> str:
        asked.append((name, settings["local_files_only"] is True))
        return str(tmp_path)

    monkeypatch.setattr("thinkaloud.base.hub.snapshot_download", snapshot_download)
    for source in (str(tmp_path), "someone/problems"):
        assert run(["problems", "check", source, "--offline"]) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("2 sound problems (2 math), 2 faults")
        assert said[3].startswith("a.jsonl line 2: no question")
        assert said[4].startswith("b.csv line 3: the question of a.jsonl line 1 again")
    assert asked == [("someone/problems", True)]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(LINES[0][0])
    assert run(["problems", "check", str(path)]) == 0
    assert "1 sound problems (1 math), 0 faults" in capsys.readouterr().out
    path.write_text("".join(f'{{"question": "What is {number}?", "answer": 1}}\n' for number in range(40)) + "x\n" * 30)
    assert run(["problems", "check", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[2] == "split for training into 25 train, 5 dev, 10 test"
    assert sum(": no JSON" in line for line in said.out.splitlines()) == 30, "all of them, as `train` promises"
    assert said.err.endswith("own.jsonl is not ready: mend these lines\n")
    first = json.loads((FIXTURES / "gsm8k" / "test.jsonl").read_text().splitlines()[0])
    path.write_text(json.dumps({"question": first["question"], "answer": 1}))
    assert run(["problems", "check", str(path), "--against", str(FIXTURES)]) == 1
    assert "gsm8k row 1" in capsys.readouterr().out
    assert run(["problems", "check"]) == run(["problems", "chekc", str(path)]) == 2
    assert run(["problems", "check", str(tmp_path / "none.jsonl")]) == 2
    with pytest.raises(UserError, match="neither"):
        check(FIXTURES / "NOTICE.md")


def test_a_question_is_the_same_without_case_and_punctuation() -> None:
    assert canonical("What is  2 + 3?") == canonical("what is 2+3") != canonical("what is 2-3")
    assert canonical("Is 6 × 3 right?") != canonical("Is 6 ÷ 3 right?")
    assert canonical("2 * (3 + 4)") != canonical("2 * 3 + 4") != canonical("(2 * 3 + 4) * 1")
    assert canonical("Which? (A) x (B) y") == canonical("Which? A: x B: y")


def test_a_worked_solution_in_the_manner_of_gsm8k_is_its_last_line(tmp_path: Path) -> None:
    row = {"question": "How much is 3 + 4?", "answer": "3 and 4 are <<3+4=7>>7.\n#### 7"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    report = check(tmp_path / "own.jsonl")
    assert not report.faults and report.verifiers == {"math": 1}
