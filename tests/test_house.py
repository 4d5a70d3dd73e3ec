"""The rules of the house, held by reading it: floors, spelling, habits; and README, which must say what is there."""

import ast
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import typer
from typer.main import get_command

import thinkaloud
from thinkaloud.cli.main import VERBS, application
from thinkaloud.cli.recipes import read_recipe
from thinkaloud.text import Tokenizer
from thinkaloud.text.markup import END_TOKENS, SPECIAL_TOKENS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "thinkaloud"
SOURCES = {str(file.relative_to(PACKAGE)): file.read_text() for file in sorted(PACKAGE.rglob("*.py"))}
README = (ROOT / "README.md").read_text()

FLOORS = {
    "cli": 6,
    "train": 5,
    "serve": 5,
    "rollouts": 4,
    "inference": 3,
    "engine": 2,
    "problems": 2,
    "text": 1,
    "model": 1,
    "reports": 1,
    "base": 0,
}
HTTP = ("http", "urllib", "socketserver", "fastapi", "starlette", "uvicorn", "httpx", "requests", "aiohttp", "flask")
DOES_NOT_KNOW = {
    "train": HTTP,
    "rollouts": HTTP,
    "inference": (*HTTP, "thinkaloud.problems"),
    "engine": HTTP,
    "problems": ("torch", "transformers", "safetensors", "thinkaloud.model"),
    "text": ("torch", "transformers", "safetensors"),
    "reports": ("torch", "transformers", "safetensors"),
    "base": ("torch", "transformers", "safetensors"),
}
"What a room must not import, although the floors would let it."
DOORS = ("__init__.py", "__main__.py")
"The public doors of the package: exempt from the floors."
MOST_LINES = 330
TOKEN = re.compile("|".join([*map(re.escape, {*SPECIAL_TOKENS, *END_TOKENS}), r"<[|｜][^<>\n]{1,40}[|｜]>"]))
"A special token: one that we know, or anything between such brackets."

ALLOWED = {
    "cli/main.py": ["imports thinkaloud.__version__ from the top of the package"],
    "engine/engine.py": ["catches everything"],
    "engine/steered.py": ["catches everything"],
    "problems/families/gym_library.py": ["catches everything"],
    "problems/sandbox/guest.py": ["catches everything"] * 3,
    "problems/verifiers/math.py": ["catches everything"] * 2,
    "serve/desk.py": ["catches everything"],
    "text/tokenizer.py": ["catches everything"],
}
"""Exceptions, each exactly as often as listed: the package's own version; errors of any kind from others' libraries,
from programs that nobody vouches for, on the one thread that all replies of a server live from, and around what the
engine does for one row of many."""


# --- what is imported ---


def imports(source: str, path: str) -> Iterator[str]:
    """Every name that a file imports, wherever the import stands; `?` for one that can't be read."""
    here = ("thinkaloud", *PurePosixPath(path).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level + 1], node.module] if node.level else [node.module]
            yield from (".".join([*filter(None, base), alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            yield first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else "?"


def climbs(source: str, path: str) -> list[str]:
    """The imports of a file that its floor does not allow, in words."""
    if path in DOORS:
        return []
    room = path.split("/")[0]
    if room not in FLOORS:
        return [f"{path} stands in no room"]
    found = []
    for name in imports(source, path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else ""
        if name == "?":
            found.append("imports what can't be read from the source")
        elif any(name == other or name.startswith(other + ".") for other in DOES_NOT_KNOW.get(room, ())):
            found.append(f"imports {name}, which {room} does not know")
        elif parts[0] != "thinkaloud" or target == room:
            continue
        elif target not in FLOORS:
            found.append(f"imports {name} from the top of the package")
        elif FLOORS[target] >= FLOORS[room]:
            found.append(f"imports {name}, which is not below {room}")
        elif (room, target) == ("engine", "text") and parts[2:3] != ["policy"]:
            found.append(f"imports {name}: of text, the engine knows the policy only")
    return found


def bad_habits(source: str, path: str) -> list[str]:
    """What we don't write, in words."""
    tree = ast.parse(source)
    found = []
    if not ast.get_docstring(tree):
        found.append("has no docstring")
    if source.count("\n") > MOST_LINES:
        found.append(f"has more than {MOST_LINES} lines")
    for node in ast.walk(tree):
        caught: list[ast.expr | None] = []
        if isinstance(node, ast.Name) and node.id == "hasattr":
            found.append("uses hasattr")
        elif isinstance(node, ast.ExceptHandler):
            caught = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "suppress":
            caught = list(node.args)
        names = {"" if one is None else ast.unparse(one).split(".")[-1] for one in caught}
        if names & {"", "Exception", "BaseException"}:
            found.append("catches everything")
    return found


def spelled(source: str, path: str) -> list[str]:
    """Special tokens that a file spells, in code, comments or docstrings, whatever escapes it uses."""
    if path.startswith("text/"):
        return []
    constants = [str(node.value) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [
        f"spells {token}" for token in sorted({token for text in (source, *constants) for token in TOKEN.findall(text)})
    ]


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_keeps_the_rules(path: str) -> None:
    found = [words for rule in (climbs, bad_habits, spelled) for words in rule(SOURCES[path], path)]
    assert found == ALLOWED.get(path, [])


def test_every_exception_names_a_file() -> None:
    assert set(ALLOWED) <= set(SOURCES)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/x.py", "import thinkaloud.text"),
        ("text/x.py", "from thinkaloud.engine import Engine"),
        ("engine/x.py", "from thinkaloud.problems.types import Problem"),
        ("engine/x.py", "from thinkaloud.text import Tokenizer"),
        ("problems/families/x.py", "from thinkaloud.model import ModelConfig"),
        ("problems/x.py", "def late():\n    import torch.nn"),
        ("base/x.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("base/x.py", "try:\n    from thinkaloud.text import Message\nexcept ImportError:\n    pass"),
        ("inference/x.py", "from thinkaloud import problems"),
        ("inference/x.py", "from thinkaloud.problems import verify"),
        ("rollouts/x.py", "from thinkaloud.train.batches import Sample"),
        ("train/x.py", "from thinkaloud.cli.console import say"),
        ("train/x.py", "from http.server import HTTPServer"),
        ("train/x.py", "import thinkaloud"),
        ("train/x.py", "from thinkaloud import load"),
        ("base/x.py", "from ..text import Message"),
        ("base/x.py", "from .. import text"),
        ("base/x.py", "importlib.import_module('thinkaloud.text')"),
        ("base/x.py", "import_module(name)"),
        ("helpers/x.py", ""),
        ("x.py", ""),
    ],
)
def test_an_import_that_climbs_is_seen(path: str, source: str) -> None:
    assert len(climbs(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/x.py", "from thinkaloud.model import KVCache\nfrom thinkaloud.text.policy import ThinkingPolicy"),
        ("problems/families/x.py", "from thinkaloud.text import Message\nfrom ..types import Problem"),
        ("cli/x.py", "def late():\n    import torch\n    from thinkaloud.train.pipeline import train"),
        ("__init__.py", "from thinkaloud.inference import load"),
    ],
)
def test_an_import_that_does_not_climb_passes(path: str, source: str) -> None:
    assert climbs(source, path) == []


@pytest.mark.parametrize(
    "source",
    [
        "",
        '"""D."""' + "\n" * 331,
        '"""D."""\nhasattr(x, "y")',
        '"""D."""\ntry: f()\nexcept: pass',
        '"""D."""\ntry: f()\nexcept Exception: raise',
        '"""D."""\ntry: f()\nexcept (ValueError, builtins.BaseException): pass',
        '"""D."""\nwith contextlib.suppress(Exception): f()',
    ],
)
def test_a_bad_habit_is_seen(source: str) -> None:
    assert len(bad_habits(source, "base/x.py")) == 1


def test_good_habits_pass() -> None:
    source = '"""D."""\ntry: f()\nexcept (KeyError, OSError): pass\nwith suppress(KeyError): f()\n'
    assert bad_habits(source, "base/x.py") == []


@pytest.mark.parametrize(
    "source", ['x = "a</think>"', "# ends with <|im_end|>", 'f"<tool_call>{x}"', r'"\x3cthink>"', '"<|fresh_one|>"']
)
def test_a_spelled_token_is_seen_outside_the_text_room(source: str) -> None:
    assert spelled(source, "train/x.py") and not spelled(source, "text/x.py")


# --- README ---


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def listed(tree: str) -> list[str]:
    """The paths of a captioned tree, folders with a slash at the end."""
    found: list[str] = []
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        match = re.fullmatch(r"( *)(\S+)(?: {2,}(\S.*))?", line)
        assert match, f"not a line of the tree: {line!r}"
        while above and above[-1][0] >= len(match[1]):
            above.pop()
        path = (above[-1][1] if above else "") + match[2]
        found.append(path)
        if path.endswith("/"):
            above.append((len(match[1]), path))
        else:
            assert match[3], f"{path} has no caption"
    return found


def folded(paths: list[str]) -> set[str]:
    """The folders that a tree names without what is in them."""
    return {path for path in paths if path.endswith("/") and not any(p != path and p.startswith(path) for p in paths)}


def real_files() -> set[str]:
    """All files of the checkout that git would keep."""
    patterns = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())]
    found: set[str] = set()
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:], files = (
            [n for n in names if not any(fnmatch((here / n).as_posix() if "/" in p else n, p) for p in patterns)]
            for names in (folders, files)
        )
        found |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in files}
    return found


def test_the_tree_in_readme_is_the_real_tree() -> None:
    (tree,) = blocks("tree")
    paths = listed(tree)
    assert len(paths) == len(set(paths))
    closed = folded(paths)
    spared = {path for path in closed if path.startswith("docs/data/")} | {"tests/", "src/thinkaloud/bundled/"}
    assert closed <= spared, "only these may stand without their files"
    real = {path for path in real_files() if not path.startswith(tuple(closed))} - {"README.md"}
    files = {path for path in paths if not path.endswith("/")}
    rooms = {path + "__init__.py" for path in paths if path.startswith("src/thinkaloud/") and path.endswith("/")}
    assert sorted(files - real) == [], "in README, not on disk"
    assert sorted(real - files - rooms) == [], "on disk, not in README"
    assert all((ROOT / path).is_dir() for path in paths if path.endswith("/"))


def test_the_tree_names_every_floor() -> None:
    (tree,) = blocks("tree")
    floors = dict(re.findall(r"^  (\w+)/ +floor (\d)", tree, re.MULTILINE))
    rooms = {path.split("/")[0] for path in SOURCES if "/" in path}
    assert {room: int(floor) for room, floor in floors.items()} == {room: FLOORS[room] for room in rooms}


def test_a_tree_is_read() -> None:
    paths = listed("a/\n  b/     room\n    c.py  what\n  d.py    what\ne/      folded\nf  what")
    assert paths == ["a/", "a/b/", "a/b/c.py", "a/d.py", "e/", "f"]
    assert folded(paths) == {"e/"}
    with pytest.raises(AssertionError, match="no caption"):
        listed("a.py")


def commands(text: str) -> Iterator[str]:
    """The commands that a page shows: lines of its shell blocks, and `make ...` and `thinkaloud ...` in its prose."""
    for block in blocks("(?:sh|bash|shell|console)", text):
        yield from (line.strip().removeprefix("$ ") for line in block.splitlines() if line.strip())
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`((?:make|thinkaloud|python -m thinkaloud) [^`\n]+)`", prose)


def fault(command: str) -> str:
    """What is wrong with a command of ours; empty for one that exists, and for any that isn't ours."""
    words = shlex.split(command.replace("python -m thinkaloud", "thinkaloud", 1), comments=True)
    if not words:
        return ""
    program, arguments = words[0].split("/")[-1], words[1:]
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return ", ".join(f"no target {word}" for word in arguments if "=" not in word and word not in targets)
    if program != "thinkaloud" or not arguments or arguments in (["--help"], ["--version"]):
        return ""
    verb, *rest = arguments
    if verb not in VERBS:
        return f"no verb {verb}"
    recipes = [word for word in rest if word.endswith(".toml")]
    if "--help" in rest:
        return ""
    try:
        get_command(application()).commands[verb].make_context(verb, list(rest))  # type: ignore[attr-defined]
        for recipe in recipes:
            read_recipe(ROOT / recipe, [word for word in rest if "=" in word and not word.startswith("-")])
    except (typer.TyperException, thinkaloud.UserError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "command",
    [
        "make coffee",
        "make test coffee",
        "thinkaloud dance",
        "python -m thinkaloud dance",
        ".venv/bin/thinkaloud dance",
        "thinkaloud train",
        "thinkaloud train recipes/none.toml",
        "thinkaloud train recipes/smoke.toml run.sede=2",
        "thinkaloud ask --loud x",
    ],
)
def test_a_command_that_does_not_exist_is_seen(command: str) -> None:
    assert list(commands(f"Do `{command}`.\n")) == ([] if command.startswith(".venv") else [command])
    assert list(commands(f"```sh\n$ {command}\n```\n")) == [command]
    assert fault(command)


def test_readme_names_every_verb() -> None:
    assert [verb for verb in VERBS if f"`thinkaloud {verb}" not in README] == []


def test_the_python_of_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    (code,) = [block for block in blocks("python") if "import thinkaloud\n" in block]
    exec(compile(code, "README.md", "exec"), names)
    assert names["verdict"].label == "right"
    assert len(names["done"][0].token_ids) == len(names["done"][0].logprobs) > 0
    assert names["reply"].usage.thinking_tokens <= 40
    assert capsys.readouterr().out.endswith("right\n")


def test_the_family_of_readme_works() -> None:
    names: dict[str, Any] = {"__name__": "doubles"}
    (code,) = [block for block in blocks("python") if "(Family)" in block]
    exec(compile(code, "README.md", "exec"), names)
    assert climbs(code, "problems/families/x.py") == bad_habits(code, "problems/families/x.py") == []
    family, rng = names["Doubles"](), random.Random(0)
    tokenizer = Tokenizer.build(family.words)
    for level in family.levels:
        for _ in range(20):
            problem = family.generate(rng, level)
            shown = family.demonstrate(problem, "careful", rng)
            assert family.verify(shown.answer, problem.reference).label == "right"
            assert family.verify(shown.answer + "0", problem.reference).label == "wrong"
            assert family.way_of(problem, shown.thinking) == shown.way
            ids = tokenizer.encode(problem.question) + tokenizer.encode(shown.thinking) + tokenizer.encode(shown.answer)
            assert {tokenizer.decode([one]) for one in ids} <= set(family.words)


# --- the package from outside ---


def test_the_module_and_its_import_load_no_torch() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    for words in (["-m", "thinkaloud", "--help"], ["-c", "import thinkaloud"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        loaded = set(re.findall(r"\| +(\w+)", done.stderr))
        assert "thinkaloud" in loaded
        assert not loaded & {"torch", "numpy", "transformers", "matplotlib"}
