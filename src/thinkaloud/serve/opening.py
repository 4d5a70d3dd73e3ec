"""A service put together from a model: its voice, its name, what the page is told. Doesn't know: ports, processes."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinkaloud.base.hub import fetch
from thinkaloud.inference import ReasoningModel
from thinkaloud.inference.defaults import Defaults, Upbringing, defaults_of, end_ids, upbringing_of
from thinkaloud.inference.hub import locate
from thinkaloud.model import ModelConfig
from thinkaloud.problems import FAMILIES, draw
from thinkaloud.rollouts.tools import Tool
from thinkaloud.serve.desk import Desk
from thinkaloud.serve.line import Gate, Limits
from thinkaloud.serve.measures import Measures
from thinkaloud.serve.memory import Memory
from thinkaloud.serve.remote import Remote
from thinkaloud.serve.visit import Service, Voice
from thinkaloud.text import ChatTemplate, Tokenizer


def name_of(asked: str | None, folder: Path) -> str:
    """What a model is called at its server: a hub id as it is, a run by its folder, the bundled one by ours."""
    if asked is None:
        return "thinkaloud"
    if not Path(asked).exists():
        return asked
    return folder.parent.name if folder.name == "model" else folder.name


def own(
    model: ReasoningModel, name: str, *, limits: Limits, keys: Iterable[str] = (), tools: Iterable[Tool] = ()
) -> Service:
    """A model of ours at its desk."""
    about = _about(model.upbringing, model.defaults, model.config.max_position_embeddings)
    service = _service(Desk(model, limits), name, about, model.template, limits, keys, tools)
    return replace(service, calibration=model.calibration)


def behind(
    url: str,
    asked: str,
    name: str | None,
    *,
    limits: Limits,
    context: int | None = None,
    keys: Iterable[str] = (),
    tools: Iterable[Tool] = (),
    offline: bool = False,
) -> Service:
    """Another server that continues prompts, led by us; of the model `asked` only its texts are needed here.

    `name` is the model's name there, by default `asked`.
    """
    folder = Path(asked)
    if not folder.exists():
        folder = fetch(asked, ["*.json", "*.jinja"], offline=offline)
    folder = locate(folder)
    config, defaults = ModelConfig.load(folder), defaults_of(folder)
    template = ChatTemplate(Tokenizer.load(folder), end_ids=end_ids(folder, config.vocab_size))
    about = _about(upbringing_of(folder), defaults, context or config.max_position_embeddings)
    voice = Remote(url, name or asked, template, defaults, limits)
    return _service(voice, name or asked, about, template, limits, keys, tools)


def _service(
    voice: Voice,
    name: str,
    about: Mapping[str, Any],
    template: ChatTemplate,
    limits: Limits,
    keys: Iterable[str],
    tools: Iterable[Tool],
) -> Service:
    return Service(
        voice=voice,
        name=name,
        about=about,
        template=template,
        limits=limits,
        gate=Gate(keys, limits),
        measures=Measures(),
        calibration=None,
        tools={tool.name: tool for tool in tools},
        created=int(time.time()),
        memory=Memory(limits.kept),
    )


def _about(upbringing: Upbringing, defaults: Defaults, context: int) -> dict[str, Any]:
    """What the page is told: what the model was taught, with a question of each, and what it can hold."""
    known = [name for name in upbringing.families if name in FAMILIES]
    families = [{"name": name, "example": draw(name, "test", 1, 7)[0].question} for name in known]
    taught = {"families": families, "turns": upbringing.turns, "instruction": upbringing.instruction}
    return {**taught, "context": context, "max_tokens": defaults.max_tokens}
