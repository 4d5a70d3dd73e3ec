"""What a run starts from: a fresh decoder with a tokenizer of our own, or a checkpoint with everything that is its own.

Knows: folders of checkpoints, and what belongs into one. Doesn't know: stages, problems.
"""

from pathlib import Path

import torch

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import write_json
from thinkaloud.inference.defaults import TAUGHT, end_ids, upbringing_of
from thinkaloud.inference.hub import locate
from thinkaloud.inference.publish import keep_published
from thinkaloud.model import ModelConfig, Transformer, load_model, save_model
from thinkaloud.model.weights import as_published
from thinkaloud.reports.findings import START
from thinkaloud.rollouts.collect import noise_seed
from thinkaloud.text import ChatTemplate, Tokenizer
from thinkaloud.train.brought import instruction_of
from thinkaloud.train.data import tokenizer_of
from thinkaloud.train.recipe import Recipe


def check_start(recipe: Recipe) -> None:
    """Raise UserError where a run can't start as its recipe says; a model that is on the hub is fetched."""
    for name, stage in recipe.stages.items():
        if recipe.run.dtype == "bfloat16" and stage.lora is None:
            raise UserError(
                f"stage {name} trains all weights, whose small changes bfloat16 would lose: give it lora = {{}}, or "
                "leave run.dtype at float32"
            )
    device_of(recipe)
    if recipe.problems is not None and not isinstance(recipe.model, str):
        raise UserError("problems of your own need a model that can read them: give model=FOLDER, or a name on the hub")
    if isinstance(recipe.model, str):
        if START in recipe.stages:
            raise UserError(f"{START} is what the checkpoint's own evaluation is called: rename that stage")
        template_in(locate(recipe.model))


def folder_of(recipe: Recipe) -> Path | None:
    """The checkpoint's folder, fetched before; None for fresh weights."""
    return locate(recipe.model, offline=True) if isinstance(recipe.model, str) else None


def device_of(recipe: Recipe) -> str:
    """Where a run's models live; UserError for a GPU that is not there."""
    found = torch.cuda.is_available()
    if recipe.run.device == "cuda" and not found:
        raise UserError("run.device=cuda, but PyTorch finds no GPU: leave it out, or install a PyTorch built for it")
    return "cuda" if found and recipe.run.device != "cpu" else "cpu"


def dtype_of(recipe: Recipe) -> torch.dtype:
    """The type of a run's weights."""
    return torch.bfloat16 if recipe.run.dtype == "bfloat16" else torch.float32


def opened(folder: Path, recipe: Recipe) -> Transformer:
    """The model in a folder, in the type and on the device of the run."""
    return load_model(folder, dtype=dtype_of(recipe), device=device_of(recipe))


def template_in(folder: Path) -> ChatTemplate:
    """The chat template of a checkpoint, with all ids that end its replies."""
    return ChatTemplate(Tokenizer.load(folder), end_ids=end_ids(folder, ModelConfig.load(folder).vocab_size))


def template_of(recipe: Recipe) -> ChatTemplate:
    """The chat template of a run's models, which knows their tokenizer."""
    folder = folder_of(recipe)
    return ChatTemplate(tokenizer_of(recipe)) if folder is None else template_in(folder)


def config_of(recipe: Recipe, vocabulary: int) -> ModelConfig:
    """The shape of a run's models; `vocabulary` ids where they are fresh."""
    if isinstance(recipe.model, str):
        return ModelConfig.load(locate(recipe.model, offline=True)).for_context()
    return ModelConfig(vocab_size=vocabulary, **recipe.model.model_dump())


def first_weights(recipe: Recipe, vocabulary: int) -> Transformer:
    """The model that stages without `init` start from."""
    folder = folder_of(recipe)
    if folder is not None:
        return opened(folder, recipe)
    model = Transformer(config_of(recipe, vocabulary))
    model.initialise(noise_seed(recipe.run.seed, "weights"))
    return model.to(device_of(recipe), dtype_of(recipe))


def save_trained(
    model: Transformer, template: ChatTemplate, folder: Path, recipe: Recipe, adapter: Path | None = None
) -> None:
    """Write a trained model as `load`, `transformers` and vLLM open it.

    One that came from a checkpoint keeps its configuration, tokenizer, template and way of being sampled; what it was
    taught is noted in the folder of its adapter as well.
    """
    tokenizer = template.tokenizer
    names, known = tokenizer.special_names, list(recipe.families)
    eos, pad = (tokenizer.id_of(names.get(role, "")) for role in ("eos_token", "pad_token"))
    eos = min(template.stop_ids) if eos is None else eos
    source = folder_of(recipe)
    written = model if source is None else as_published(model, source)
    save_model(written, folder, eos_token_id=eos, pad_token_id=eos if pad is None else pad)
    if source is None:
        tokenizer.save(folder)
        write_json(folder / TAUGHT, {"families": known, "turns": 1})
        return
    keep_published(source, folder, template, str(model.head.dtype).removeprefix("torch."))
    before = upbringing_of(source)
    families = list(dict.fromkeys([*before.families, *known]))
    instruction = "" if recipe.problems is None else instruction_of(recipe.run.dir, recipe.instruction)
    if families or instruction or adapter:
        noted = {"families": families, "turns": before.turns, "instruction": instruction}
        for one in (folder, adapter) if adapter else (folder,):
            write_json(one / TAUGHT, noted)
