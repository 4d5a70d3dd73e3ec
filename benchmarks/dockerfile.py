"""The steps of the Dockerfile, run in a temporary folder: for a machine without an engine that builds images.

The folder stands for the root of every stage, and this machine's Python for the base image: absolute paths of the image
are moved into the folder, `COPY . .` takes what git keeps and .dockerignore does not name, and apt-get and useradd,
which would change this machine, are told and left out. At the end the image's command is started as it stands and asked
for its health. `--arg TORCH_INDEX=` gives an argument of the build another value.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPPED = ("apt-get", "useradd")
PATHS = re.compile(r"(?<![\w./])/(opt|build|home|tmp)\b")
SECONDS = 120
"How long the command may take until it is healthy."


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction and what it is given, continued lines joined, comments left out."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in plain.splitlines() if line.strip()]


def words(value: str) -> list[str]:
    """A command in either of its forms."""
    found: list[str] = json.loads(value) if value.startswith("[") else shlex.split(value)
    return found


def expanded(text: str, environment: dict[str, str]) -> str:
    """The text with its $NAMES filled in."""
    return re.sub(r"\$(\w+)", lambda match: environment.get(match[1], ""), text)


def kept() -> list[str]:
    """The files of the checkout that would be sent to the builder."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    ignored = (ROOT / ".dockerignore").read_text().split()
    return [file for file in files if not any(fnmatch(file, f"{one}/*") or fnmatch(file, one) for one in ignored)]


def build(
    root: Path, steps: list[tuple[str, str]], given: dict[str, str], python: str
) -> tuple[list[str], dict[str, str]]:
    """Run the steps; gives the image's command and its environment."""
    base = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_CONSTRAINT", "PIP_BUILD"))}
    place, entry, command = root, [], []
    (root / "bin").mkdir()
    for name in ("python", "python3"):
        (root / "bin" / name).symlink_to(shutil.which(python) or python)
    start = base | {"PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    environment = dict(start)

    def moved(text: str) -> str:
        return PATHS.sub(lambda match: f"{root}/{match[1]}", text)

    for name, value in steps:
        print(f"{name} {value[:100]}", file=sys.stderr)
        if name == "FROM":
            environment, place = dict(start), root
        elif name == "ARG":
            key, _, default = value.partition("=")
            environment[key] = given.get(key, default)
        elif name == "ENV":
            for one in shlex.split(value):
                key, _, text = one.partition("=")
                environment[key] = expanded(moved(text), environment)
        elif name == "WORKDIR":
            place = Path(moved(value))
            place.mkdir(parents=True, exist_ok=True)
        elif name == "COPY" and "--from" not in value:
            for file in kept() if value == ". ." else value.split()[:-1]:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, place / file)
        elif name == "RUN" and not value.startswith(SKIPPED):
            subprocess.run(["sh", "-ec", moved(value)], cwd=place, env=environment, check=True)
        elif name == "RUN":
            print("  left out: it would change this machine", file=sys.stderr)
        elif name == "ENTRYPOINT":
            entry = words(value)
        elif name == "CMD":
            command = words(value)
    return [*entry, *command], environment


def healthy(command: list[str], environment: dict[str, str], folder: Path) -> float:
    """Seconds until the started command answers at /health."""
    start = time.perf_counter()
    program = shutil.which(command[0], path=environment["PATH"])
    assert program, f"{command[0]} is not in the image"
    with subprocess.Popen([program, *command[1:]], env=environment, cwd=folder) as process:
        try:
            while time.perf_counter() - start < SECONDS:
                assert process.poll() is None, f"{shlex.join(command)} ended with {process.returncode}"
                try:
                    urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=5).close()
                    return round(time.perf_counter() - start, 1)
                except (urllib.error.URLError, TimeoutError):
                    time.sleep(0.2)
        finally:
            process.terminate()
    raise AssertionError(f"not healthy after {SECONDS} seconds")


def main() -> None:
    """Build, start, ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="what stands for the base image's Python")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="an argument of the build")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        started = time.perf_counter()
        arguments = dict(one.split("=", 1) for one in given.arg)
        command, environment = build(root, instructions((ROOT / "Dockerfile").read_text()), arguments, given.python)
        built = round(time.perf_counter() - started)
        size = sum(f.stat().st_size for f in (root / "opt").rglob("*") if f.is_file() and not f.is_symlink())
        facts = {"built_seconds": built, "environment_bytes": size, "command": command}
        print(json.dumps(facts | {"healthy_seconds": healthy(command, environment, root)}, indent=1))


if __name__ == "__main__":
    main()
