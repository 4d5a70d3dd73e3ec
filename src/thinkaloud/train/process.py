"""Process rewards: what the lines of a thought earn by themselves, where their family can check them.

An outcome says one thing of all tokens of a reply; a checked line says of its own whether they were right (arXiv
2211.14275; checked by rule: arXiv 2601.17223). Knows rollouts and their tokens; does not know advantages or losses.
"""

from thinkaloud.problems import FAMILIES
from thinkaloud.rollouts import Rollout
from thinkaloud.text import ChatTemplate


def checked_lines(rollout: Rollout, template: ChatTemplate) -> tuple[list[bool | None], list[bool | None]]:
    """The verdict on each line of a reply's thought, None where none can be given; and that of each id's line.

    The second list is as long as the reply with its prompt; what belongs to no line has None. A line's newline is its
    own last token.
    """
    tokenizer, close = template.tokenizer, template.markup.think_close
    lines, line_of = [""], dict[int, int]()
    for place in range(rollout.prompt_tokens, len(rollout.ids)):
        if rollout.ids[place] == close:
            break
        line_of[place] = len(lines) - 1
        first, *others = tokenizer.decode([rollout.ids[place]]).split("\n")
        lines[-1] += first
        lines += others
    family = FAMILIES.get(rollout.problem.family)
    verdicts: list[bool | None] = family.check(rollout.problem, lines) if family else [None] * len(lines)
    return verdicts, [verdicts[line_of[place]] if place in line_of else None for place in range(len(rollout.ids))]
