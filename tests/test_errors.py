"""What goes wrong for people gets one line, which stands in docs/ERRORS.md, and code 2: every row of that page is done.

On the page, … stands for what differs from machine to machine.
"""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from own_runs import checkpoint
from thinkaloud.base.run import locked, write_json
from thinkaloud.cli.main import run
from thinkaloud.inference.hub import BUNDLED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ERRORS.md"
Patch = pytest.MonkeyPatch


def nothing(patch: Patch) -> None:
    """Nothing is there before."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One thing that goes wrong."""

    done: str
    "what was done, in words"
    words: str
    "the command, without its first word"
    before: Callable[[Patch], None] = nothing
    "makes the files that it needs, in the current folder"


def file(name: str, text: str | bytes) -> Callable[[Patch], None]:
    """A file is there before."""

    def write(patch: Patch) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def model(change: Callable[[Path], object]) -> Callable[[Patch], None]:
    """A copy of the bundled model is there before, as `mine`, something of it changed."""

    def copy(patch: Patch) -> None:
        shutil.copytree(BUNDLED, "mine")
        change(Path("mine"))

    return copy


def configured(**values: Any) -> Callable[[Patch], None]:
    """A model whose config.json says something else."""
    return model(lambda mine: write_json(mine / "config.json", json.loads((mine / "config.json").read_text()) | values))


def problems(*rows: object, good: int = 0) -> Callable[[Patch], None]:
    """A model, and a file of problems: sound ones, then these."""
    sound = [{"question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(good)]
    lines = [row if isinstance(row, str) else json.dumps(row) for row in (*sound, *rows)]

    def write(patch: Patch) -> None:
        model(lambda mine: None)(patch)
        Path("mine.jsonl").write_text("".join(line + "\n" for line in lines))

    return write


def failing(where: str, number: int) -> Callable[[Patch], None]:
    """A call of the system fails."""

    def fail(*words: Any, **others: Any) -> None:
        raise OSError(number, os.strerror(number), *[str(word) for word in words[:1] if isinstance(word, str | Path)])

    return lambda patch: patch.setattr(where, fail)


def begun(patch: Patch) -> None:
    """A run of the smoke recipe was begun."""
    from thinkaloud.base.config import load_settings
    from thinkaloud.train.pipeline import prepare
    from thinkaloud.train.recipe import Recipe

    prepare(load_settings(Recipe, ROOT / "recipes" / "smoke.toml"))


def newer(patch: Patch) -> None:
    """A run that a later version began."""
    begun(patch)
    write_json(Path("runs/smoke/environment.json"), {"schema_version": 99})


def held(patch: Patch) -> None:
    """Another process, this one, holds the run."""
    holder = locked(Path("runs/smoke"))
    holder.__enter__()
    patch.setattr(Path, "holder", holder, raising=False)  # lives as long as the patch


def little_room(patch: Patch) -> None:
    usage = namedtuple("usage", "total used free")
    patch.setattr("shutil.disk_usage", lambda folder: usage(2**30, 2**30, 2**20))


def little_memory(patch: Patch) -> None:
    patch.setattr("thinkaloud.train.spending.free_memory", lambda: 100 << 20)
    patch.setattr("thinkaloud.model.memory.free_memory", lambda: 1 << 20)


def foreign(patch: Patch) -> None:
    """A model of others, its template left out."""
    mine = checkpoint(Path("mine"))
    (mine / "chat_template.jinja").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (mine / name).write_text((mine / name).read_text().replace("<|im_end|>", "<|end|>"))


def native_missing(patch: Patch) -> None:
    patch.setattr("thinkaloud.engine.choose.native_available", lambda: False)
    patch.setattr("thinkaloud.inference.loading.can_quantise", lambda model: True)


def offline(patch: Patch) -> None:
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def an_evaluation(patch: Patch) -> None:
    """An evaluation was begun with another seed."""
    file("p.jsonl", '{"question": "What is 1 + 1?", "answer": "2"}\n')(patch)
    assert run(["eval", "--on", "p.jsonl", "--out", "there", "--max-tokens", "1"]) == 0


OWN = "train own model=mine problems=mine.jsonl"
MISTAKES = [
    Mistake(
        done="a verb misspelt",
        words="trian demo",
    ),
    Mistake(
        done="an argument left out",
        words="train",
    ),
    Mistake(
        done="an option misspelt",
        words="train smoke --sede 1",
    ),
    Mistake(
        done="a word where a number belongs",
        words="ask --temperature hot hello",
    ),
    Mistake(
        done="an empty question",
        words="ask ' '",
    ),
    # --- recipes ---
    Mistake(
        done="a recipe that is not there",
        words="train nowhere.toml",
    ),
    Mistake(
        done="a folder for a recipe",
        words="train .",
    ),
    Mistake(
        done="a recipe that is no TOML",
        words="train r.toml",
        before=file("r.toml", "[run\n"),
    ),
    Mistake(
        done="a recipe that is no text",
        words="train r.toml",
        before=file("r.toml", b"\xff\xfe"),
    ),
    Mistake(
        done="an empty recipe",
        words="train r.toml",
        before=file("r.toml", ""),
    ),
    Mistake(
        done="a recipe that may not be read",
        words="train smoke",
        before=failing("pathlib.Path.read_text", errno.EACCES),
    ),
    Mistake(
        done="an unknown key",
        words="train smoke stages.think.bugdet=2",
    ),
    Mistake(
        done="a value of the wrong type",
        words="train smoke run.seed=one",
    ),
    Mistake(
        done="a value out of range",
        words="train smoke stages.think.budget=-1",
    ),
    Mistake(
        done="a kind of stage that there is not",
        words="train smoke stages.think.kind=sgd",
    ),
    Mistake(
        done="an override without a value",
        words="train smoke run.seed",
    ),
    Mistake(
        done="an override within a value",
        words="train smoke run.name.first=x",
    ),
    Mistake(
        done="an unknown family",
        words="train smoke families.cubs.train=5",
    ),
    Mistake(
        done="an unknown level",
        words="train smoke families.cups.levels=[99]",
    ),
    Mistake(
        done="an unknown way of working",
        words="train smoke families.cups.ways.lazy=1",
    ),
    Mistake(
        done="a result that is no stage",
        words="train smoke run.result=thinks",
    ),
    Mistake(
        done="a start from an unknown stage",
        words="train smoke stages.think_rl.init=nobody",
    ),
    Mistake(
        done="stages that start from each other",
        words="train smoke stages.think.init=think_rl",
    ),
    Mistake(
        done="an arm like an unknown one",
        words="study fraction study.arms.ours.like=nobody",
    ),
    Mistake(
        done="seeds that are no numbers",
        words="study smoke --seeds 1,one",
    ),
    Mistake(
        done="a seed given twice",
        words="study smoke --seeds 2,2",
    ),
    Mistake(
        done="own problems without a model",
        words="train smoke problems=p.jsonl",
    ),
    Mistake(
        done="bfloat16 for all weights",
        words="train smoke run.dtype=bfloat16",
    ),
    Mistake(
        done="a GPU that is not there",
        words="train smoke run.device=cuda",
        before=lambda patch: patch.setattr("torch.cuda.is_available", lambda: False),
    ),
    Mistake(
        done="a context too short for its problems",
        words="train smoke model.max_position_embeddings=16",
    ),
    # --- run folders ---
    Mistake(
        done="a file where the run's folder goes",
        words="train smoke run.dir=f",
        before=file("f", ""),
    ),
    Mistake(
        done="a run's folder that may not be made",
        words="train smoke",
        before=failing("os.mkdir", errno.EACCES),
    ),
    Mistake(
        done="another recipe in the same folder",
        words="train smoke run.seed=2",
        before=begun,
    ),
    Mistake(
        done="a model of yours where a run goes",
        words="train smoke run.dir=there",
        before=file("there/model/config.json", "{}"),
    ),
    Mistake(
        done="a run that a newer version began",
        words="train smoke",
        before=newer,
    ),
    Mistake(
        done="a folder that another process trains in",
        words="train smoke",
        before=held,
    ),
    Mistake(
        done="too little memory for a run",
        words="train smoke",
        before=little_memory,
    ),
    Mistake(
        done="too little room for a run",
        words="train smoke",
        before=little_room,
    ),
    Mistake(
        done="a disk that is full at once",
        words="train smoke",
        before=failing("os.replace", errno.ENOSPC),
    ),
    Mistake(
        done="a report of no run",
        words="report nowhere",
    ),
    Mistake(
        done="a report of a folder that is no run",
        words="report .",
    ),
    Mistake(
        done="a journal with a damaged line",
        words="doctor r",
        before=file("r/checkpoints/think/metrics.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n'),
    ),
    Mistake(
        done="a doctor for no run",
        words="doctor .",
    ),
    Mistake(
        done="a comparison with no evaluation",
        words="compare . .",
    ),
    # --- models ---
    Mistake(
        done="a model that is not there",
        words="ask --model nowhere hello",
    ),
    Mistake(
        done="two models",
        words="eval one --model two",
    ),
    Mistake(
        done="a folder without a model",
        words="ask --model . hello",
    ),
    Mistake(
        done="a model on the hub, without a network",
        words="ask --model some/model hello",
        before=offline,
    ),
    Mistake(
        done="a broken config.json",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "config.json").write_text("{")),
    ),
    Mistake(
        done="an architecture that we do not know",
        words="ask --model mine hello",
        before=configured(architectures=["MixtralForCausalLM"]),
    ),
    Mistake(
        done="weights of another shape",
        words="ask --model mine hello",
        before=configured(hidden_size=192),
    ),
    Mistake(
        done="weights cut off",
        words="ask --model mine hello",
        before=model(lambda mine: os.truncate(mine / "model.safetensors", 5000)),
    ),
    Mistake(
        done="no weights",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "model.safetensors").unlink()),
    ),
    Mistake(
        done="pickled weights",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "model.safetensors").rename(mine / "pytorch_model.bin")),
    ),
    Mistake(
        done="no tokenizer",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "tokenizer.json").unlink()),
    ),
    Mistake(
        done="a broken tokenizer",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "tokenizer.json").write_text("{}")),
    ),
    Mistake(
        done="a model without a template",
        words="ask --model mine hello",
        before=foreign,
    ),
    Mistake(
        done="a template that is broken",
        words="ask --model mine hello",
        before=model(lambda mine: (mine / "chat_template.jinja").write_text("{% for %}")),
    ),
    Mistake(
        done="too little memory for a model",
        words="ask hello",
        before=little_memory,
    ),
    Mistake(
        done="weights in an unknown format",
        words="ask --quantize int3 hello",
    ),
    Mistake(
        done="a cache in an unknown format",
        words="ask --cache int3 hello",
    ),
    Mistake(
        done="a context that the model does not have",
        words="chat --context 99999",
    ),
    Mistake(
        done="a question longer than the context",
        words=f"ask '{'7 ' * 600}'",
    ),
    Mistake(
        done="an unknown effort",
        words="ask --effort huge hello",
    ),
    Mistake(
        done="an adapter that is none",
        words="ask --adapter . hello",
    ),
    Mistake(
        done="int8 for the cache, and no compiler",
        words="ask --cache int8 hello",
        before=native_missing,
    ),
    Mistake(
        done="a native path that there is not",
        words="ask hello",
        before=lambda patch: patch.setenv("THINKALOUD_NATIVE", "avx9"),
    ),
    Mistake(
        done="an export over something",
        words="export mine mine",
        before=model(lambda mine: None),
    ),
    Mistake(
        done="an export in an unknown type",
        words="export mine x --dtype int2",
        before=model(lambda mine: None),
    ),
    Mistake(
        done="an export onto a full disk",
        words="export mine there",
        before=lambda patch: (
            model(lambda mine: None)(patch),
            failing("thinkaloud.model.weights.save_file", errno.ENOSPC)(patch),
        )[0],
    ),
    # --- problems and evaluations ---
    Mistake(
        done="problems that are not there",
        words="problems check nowhere.jsonl",
    ),
    Mistake(
        done="problems in a file of another kind",
        words="problems check p.txt",
        before=file("p.txt", "1"),
    ),
    Mistake(
        done="a folder without problems",
        words="problems check .",
    ),
    Mistake(
        done="an empty file of problems",
        words=OWN,
        before=problems(),
    ),
    Mistake(
        done="a line that is no JSON",
        words=OWN,
        before=problems("{oops", good=7),
    ),
    Mistake(
        done="an id given twice",
        words=OWN,
        before=problems(
            {"id": "a", "question": "What is 1 + 5?", "answer": "6"},
            {"id": "a", "question": "What is 2 + 5?", "answer": "7"},
            good=6,
        ),
    ),
    Mistake(
        done="a question without an answer",
        words=OWN,
        before=problems({"question": "What is 1?"}, good=7),
    ),
    Mistake(
        done="one problem too long for the model",
        words=f"{OWN} stages.rl.max_tokens=64",
        before=problems({"id": "long", "question": f"What is {'1 + ' * 202}1?", "answer": "203"}, good=9),
    ),
    Mistake(
        done="process rewards for problems of no family",
        words=f"{OWN} stages.rl.process=1",
        before=problems(good=9),
    ),
    Mistake(
        done="a verifier that there is not",
        words=OWN,
        before=problems({"question": "What is 9?", "answer": "9", "verifier": "maths"}, good=7),
    ),
    Mistake(
        done="an unknown set",
        words="eval --on gsm9k",
    ),
    Mistake(
        done="no folder of published sets",
        words="eval --on gsm8k --data nowhere",
    ),
    Mistake(
        done="a set that is not in the folder",
        words="eval --on gsm8k --data .",
    ),
    Mistake(
        done="an unknown family to evaluate",
        words="eval --family cubs",
    ),
    Mistake(
        done="two ways to name problems",
        words="eval --on gsm8k --family cups",
    ),
    Mistake(
        done="budgets that are no numbers",
        words="eval --budgets few",
    ),
    Mistake(
        done="a server asked nothing",
        words="eval http://localhost:1/v1",
    ),
    Mistake(
        done="a server's address with a password",
        words="eval http://me:secret@localhost/v1 --on p.jsonl",
        before=file("p.jsonl", '{"question": "What is 1 + 1?", "answer": "2"}\n'),
    ),
    Mistake(
        done="something else where an evaluation goes",
        words="eval --family cups --count 1 --out there",
        before=file("there/notes.txt", ""),
    ),
    Mistake(
        done="an evaluation gone on with otherwise",
        words="eval --on p.jsonl --out there --max-tokens 1 --seed 2",
        before=an_evaluation,
    ),
]


SAID = re.compile(r"\| (?P<done>.*?) \| `(?P<words>.*?)` \| (?P<said>.*) \|")
OLD = "an old Python"


def told() -> dict[str, str]:
    """The page's lines by what was done."""
    rows = SAID.finditer(PAGE.read_text())
    return {row["done"]: row["said"] for row in rows}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.done)
def test_a_mistake_is_told_in_one_line(
    mistake: Mistake, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = told()[mistake.done]
    monkeypatch.chdir(tmp_path)
    mistake.before(monkeypatch)
    capsys.readouterr()
    assert run(shlex.split(mistake.words)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines and lines[-1].startswith("error: ")
    said = lines[-1].removeprefix("error: ")
    assert len(page.strip("…")) > 20, "what differs is not all of it"
    assert re.fullmatch(re.escape(page).replace("…", ".+"), said), f"docs/ERRORS.md must say: {said}"


def shown(command: str) -> str:
    """A command as the page has it: a long question loses its middle."""
    return command if len(command) < 100 else f"{command[:25]} …'"


def test_the_page_names_every_mistake_with_its_command() -> None:
    rows = [(row["done"], row["words"]) for row in SAID.finditer(PAGE.read_text())]
    commands = [(one.done, shown(f"thinkaloud {one.words}")) for one in MISTAKES]
    assert rows == [*commands, (OLD, "make install")]
    assert len(rows) >= 40


def test_an_old_python_is_named_before_anything_is_installed(tmp_path: Path) -> None:
    old = tmp_path / "python"
    older = "import sys; sys.version_info = (3, 9); exec(sys.argv[2])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{older}' \"$@\"\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "CMakeLists.txt"):
        shutil.copy(ROOT / name, tmp_path)
    make = ["make", "install", f"PYTHON={old}"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and told()[OLD] in done.stderr.splitlines()
    assert not (tmp_path / ".venv").exists()
