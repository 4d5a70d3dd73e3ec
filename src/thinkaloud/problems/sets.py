"""Sets of distinct problems, split into train, dev and sealed test by canonical form.

Knows: how to draw problems of a family without repetition, the same on every machine. Doesn't know: what they ask.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import Literal

from thinkaloud.base.errors import UserError
from thinkaloud.problems.families import FAMILIES
from thinkaloud.problems.types import Family, Problem

Split = Literal["train", "dev", "test"]

TRAIN_PERCENT, DEV_PERCENT = 80, 5
LEAST_TEST, LEAST_DEV = 16, 8
"Test and dev problems that a user's own file gives at least, if it is large enough."
TRIES = 4_000
"Random problems looked at for one more new one before a set is called exhausted."


def split_of(canonical: str) -> Split:
    """The split that a problem belongs to, by a hash of its canonical form alone: 80 % train, 5 % dev, 15 % test."""
    percent = _place(canonical) * 100 >> 64
    if percent < TRAIN_PERCENT:
        return "train"
    return "dev" if percent < TRAIN_PERCENT + DEV_PERCENT else "test"


def _place(canonical: str) -> int:
    """Where a problem stands among all, from 0 to 2^64: train first, test last."""
    return int.from_bytes(hashlib.sha256(b"split " + canonical.encode()).digest()[:8], "big")


def split_brought(problems: Sequence[Problem]) -> dict[Split, list[Problem]]:
    """A user's own problems split as by `split_of`, each split in the order of the hashes.

    Of a small file more is held out: at least LEAST_TEST for test and LEAST_DEV for dev, but no more than a quarter and
    an eighth of all. Those come from the neighbouring split, so that a line more in the file moves few others.
    """
    ordered = sorted(problems, key=lambda problem: _place(problem.canonical))
    splits = [split_of(problem.canonical) for problem in ordered]
    test = min(len(ordered) // 4, max(splits.count("test"), LEAST_TEST))
    dev = min(len(ordered) // 8, max(splits.count("dev"), LEAST_DEV))
    train = len(ordered) - dev - test
    return {"train": ordered[:train], "dev": ordered[train : train + dev], "test": ordered[train + dev :]}


def family_named(name: str) -> Family:
    """The family of that name; a UserError names the known ones."""
    if name not in FAMILIES:
        raise UserError(f"there is no family {name!r}; take one of: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def draw(
    family: Family | str, split: Split, count: int, seed: int, levels: Sequence[int] | None = None
) -> list[Problem]:
    """`count` problems of one split, distinct by canonical form, levels in turn (so equally often, to within one).

    The same arguments give the same problems on every machine; a smaller count gives a prefix of a larger one's list.
    """
    family = family_named(family) if isinstance(family, str) else family
    if split not in ("train", "dev", "test"):
        raise UserError(f"there is no split {split!r}; take train, dev or test")
    if count < 0:
        raise UserError(f"a set of {count} problems can't be drawn; take a count of 0 or more")
    chosen = checked_levels(family, levels)
    rng = random.Random(f"{family.name} {split} {seed}")
    found: dict[str, Problem] = {}
    for index in range(count):
        level = chosen[index % len(chosen)]
        for _ in range(TRIES):
            problem = family.generate(rng, level)
            if problem.canonical not in found and split_of(problem.canonical) == split:
                found[problem.canonical] = problem
                break
        else:
            at_level = sum(problem.level == level for problem in found.values())
            raise UserError(
                f"{family.name} has only about {at_level} {split} ones of level {level}, too few for a set of {count}: "
                f"ask for fewer problems or for other levels (there are {', '.join(map(str, family.levels))})"
            )
    return list(found.values())


def count_distinct(family: Family | str, draws: int, seed: int, levels: Sequence[int] | None = None) -> int:
    """How many problems differ by canonical form among `draws` random ones, levels in turn, all splits together."""
    family = family_named(family) if isinstance(family, str) else family
    chosen = checked_levels(family, levels)
    rng = random.Random(f"{family.name} distinct {seed}")
    return len({family.generate(rng, chosen[index % len(chosen)]).canonical for index in range(draws)})


def checked_levels(family: Family, levels: Sequence[int] | None) -> tuple[int, ...]:
    """The levels asked for (all of the family's when None); a UserError names one that it doesn't have."""
    if levels is None:
        return family.levels
    unknown = [level for level in levels if level not in family.levels + family.beyond]
    if unknown or not levels:
        wrong = f"the unknown level {unknown[0]}" if unknown else "an empty list of levels"
        raise UserError(f"{family.name} got {wrong}; take some of {', '.join(map(str, family.levels))}")
    return tuple(levels)
