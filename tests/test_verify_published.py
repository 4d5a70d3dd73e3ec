"""Published problem sets: every reference judged right, every mutation refused."""

import importlib
import os
from pathlib import Path

import pytest

from thinkaloud.base.errors import UserError
from thinkaloud.cli.main import run
from thinkaloud.problems import Verdict
from thinkaloud.problems.benchmarks import BENCHMARKS, files_of
from thinkaloud.problems.checks import outcome
from thinkaloud.problems.published import published
from thinkaloud.problems.sandbox.isolation import BUBBLEWRAP, sandbox_here
from thinkaloud.problems.verifiers import VERIFIERS

verify = importlib.import_module("thinkaloud.problems.verify")
FIXTURES = Path(__file__).parent / "fixtures" / "published"
WHOLE = os.environ.get("THINKALOUD_DATA")
EXCEPTIONS = {"deepmath": 3}
"Mutations that are no other answer: the library reads a sum of a set or a congruence with a number as the first alone."


@pytest.mark.parametrize("name", [name for name, one in BENCHMARKS.items() if files_of(one, FIXTURES)])
def test_items_of_a_published_set(name: str) -> None:
    items = published(FIXTURES)[name]
    found = outcome(name, items[:10] if items[0][0] == "code" else items)
    assert len(items) == 40 and found.faults == () and found.counts["right"] == found.counts["wrong"] > 4
    assert found.unsupported == 0 or sandbox_here(False) != BUBBLEWRAP


def test_a_folder_without_any_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds none of the published sets"):
        published(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(WHOLE is None, reason="THINKALOUD_DATA names no folder with published sets")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_whole_of_a_published_set(name: str) -> None:
    assert WHOLE is not None
    items = published(Path(WHOLE)).get(name)
    if items is None:
        pytest.skip(f"{name} is not there")
    found = outcome(name, items)
    assert len(found.faults) <= EXCEPTIONS.get(name, 0), found.faults[:5]
    assert all("instead of wrong" in fault for fault in found.faults)


def test_doctor_shows_every_verifier_and_every_published_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verify, "KINDS", ("cups", "exact", "bfcl"))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_bytes((FIXTURES / "gsm8k" / "test.jsonl").read_bytes())
    assert run(["doctor", "--verifiers", "--data", str(tmp_path)]) == 0
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:5]]
    assert [line[0] for line in lines] == ["cups", "exact", "bfcl", "gsm8k"] and lines[3][1:] == ["20", "20"]


def test_doctor_reports_a_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "KINDS", ("exact",))
    monkeypatch.setattr(VERIFIERS["exact"], "at_once", lambda answer, reference: Verdict.right())
    assert run(["doctor", "--verifiers"]) == 1
    captured = capsys.readouterr()
    assert "exact: right instead of wrong" in captured.out
    assert "2 verdicts are not what they must be" in captured.err
