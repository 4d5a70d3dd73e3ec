"""Programs judged in the Monty interpreter, a safe subset of Python: where bubblewrap can't run.

Knows: Monty's sessions, one for the candidate and one for the tests, and which of its errors mean that it lacks
something. Doesn't know: which output is right.
"""

import builtins
import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

from thinkaloud.problems.sandbox.guest import UNREADABLE, NotPlain, decode, encode
from thinkaloud.problems.sandbox.guests import Bounds, Tests
from thinkaloud.problems.sandbox.process import MOST_BYTES, Refused, Unjudged

PROCESSES = 2
"Of Monty's, at most."


@functools.cache
def pool() -> Any:
    """Monty's own worker processes, started once; they end when this process ends."""
    from pydantic_monty import Monty

    return Monty(min_processes=1, max_processes=PROCESSES).__enter__()


@contextlib.contextmanager
def session(bounds: Bounds) -> Iterator[Any]:
    """A session with those limits. Unjudged where none can be had."""
    from pydantic_monty import MontyCrashedError

    limits = {"max_feed_duration_secs": bounds.seconds, "max_memory": bounds.megabytes << 20}
    with contextlib.ExitStack() as stack:
        for last in (*[False] * PROCESSES, True):
            try:
                one = stack.enter_context(pool().checkout(limits=limits))
                break
            except MontyCrashedError:  # it died while it waited, and has been replaced
                if last:
                    raise Unjudged("sandbox") from None
        yield one


class Output:
    """What a program prints, up to a limit."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0

    def __call__(self, stream: str, text: str) -> None:
        self.size += len(text)
        if self.size > MOST_BYTES:
            raise MemoryError("too much output")
        if stream == "stdout":
            self.pieces.append(text)


def lacks(error: BaseException) -> bool:
    """Whether CPython has what Monty misses: a module, a builtin, an attribute, a piece of syntax."""
    if isinstance(error, NotImplementedError):
        return True
    words = re.findall(r"'([\w.]+)'", str(error))
    if isinstance(error, ImportError):
        return any(word.split(".")[0] in sys.stdlib_module_names for word in words)
    if isinstance(error, NameError):
        return any(word in dir(builtins) for word in words)
    if isinstance(error, AttributeError) and len(words) >= 2:
        owner = vars(builtins).get(words[0])
        return owner is None or words[-1] in dir(owner)
    return str(error) == "'list' object is not an iterator"  # Monty makes lists of generator expressions.


def feed(one: Any, code: str, **options: Any) -> Any:
    """The value of some code in a session; Refused and Unjudged for what goes wrong."""
    from pydantic_monty import MontyConversionError, MontyCrashedError, MontyError

    options.setdefault("print_callback", Output())
    try:
        return one.feed_run(code, **options)
    except MontyConversionError:
        raise Refused("not plain data") from None
    except MontyCrashedError as error:
        raise (Refused("limit") if error.timed_out else Unjudged("sandbox")) from None
    except MontyError as error:
        raised = error.exception()
    if lacks(raised):
        raise Unjudged("unsupported")
    if isinstance(raised, TimeoutError | MemoryError | RecursionError):
        raise Refused("limit")
    raise Refused("failed" if isinstance(raised, AssertionError) else "error") from raised


def define(one: Any, source: str, **options: Any) -> None:
    """Run a program for what it defines and does; its last line may be worth no plain data."""
    feed(one, f"{source}\nNone", **options)


def plain(value: Any) -> Any:
    """The value as plain data; Refused for anything else."""
    try:
        return decode(encode(value))
    except (NotPlain, *UNREADABLE):
        raise Refused("not plain data") from None


def run_program(source: str, text: str, bounds: Bounds) -> str:
    """What the program prints, given that text as its input."""
    lines = iter(text.split("\n"))

    def read_line(prompt: str = "") -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError("end of input") from None

    printed = Output()
    with session(bounds) as one:
        define(one, source, print_callback=printed, external_lookup={"input": read_line})
    return "".join(printed.pieces)


def call_function(source: str, name: str, calls: list[list[Any]], bounds: Bounds) -> Iterator[Any]:
    """The value of each call, as plain data."""
    with session(bounds) as one:
        define(one, source)
        for given in calls:
            yield plain(feed(one, f"{name}(*given_)", inputs={"given_": given}))


def run_tests(source: str, tests: Tests, bounds: Bounds) -> None:
    """Returns when all tests pass; candidate and tests run in a session each."""
    fault: list[Exception] = []
    called: list[str] = []
    classes: set[str] = set()

    def asks(name: str) -> Any:
        def ask(*given: Any, **named: Any) -> Any:
            called.append(name)
            try:
                if re.search(r"<function '.*' at 0x|<class '", repr((given, named))):
                    raise Refused("a function")  # Monty gives functions and classes as texts.
                inputs = {"given_": plain(given), "named_": plain(named)}
            except Refused:
                fault.append(Unjudged("unsupported"))
                raise RuntimeError("no plain arguments") from None
            try:
                return plain(feed(candidate, f"{name}(*given_, **named_)", inputs=inputs))
            except (Refused, Unjudged) as error:
                if str(error) == "not plain data" and (name != tests.entry_point or name in classes):
                    fault.append(Unjudged("unsupported"))  # A class of the candidate's: there are no handles here.
                elif isinstance(error, Unjudged) or str(error) in ("limit", "not plain data"):
                    fault.append(error)
                raised = error.__cause__
                raise (raised if isinstance(raised, Exception) else RuntimeError("candidate")) from None

        return ask

    with session(bounds) as candidate, session(bounds) as judge:
        define(candidate, source)
        try:
            define(judge, tests.setup)
        except Refused:
            raise Unjudged("reference") from None
        lookup: dict[str, Any] = {}
        for name in tests.names:
            lookup[f"candidate_{name}"] = asks(name)
            with contextlib.suppress(Refused):
                kind = feed(candidate, f"type({name}).__name__")
                if kind == "type":
                    classes.add(name)
                value = plain(feed(candidate, name))
                if kind == type(value).__name__:
                    lookup[f"candidate_{name}"] = value
        names = "".join(f"{name} = candidate_{name}\n" for name in tests.names)
        try:
            feed(judge, names + tests.tests, external_lookup=lookup)
        except Refused as error:
            if str(error) == "limit" and not called:
                raise Unjudged("reference") from None
            raise
        finally:
            if fault:
                raise fault[0]
