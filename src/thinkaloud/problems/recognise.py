"""A question's text read back: which problem it is, where that can be known exactly, and what false sums a text states.

Knows: the families' wordings, plain sums. Doesn't know: models. What is not read with certainty is not read.
"""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from thinkaloud.problems.families import FAMILIES
from thinkaloud.problems.types import Problem
from thinkaloud.text.messages import Message

NUMBER = r"\d{1,12}(?:\.\d{1,6})?"
SUM = re.compile(
    rf"(?:What is|Compute|Calculate|How much is)?:? ?((?:\(*{NUMBER}\)*)(?: [-+*/×] \(*{NUMBER}\)*)+) ?[=?.]*"
)
"Signs stand between spaces: 24/7 and 9-11 are no sums."
CLAIM = re.compile(rf"({NUMBER}(?:\s*[-+*×]\s*{NUMBER})+)\s*=\s*(-?{NUMBER})(?![\w.]*\w|\s*[-+*/×^])")
SIGNS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
MOST_CHARACTERS = 2_000


def recognised(question: str) -> Problem | None:
    """The problem that a question asks, of one of the families or a plain sum; None for every other text."""
    if len(question) > MOST_CHARACTERS:
        return None
    text = question.strip()
    found = (family.recognise(text) for family in FAMILIES.values())
    return next((problem for problem in found if problem is not None), None) or _sum_in(text)


def false_claims(text: str) -> list[str]:
    """The sums in a text that are wrong, as written: "7 + 3 = 11". Only those that stand by themselves are read."""
    wrong = []
    for found in CLAIM.finditer(text):
        before = text[: found.start()].rstrip(" ")[-1:]
        value = None if before and before in "+-*/×^=(.%" or before.isalnum() else _value(found[1])
        if value is not None and value != Fraction(found[2]):
            wrong.append(found[0])
    return wrong


def _sum_in(text: str) -> Problem | None:
    found = SUM.fullmatch(text)
    value = _value(found[1]) if found else None
    if found is None or value is None:
        return None
    return Problem(
        id=f"sum {found[1]}",
        family="sum",
        level=1,
        messages=(Message("user", text),),
        verifier="math",
        reference=str(value),
        canonical=found[1],
    )


def _value(expression: str) -> Fraction | None:
    """What an expression of plain numbers comes to, exactly; None where it has no value."""
    try:
        return _of(ast.parse(expression.replace("×", "*"), mode="eval").body, expression.replace("×", "*"))
    except (SyntaxError, ZeroDivisionError, RecursionError):
        return None


def _of(node: ast.expr, source: str) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        return SIGNS[type(node.op)](_of(node.left, source), _of(node.right, source))
    assert isinstance(node, ast.Constant), "the pattern lets nothing else through"
    return Fraction(ast.get_source_segment(source, node) or "0")
