"""Published sets as problems: each schema, its prompt, its reference; where files are looked for; what is refused."""

import base64
import csv
import gzip
import json
import pickle
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.problems import verify
from thinkaloud.problems.benchmarks import BENCHMARKS, load
from thinkaloud.problems.benchmarks.types import BOXED, LETTER
from thinkaloud.problems.chosen import chosen
from thinkaloud.problems.sandbox.isolation import BUBBLEWRAP, sandbox_here

FIXTURES = Path(__file__).parent / "fixtures" / "published"
ADD = "def add(a, b):\n    return a + b\n"
PLUS = """import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        np.testing.assert_allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert exact_match

"""
PAIRS = "inputs = [[2, 3], [0.1, 0.2]]\nresults = [5, 0.3]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n"
TASK = {
    "question_id": "7",
    "question_content": "Add two numbers.",
    "difficulty": "medium",
    "public_test_cases": json.dumps([{"input": "2 3", "output": "5", "testtype": "stdin"}]),
}


def packed(cases: list[dict[str, str]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


METHOD = {
    **TASK,
    "starter_code": "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        ",
    "metadata": json.dumps({"func_name": "add"}),
    "public_test_cases": json.dumps([{"input": "2\n[3, 4]", "output": "9", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "1\n[]", "output": "1", "testtype": "functional"}]),
}
EXPERT = {"Question": "Which?", "Correct Answer": "this", **{f"Incorrect Answer {n}": f"not {n}" for n in (1, 2, 3)}}
SIGNATURE = 'def add(a, b):\n    """The sum."""\n'
ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    ("gsm8k", {"question": "2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}, "\\boxed{5}", "\\boxed{6}"),
    (
        "math500",
        {"problem": "Half?", "answer": "\\frac12", "unique_id": "a/1", "level": 2},
        "\\boxed{0.5}",
        "\\boxed{2}",
    ),
    ("aime24", {"id": 60, "problem": "Find n.", "solution": "so 204", "answer": "204"}, "\\boxed{204}", "\\boxed{24}"),
    ("aime24", {"ID": "2024-I-1", "Problem": "Find n.", "Solution": "", "Answer": 204}, "\\boxed{204}", "\\boxed{24}"),
    ("aime25", {"problem": "Find n.", "answer": "070", "id": "0"}, "\\boxed{70}", "\\boxed{7}"),
    ("amc23", {"id": 0, "question": "How many?", "answer": 27.0}, "\\boxed{27}", "\\boxed{2}"),
    (
        "olympiadbench",
        {
            "id": 1606,
            "question": "Solve.",
            "context": None,
            "final_answer": ["$2$", "$-3$"],
            "answer_type": "Numerical",
        },
        "\\boxed{-3, 2}",
        "\\boxed{2}",
    ),
    ("minerva", {"problem": "Speed?", "solution": "so \\boxed{4.5e33}", "idx": 0}, "\\boxed{4.5e33}", "\\boxed{4}"),
    ("deepmath", {"prompt": "Residue?", "ground_truth": "1", "id": "1"}, "\\boxed{1}", "\\boxed{11}"),
    (
        "humaneval",
        {
            "task_id": "HumanEval/0",
            "prompt": SIGNATURE,
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
            "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
        },
        f"```python\n{ADD}```",
        ADD.replace("+", "-"),
    ),
    (
        "humaneval_plus",
        {
            "task_id": "HumanEval/0",
            "prompt": SIGNATURE,
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
            "test": f"{PLUS}def check(candidate):\n    {PAIRS.replace(chr(10), chr(10) + '    ')}"
            "    assertion(candidate(*inp), exp, 0)\n",
        },
        ADD,
        ADD.replace("+", "-"),
    ),
    (
        "mbpp",
        {
            "task_id": 11,
            "text": "Add.",
            "code": ADD.replace("\n", "\r\n"),
            "test_list": ["assert add(2, 3) == 5"],
            "test_setup_code": "",
            "challenge_test_list": ["assert add(-1, 1) == 0"],
        },
        ADD,
        "def add(a, b):\n    return 5",
    ),
    (
        "mbpp_plus",
        {
            "task_id": 2,
            "prompt": "Add.",
            "code": ADD,
            "test_imports": [],
            "test_list": ["assert add(2, 3) == 5"],
            "test": f"{PLUS}{PAIRS}    assertion(add(*inp), exp, 0)\n",
        },
        ADD,
        "def add(a, b):\n    return 5",
    ),
    (
        "cruxeval",
        {"id": "sample_0", "code": "def f(x):\n    return (x, [x])", "input": "1", "output": "(1, [1])"},
        "[ANSWER](1,[1])[/ANSWER]",
        "[ANSWER][1, [1]][/ANSWER]",
    ),
    (
        "livecodebench",
        TASK | {"private_test_cases": packed([{"input": "1 1", "output": "2\n"}]), "starter_code": ""},
        "print(sum(map(int, input().split())))",
        "print(5)",
    ),
    (
        "livecodebench",
        METHOD,
        "class Solution:\n    def add(self, a, b):\n        return a + sum(b)",
        "class Solution:\n    def add(self, a, b):\n        return 9",
    ),
    (
        "ifeval",
        {"key": 1000, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": None}]},
        "None here.",
        "One, here.",
    ),
    ("gpqa", EXPERT, "(this)", "(not 1)"),
]


def written(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("name", "row", "right", "wrong"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)])
def test_a_row_as_it_is_published(name: str, row: dict[str, Any], right: str, wrong: str, tmp_path: Path) -> None:
    written(tmp_path, name, [row])
    found = load(name, tmp_path)
    (problem,) = found.problems
    assert (
        problem.family == name and problem.id.startswith(f"{name}-") and found.licence and str(tmp_path) in found.source
    )
    (message,) = problem.messages
    assert message.role == "user"
    assert (BOXED in message.content) == (problem.verifier == "math")
    assert (LETTER in message.content) == (problem.verifier == "choice")
    for answer, label in ((right, "right"), (wrong, "wrong")):
        if name == "gpqa":
            lines = message.content.splitlines()
            answer = next(f'"answer": "{line[0]}"' for line in lines if line.endswith(f") {answer[1:-1]}"))
        verdict = verify(problem.verifier, answer=answer, reference=problem.reference)
        if verdict.reason == "unsupported" and sandbox_here(False) != BUBBLEWRAP:
            continue
        assert verdict.label == label, verdict


def test_levels_numbers_and_limits(tmp_path: Path) -> None:
    rows = [{"problem": str(n), "answer": n, "level": n} for n in range(1, 5)]
    path = written(tmp_path, "math500", rows)
    found = load("math500", tmp_path, limit=3)
    assert [problem.id for problem in found.problems] == ["math500-1", "math500-2", "math500-3"]
    assert [problem.level for problem in found.problems] == [1, 2, 3]
    assert found.sha256 == load("math500", tmp_path, limit=3).sha256 != load("math500", tmp_path).sha256
    path.write_text(path.read_text().replace('"answer": 1', '"answer": 9'))
    assert load("math500", tmp_path, limit=3).sha256 != found.sha256


def test_every_file_format_gives_the_same(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 1,\nis?", "answer": f"so\n#### {n + 1}"} for n in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = tmp_path / "table"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    contents = {
        "gsm8k.jsonl": lines,
        "gsm8k.jsonl.gz": gzip.compress(lines),
        "gsm8k.json": json.dumps(rows).encode(),
        "gsm8k/test.jsonl": lines,
        "gsm8k.csv": table.read_bytes(),
    }
    hashes = set()
    for place, data in contents.items():
        folder = tmp_path / place.replace("/", "-").replace(".", "-")
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(data)
        hashes.add(load("gsm8k", folder).sha256)
    assert len(hashes) == 1


def test_parquet_is_read_where_pyarrow_is_there(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.parquet"
    rows = [{"question": "1 + 1?", "answer": "#### 2"}]
    try:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        assert [problem.reference for problem in load("gsm8k", tmp_path).problems] == ["2"]
    except ModuleNotFoundError:
        path.write_bytes(b"PAR1")
        with pytest.raises(UserError, match="pip install pyarrow"):
            load("gsm8k", tmp_path)


def test_bfcl_finds_its_answers_in_both_layouts(tmp_path: Path) -> None:
    layouts = ("possible_answer__BFCL_v4_multiple.json", "possible_answer/BFCL_v4_multiple.json")
    for layout in layouts:
        folder = tmp_path / layout.replace("/", "_") / "bfcl"
        (folder / layout).parent.mkdir(parents=True)
        source = FIXTURES / "bfcl_v4"
        (folder / "BFCL_v4_multiple.json").write_bytes((source / "BFCL_v4_multiple.json").read_bytes())
        (folder / layout).write_bytes((source / layouts[0]).read_bytes())
        found = load("bfcl_multiple", folder.parent)
        assert all(problem.reference["ground_truth"] for problem in found.problems) and len(found.problems) == 20
        for other in ("live_multiple", "parallel_multiple", "simple_java"):
            (folder / f"BFCL_v4_{other}.json").write_text("another category")
        assert load("bfcl_multiple", folder.parent) == found
        assert '"parameters"' in found.problems[0].question
        (folder / layout).unlink()
        with pytest.raises(UserError, match="ground_truth"):
            load("bfcl_multiple", folder.parent)


def test_only_the_test_split_of_mbpp_is_measured_on(tmp_path: Path) -> None:
    row = next(row for name, row, *_ in ROWS if name == "mbpp")
    written(tmp_path, "mbpp", [row | {"task_id": number} for number in (10, 11, 510, 511)])
    assert [problem.id for problem in load("mbpp", tmp_path).problems] == ["mbpp-11", "mbpp-510"]


def test_a_pickle_that_calls_something_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return print, ("called",)

    text = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    written(tmp_path, "livecodebench", [TASK | {"private_test_cases": text}])
    with pytest.raises(UserError, match="can't be unpacked: builtins.print"):
        load("livecodebench", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gsm8k", '{"question": "2 + 3?"}', "row 1: not as gsm8k is published .no column 'answer'"),
        ("gsm8k", '{"question": "2 + 3?", "answer": "5"}', "answer with ####"),
        ("gsm8k", "{", "no JSON"),
        ("gsm8k", "3", "no object"),
        ("gsm8k", "", "no problem"),
        ("math500", '{"problem": "x", "answer": "1", "id": 7}\n' * 2, "twice"),
    ],
)
def test_a_broken_file_is_a_users_mistake(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.jsonl").write_text(content)
    with pytest.raises(UserError, match=said):
        load(name, tmp_path)


def test_a_set_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gsm8k/test.jsonl.*huggingface.co/datasets/openai/gsm8k"):
        load("gsm8k", tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        load("gsm8k", tmp_path / "none")


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(name: str, **settings: Any) -> str:
        asked.append((name, settings))
        return str(tmp_path)

    monkeypatch.setattr("thinkaloud.base.hub.snapshot_download", snapshot_download)
    (tmp_path / "test.jsonl").write_text('{"problem": "Half?", "answer": "0.5"}')
    found = load("math500", offline=True)
    assert found.source == "HuggingFaceH4/MATH-500" and len(found.problems) == 1
    assert asked == [
        (
            "HuggingFaceH4/MATH-500",
            {"repo_type": "dataset", "revision": None, "allow_patterns": ["test.jsonl"], "local_files_only": True},
        )
    ]


def test_offline_a_set_that_was_never_fetched_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="fetch it once online"):
        load("math500", offline=True)


def test_what_on_takes(tmp_path: Path) -> None:
    own = written(tmp_path, "mine", [{"question": "What is 2 + 3?", "answer": 5}, {"question": "Who?", "answer": "I"}])
    for category in ("simple_python", "multiple", "parallel", "irrelevance"):
        assert (FIXTURES / "bfcl_v4" / f"BFCL_v4_{category}.json").exists()
    sets = chosen(["gsm8k", "bfcl", "cups", str(own), "gsm8k"], FIXTURES, limit=2, count=9)
    assert [one.name for one in sets] == [
        "gsm8k", "bfcl_simple", "bfcl_multiple", "bfcl_parallel", "bfcl_irrelevance", "cups", "mine"
    ]  # fmt: skip
    assert {len(one.problems) for one in sets} == {2}
    assert [BOXED in problem.question for problem in sets[-1].problems] == [True, False]
    (brief,) = chosen([str(own)], instruction="Be brief.")
    assert [one.question for one in brief.problems] == ["What is 2 + 3?\n\nBe brief.", "Who?\n\nBe brief."]
    with pytest.raises(UserError, match="did you mean gsm8k"):
        chosen(["gsm8"], FIXTURES)
    own.write_text('{"question": "What?"}')
    with pytest.raises(UserError, match="problems check"):
        chosen([str(own)])


def test_every_set_names_its_licence_and_its_source() -> None:
    assert all(one.licence and "/" in one.hub and one.hub_files and one.what for one in BENCHMARKS.values())
