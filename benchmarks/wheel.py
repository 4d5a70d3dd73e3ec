"""The wheel in dist/ where nothing of this checkout is: how large it is, and how long the first reply takes.

It is installed into an environment of its own, in a temporary folder, and run from there. Seconds go from the start of
the process to the first character of the thought; the first start, which compiles Python's files, is told apart.
Where others are at work too, the processor's own seconds say more.
`--python python3.13` takes another interpreter, for which the wheel is built from the source distribution, and
`--without torch` leaves a dependency out, as where there is no build of it for that interpreter: a first reply needs
none. `--tests tests/test_text_tokenizer.py` runs tests of the checkout on what was installed.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTION = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
EXPECTED = "13"


def main() -> None:
    """Install, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the new environment")
    parser.add_argument("--rounds", type=int, default=5, help="cold starts that are timed")
    parser.add_argument("--environment", type=Path, help="an environment that is there already, for a second look")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="dependencies to leave out")
    parser.add_argument("--tests", nargs="*", default=[], metavar="FILE", help="tests to run there as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = given.environment or install(folder / "venv", given.python, given.without)
        found = measured(python.absolute(), folder, given.rounds)
        if given.tests:
            found["tests"] = tested(python.absolute(), given.tests)
        print(json.dumps(found, indent=1))


def install(environment: Path, python: str, without: list[str]) -> Path:
    """A fresh environment with what is in dist/: its wheel if it is for that interpreter, else the sources."""
    subprocess.run([python, "-m", "venv", environment], check=True)
    inside = environment / "bin" / "python"
    tag = subprocess.run([inside, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])"], **OUTPUT).stdout.strip()
    (wheel,), (sources,) = (list((ROOT / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    what = wheel if f"-{tag}-" in wheel.name or "-none-" in wheel.name else sources
    print(f"installing {what.name} and what it needs for {tag}", file=sys.stderr)
    limits = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_BUILD_CONSTRAINT": str(ROOT / "constraints.txt")}
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if without else []
    kept = [one for one in wanted if re.split(r"[<>=\[]", one)[0] not in without]
    for step in ([str(what), "--no-deps"], kept) if without else ([str(what)],):
        subprocess.run([*pip, *step], check=True, env=os.environ | limits, cwd=environment)
    return inside


def tested(python: Path, files: list[str]) -> str:
    """The last line that pytest says of these tests, run with what is installed."""
    limits = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pytest", "hypothesis"]
    subprocess.run(pip, check=True, env=os.environ | limits)
    done = subprocess.run([python, "-m", "pytest", "-q", *files], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stdout[-3000:]


OUTPUT: dict[str, object] = {"check": True, "capture_output": True, "text": True}
"How a program is run whose output is wanted."


def measured(python: Path, folder: Path, rounds: int) -> dict[str, object]:
    """What the installed package weighs and how soon it speaks; its native step must be there and its answer right."""
    code = "import sys, thinkaloud.engine.backend as b; from thinkaloud.engine import can_quantise; print(sys.version)"
    version = subprocess.run([python, "-c", code], cwd=folder, **OUTPUT).stdout.split()[0]
    where = "import thinkaloud, pathlib; print(pathlib.Path(thinkaloud.__file__).parent)"
    package = Path(subprocess.run([python, "-c", where], cwd=folder, **OUTPUT).stdout.strip())
    assert ROOT not in package.parents, "that is the checkout, not the wheel"
    site = package.parent
    torch_there = (site / "torch").is_dir()
    starts = [first_token(python, folder) for _ in range(rounds + 1)]
    return {
        "python": version,
        "native": bool(list((package / "engine").glob("_native*.so"))),
        "wheel_bytes": {file.name: file.stat().st_size for file in sorted((ROOT / "dist").iterdir())},
        "package_bytes": size(package),
        "with_dependencies_bytes": size(site),
        "first_start_seconds": starts[0][0],
        "first_token_seconds": [seconds for seconds, _ in starts[1:]],
        "median": statistics.median(seconds for seconds, _ in starts[1:]),
        "processor_seconds_of_a_reply": [spent for _, spent in starts[1:]],
        "processor_seconds_of_import_torch": [imported(python, folder) for _ in range(torch_there * 3)],
        "load_average": os.getloadavg()[0],
    }


def size(folder: Path) -> int:
    """Bytes in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def first_token(python: Path, folder: Path) -> tuple[float, float]:
    """Seconds from the start of `thinkaloud ask` to the first character of its reply; the processor's to its end."""
    before = used()
    command = [python.with_name("thinkaloud"), "ask", QUESTION]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - start
        said = (first + process.stdout.read()).decode()
    assert process.returncode == 0 and said.split()[-1] == EXPECTED, said
    return round(seconds, 2), round(used() - before, 2)


def used() -> float:
    """Seconds that the processor has spent on processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def imported(python: Path, folder: Path) -> float:
    """The processor's seconds of a process that imports torch and nothing else."""
    before = used()
    subprocess.run([python, "-c", "import torch"], check=True, cwd=folder)
    return round(used() - before, 2)


if __name__ == "__main__":
    main()
