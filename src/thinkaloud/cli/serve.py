"""`thinkaloud serve`: a model behind OpenAI's API, with a page to talk to it."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import err, say
from thinkaloud.cli.opening import open_model
from thinkaloud.cli.talk import (
    AdapterOption,
    CacheOption,
    ContextOption,
    ModelArgument,
    ModelOption,
    QuantizeOption,
    chosen_model,
    tell_instruction,
)

if TYPE_CHECKING:
    from thinkaloud.rollouts.tools import Tool
    from thinkaloud.serve.line import Limits
    from thinkaloud.serve.visit import Service

KEYS = "THINKALOUD_API_KEYS"
Optional = int | None


def serve(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address it listens at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    name: Annotated[str | None, typer.Option(help="What the model is called; its own name by default.")] = None,
    api_key: Annotated[
        list[str] | None, typer.Option(help=f"A key that may ask, may be given again; {KEYS} holds a file of them.")
    ] = None,
    rate: Annotated[Optional, typer.Option(min=1, help="Requests a minute of one key.")] = None,
    concurrent: Annotated[Optional, typer.Option(min=1, help="Requests of one key at a time.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Replies that run at a time; others wait.")] = 64,
    queue: Annotated[int, typer.Option(min=0, help="Replies that may wait; more are told to come again.")] = 256,
    max_prompt: Annotated[Optional, typer.Option(min=1, help="Most tokens of a conversation.")] = None,
    max_tokens: Annotated[Optional, typer.Option(min=1, help="Most tokens that a reply may ask for.")] = None,
    max_body: Annotated[int, typer.Option(min=1000, help="Most bytes of a request.")] = 4_000_000,
    keep: Annotated[int, typer.Option(min=0, help="Responses kept in memory, that later ones may go on from.")] = 1000,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that replies may go on once it is told to stop.")] = 30.0,
    tool: Annotated[list[str] | None, typer.Option(help="A tool that it may run itself: python.")] = None,
    mcp: Annotated[
        list[str] | None, typer.Option(metavar="COMMAND", help="An MCP server whose tools it may run itself.")
    ] = None,
    engine: Annotated[str, typer.Option(help="own, or vllm: another server that continues prompts.")] = "own",
    url: Annotated[str | None, typer.Option(help="Address of that server, as http://HOST:PORT/v1.")] = None,
    runs: Annotated[Path | None, typer.Option(help="A folder of training runs, to be looked at under /runs.")] = None,
    adapter: AdapterOption = None,
    context: ContextOption = None,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Ask no hub.")] = False,
) -> None:
    """Serve a model to OpenAI's clients and to a page in the browser.

    Example: thinkaloud serve --port 8000, then open http://127.0.0.1:8000 or let an OpenAI client ask
    http://127.0.0.1:8000/v1. Ctrl-C or SIGTERM stops it: replies under way are finished first. docs/SERVING.md tells
    the rest.
    """
    from thinkaloud.serve.line import Limits
    from thinkaloud.serve.running import listen

    if engine not in ("own", "vllm"):
        raise UserError(f"--engine {engine} is unknown: choose own or vllm")
    if (engine == "vllm") != (url is not None):
        raise UserError("--engine vllm and --url belong together: give both, as in --url http://127.0.0.1:8001/v1")
    if engine == "vllm" and (adapter is not None or quantize is not None or cache != "auto"):
        raise UserError("--adapter, --quantize and --cache are for our own engine: the other server has the weights")
    if runs is not None and not runs.is_dir():
        raise UserError(f"--runs {runs} is not a folder: give one that holds runs")
    limits = Limits(
        requests_a_minute=rate,
        concurrent=concurrent,
        rows=rows,
        queue=queue,
        prompt_tokens=max_prompt,
        max_tokens=max_tokens,
        body_bytes=max_body,
        kept=keep,
        drain_seconds=drain,
    )
    given = [key.strip() for key in api_key or ()]
    if not all(given):
        raise UserError("--api-key is empty: give a key, or leave it out to let everyone ask")
    keys = [*given, *_keys_of(os.environ.get(KEYS))]
    listener = listen(host, port)
    with ExitStack() as stack:
        stack.callback(listener.close)
        tools = _tools(tool or [], mcp or [], stack)
        asked = chosen_model(model, model_option)
        if url is None:
            from thinkaloud.serve.opening import name_of, own

            opened = open_model(
                asked, adapter=adapter, context=context, quantize=quantize, cache=cache, offline=offline
            )
            service = own(opened, name or name_of(asked, opened.path), limits=limits, keys=keys, tools=tools)
        else:
            service = _behind(url, asked, name, context, limits, keys, tools, offline)
        _serve(service, listener, runs)


def _serve(service: "Service", listener: socket, runs: Path | None) -> None:
    """Until it is told to stop."""
    from thinkaloud.serve.app import build
    from thinkaloud.serve.running import address, run

    say(f"{service.name} at {address(listener)} (the page), {address(listener)}/v1 (OpenAI's API); Ctrl-C stops it")
    if ip_address(listener.getsockname()[0]).is_loopback:
        words = "this machine alone can reach it (--host 0.0.0.0 lets others in)"
    else:
        words = "other machines can reach it" + (
            "" if service.gate.locked else ", WITHOUT a key (--api-key asks for one)"
        )
    err().print(words, style="dim", soft_wrap=True)
    tell_instruction(service.about["instruction"], "clients must send them")
    run(build(service, runs), service, listener)


def _keys_of(given: str | None) -> list[str]:
    """The keys that the environment gives: a file of them, or themselves by commas."""
    from thinkaloud.serve.line import read_keys

    if given is None:
        return []
    path = Path(given)
    try:
        return read_keys(path.read_text(), given) if path.is_file() else read_keys(given.replace(",", "\n"), KEYS)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{KEYS} names {given}, which can't be read ({error})") from None


def _tools(names: Sequence[str], commands: Sequence[str], stack: ExitStack) -> "list[Tool]":
    """The tools that the server may run, MCP servers started."""
    from thinkaloud.rollouts.tools import PythonTool

    unknown = [name for name in names if name != "python"]
    if unknown:
        raise UserError(f"--tool {unknown[0]} is unknown: python is the only one; others come from --mcp")
    tools: list[Tool] = [PythonTool()] if names else []
    if commands:
        from thinkaloud.rollouts.mcp_tools import McpServers

        tools += stack.enter_context(McpServers(commands)).tools
    return tools


def _behind(
    url: str,
    asked: str | None,
    name: str | None,
    context: int | None,
    limits: "Limits",
    keys: Sequence[str],
    tools: "Sequence[Tool]",
    offline: bool,
) -> "Service":
    """Another server, with the tokenizer and template of the model that it runs."""
    from thinkaloud.serve.opening import behind

    if asked is None:
        raise UserError("name the model that the other server runs: its folder, or its name on the hub")
    return behind(url, asked, name, context=context, limits=limits, keys=keys, tools=tools, offline=offline)
