"""`thinkaloud`: the verbs put together, and what becomes of a user's mistake."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer.main import get_command

from thinkaloud.base.errors import UserError, told
from thinkaloud.cli.ask import ask
from thinkaloud.cli.calibrate import calibrate
from thinkaloud.cli.chat import chat
from thinkaloud.cli.compare import compare
from thinkaloud.cli.console import complain, say
from thinkaloud.cli.doctor import doctor
from thinkaloud.cli.evaluate import evaluate
from thinkaloud.cli.export import export
from thinkaloud.cli.problems import problems
from thinkaloud.cli.report import report
from thinkaloud.cli.serve import serve
from thinkaloud.cli.study import study
from thinkaloud.cli.train import demo, train

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "chat": chat,
    "ask": ask,
    "serve": serve,
    "train": train,
    "eval": evaluate,
    "study": study,
    "compare": compare,
    "calibrate": calibrate,
    "problems": problems,
    "report": report,
    "export": export,
    "doctor": doctor,
}


def thinkaloud(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """An open reasoning model that thinks aloud: train it, run it, trust it."""
    if version:
        from thinkaloud import __version__

        say(f"thinkaloud {__version__}")


def application() -> typer.Typer:
    """All verbs, assembled."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback(invoke_without_command=True)(thinkaloud)
    for name, verb in VERBS.items():
        app.command(name)(verb)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code is 0, 2 for a user's mistake, 130 for Ctrl-C, 143 for a polite kill."""
    words = list(arguments) or ["--help"]
    try:
        code = get_command(application()).main(words, prog_name="thinkaloud", standalone_mode=False)
    except UserError as error:
        complain(str(error))
        return 2
    except OSError as error:
        line = told(error)
        if line is None:
            raise
        complain(line)
        return 2
    except typer.TyperException as error:
        page = f"thinkaloud {words[0]} --help" if words[0] in VERBS else "thinkaloud --help"
        complain(f"{error.format_message().rstrip('.')} (see {page})")
        return 2
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def main() -> None:
    """The command `thinkaloud`; a standard stream that was closed leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (until the process ends)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))
