"""Math: the answer that a text states, compared as a number where both are numbers, else by the math-verify library.

Knows: which part of a text is its answer, exact numbers, which expressions are bombs. Doesn't know: units, beyond that
a unit is left out.
"""

import functools
import logging
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from thinkaloud.problems.types import Check, Verdict, Verifier
from thinkaloud.text.markup import THINK_CLOSE, THINK_OPEN

MOST_EXPRESSION = 300
"Characters of a stated answer; a longer one is wrong, reason `limit`."

NUMBER = r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[-+]?\.[0-9]+"
FRACTION = r"([-+]?)\\[dt]?frac\{([-+]?[0-9]+)\}\{([-+]?[0-9]+)\}"
STATED = re.compile(rf"(?<![\w.])(?:{NUMBER})(?:\s?/\s?[0-9]+)?")
BRACE = re.compile(r"\\boxed\s{0,9}\{|[{}]")
SPAN = re.compile(
    r"\$\$([^$]{1,300})\$\$|\$(?=\S)([^$\n]{0,299}[^$\s])\$(?!\d)|\\\(([^$]{1,300}?)\\\)|\\\[([^$]{1,300}?)\\\]"
)
"A formula; two dollar signs with a space before the second, or a digit after it, are two prices."
PHRASE = re.compile(r"(?:\banswer\s{0,3}(?:is|:|=)|####)[ \t:=]{0,3}([^\n]{1,300})", re.IGNORECASE)
WORD = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")

BOMBS = re.compile(
    r"(?:\^|\*\*)[\s{(+-]*[0-9]{6}|[0-9]{5}\s*[)}]*\s*!|!\s*[)}]+\s*!|binom\s*\{?[^{}]{0,9}[0-9]{5}|[0-9]e\+?[0-9]{4}"
    r"|(?:\^|\*\*)[\s{(]*[0-9.]+[\s})]*!"
)
"Powers, factorials and binomials of numbers without measure; what else is costly runs into the limit of time."
TOWER = re.compile(r"[0-9]\s*(?:\^|\*\*)[\s{(]*([0-9]+)\s*(?:\^|\*\*)[\s{(]*([0-9]+)")
UNWORKED = re.compile(r"\\(?:i{0,2}int|oint|sum|prod|lim|det)(?![a-z])|\\d?frac\s*\{\s*d\s*\}\s*\{\s*d[a-z]")
"What restates a question instead of answering it."
RELATION = re.compile(r"[<>≤≥]|\\(?:leq?|geq?|lt|gt|in|notin)(?![a-z])")
NEGATION = re.compile(r"\\(?:not|ne|neq|neg|lnot)(?![a-z])|≠|¬|\b(?:not|neither|except|unless)\b", re.IGNORECASE)
IN_WORDS = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|operatorname)\s?\{([^{}]*)\}")
IN_TEXT = re.compile(rf"\\(?:text|textbf|mbox)\s?\{{\s*\\?\$?({NUMBER})(?:\s[A-Za-z ]{{1,40}})?\.?\s*\}}")
"A number and its unit, all of it in words."
BOLD = re.compile(r"(?<![\w)}\]])\*\*|\*\*(?![\w({\[])")
"Two asterisks that are no power."
UNIT = re.compile(rf"(?<=[\w}})])\s?{IN_WORDS.pattern}")
ALTERNATIVE = re.compile(r"\s*\b(?:or|and)\b\s*")
A_NAME = re.compile(
    r"\s*(?:\\?[A-Za-z]+(?:_\{?\w{1,9}\}?)?'?(?:\s?\([A-Za-z0-9, ]{1,9}\))?|\\angle\s?[A-Z]{1,3}|\s*)\s*"
)


class Math(Verifier):
    """The last balanced \\boxed{} after the monologue, else the answer stated, against a LaTeX or plain reference."""

    name = "math"

    def seconds(self, reference: Any) -> float:
        return 2.0

    def at_once(self, answer: str, reference: Any) -> Verdict | None:
        expected = str(reference)
        if not squeezed(expected) or len(expected) > MOST_EXPRESSION or isinstance(reference, dict | list):
            return Verdict.ungradable("reference")
        stated = stated_answer(answer)
        if not squeezed(stated):
            return Verdict.wrong("no answer")
        if len(stated) > MOST_EXPRESSION:
            return Verdict.wrong("limit")
        if squeezed(stated) == squeezed(expected):
            return Verdict.right()
        ours, theirs = number_of(stated), number_of(expected)
        if ours is not None and theirs is not None:
            return Verdict.right() if ours == theirs else Verdict.wrong("different")
        if theirs is not None and not re.search(r"[0-9\\]", stated):
            return Verdict.wrong("no number")
        if is_bomb(expected):
            return Verdict.ungradable("reference")
        if is_bomb(stated):
            return Verdict.wrong("limit")
        if NEGATION.search(stated) and not NEGATION.search(expected):
            return Verdict.wrong("hedged")
        if UNWORKED.search(stated) and not UNWORKED.search(expected):
            return Verdict.wrong("not worked out")
        return None

    def stated(self, answer: str) -> str:
        said = stated_answer(answer)
        number = number_of(said)
        return squeezed(said) if number is None else str(number)

    def prepare(self) -> None:
        warm()

    def judge(self, answer: str, reference: Any, unsafe: bool) -> Verdict:
        name, expected = named(str(reference))
        other, stated = named(stated_answer(answer))
        if not name or "=" in stated:
            expected, stated = str(reference), stated_answer(answer)
        elif other and squeezed(other) != squeezed(name):
            return Verdict.wrong("different")
        gold = _parsed(expected)
        if not gold:
            return Verdict.ungradable("reference")
        right = all(_equal(gold, claim) for claim in claims(stated, expected))
        return Verdict.right() if right else Verdict.wrong("different")

    def checks(self) -> Iterable[Check]:
        for answer, reference, label in CHECKS:
            yield Check(answer=answer, reference=reference, label=label)


@functools.cache
def warm() -> None:
    """Has the library make its grammar and rules, once a process: they must not count against the first answer."""
    Math().judge(r"$\frac{1}{2}+x^2$", r"\sqrt{2}", False)


def stated_answer(text: str) -> str:
    """The part of a text that is its answer, "" when there is none.

    The last box whose braces balance; else the whole text if it is a number; else what follows the last "answer is";
    else the last formula; else the last number; else the last line.
    """
    text = after_monologue(text)
    boxed = last_boxed(text)
    if boxed is not None:
        worded = IN_TEXT.fullmatch(boxed.strip())
        return boxed if worded is None or ALTERNATIVE.search(boxed) or NEGATION.search(boxed) else worded[1]
    if number_of(text) is not None:
        return text
    phrases = PHRASE.findall(text)
    if phrases:
        text = BOLD.sub("", phrases[-1])
    spans = SPAN.findall(text)
    if spans:
        return next(filter(None, spans[0 if phrases else -1]), "")
    if "\\" in text or (phrases and not WORD.search(text)):
        return text.strip().rstrip(".")
    numbers = [match[0] for match in STATED.finditer(text)]
    if numbers:
        return numbers[0 if phrases else -1]
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def after_monologue(text: str) -> str:
    """What follows the last end of a monologue; nothing when a monologue was never ended."""
    before, closed, after = text.rpartition(THINK_CLOSE)
    if closed:
        return after
    return "" if THINK_OPEN in text else text


def last_boxed(text: str) -> str | None:
    """The content of the \\boxed{} that starts last among those whose braces balance; None when there is none."""
    opened: list[tuple[bool, int]] = []
    boxes: list[tuple[int, int]] = []
    for brace in BRACE.finditer(text):
        if brace[0] != "}":
            opened.append((brace[0] != "{", brace.end()))
        elif opened:
            boxed, start = opened.pop()
            if boxed:
                boxes.append((start, brace.start()))
    if not boxes:
        return None
    start, end = max(boxes)
    return text[start:end]


def number_of(text: str) -> Fraction | None:
    """The number that a text is: "-1,000.5", "3/4", "\\frac{3}{4}", dollar signs aside; None for anything else."""
    bare = squeezed(text)
    if len(bare) > MOST_EXPRESSION:
        return None
    latex = re.fullmatch(FRACTION, bare)
    if latex:
        sign = -1 if latex[1] == "-" else 1
        return _ratio(sign * int(latex[2]), int(latex[3]))
    plain = re.fullmatch(rf"({NUMBER})(?:/([0-9]+))?", bare)
    if plain is None:
        return None
    return _ratio(Fraction(plain[1].replace(",", "")), int(plain[2] or 1))


def _ratio(numerator: Fraction | int, denominator: int) -> Fraction | None:
    """The fraction; None when it has no value."""
    return Fraction(numerator) / denominator if denominator else None


def squeezed(text: str) -> str:
    """A text without space, dollar signs and LaTeX's small spaces, nor a full stop at its end."""
    return re.sub(r"\s|\\?\$|\\[,;! ]", "", text.replace("\u2212", "-")).rstrip(".")


def is_bomb(expression: str) -> bool:
    """Whether an expression holds a number that nobody can write out."""
    towers = ((len(base), power) for base, power in TOWER.findall(expression))
    return BOMBS.search(expression) is not None or any(
        len(power) > 3 or digits * int(power) > 6 for digits, power in towers
    )


def named(expression: str) -> tuple[str, str]:
    """The name and the value of an equation such as x=5 or f(0)=0; no name for anything else."""
    name, equals, value = expression.partition("=")
    if not equals or "=" in value or RELATION.search(expression) or re.search(r"[,;]|\\text", expression):
        return "", expression
    return (name, value) if squeezed(name) and A_NAME.fullmatch(name) else ("", expression)


def claims(stated: str, reference: str) -> list[str]:
    """What must equal the reference: every side of a chain of equations but bare names, so that 3=7 is not a 7."""
    if (
        "=" not in stated
        or "=" in reference
        or RELATION.search(stated)
        or re.search(r"[,;]|\\text|\bor\b|\band\b", stated)
    ):
        return [stated]
    sides = [side for side in stated.split("=") if not A_NAME.fullmatch(side)]
    return sides or [stated]


def listed(expression: str) -> str:
    """The expression with "or" and "and" inside its words as commas, so that two claims are two.

    The words after the numbers of a list go: the library would read no further than the first of them.
    """

    def parts(words: re.Match[str]) -> str:
        return ", ".join(f"\\text{{{part}}}" if part else "" for part in ALTERNATIVE.split(words[1]))

    commas = IN_WORDS.sub(parts, expression)
    return UNIT.sub("", commas) if re.search(r"[,;]", commas) else commas


def _parsed(expression: str) -> list[Any]:
    """What math-verify reads in an expression; empty when it can't."""
    from math_verify import parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    try:
        return list(parse(f"\\boxed{{{listed(expression)}}}", parsing_timeout=None))
    except Exception:  # The library and those below it raise errors of many kinds on text that they did not foresee.
        return []


def _equal(gold: list[Any], claim: str) -> bool:
    """Whether a claim equals the reference; x<3 against an interval is asked the other way round too."""
    from math_verify import verify

    target = _parsed(claim)
    try:
        if verify(gold, target, timeout_seconds=None):
            return True
        return RELATION.search(claim) is not None and bool(verify(target, gold, timeout_seconds=None))
    except Exception:  # As above.
        return False


CHECKS: tuple[tuple[str, str, Any], ...] = (
    (r"so \boxed{1/2}", "0.5", "right"),
    (r"\boxed{\text{160 eggs in all}}", "160", "right"),
    (r"\boxed{\text{160 or so}}", "160", "wrong"),
    (r"\boxed{\text{160 is not right}}", "160", "wrong"),
    (r"\boxed{\text{160 eggs, 7 ducks}}", "160", "wrong"),
    ("**Answer:** 125000", "125000", "right"),
    ("**Answer:** **125000** eggs", "125000", "right"),
    ("The answer is 2 ** 999999", "4", "wrong"),
    (r"\boxed{\frac{1}{2}}", "0.5", "right"),
    (r"\boxed{3} wait \boxed{7}", "7", "right"),
    (r"\boxed{3} wait \boxed{7}", "3", "wrong"),
    (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", "right"),
    (r"\boxed{\sqrt{8}}", r"3\sqrt{2}", "wrong"),
    (r"\boxed{x=5}", "5", "right"),
    (r"\boxed{5}", "x=5", "right"),
    (r"\boxed{3=7}", "7", "wrong"),
    (r"\boxed{3=7}", "3", "wrong"),
    (r"\boxed{2+2=4}", "4", "right"),
    (r"\boxed{x=3=7}", "7", "wrong"),
    (r"\boxed{f(0)=17}", "f(0)=0", "wrong"),
    (r"\boxed{0}", "f(0)=0", "right"),
    (r"\boxed{y=5}", "x=5", "wrong"),
    (r"\boxed{AB=BA+1}", "AB=BA", "wrong"),
    (r"\boxed{y-1=2x}", "y=2x+1", "right"),
    (r"\boxed{2x=7}", "7", "wrong"),
    (r"\boxed{3, 7}", "7", "wrong"),
    (r"\boxed{3 \text{ or } 7}", "7", "wrong"),
    (r"\boxed{7\text{ dollars or }8\text{ dollars}}", "7", "wrong"),
    (r"\boxed{7\text{ m}, 8\text{ m}}", "7", "wrong"),
    (r"\boxed{7\text{ or anything}}", "7", "wrong"),
    (r"\boxed{\neq 7}", "7", "wrong"),
    (r"\boxed{7\text{ (not 8)}}", "7", "wrong"),
    (r"\boxed{x=1 \text{ or } x=2}", "1,2", "right"),
    (r"\boxed{\text{Ann and Bob}}", r"\text{Bob and Ann}", "right"),
    (r"\boxed{A, B, C, D}", "C", "wrong"),
    (r"\boxed{[6,8]}", "7", "wrong"),
    (r"\boxed{2, 1}", "1,2", "right"),
    (r"\boxed{(2,1)}", "(1,2)", "wrong"),
    (r"\boxed{[1,2)}", "(1,2)", "wrong"),
    (r"\boxed{x<3}", r"(-\infty,3)", "right"),
    (r"\boxed{x>3}", r"(-\infty,3)", "wrong"),
    (r"\boxed{(x+1)^2}", "x^2+2x+1", "right"),
    (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", "right"),
    (r"\boxed{\text{not B}}", r"\text{B}", "wrong"),
    (r"\boxed{50\%}", "0.5", "right"),
    (r"\boxed{90^\circ}", "90", "right"),
    (r"\boxed{2\text{ cm}}", "2", "right"),
    (r"The answer is $\frac{3}{4}$.", "0.75", "right"),
    (r"\boxed{\int_0^1 x^2 dx}", r"\frac{1}{3}", "wrong"),
    (r"\boxed{9^{9^{9^{9}}}}", "1", "wrong"),
    (r"\boxed{100000000!}", "1", "wrong"),
    (r"\boxed{(x+1)^{100000}}", "x", "wrong"),
    (r"\boxed{" + "(" * 3000 + "1" + ")" * 3000 + "}", "1", "wrong"),
    (r"\boxed{}", "1", "wrong"),
    ("I do not know.", "3", "wrong"),
    ("<" + "think>\\boxed{3}", "3", "wrong"),
    (r"\boxed{1}", "", "ungradable"),
)
"Answer, reference, verdict."
