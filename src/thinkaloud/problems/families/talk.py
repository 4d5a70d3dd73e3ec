"""Talk: what is no problem of any family gets an honest sentence about what a small model can do.

Knows: which sentence is right for which input. Doesn't know: models, tokens, splits.
"""

import random
import re
from typing import Any

from thinkaloud.problems.families import small_talk
from thinkaloud.problems.types import Demonstration, Family, Problem, Verdict, pieces, unique

ANSWERS = {
    "hello": "Hello! I am a very small model. Ask me for a sum, a word problem or a puzzle.",
    "thanks": "You are welcome! Ask me the next one.",
    "about": "I am thinkaloud, a very small model that thinks before it answers. I can add, subtract and multiply, "
    "solve short word problems, follow cups and put people in order. Try a sum of two numbers.",
    "bye": "Goodbye! Come back with a sum or a puzzle.",
    "outside": "I have not learnt that. I am a very small model: try a sum of two numbers, or a short word problem.",
}
"The only right answer to each kind of input."
THOUGHTS = {"hello": "a greeting", "thanks": "thanks", "about": "about me", "bye": "a goodbye", "outside": "not learnt"}
SOURCES = {
    1: ("hello", small_talk.greeting),
    2: ("thanks", small_talk.thanks),
    3: ("about", small_talk.about),
    4: ("outside", small_talk.world),
    5: ("outside", small_talk.language),
    6: ("outside", small_talk.near_miss),
    7: ("outside", small_talk.noise),
    8: ("outside", small_talk.long),
    9: ("bye", small_talk.goodbye),
}
WORDS = (*ANSWERS.values(), *THOUGHTS.values(), "\n", "hello", "thanks", "Thanks", "who", "Who", "what", "Who are you?")


class Talk(Family):
    """The level is the kind of input: greetings, thanks, about the model; what it never learnt; goodbyes.

    Of the third kind are the wide world, other languages, what is nearly a problem, noise, several of them. The answer
    is one of five fixed sentences. The only way, `careful`, says in a word or two what kind of input it is.
    """

    name = "talk"
    levels = tuple(SOURCES)
    ways = ("careful",)
    words = unique(pieces(*WORDS))
    spelt = True

    def generate(self, rng: random.Random, level: int) -> Problem:
        kind, source = SOURCES[level]
        text = source(rng)
        return self.problem(level=level, question=text, reference=kind, canonical=f"{kind}: {text.lower()}")

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        kind = problem.reference
        return Demonstration(thinking=THOUGHTS[kind], answer=ANSWERS[kind], way="careful")

    def verify(self, answer: str, reference: Any) -> Verdict:
        if not (isinstance(reference, str) and reference in ANSWERS):
            return Verdict.ungradable("reference")
        said = next((kind for kind, text in ANSWERS.items() if _plain(text) == _plain(answer)), None)
        if said is None:
            return Verdict.wrong("none of the sentences")
        return Verdict.right() if said == reference else Verdict.wrong(f"said {said}")

    def way_of(self, problem: Problem, thinking: str) -> str:
        return "careful" if thinking.strip() in THOUGHTS.values() else "other"


def _plain(text: str) -> str:
    return re.sub(r"[\s.,:!?]+", " ", text).strip().lower()
