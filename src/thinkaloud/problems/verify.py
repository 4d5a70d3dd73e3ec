"""One door to every verifier: `verify(kind, answer=..., reference=...)`.

Knows: the kinds of verifier (every family's, `exact`, `math`) and the limit on an answer's length. Doesn't know:
models, nor where an answer came from.
"""

import difflib
import re
from fractions import Fraction
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.problems.families import FAMILIES
from thinkaloud.problems.types import Verdict

MOST_CHARACTERS = 10_000
MOST_EXPRESSION = 300
KINDS = (*FAMILIES, "exact", "math")

NUMBER = r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[-+]?\.[0-9]+"
FRACTION = r"([-+]?)\\[dt]?frac\{([-+]?[0-9]+)\}\{([-+]?[0-9]+)\}"
STATED = re.compile(rf"{FRACTION}|(?<![\w.])(?:{NUMBER})(?:\s*/\s*[0-9]+)?")
LATEX = re.compile(r"\\[a-zA-Z]")
BRACE = re.compile(r"\\boxed\s{0,9}\{|[{}]")


def verify(kind: str, *, answer: str, reference: Any) -> Verdict:
    """Judges an answer (the text after the monologue, or a bare answer) against a JSON reference.

    Kinds: a family's name; `exact` (equal but for the space around); `math` (the last \\boxed{} or else the last number
    stated, compared as fractions; what lies beyond plain numbers is ungradable, reason `unsupported`). An answer of
    more than 10,000 characters is wrong, reason `limit`.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"take one of: {', '.join(KINDS)}"
        raise UserError(f"there is no verifier {kind!r}; {hint}")
    if len(answer) > MOST_CHARACTERS:
        return Verdict.wrong("limit")
    if kind == "math":
        return _verify_math(answer, str(reference))
    if kind == "exact":
        return Verdict.right() if answer.strip() == str(reference).strip() else Verdict.wrong("different")
    return FAMILIES[kind].verify(answer, reference)


def _verify_math(answer: str, reference: str) -> Verdict:
    if not _squeezed(reference):
        return Verdict.ungradable("reference")
    stated = last_boxed(answer)
    if stated is None:
        stated = answer if number_of(answer) is not None else _last_stated(answer)
        if stated is None:
            return Verdict.ungradable("unsupported")
    if not _squeezed(stated):
        return Verdict.wrong("no answer")
    if len(stated) > MOST_EXPRESSION:
        return Verdict.wrong("limit")
    if _squeezed(stated) == _squeezed(reference):
        return Verdict.right()
    ours, theirs = number_of(stated), number_of(reference)
    if ours is not None and theirs is not None:
        return Verdict.right() if ours == theirs else Verdict.wrong("different")
    if theirs is not None and not re.search(r"[0-9\\]", stated):
        return Verdict.wrong("no number")
    return Verdict.ungradable("unsupported")


def _last_stated(answer: str) -> str | None:
    """The last number in a text without a box, empty when it holds none; None when it holds LaTeX we can't read."""
    if LATEX.search(re.sub(FRACTION, "", answer)):
        return None
    stated = [match[0] for match in STATED.finditer(answer)]
    return stated[-1] if stated else ""


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
    squeezed = _squeezed(text)
    if len(squeezed) > MOST_EXPRESSION:
        return None
    latex = re.fullmatch(FRACTION, squeezed)
    if latex:
        sign = -1 if latex[1] == "-" else 1
        return _ratio(sign * int(latex[2]), int(latex[3]))
    plain = re.fullmatch(rf"({NUMBER})(?:/([0-9]+))?", squeezed)
    if plain is None:
        return None
    return _ratio(Fraction(plain[1].replace(",", "")), int(plain[2] or 1))


def _ratio(numerator: Fraction | int, denominator: int) -> Fraction | None:
    """The fraction; None when it has no value."""
    return Fraction(numerator) / denominator if denominator else None


def _squeezed(text: str) -> str:
    """A text without space, dollar signs and LaTeX's small spaces, nor a full stop at its end."""
    return re.sub(r"\s|\$|\\[,;!]", "", text).rstrip(".")
