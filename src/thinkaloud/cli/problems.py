"""`thinkaloud problems`: what can be asked, with a worked sample of each family."""

import random

from thinkaloud.cli.console import say


def problems() -> None:
    """List the families of problems.

    Shows their levels, their ways of working, and one worked sample each.
    """
    from thinkaloud.problems import FAMILIES, draw

    for name, family in FAMILIES.items():
        problem = draw(family, "train", 1, 1, [family.levels[len(family.levels) // 2]])[0]
        shown = family.demonstrate(problem, family.ways[0], random.Random(1))
        say(name, "bold")
        say(f"  levels {family.levels[0]} to {family.levels[-1]}; ways of working: {', '.join(family.ways)}")
        for line in problem.question.splitlines():
            say(f"  {line}")
        for line in shown.thinking.splitlines():
            say(f"    {line}", "dim")
        say(f"  {shown.answer}")
        say()
