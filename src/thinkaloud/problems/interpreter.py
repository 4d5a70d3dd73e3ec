"""A tiny subset of Python, run in this process: one function f of one argument, whole numbers and lists of them.

Knows: which few parts of the language it takes, and bounds on all that a program may cost. Doesn't know: problems.
Whatever is not named here is refused, so that text of a model can run without a sandbox; docs/VERIFIERS.md says how the
two are compared.
"""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

MOST_CHARACTERS = 300
MOST_STEPS = 2_000
"Parts of a program that are evaluated for one argument."
MOST_NUMBER = 10**15
MOST_ITEMS = 200
MOST_POWER = 8
FENCE = re.compile(r"\A```(?:python)?\n(.*?)\n?```\Z", re.DOTALL)
LETTERS = re.compile(r"[A-Za-z0-9_ \n()\[\]:,+\-*/%<>=!]*")
"No quotes, dots, backslashes or comments: neither text nor attributes can be written."
GLUED = re.compile(r"(?<![A-Za-z0-9_])[0-9]+[A-Za-z_]")
"A number that runs into a name, which Python would read in two ways."

ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
CALLS = ("sum", "max", "min", "len", "abs", "sorted", "range")

Value = int | list[int]


class Refused(Exception):
    """Why a program has no value: `syntax`, `not allowed`, `limit` or `error`."""


class Function:
    """A program that was read: `Function("def f(x): return x * 2").of(4)` is 8."""

    def __init__(self, source: str) -> None:
        """Raises Refused for what is no function f of one argument; its body is looked at when it runs."""
        source = source.strip()
        fenced = FENCE.match(source)
        source = fenced[1] if fenced else source
        if len(source) > MOST_CHARACTERS:
            raise Refused("limit")
        if not LETTERS.fullmatch(source) or GLUED.search(source):
            raise Refused("not allowed")
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise Refused("syntax") from None
        if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
            raise Refused("not allowed")
        given = body[0].args
        plain = not (given.posonlyargs or given.vararg or given.kwonlyargs or given.kwarg or given.defaults)
        bare = not (body[0].decorator_list or body[0].returns or any(one.annotation for one in given.args))
        if body[0].name != "f" or len(given.args) != 1 or not (plain and bare):
            raise Refused("not allowed")
        self.argument, self.body = _own(given.args[0].arg), body[0].body

    def of(self, value: Value) -> Value:
        """What it gives for an argument: a whole number or a list of such. Raises Refused."""
        run = _Run({self.argument: list(value) if isinstance(value, list) else value})
        try:
            result = run.block(self.body)
        except RecursionError:
            raise Refused("limit") from None
        if type(result) is not list:
            return _number(result)
        return result


def _own(name: str) -> str:
    """A name that a program gives; those of calls stay what they are."""
    if name in CALLS:
        raise Refused("not allowed")
    return name


class _Run:
    """One call; `names` are the variables."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names, self.left = names, MOST_STEPS

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Refused("limit")

    def block(self, statements: Sequence[ast.stmt]) -> Any:
        """What the statements return; None where they end without."""
        for statement in statements:
            result = self._statement(statement)
            if result is not None:
                return result
        return None

    def _statement(self, node: ast.stmt) -> Any:
        self._step()
        match node:
            case ast.Return(value=ast.expr() as value):
                return self.value(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[_own(name)] = self.value(value)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.names[_own(name)] = self._arithmetic(op, self._variable(name), self.value(value))
            case ast.If(test=test, body=body, orelse=orelse):
                return self.block(body if self.value(test) else orelse)
            case ast.For(target=ast.Name(id=name), iter=items, body=body, orelse=[]):
                for item in self._items(items):
                    self.names[_own(name)] = item
                    result = self.block(body)
                    if result is not None:
                        return result
            case _:
                raise Refused("not allowed")
        return None

    def value(self, node: ast.expr) -> Any:
        """What an expression is worth: a whole number, a truth value or a list of whole numbers."""
        self._step()
        match node:
            case ast.Constant(value=int() as number) if type(number) is int:
                return _bounded(number)
            case ast.Name(id=name):
                return self._variable(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -_number(self.value(operand))
            case ast.BoolOp(op=op, values=parts):
                for part in parts:
                    result = self.value(part)
                    if bool(result) is isinstance(op, ast.Or):
                        break
                return result
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compared(_number(self.value(left)), ops, others)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test) else orelse)
            case ast.List(elts=parts):
                return _list([self.value(part) for part in parts])
            case ast.ListComp(elt=made, generators=[one]) | ast.GeneratorExp(elt=made, generators=[one]):
                return self._comprehension(made, one)
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in CALLS:
                return self._call(name, [self.value(one) for one in given])
        raise Refused("not allowed")

    def _variable(self, name: str) -> Any:
        if name not in self.names:
            raise Refused("not allowed")
        return self.names[name]

    def _arithmetic(self, op: ast.operator, left: Any, right: Any) -> int:
        left, right = _number(left), _number(right)
        if type(op) not in ARITHMETIC:
            raise Refused("not allowed")
        if isinstance(op, ast.Pow) and not 0 <= right <= MOST_POWER:
            raise Refused("limit")
        try:
            return _bounded(ARITHMETIC[type(op)](left, right))
        except ZeroDivisionError:
            raise Refused("error") from None

    def _compared(self, left: int, ops: Sequence[ast.cmpop], others: Sequence[ast.expr]) -> bool:
        for op, other in zip(ops, others, strict=True):
            if type(op) not in COMPARISONS:
                raise Refused("not allowed")
            right = _number(self.value(other))
            if not COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True

    def _items(self, node: ast.expr) -> list[int]:
        items = self.value(node)
        if type(items) is not list:
            raise Refused("error")
        return list(items)

    def _comprehension(self, made: ast.expr, one: ast.comprehension) -> list[int]:
        if not isinstance(one.target, ast.Name) or one.is_async:
            raise Refused("not allowed")
        name, found, before = _own(one.target.id), [], dict(self.names)
        for item in self._items(one.iter):
            self.names[name] = item
            if all(self.value(test) for test in one.ifs):
                found.append(self.value(made))
        self.names = before
        return _list(found)

    def _call(self, name: str, given: list[Any]) -> Any:
        first = given[0] if given else None
        if name == "abs" and len(given) == 1:
            return abs(_number(first))
        if name == "range" and 1 <= len(given) <= 2:
            numbers = range(*map(_number, given))
            if len(numbers) > MOST_ITEMS:
                raise Refused("limit")
            return list(numbers)
        if name in ("max", "min") and len(given) > 1:
            first = _list(given)
        elif len(given) != 1 or type(first) is not list:
            raise Refused("error")
        if name in ("max", "min") and not first:
            raise Refused("error")
        if name == "sorted":
            return sorted(first)
        made: dict[str, Callable[[list[int]], int]] = {"sum": sum, "max": max, "min": min, "len": len}
        return _bounded(made[name](first))


def _number(value: Any) -> int:
    if type(value) is not int:
        raise Refused("error")
    return value


def _bounded(number: int) -> int:
    if abs(number) > MOST_NUMBER:
        raise Refused("limit")
    return number


def _list(items: list[Any]) -> list[int]:
    if len(items) > MOST_ITEMS:
        raise Refused("limit")
    return [_number(item) for item in items]
