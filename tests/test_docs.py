"""Every block of README, CONTRIBUTING and docs: Python runs, commands exist and the cheap ones run, TOML is a recipe.

A comment before a block says what else is meant by it. `<!-- run -->` runs its commands, `<!-- run: slow -->` does so
in the slow tests; `<!-- not run: why -->` looks at its form only; `<!-- run by tests/test_x.py -->` names the test that
runs it. A title on the fence is the name of a file: what follows on the page finds it. Pages that come later are found
by themselves; a block of theirs that needs a server and says nothing of it is skipped, visibly.
"""

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from test_house import ROOT, commands, fault
from thinkaloud.base.config import parse_settings
from thinkaloud.cli.main import VERBS, run
from thinkaloud.inference.hub import BUNDLED
from thinkaloud.problems import FAMILIES, Family
from thinkaloud.train.recipe import Recipe, check
from thinkaloud.train.worker import run_stage

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
SHELLS = ("sh", "bash", "shell", "console")
PLAIN = ("text", "tree", "")
"Languages of blocks that show what is printed."
CHEAP = ("ask", "problems")
"Verbs whose commands run wherever they stand, if the files that they name are there."
MARK = re.compile(r"<!-- (run|run: slow|not run: .+|run by (tests/\w+\.py)) -->")
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"localhost|127\.0\.0\.1|https?://")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block."""

    language: str
    "What stands after the fence."
    title: str | None
    "The file that it is."
    code: str
    "Its lines."
    mark: str
    "What the comment before it says; empty if none."

    @property
    def runs(self) -> bool:
        """Whether it is run, here or in the slow tests."""
        return not self.mark.startswith(("not run", "run by")) and not self.needs_server

    @property
    def needs_server(self) -> bool:
        """Whether it asks somebody else, and says nothing of it."""
        return not self.mark and self.language == "python" and ADDRESS.search(self.code) is not None


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(page):
        above = page[: match.start()].rstrip("\n").rsplit("\n", 1)[-1]
        mark = MARK.fullmatch(above)
        assert mark or not above.startswith("<!--"), f"not a mark of ours: {above}"
        found.append(Block(language=match[1], title=match[2], code=match[3], mark=mark[1] if mark else ""))
    return found


def lines(block: Block) -> Iterator[list[str]]:
    """The words of each of our commands in a block."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["thinkaloud"]:
            yield words[1:]


def wanted(block: Block, words: list[str], slow: bool) -> bool:
    """Whether a command is run in this place."""
    if block.mark in ("run", "run: slow"):
        return block.mark == "run" or slow
    named = [word for word in words if re.fullmatch(r"\S*(/\S*|\.[a-z]+)", word)]
    return not block.mark and words[0] in CHEAP and all(Path(word).exists() for word in named)


def check_toml(code: str) -> None:
    """A whole recipe, or a part of one."""
    raw = tomllib.loads(code)
    if {"run", "stages"} <= raw.keys():
        check(parse_settings(Recipe, raw, "the page"))
        return
    whole: dict[str, Any] = tomllib.loads((ROOT / "recipes" / "smoke.toml").read_text())
    parse_settings(Recipe, joined(whole, raw), "the page")


def joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two tables as one, the second going before."""
    both = {key: joined(one[key], value) if isinstance(one.get(key), dict) else value for key, value in other.items()}
    return one | both


def play(page: str, monkeypatch: pytest.MonkeyPatch, *, slow: bool = False) -> dict[str, Any]:
    """Go through a page in the current folder; gives the names that its Python leaves."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks((ROOT / page).read_text()):
        if block.title:
            Path(block.title).write_text(block.code)
        if not block.runs:
            continue
        if block.language == "python":
            exec(compile(block.code, page, "exec"), names)
        elif block.language == "toml":
            for kind in [one for one in names.values() if isinstance(one, type) and issubclass(one, Family)]:
                if kind is not Family:
                    monkeypatch.setitem(FAMILIES, kind.name, kind())
            check_toml(block.code)
        elif block.language in SHELLS:
            for words in lines(block):
                if wanted(block, words, slow):
                    assert run(words) == 0, words
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages run: with a run of the demo, which has the bundled model."""
    shutil.copytree(BUNDLED, tmp_path / "runs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(page, monkeypatch)
    needy = [block for block in blocks((ROOT / page).read_text()) if block.needs_server]
    if needy:
        pytest.skip(f"{len(needy)} blocks need a server: name their test with <!-- run by tests/test_x.py -->")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/ERRORS.md"])  # those are mistakes
def test_the_commands_of_a_page_exist(page: str, folder: Path) -> None:
    written = {block.title for block in blocks((ROOT / page).read_text()) if block.title}
    split = {command: shlex.split(command, comments=True) for command in commands((ROOT / page).read_text())}
    shown = [
        command
        for command, words in split.items()
        if written.isdisjoint(words) and not (len(words) == 2 and words[1] in VERBS)  # a verb by its bare name
    ]
    assert {command: fault(command) for command in shown if fault(command)} == {}


@pytest.mark.parametrize("page", PAGES)
def test_the_forms_of_a_page_are_sound(page: str) -> None:
    for block in blocks((ROOT / page).read_text()):
        assert block.language in (*SHELLS, *PLAIN, "python", "toml", "json", "jsonl", "yaml"), block.language
        if block.language == "python":
            compile(block.code, page, "exec")
        for text in {"json": [block.code], "jsonl": block.code.splitlines()}.get(block.language, []):
            json.loads(text)
        if block.language == "yaml":
            yaml.safe_load(block.code)
        if block.language == "toml":
            tomllib.loads(block.code)
        if block.mark.startswith("run by"):
            assert (ROOT / block.mark.removeprefix("run by ")).exists(), block.mark


def test_most_python_runs() -> None:
    found = [block for page in PAGES for block in blocks((ROOT / page).read_text()) if block.language == "python"]
    spared = [block for block in found if block.mark.startswith("not run")]
    assert len(spared) <= len(found) / 3, f"{len(spared)} of {len(found)} Python blocks are not run"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- run: slow -->" in (ROOT / page).read_text()])
def test_the_long_commands_of_a_page_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(page, monkeypatch, slow=True)


@pytest.mark.slow
def test_the_family_of_the_tutorial_is_learnt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play("docs/TUTORIAL.md", monkeypatch)
    raw = tomllib.loads(Path("triples.toml").read_text())
    recipe = parse_settings(Recipe, raw, "the tutorial")
    recipe.run.dir.mkdir(parents=True)
    shutil.copy("triples.toml", recipe.run.dir / "recipe.toml")
    for stage in recipe.stages:
        run_stage(recipe.run.dir, stage)
    right = {}
    for stage in recipe.stages:
        asked = json.loads((recipe.run.dir / "evaluations" / f"{stage}.json").read_text())["problems"]
        right[stage] = sum(problem["right"][0] for problem in asked) / len(asked)
    assert right["better"] > 0.5 and right["better"] > right["first"] - 0.05, right


# --- the reader of pages itself ---


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```python\nraise ValueError('x')\n```", "x"),
        ("```toml\n[run]\nnaem = 1\n```", "did you mean run.name"),
        ("<!-- run -->\n```sh\nthinkaloud problems check none.jsonl\n```", "none.jsonl"),
        ("<!-- rnu -->\n```sh\nthinkaloud problems\n```", "not a mark of ours"),
    ],
)
def test_a_page_that_is_wrong_is_seen(text: str, wrong: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = folder / "page.md"
    page.write_text(text + "\n")
    with pytest.raises((AssertionError, ValueError), match=wrong):
        play(str(page), monkeypatch)


def test_marks_and_titles_are_read() -> None:
    text = '<!-- not run: it is large -->\n```python title="a.py"\nload("x")\n```\n\n```python\nurl = "http://x"\n```\n'
    first, second = blocks(text)
    assert (first.title, first.runs, first.mark) == ("a.py", False, "not run: it is large")
    assert second.needs_server and not second.runs


# --- the site ---


def test_the_page_of_settings_has_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pages = pytest.importorskip("pages")
    page = pages.settings_page()
    for schema in (Recipe, *(found for _, found in pages.tables("", Recipe.model_fields["stages"].annotation))):
        for name, field in schema.model_fields.items():
            assert f"| `{name}` |" in page and (field.description or "?").split("\n")[0].replace("|", "\\|") in page, (
                name
            )
    assert "## `[stages.NAME] of kind rl`" in page and "## `[stages.NAME.optimiser]`" in page


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    commands_of = pytest.importorskip("mkdocs.commands.build")
    config = pytest.importorskip("mkdocs.config").load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    commands_of.build(config)
    page = (tmp_path / "site" / "REFERENCE.html").read_text()
    assert "thinking_budget" in page and "fonts.googleapis" not in page
    assert "samples" in (tmp_path / "site" / "SETTINGS.html").read_text()
