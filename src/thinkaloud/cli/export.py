"""`thinkaloud export`: a model as a folder of its own, ready for other software and for the hub."""

import json
import shutil
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import say
from thinkaloud.cli.talk import AdapterOption

if TYPE_CHECKING:
    from thinkaloud.reports.card import Published

TYPES = ("auto", "float32", "bfloat16")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def export(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint's folder or a hub id.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not exist or be empty.")],
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16; auto is what it is stored in.")] = "auto",
    adapter: AdapterOption = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Of a stage with `lora`: the adapter, in PEFT's layout.")
    ] = False,
) -> None:
    """Write a model as a folder for other software.

    Weights, configuration, tokenizer, chat template, generation_config.json and a model card (README.md), in the
    published format, which transformers and vLLM open. bfloat16 halves its size. An adapter is merged into the weights.
    """
    if dtype not in TYPES:
        raise UserError(f"--dtype {dtype!r} is unknown: choose one of {', '.join(TYPES)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: give a folder that does not exist")
    if adapter_only and (adapter is not None or dtype != "auto"):
        raise UserError("--adapter-only writes an adapter as it was trained: leave --adapter and --dtype out")
    from thinkaloud.inference import hub
    from thinkaloud.reports.card import model_card, trained_by

    source = hub.locate(model)
    trained = trained_by(source)
    if adapter_only:
        if trained is None:
            raise UserError(
                f"{model} is no run and no stage of one: --adapter-only is for what was trained with `lora`"
            )
        published = write_adapter(source, trained[0] / "checkpoints" / trained[1] / "adapter", folder)
    else:
        published = write_whole(source, folder, dtype, adapter)
    own = source / "README.md"
    card = own.read_text("utf-8") if trained is None and own.exists() else model_card(published, trained)
    (folder / "README.md").write_text(card, "utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{folder}: {published.parameters:,} parameters in {published.dtype}, {size / 1e6:.2f} MB in all")


def write_whole(source: Path, folder: Path, dtype: str, adapter: str | None) -> "Published":
    """The model whole, an adapter merged; one of our own as a Llama, so that transformers takes its own tokenizer."""
    import torch

    from thinkaloud.inference import hub, loading
    from thinkaloud.inference.publish import keep_published, keep_tokenizer, misread, spell_sampling
    from thinkaloud.model import Checkpoint, save_model
    from thinkaloud.model.weights import as_llama, as_published
    from thinkaloud.reports.card import Published
    from thinkaloud.train.start import template_in

    kept = Checkpoint.open(source).dtype if dtype == "auto" else dtype
    template = template_in(source)
    tokenizer, names = template.tokenizer, template.tokenizer.special_names
    eos, pad = (tokenizer.id_of(names.get(role, "")) for role in ("eos_token", "pad_token"))
    if eos is None:
        raise UserError(f"{source} names no eos_token in tokenizer_config.json: add it")
    pad = eos if pad is None else pad
    loaded = "bfloat16" if kept == "bfloat16" and adapter is None else "float32"
    change = None if adapter is None else hub.locate(adapter)
    transformer = loading.open_transformer(source, dtype=loaded, adapter=change)
    other = misread(source)
    written = as_llama(transformer) if other else as_published(transformer, source)
    save_model(written, folder, eos_token_id=eos, pad_token_id=pad, dtype=getattr(torch, kept))
    if other:
        keep_tokenizer(source, folder, template)
    else:
        keep_published(source, folder, template, kept)
    spell_sampling(source, folder, pad)
    keep_note(folder, source, change)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return Published(name=folder.name, config=config, parameters=transformer.size, dtype=kept)


def keep_note(folder: Path, source: Path, adapter: Path | None) -> None:
    """Copy what says what the model was taught, where something does."""
    from thinkaloud.inference.defaults import note_of

    note = note_of(source, adapter)
    if note.exists():
        shutil.copy(note, folder)


def write_adapter(source: Path, adapter: Path, folder: Path) -> "Published":
    """The adapter that a stage has trained, with the tokenizer and the template of its model."""
    from safetensors import safe_open

    from thinkaloud.inference.publish import keep_tokenizer
    from thinkaloud.reports.card import Published
    from thinkaloud.train.start import template_in

    if not all((adapter / name).exists() for name in ADAPTER):
        raise UserError(f"there is no adapter in {adapter}: the stage was trained without `lora`, export it whole")
    base = json.loads((adapter / ADAPTER[0]).read_text("utf-8"))["base_model_name_or_path"]
    if base is None:
        raise UserError(
            "the adapter is for a model that an earlier stage has trained, not for a published one: export it whole"
        )
    keep_tokenizer(source, folder, template_in(source))
    for name in ADAPTER:
        shutil.copyfile(adapter / name, folder / name)
    keep_note(folder, source, adapter)
    with safe_open(folder / ADAPTER[1], framework="pt") as file:
        parts = [file.get_slice(name) for name in file.offset_keys()]
        size, dtype = sum(prod(part.get_shape()) for part in parts), parts[0].get_dtype()
    named = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[dtype]
    config = json.loads((source / "config.json").read_text("utf-8"))
    return Published(name=folder.name, config=config, parameters=size, dtype=named, adapter_for=base)
