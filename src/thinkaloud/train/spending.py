"""What a run will spend: memory against what is free, replies, tokens. Told before; what can't fit is refused.

Knows: shapes, settings, how PyTorch and the engine keep what they work on. Doesn't know: time, which is measured.
"""

import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from thinkaloud.base.errors import UserError
from thinkaloud.engine import can_quantise
from thinkaloud.model import ModelConfig
from thinkaloud.model.memory import cache_bytes, free_memory, parameter_shapes, weight_bytes, weight_count
from thinkaloud.problems import Problem
from thinkaloud.text import ChatTemplate
from thinkaloud.train.brought import kept
from thinkaloud.train.checkpoints import KEPT
from thinkaloud.train.data import demonstrations, families_of, guarded, held_out, train_problems
from thinkaloud.train.recipe import Recipe
from thinkaloud.train.rft import PROBLEMS_A_STEP
from thinkaloud.train.stages import DistilSettings, RftSettings, RlSettings, SftSettings, StageSettings
from thinkaloud.train.start import config_of, device_of, template_of

PROCESS = 350 << 20
"Bytes that a process takes with PyTorch and everything else imported, before it does anything."
ROWS = 512
"Replies that an engine has under way at most."
CACHE = 1 << 30
"Bytes of keys and values that the native step keeps at most, unless one reply needs more."
BYTES = 5
"What a token takes in a journal, about."
FAULTS = 10
"Faults of a file of problems that are told."
SHOWN = 40
"Characters of a question that name it."
LOOKED_AT = 64
"Problems whose prompts are measured: the longest by their characters."
SHORTER = "lower max_tokens, or leave the longest problems out"


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long a stage's sequences are, in tokens."""

    shortest: int
    "the shortest prompt"
    prompt: int
    "the longest prompt"
    whose: str
    "the problem that has it: its id, and how it begins"
    reply: int
    "the longest reply that is sampled or shown"

    @property
    def longest(self) -> int:
        """The longest sequence."""
        return self.prompt + self.reply


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one stage takes at its peak."""

    parts: dict[str, int]
    "bytes by what they are for"
    lengths: Lengths
    "what it was reckoned for"

    @property
    def total(self) -> int:
        """All of it in bytes."""
        return sum(self.parts.values())


def need_of(recipe: Recipe, stage: StageSettings, config: ModelConfig, lengths: Lengths) -> Need:
    """The memory of a stage at its peak, if its sequences are as long as that."""
    width = 2 if recipe.run.dtype == "bfloat16" else 4
    shapes = parameter_shapes(config)
    count = weight_count(config)
    adapter = 0
    if stage.lora is not None:
        targets = [shape for name, shape in shapes.items() if name.split(".")[-2] in stage.lora.targets]
        adapter = stage.lora.rank * sum(sum(shape) for shape in targets if len(shape) == 2)
    trained = adapter or count
    matrices = [shape for name, shape in shapes.items() if ".layers." in name and len(shape) == 2]
    muon = matrices if not adapter and stage.optimiser.muon_rate > 0 else []
    by_muon = sum(map(math.prod, muon))
    together = max((muon.count(shape) * math.prod(shape) for shape in muon), default=0)
    native = device_of(recipe) == "cpu" and can_quantise(config)
    reference = isinstance(stage, RlSettings) and stage.kl > 0
    return Need(
        lengths=lengths,
        parts={
            "PyTorch": PROCESS,
            "weights": count * width + adapter * 4,
            "the engine's copy": count * width if native else 0,
            "the reference": count * width if reference and not adapter else 0,
            "the teacher": _teacher(stage) if isinstance(stage, DistilSettings) else 0,
            "gradients": 4 * trained,
            "moments": 8 * (trained - by_muon) + 4 * by_muon,
            "keys and values": _cached(recipe, stage, config, lengths.longest, native, width),
            "one batch": max(_batch(stage, config, lengths, width), 5 * 4 * together),
        },
    )


def _teacher(stage: DistilSettings) -> int:
    inside = stage.teacher / "model"
    return weight_bytes(ModelConfig.load(inside if inside.is_dir() else stage.teacher), "float32")


def _batch(stage: StageSettings, config: ModelConfig, lengths: Lengths, width: int) -> int:
    """What forward and backward keep of the largest batch: activations of every layer, and logits of the replies."""
    tokens = max(stage.pass_tokens, lengths.longest)
    learnt = tokens * lengths.reply // (lengths.shortest + lengths.reply)
    heads, grouped = (count * config.head_dim for count in (config.num_attention_heads, config.num_key_value_heads))
    layer = 7 * config.hidden_size + 4 * heads + 4 * grouped + 5 * config.intermediate_size
    logits = 3 + 3 * (isinstance(stage, RlSettings) and stage.entropy is not None)
    return tokens * config.num_hidden_layers * layer * width + learnt * 4 * logits * config.vocab_size


def _cached(recipe: Recipe, stage: StageSettings, config: ModelConfig, longest: int, native: bool, width: int) -> int:
    """Keys and values of all replies that are under way at once, those of evaluations too."""
    at_once = recipe.evaluation.test * recipe.evaluation.samples
    if isinstance(stage, RlSettings | DistilSettings):
        at_once = max(at_once, stage.problems * stage.samples)
    elif isinstance(stage, RftSettings):
        at_once = max(at_once, PROBLEMS_A_STEP * stage.samples)
    token = cache_bytes(config, "float32" if width == 4 else "bfloat16")
    whole = min(ROWS, at_once) * longest * token
    return min(whole, max(CACHE, config.max_position_embeddings * token)) if native else 2 * whole


def lengths_of(recipe: Recipe, stage: StageSettings, template: ChatTemplate) -> Lengths:
    """How long the sequences of a stage are: of its longest problems by their characters, and of its shortest.

    Of families only the first problems that are drawn are looked at.
    """
    families = families_of(recipe, stage)
    if families:
        few = min(LOOKED_AT, *(family.train for family in families.values()))
        stage = stage.model_copy(update={"subset": few * len(families), "skip": 0})
    problems = sorted(train_problems(recipe, stage), key=lambda one: -len(one.question))
    looked = [*problems[:LOOKED_AT], problems[-1]]
    prompts = _prompts(looked, stage, template)
    replies = [_whole(stage.max_tokens, stage, template)]
    if isinstance(stage, SftSettings):
        ways = {name: family.ways for name, family in families.items()}
        shown = demonstrations(looked, template, ways, thinking=stage.thinking, seed=recipe.run.seed)
        replies += [sum(sample.mask) for sample in shown]
    longest = looked[prompts.index(max(prompts))]
    return Lengths(shortest=min(prompts), prompt=max(prompts), whose=_whose(longest), reply=max(replies))


def needs_of(recipe: Recipe) -> dict[str, Need]:
    """What each stage takes; UserError for one whose longest problem leaves no room for a reply."""
    template = template_of(recipe)
    config = config_of(recipe, template.tokenizer.vocab_size)
    needs = {}
    for name, stage in recipe.stages.items():
        lengths = lengths_of(recipe, stage, template)
        fault = _too_long(f"stage {name}: problem {lengths.whose}", lengths.prompt, lengths.reply, config)
        if fault:
            raise UserError(f"{fault}: {SHORTER}")
        needs[name] = need_of(recipe, stage, config, lengths)
    return needs


def _too_long(whose: str, prompt: int, reply: int, config: ModelConfig) -> str:
    """What is wrong with a problem that leaves no room for a reply; empty where it leaves enough."""
    if prompt + reply <= config.max_position_embeddings:
        return ""
    return (
        f"{whose} has a prompt of {prompt} tokens, and with a reply of {reply} it is longer than the model's "
        f"{config.max_position_embeddings} positions"
    )


def too_long_to_measure(recipe: Recipe) -> Iterator[str]:
    """Says which test problems leave no room for a whole reply; UserError for a problem asked while a stage is trained.

    Of each stage and split the longest problem, among the longest by their characters; of families among the first.
    """
    template = template_of(recipe)
    config = config_of(recipe, template.tokenizer.vocab_size)
    settings = recipe.evaluation
    most = sys.maxsize if recipe.problems is not None else LOOKED_AT * len(recipe.families)
    for name, stage in recipe.stages.items():
        test = held_out(recipe, "test", min(settings.test, most), stage)
        beyond = held_out(recipe, "test", min(settings.beyond, most), stage, beyond=True)
        asked = {
            "dev": (held_out(recipe, "dev", min(settings.dev, most), stage), stage.max_tokens),
            "guarded": (guarded(recipe, stage), (stage.guard and stage.guard.max_tokens) or stage.max_tokens),
            "test": ([*test, *beyond], stage.max_tokens),
        }
        for split, (problems, max_tokens) in asked.items():
            looked = sorted(problems, key=lambda one: -len(one.question))[:LOOKED_AT]
            if not looked:
                continue
            prompts, reply = _prompts(looked, stage, template), _whole(max_tokens, stage, template)
            whose = f"stage {name}: {split} problem {_whose(looked[prompts.index(max(prompts))])}"
            fault = _too_long(whose, max(prompts), reply, config)
            if fault and split != "test":
                raise UserError(f"{fault}: {SHORTER}")
            if fault:
                yield f"{fault}: such replies end sooner, and are wrong where no room is left"


def _prompts(problems: Sequence[Problem], stage: StageSettings, template: ChatTemplate) -> list[int]:
    """Tokens of their prompts."""
    return [len(template.prompt(one.messages, thinking=stage.thinking)) for one in problems]


def _whole(max_tokens: int, stage: StageSettings, template: ChatTemplate) -> int:
    """Tokens of the longest reply: its thought is closed for it."""
    return max_tokens + len(template.policy(thinking=stage.thinking).forced_close)


def _whose(problem: Problem) -> str:
    return f"{problem.id} ({problem.question[:SHOWN]!r})"


def check_fits(recipe: Recipe, needs: dict[str, Need]) -> None:
    """Raise UserError where the largest stages that run side by side need more memory than is free."""
    on_gpu = device_of(recipe) == "cuda"
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_memory()
    largest = sorted(needs.items(), key=lambda one: -one[1].total)[: workers_of(recipe)]
    if free is None or sum(need.total for _, need in largest) <= free:
        return
    name, need = largest[0]
    stage = recipe.stages[name]
    cures = ["run.workers=1 trains one stage at a time"] if len(largest) > 1 else []
    cures += [f"stages.{name}.lora.rank=16 trains an adapter only"] if stage.lora is None else []
    if stage.pass_tokens > need.lengths.longest:
        cures.append(f"stages.{name}.pass_tokens={stage.pass_tokens // 2} takes less at a time")
    elif not isinstance(stage, SftSettings):
        cures.append(f"stages.{name}.max_tokens={stage.max_tokens // 2} allows shorter replies")
    cures.append("close other programs or take a smaller model")
    together = " and ".join(f"{one} {gib(each.total)} GiB ({told(each)})" for one, each in largest)
    raise UserError(f"this does not fit: {together}, but {gib(free)} GiB of memory are free: {'; or '.join(cures)}")


def room_of(recipe: Recipe, needs: dict[str, Need]) -> int:
    """About how many bytes a whole run takes on the disk: models, states of the largest stages, journals."""
    models, states, journals = 0, [], 0
    for name, stage in recipe.stages.items():
        parts = needs[name].parts
        models += parts["weights"] * (2 if name == recipe.run.result else 1)
        weights = parts["gradients"] * (2 if stage.average else 1)
        states.append((weights + parts["moments"]) * (KEPT + 2))  # the newest, a good one, one being written
        made = 0.0 if isinstance(stage, SftSettings) else stage.budget
        measured = recipe.evaluation.test * recipe.evaluation.samples * stage.max_tokens
        journals += round(BYTES * (2 * made + measured))  # a stage's own, and the run's
    return models + sum(sorted(states, reverse=True)[: workers_of(recipe)]) + journals


def check_room(recipe: Recipe, needs: dict[str, Need]) -> None:
    """Raise UserError where a run does not fit on the disk of its folder; what it wrote before counts as its own."""
    run = recipe.run.dir
    there = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    room, free = room_of(recipe, needs), shutil.disk_usage(run).free
    if room > free + there:
        raise UserError(
            f"the run takes about {mib(room)} MiB on the disk of {run}, where {mib(free)} MiB are free: make room, or "
            "choose another disk with run.dir="
        )


def workers_of(recipe: Recipe) -> int:
    """Stages trained side by side: as many as cores allow, but a checkpoint or a GPU is not shared unasked."""
    alone = isinstance(recipe.model, str) or device_of(recipe) == "cuda"
    return recipe.run.workers or (1 if alone else max(1, (os.cpu_count() or 1) // recipe.run.threads))


def gib(count: int) -> str:
    """Bytes in gibibytes, two digits."""
    return f"{count / 2**30:.2f}"


def mib(count: int) -> str:
    """Bytes in mebibytes, rounded up."""
    return f"{math.ceil(count / 2**20):,}"


def told(need: Need) -> str:
    """The parts of a need that matter, the largest first."""
    large = sorted((one for one in need.parts.items() if one[1] >= need.total / 50), key=lambda one: -one[1])
    return ", ".join(f"{name} {gib(count)}" for name, count in large)


def spending(recipe: Recipe) -> Iterator[str]:
    """What a prepared run brings along and will spend, line by line; UserError where it does not fit."""
    needs = needs_of(recipe)
    too_long = list(too_long_to_measure(recipe))
    if recipe.problems is not None:
        found = kept(recipe.run.dir)
        sizes = ", ".join(f"{len(problems):,} {split}" for split, problems in found.splits.items())
        yield f"{recipe.problems}: {sum(map(len, found.splits.values())):,} problems ({sizes})"
        yield from (f"  left out, {fault}" for fault in found.faults[:FAULTS])
        if len(found.faults) > FAULTS:
            more = len(found.faults) - FAULTS
            yield f"  left out, {more:,} more (`thinkaloud problems check {recipe.problems}` tells all)"
    if isinstance(recipe.model, str):
        yield f"{recipe.model}: {weight_count(config_of(recipe, 0)):,} parameters, on {device_of(recipe)}"
    for name, stage in recipe.stages.items():
        most = f"up to {stage.budget:,.0f} training tokens"
        if isinstance(stage, RlSettings | DistilSettings):
            replies = "" if stage.rollouts is None else f"{stage.rollouts:,} "
            most += (
                f", {replies}replies of up to {stage.max_tokens:,} tokens"
                + f", prompts of up to {needs[name].lengths.prompt:,}"
            )
        yield f"{name}: {most}; about {gib(needs[name].total)} GiB of memory ({told(needs[name])})"
    yield from too_long
    check_fits(recipe, needs)
    check_room(recipe, needs)
