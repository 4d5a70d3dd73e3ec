"""What is released: one version, a log of changes, an image whose steps are sound, a first reply that loads no more
than it needs."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import thinkaloud
from test_house import ROOT
from thinkaloud.base.machine import gpu_here
from thinkaloud.cli.main import VERBS
from thinkaloud.engine.native_backend import native_available

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LATER = {"torch._dynamo", "sympy", "huggingface_hub", "transformers", "matplotlib"}
"What a first reply never waits for."
HEAVY = LATER | {"torch"}
"What it doesn't wait for where the native step runs the model."
COMMAND = "thinkaloud serve --host 0.0.0.0"


def script(name: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in PROJECT["project"]
    where = PROJECT["tool"]["scikit-build"]["metadata"]["version"]
    assert where["provider"] == "scikit_build_core.metadata.regex"
    found = re.search(r'__version__ = "(\S+)"', (ROOT / where["input"]).read_text())
    assert found and found[1] == thinkaloud.__version__


def test_its_licence_and_its_checks_are_there() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_log_of_changes_begins_with_what_is_new_and_knows_the_version() -> None:
    heads = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased" and thinkaloud.__version__ in heads[1:]


def test_a_first_reply_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom thinkaloud.cli.main import run\n"
        "code = run(['ask', 'Mia has 7 beads: finds 3, loses 2, buys 5. How many?'])\n"
        f"heavy = {sorted(HEAVY if native_available() and not gpu_here() else LATER)!r}\n"
        "heavy = set(heavy) & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "13"


def test_the_steps_of_the_image() -> None:
    steps = script("dockerfile").instructions((ROOT / "Dockerfile").read_text())
    last = dict(steps)
    assert [name for name, _ in steps].count("FROM") == 2 and "USER" in last and last["USER"] != "root"
    words = script("dockerfile").words
    assert " ".join([*words(last["ENTRYPOINT"]), *words(last["CMD"])]) == COMMAND
    assert all("slim" in value for name, value in steps if name == "FROM")
    users = [index for index, (name, _) in enumerate(steps) if name == "USER"]
    assert not any(name in ("RUN", "COPY") for name, _ in steps[users[-1] :]), "nothing is installed as that user"


@pytest.mark.skipif("serve" not in VERBS, reason="there is no server yet")
def test_the_command_of_the_image_exists() -> None:
    from test_house import fault

    assert fault(COMMAND) == ""


def test_the_builder_gets_what_a_build_needs_and_no_more() -> None:
    sent = script("dockerfile").kept()
    needed = {"pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "constraints.txt", "recipes/demo.toml"}
    assert needed <= set(sent) and "src/thinkaloud/bundled/model.safetensors" in sent
    assert not [file for file in sent if file.startswith(("tests/", "docs/", ".git/", "runs/"))]


def test_names_are_filled_in_and_paths_moved() -> None:
    steps = script("dockerfile")
    assert steps.expanded("$A/b:$NONE", {"A": "x"}) == "x/b:"
    moved = steps.PATHS.sub(lambda match: f"ROOT/{match[1]}", "/opt/thinkaloud/bin/pip x/opt https://a/build /tmp/node")
    assert moved == "ROOT/opt/thinkaloud/bin/pip x/opt https://a/build ROOT/tmp/node"


@pytest.mark.slow
def test_the_wheel_replies_without_the_checkout() -> None:
    if not list((ROOT / "dist").glob("*.whl")):
        pytest.skip("no wheel in dist/: make wheel")
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "wheel.py", "--rounds", "1"], check=False)
    assert done.returncode == 0
