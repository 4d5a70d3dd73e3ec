"""Stories: word problems in varied English, one gain or loss after another.

Knows: how to set, solve, demonstrate and judge this one kind of problem. Doesn't know: models, tokens, splits.
"""

import functools
import random
import re
from itertools import accumulate

from thinkaloud.problems.answers import lines_of
from thinkaloud.problems.families.tally import Tally, read_tally
from thinkaloud.problems.types import Demonstration, Problem, pieces, unique

SHE = ("Mia", "Zoe", "Ada", "Eva", "Anna", "Lily", "Nora", "Ruth", "Ella", "Maria", "Sara", "Emma")
HE = ("Ben", "Tom", "Max", "Sam", "Leo", "Paul", "Omar", "Finn", "John", "David", "Peter", "Jack")
THINGS = (
    *("beads", "cards", "coins", "shells", "stamps", "nuts", "apples", "books", "pens", "stones", "eggs", "toys"),
    *("marbles", "flowers", "cookies", "sweets", "balls", "stickers", "oranges", "cups", "keys", "boxes", "fish"),
)
OPENINGS = (
    *("{name} has {count} {things}.", "{name} starts with {count} {things}.", "{name} owns {count} {things}."),
    *("There are {count} {things} in the bag of {name}.", "At first {name} has {count} {things}."),
    *(
        "{name} had {count} {things} this morning.",
        "{name} keeps {count} {things} in a box.",
        "{name} found {count} {things}.",
    ),
    *(
        "{count} {things} belong to {name}.",
        "{name} counts {count} {things}.",
        "{name} bought {count} {things} last week.",
    ),
)
GAINS = (
    *("{who} finds {count} more", "{who} buys {count} more", "{who} gets {count} from a friend", "{who} wins {count}"),
    *("a friend brings {count} more", "{who} is given {count}", "{who} picks up {count}", "{who} adds {count}"),
    *(
        "{count} more arrive",
        "{who} makes {count} new ones",
        "{who} collects {count} more",
        "{other} gives {count} back",
    ),
    *("{who} found {count} more", "{who} bought {count}", "{who} got {count} from {other}", "{who} earns {count}"),
)
LOSSES = (
    *("{who} loses {count}", "{who} gives {count} to {other}", "{who} sells {count}", "{count} of them break"),
    *("{who} throws {count} away", "{other} takes {count}", "{who} drops {count}", "{count} get lost"),
    *("{who} leaves {count} at school", "{who} uses {count}", "someone steals {count}", "{who} gives away {count}"),
    *("{who} lost {count}", "{who} gave {count} to {other}", "{who} sold {count}", "{who} spends {count}"),
)
LINKS = ("", "", "Then ", "After that ", "Later ", "Next ", "On Monday ", "In the evening ")
QUESTIONS = (
    *("How many {things} does {name} have now?", "How many {things} are left?", "How many are there now?"),
    *("How many {things} does {who} have in the end?", "How many {things} has {name} got?", "How many now?"),
    *("How many are left?", "How many {things} are there at the end?", "What is the number of {things} now?"),
)
MOST_VALUE, MOST_CHANGE, SPELT = 60, 20, 0.25
LINE = re.compile(r"[0-9]{1,3} [+-] [0-9]{1,2} = [0-9]{1,3}")
SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou")
MADE_UP = re.compile(r"(?:[bcdfghjklmnprstvwz][aeiou]){2,3}[nrl]?")
PLACES = {"count": "[1-9][0-9]?", "name": "[A-Z][a-z]+", "things": "[a-z]+", "who": "[A-Za-z]+", "other": "[A-Z][a-z]+"}
"What may stand where a wording leaves a place."


class Stories(Tally):
    """The level is the number of gains and losses: "Anna has 12 eggs. Then she finds 5 more. How many are left?".

    Values stay within 0..60, changes within 1..20. Names, things and wording don't make another problem; a quarter of
    the names and things are made up. The only way, `careful`, writes a line a change.
    """

    name = "stories"
    levels = (1, 2, 3, 4, 5)
    ways = ("careful",)
    words = unique(
        [*pieces(*OPENINGS, *GAINS, *LOSSES, *LINKS, *QUESTIONS), " She", " He", "She", "He", " she", " he", " and"]
        + [" " + piece.strip() for piece in pieces(*LINKS, *QUESTIONS)]
        + [" A", " Someone", "A", "Someone", "\n", ",", ".", "?", " +", " -", " ="]
        + [space + name for space in ("", " ") for name in SHE + HE]
        + [" " + thing for thing in THINGS]
        + [space + str(number) for space in ("", " ") for number in range(MOST_VALUE + 1)]
    )
    spelt = True

    def generate(self, rng: random.Random, level: int) -> Problem:
        start = value = rng.randint(1, MOST_VALUE)
        changes: list[int] = []
        for _ in range(level):
            fits = [n for n in range(-MOST_CHANGE, MOST_CHANGE + 1) if n and 0 <= value + n <= MOST_VALUE]
            changes.append(rng.choice([n for n in fits if (n > 0) == (rng.random() < 0.5)] or fits))
            value += changes[-1]
        return self._asked(start, changes, _told(start, changes, rng))

    def recognise(self, question: str) -> Problem | None:
        start, *changes = _read(question) or (0,)
        values = list(accumulate(changes, initial=start))
        sound = len(changes) in self.levels and start and all(0 <= value <= MOST_VALUE for value in values)
        return self._asked(start, changes, question) if sound else None

    def demonstrate(self, problem: Problem, way: str, rng: random.Random) -> Demonstration:
        assert way in self.ways, way
        changes, values = read_tally(problem)
        lines = [
            f"{before} {'+' if change > 0 else '-'} {abs(change)} = {after}"
            for before, change, after in zip(values, changes, values[1:], strict=False)
        ]
        return Demonstration(thinking="\n".join(lines), answer=str(values[-1]), way="careful")

    def way_of(self, problem: Problem, thinking: str) -> str:
        lines = lines_of(thinking)
        whole = len(lines) == problem.level and all(LINE.fullmatch(line) for line in lines)
        return "careful" if whole else "other"


def _told(start: int, changes: list[int], rng: random.Random) -> str:
    """The story: an opening, the changes in sentences of one or two, and a question."""
    spelt = rng.random() < SPELT
    names, who = rng.choice(((SHE, "she"), (HE, "he")))
    name = made_up(rng).capitalize() if spelt else rng.choice(names)
    things = made_up(rng) + "s" if spelt and rng.random() < 0.6 else rng.choice(THINGS)
    other = rng.choice([one for one in SHE + HE if one != name])
    said = [
        rng.choice(GAINS if change > 0 else LOSSES).format(
            who=rng.choice((who, who, name)), other=other, count=abs(change)
        )
        for change in changes
    ]
    sentences = [rng.choice(OPENINGS).format(name=name, count=start, things=things)]
    if rng.random() < 0.3:
        sentences[0] = f"{sentences[0][:-1]} and {_shared(said.pop(0), who, rng)}."
    while said:
        sentence = rng.choice(LINKS) + said.pop(0)
        if said and rng.random() < 0.3:
            sentence += f" and {_shared(said.pop(0), who, rng)}"
        sentences.append(sentence[0].upper() + sentence[1:] + ".")
    return " ".join([*sentences, rng.choice(QUESTIONS).format(name=name, who=who, things=things)])


def _shared(clause: str, who: str, rng: random.Random) -> str:
    """A clause after "and", half of the time without its subject where that is the pronoun."""
    return clause.removeprefix(f"{who} ") if rng.random() < 0.5 else clause


def made_up(rng: random.Random) -> str:
    """A word that nobody has heard."""
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))) + rng.choice(("", "", "n", "r", "l"))


def _read(question: str) -> tuple[int, ...] | None:
    """Start and changes of a story; None unless all its sentences are ours and speak of one person and one thing."""
    told, _, asked = question.rpartition(". ")
    opening, *sentences = told.split(". ")
    opening, _, shared = opening.partition(" and ")
    begun = _fits(OPENINGS, f"{opening}.")
    if begun is None or not (begun["things"] in THINGS or MADE_UP.fullmatch(begun["things"].removesuffix("s"))):
        return None
    name, things = begun["name"], begun["things"]
    clauses = [shared] if shared else []
    for sentence in sentences:
        link = max((one for one in LINKS if sentence.startswith(one)), key=len)
        clauses += sentence.removeprefix(link).split(" and ", 1)
    for who, names in (("she", SHE), ("he", HE)):
        spoken = [one.format(name=name, who=who, things=things) for one in QUESTIONS]
        changes = [_change(clause, name, who) for clause in clauses]
        if asked in spoken and (name in names or MADE_UP.fullmatch(name.lower())) and all(changes):
            return int(begun["count"]), *changes
    return None


def _change(clause: str, name: str, who: str) -> int:
    """What a clause adds; 0 if it is none of ours, or not about this person. It may have lost its subject."""
    said = {clause, clause[:1].lower() + clause[1:], f"{who} {clause}"}
    found = {0}
    for sign, wordings in ((1, GAINS), (-1, LOSSES)):
        for fit in filter(None, (_fits(wordings, one) for one in said)):
            one_of_ours = fit.get("other", SHE[0]) in SHE + HE and fit.get("other") != name
            if fit.get("who", who) in (who, name) and one_of_ours and int(fit["count"]) <= MOST_CHANGE:
                found.add(sign * int(fit["count"]))
    return max(found, key=abs) if len(found) == 2 else 0


def _fits(wordings: tuple[str, ...], text: str) -> dict[str, str] | None:
    """What stands in the places of the wording that a text has."""
    matches = (pattern.fullmatch(text) for pattern in _patterns(wordings))
    return next((match.groupdict() for match in matches if match), None)


@functools.cache
def _patterns(wordings: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    places = {name: f"(?P<{name}>{pattern})" for name, pattern in PLACES.items()}
    return tuple(re.compile(wording.replace(".", r"\.").format(**places)) for wording in wordings)
