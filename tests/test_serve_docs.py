"""The examples of docs/SERVING.md, run against a live server."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import Live
from thinkaloud.inference import load
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own

PAGE = (Path(__file__).parents[1] / "docs" / "SERVING.md").read_text()
README = (Path(__file__).parents[1] / "README.md").read_text()
ROOT = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with Live(own(load(), "thinkaloud", limits=Limits())) as one:
        yield one


def test_the_python_of_the_page_runs(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    exec(compile(code.replace(ROOT, live.root), "SERVING.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert "13" in lines and "budget" in lines and "True" in lines
    assert '{"n"' in names["held"].choices[0].message.content.replace("\n", "").replace(" ", "")
    assert re.fullmatch(r"Red \w, blue \w", names["said"].output_text)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("text", [PAGE, README], ids=["SERVING.md", "README.md"])
def test_curl_gets_a_reply(live: Live, text: str) -> None:
    blocks = re.findall(r"^(curl .*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        command = shlex.split(block.replace("\\\n", "").replace(ROOT, live.root))
        done = subprocess.run([*command, "--silent", "--max-time", "60"], capture_output=True, text=True, check=True)
        assert '"content":"13"' in done.stdout
