"""Problems that a user brings: a file, a folder or a data set of the hub, checked before anything rests on them.

Knows: the columns (question, answer, verifier, tests, id, thinking), what is wrong with a line and how to mend it.
Doesn't know: how problems are drawn, nor models.
"""

import csv
import difflib
import hashlib
import io
import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from thinkaloud.base.errors import UserError
from thinkaloud.base.hub import fetch
from thinkaloud.problems.benchmarks.files import rows
from thinkaloud.problems.benchmarks.types import canonical
from thinkaloud.problems.types import Problem
from thinkaloud.problems.verifiers import VERIFIERS
from thinkaloud.problems.verify import KINDS, verify_all
from thinkaloud.text.messages import Message

COLUMNS = ("question", "answer", "verifier", "tests", "id", "thinking")
SUFFIXES = (".jsonl", ".csv", ".parquet")
OWN_ANSWERS = ("math", "choice", "exact", "literal")
"Verifiers whose reference is an answer."
OTHER_NAMES = {
    "problem": "question",
    "prompt": "question",
    "input": "question",
    "solution": "answer",
    "output": "answer",
}
"What other sets call these columns, said as the fix."
NGRAM = 13
"Words in a row that two texts must share to be called overlapping, as published decontaminations do."
NO_TEXT = re.compile(r"[\ud800-\udfff]")
"What a byte that is no UTF-8 is read as, and half a character that JSON spells."
NOT_UTF8 = "no UTF-8; save the file as UTF-8"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a line."""

    line: int
    "Line of the file, from 1; a CSV's heading is line 1."
    words: str
    "The fault and its fix."
    file: str = ""
    "Which file of several; empty when there is one."

    @property
    def where(self) -> str:
        """'line 3', or 'more.csv line 3'."""
        return f"{self.file} line {self.line}".strip()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a file of problems holds."""

    problems: tuple[Problem, ...]
    "The problems without a fault, in the file's order."
    faults: tuple[Fault, ...]
    "The faults by line."
    verifiers: dict[str, int]
    "How many sound problems each kind of verifier judges."
    words: tuple[int, float, int]
    "Length of the questions in words: least, median, most."


def files_of(source: Path, *, offline: bool = False) -> list[Path]:
    """The files that are meant: one, those of a folder, or those of a data set on the hub such as owner/name."""
    if source.is_file():
        return [source]
    folder = source
    if not source.is_dir():
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w-][\w.-]*", str(source)) or source.suffix.lower() in SUFFIXES:
            raise UserError(
                f"there is no file {source}; name a .jsonl or .csv file, a folder, or a data set of the hub"
            )
        folder = fetch(str(source), [f"*{suffix}" for suffix in SUFFIXES], kind="dataset", offline=offline)
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{source} holds no file of problems; put some there: {', '.join(SUFFIXES)}")
    return found


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each line's number with its row, or with what is wrong with it."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from enumerate(rows(path), 1)
        return
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    if kind == ".csv":
        yield from _cells(text)
    elif kind == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, _parsed(line)
    else:
        raise UserError(f"{path.name} is neither .jsonl nor .csv; save it as one of them")


def _cells(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a CSV by its heading, as `read` gives them; the number is that of a row's first line."""
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading: list[str] = []
    while True:
        line = table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"no CSV ({error}); close every quote, and double those within a cell"
            continue
        if not heading:
            heading = cells
        elif any(cells[len(heading) :]):
            yield line, "more cells than the heading has; put text with a comma into double quotes"
        elif cells:
            yield line, {name: cell for name, cell in zip(heading, cells, strict=False) if name}


def _parsed(line: str) -> dict[str, Any] | str:
    """The row of a line of JSON, or what is wrong with it."""
    if NO_TEXT.search(line):
        return NOT_UTF8
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"no JSON ({error}); write one object a line, with double quotes"
    return row if isinstance(row, dict) else 'no object; write {"question": ..., "answer": ...}'


def _no_constant(name: str) -> NoReturn:
    """What Python and pandas write for a value that is missing."""
    raise ValueError(f"{name} is no value")


def check(source: Path, others: dict[str, str] | None = None, *, offline: bool = False) -> Report:
    """The sound problems of a source, and the faults of the rest; `others` (name -> text) it must not overlap."""
    known = _ngrams(others or {})
    paths = files_of(source, offline=offline)
    places = [
        (Fault(line=line, words="", file="" if len(paths) == 1 else path.name), row)
        for path in paths
        for line, row in read(path)
    ]
    faults: list[Fault] = []
    sound: list[tuple[Fault, Problem]] = []
    seen: dict[str, Fault] = {}
    names: dict[str, Fault] = {}
    for place, row in places:
        problem = row if isinstance(row, str) else _problem(row)
        if isinstance(problem, Problem):
            first = seen.setdefault(problem.canonical, place)
            where = next((known[gram] for gram in _grams(problem.canonical) if gram in known), None)
            named = names.setdefault(problem.id, place)
            if first != place:
                problem = f"the question of {first.where} again; drop one of them"
            elif named != place:
                problem = f"the id {problem.id} of {named.where} again; give each its own, or none"
            elif where is not None:
                problem = f"shares {NGRAM} words in a row with {where}; drop it, or never report that benchmark"
        if isinstance(problem, Problem):
            sound.append((place, problem))
        else:
            faults.append(replace(place, words=problem))
    verdicts = verify_all([(one.verifier, own_answer(one) or "pass", one.reference) for _, one in sound])
    for (place, one), verdict in zip(sound, verdicts, strict=True):
        if one.verifier in OWN_ANSWERS and verdict.label != "right":
            words = f"its own answer is judged {verdict.label} ({verdict.reason}); mend it or name another verifier"
            faults.append(replace(place, words=words))
        elif verdict.label == "ungradable" and verdict.reason != "unsupported":
            faults.append(replace(place, words=f"nothing can be judged by it ({verdict.reason}); mend {_column(one)}"))
    bad = {fault.where for fault in faults}
    kept = tuple(problem for place, problem in sound if place.where not in bad)
    lengths = [len(problem.question.split()) for problem in kept] or [0]
    return Report(
        problems=kept,
        faults=tuple(sorted(faults, key=lambda fault: (fault.file, fault.line))),
        verifiers={kind: count for kind in KINDS if (count := sum(one.verifier == kind for one in kept))},
        words=(min(lengths), statistics.median(lengths), max(lengths)),
    )


def _problem(row: dict[str, Any]) -> Problem | str:
    """The problem of a row, or what is wrong with it."""
    row = {name: value for name, value in row.items() if value not in (None, "")}
    if NO_TEXT.search(json.dumps(row, ensure_ascii=False, default=str)):
        return NOT_UTF8
    for name in row:
        plain = name.strip().lower()
        wanted = OTHER_NAMES.get(plain, plain)
        if name not in COLUMNS and wanted in COLUMNS and wanted not in ("id", *row):
            return f"no column {wanted!r}; rename {name!r} to it"
    if row and not row.keys() & set(COLUMNS):
        return f"no column 'question' among {', '.join(map(repr, row))[:80]}; name the columns, with commas between"
    question, reference = row.get("question"), row.get("answer", row.get("tests"))
    if not isinstance(question, str) or not question.strip():
        return "no question; write it as text"
    if reference is None:
        return "no answer; write one, or tests for a program"
    thought = row.get("thinking")
    if "verifier" not in row and (end := re.search(r"\n#### *(\S.*)$", str(reference))):
        thought = thought or str(reference)[: end.start()].strip()
        reference = end[1].strip()  # A worked solution in GSM8K's manner.
    if not isinstance(thought, str | None):
        return "thinking is no text; write the worked thought as text, or leave it out"
    kind = str(row.get("verifier") or ("code" if "tests" in row else "math" if _is_number(reference) else "exact"))
    if kind not in VERIFIERS:
        near = difflib.get_close_matches(kind, VERIFIERS, n=1) or [f"one of {', '.join(VERIFIERS)}"]
        return f"no verifier {kind!r}; take {near[0]}"
    if kind == "code" and "tests" in row:
        reference = {"tests": row["tests"]}
    form = canonical(question)
    return Problem(
        id=str(row.get("id", f"own-{hashlib.sha256(form.encode()).hexdigest()[:12]}")),
        family="own",
        level=1,
        messages=(Message(role="user", content=question),),
        verifier=kind,
        reference=reference,
        canonical=form,
        thought=thought or None,
    )


def _is_number(reference: Any) -> bool:
    """Whether an answer is for the `math` verifier unless another is named: a number, or LaTeX."""
    return bool(re.search(r"^[^A-Za-z]*[0-9][^A-Za-z]*$|\\[a-z]", str(reference)))


def _column(problem: Problem) -> str:
    """What holds a problem's reference."""
    return "the tests" if problem.verifier == "code" else "the answer"


def own_answer(problem: Problem) -> str | None:
    """The reference as an answer would give it; None where it is no answer, such as tests."""
    if problem.verifier not in OWN_ANSWERS:
        return None
    return f"\\boxed{{{problem.reference}}}" if problem.verifier == "math" else str(problem.reference)


def _grams(text: str) -> Iterator[str]:
    """Every run of so many words of a canonical text; the whole text when it is shorter."""
    words = text.split()
    for start in range(max(1, len(words) - NGRAM + 1)):
        yield " ".join(words[start : start + NGRAM])


def _ngrams(texts: dict[str, str]) -> dict[str, str]:
    """Run of words -> name of a text that holds it."""
    return {gram: name for name, text in texts.items() for gram in _grams(canonical(text))}
