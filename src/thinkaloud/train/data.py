"""Problems -> what a stage learns from: sets of problems, demonstrations, the tokenizer of a recipe's own model."""

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

from thinkaloud.base.errors import UserError
from thinkaloud.problems import FAMILIES, Problem, draw
from thinkaloud.problems.brought import own_answer
from thinkaloud.problems.sets import Split
from thinkaloud.text import ChatTemplate, Message, Tokenizer
from thinkaloud.train.batches import Sample
from thinkaloud.train.brought import brought
from thinkaloud.train.recipe import FamilySettings, Recipe
from thinkaloud.train.stages import StageSettings

SEALED_SEED = 0
"Dev and test problems are the same for every seed of a run, so that runs can be paired by problem."


def tokenizer_of(recipe: Recipe) -> Tokenizer:
    """The byte-level tokenizer whose whole tokens are the words of the recipe's families."""
    return Tokenizer.build(word for family in recipe.families for word in FAMILIES[family].words)


def families_of(recipe: Recipe, stage: StageSettings) -> dict[str, FamilySettings]:
    """The families that a stage uses."""
    return {name: recipe.families[name] for name in stage.families or recipe.families}


def train_problems(recipe: Recipe, stage: StageSettings) -> list[Problem]:
    """The problems a stage may learn from, family after family; of a subset each family gives the same number."""
    if recipe.problems is not None:
        last = None if stage.subset is None else stage.skip + stage.subset
        return brought(recipe.run.dir, "train")[stage.skip : last] or _none_left(stage)
    families = families_of(recipe, stage)
    share = None if stage.subset is None else -(-stage.subset // len(families))
    return [
        problem
        for name, family in families.items()
        for problem in draw(name, "train", stage.skip + (share or family.train), recipe.run.seed, family.levels)[
            stage.skip :
        ]
    ]


def _none_left(stage: StageSettings) -> list[Problem]:
    raise UserError(f"skip = {stage.skip} passes over all of your training problems: lower it")


def held_out(recipe: Recipe, split: Split, count: int, stage: StageSettings, *, beyond: bool = False) -> list[Problem]:
    """`count` problems of "dev" or "test", equally many of each of the stage's families, the same for every seed.

    Of all families where the evaluation is of everything. `beyond` takes the levels past those that are trained on, of
    families that have such.
    """
    if recipe.problems is not None:
        return [] if beyond else brought(recipe.run.dir, split)[:count]
    families = recipe.families if recipe.evaluation.everything else families_of(recipe, stage)
    if beyond:
        families = {name: family for name, family in families.items() if FAMILIES[name].beyond}
    share = -(-count // max(1, len(families)))
    return [
        problem
        for name, family in families.items()
        for problem in draw(name, split, share, SEALED_SEED, FAMILIES[name].beyond if beyond else family.levels)
    ]


def guarded(recipe: Recipe, stage: StageSettings) -> list[Problem]:
    """The dev problems that a stage's guard asks, the same for every seed; none without a guard."""
    if stage.guard is None:
        return []
    return [
        problem
        for name in stage.guard.families
        for problem in draw(name, "dev", stage.guard.problems, SEALED_SEED, recipe.families[name].levels)
    ]


def demonstrations(
    problems: Sequence[Problem],
    template: ChatTemplate,
    ways: Mapping[str, Mapping[str, float]],
    *,
    thinking: bool,
    seed: int,
) -> list[Sample]:
    """One demonstration a problem, its way drawn by the family's shares; without the monologue if not `thinking`.

    A problem of no family is demonstrated where it was brought with a thought and an answer.
    """
    samples = []
    for problem in problems:
        if problem.family not in FAMILIES:
            answer = own_answer(problem)
            if answer is not None and (problem.thought is not None or not thinking):
                samples.append(reply_sample(problem, problem.thought or "", answer, template, thinking_on=thinking))
            continue
        rng = random.Random(f"{seed} way {problem.id}")
        shares = ways[problem.family]
        way = rng.choices(list(shares), weights=list(shares.values()))[0]
        shown = FAMILIES[problem.family].demonstrate(problem, way, rng)
        samples.append(reply_sample(problem, shown.thinking, shown.answer, template, thinking_on=thinking))
    return samples


def reply_sample(problem: Problem, thinking: str, answer: str, template: ChatTemplate, *, thinking_on: bool) -> Sample:
    """A prompt with a reply to learn."""
    prompt = template.prompt(problem.messages, thinking=thinking_on)
    if thinking_on and template.markup.think_close is None:  # a model without such tags thinks in its answer
        answer = f"{thinking}\n\n{answer}"
    message = Message("assistant", answer, thinking=thinking if thinking_on else None)
    reply = template.reply(message, thinking=thinking_on)
    return Sample(ids=(*prompt, *reply), mask=(False,) * len(prompt) + (True,) * len(reply))


@lru_cache(maxsize=4)
def permutation(key: str, items: int) -> list[int]:
    """The indices of `items` things in the order of `key`."""
    order = list(range(items))
    random.Random(key).shuffle(order)
    return order
