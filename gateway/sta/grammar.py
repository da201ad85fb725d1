"""Parses $filter and $orderby: a Pratt parser with bounds on depth and length.

Precedence is OData 4.0's (part 2, 5.1.1.9), but that ``not`` takes the whole comparison behind it: for truths
this is the same, and ``not result gt 8``, which others write and read so, would mean nothing. A parser of our
own because the whole grammar is one table, and because every error has to name its column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gateway.sta.nodes import Call, Literal, Node, Path, QueryError
from gateway.sta.tokens import Token, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 10_000
DEEPEST = 60
MOST_NODES = 10_000
"""Of all expressions of a request: operators, functions and values, as often as they are evaluated."""
BINDING = (
    {"or": 1, "and": 2, "eq": 3, "ne": 3}
    | dict.fromkeys(("gt", "ge", "lt", "le"), 4)
    | dict.fromkeys(("add", "sub"), 5)
    | dict.fromkeys(("mul", "div", "mod"), 6)
)
OPERATORS = BINDING | {"in": 4}  # of OData 4.01; it is a chain of eq
UNARY = 7


class Budget:
    """How many nodes the expressions of a request may still have."""

    def __init__(self, nodes: int = MOST_NODES) -> None:
        self._left = nodes

    def take(self, node: Node, option: str) -> Node:
        """Count a parsed expression. Raises `QueryError` where there are too many."""
        self._left -= size_of(node)
        if self._left < 0:
            raise _too_large(node.at, option)
        return node


def size_of(node: Node) -> int:
    """How many nodes are evaluated with this one; what is written once may be evaluated several times."""
    return node.size if isinstance(node, Call) else 1


def _too_large(at: int, option: str) -> QueryError:
    detail = (
        f"this comes to more than {MOST_NODES:,} operations; each value of `in` repeats what stands before"
    )
    return QueryError(detail, at, option=option)


class Parser:
    """One expression, or several between commas; ``budget`` is what all those of a request share."""

    def __init__(
        self, text: str, offset: int = 0, option: str = "$filter", budget: Budget | None = None
    ) -> None:
        self._budget = budget or Budget()
        if len(text) > LONGEST:
            raise QueryError(f"longer than {LONGEST:,} characters", offset + LONGEST, option=option)
        self._tokens: Iterator[Token] = tokens(text, offset, option)
        self._option = option
        self._next = next(self._tokens)

    def expression(self) -> Node:
        """The whole text as one expression. Raises `QueryError`."""
        found = self._expression(0, 0)
        if self._next.kind != "end":
            self._fail("here an operator should stand, such as and, eq, add")
        return self._budget.take(found, self._option)

    def sorted_by(self) -> list[tuple[Node, bool]]:
        """Expressions between commas, each with asc or desc behind it; True where it descends."""
        found = []
        while True:
            key = self._expression(0, 0)
            word = str(self._next.value).lower() if self._next.kind == "word" else None
            if word in {"asc", "desc"}:
                self._take()
            found.append((self._budget.take(key, self._option), word == "desc"))
            if self._next.kind == "end":
                return found
            self._expect(",", "here a comma, asc or desc should stand")

    def _expression(self, above: int, depth: int) -> Node:
        if depth > DEEPEST:
            self._fail(f"deeper than {DEEPEST} levels")
        left = self._operand(depth)
        while self._next.kind == "word" and (binding := OPERATORS.get(str(self._next.value), 0)) > above:
            operator = self._take()
            if operator.value == "in":
                left = self._among(left, operator.at, depth)
                continue
            right = self._expression(binding, depth + 1)
            left = self._joined(str(operator.value), left, right, operator.at)
        return left

    def _among(self, left: Node, at: int, depth: int) -> Node:
        """One of a list in parentheses."""
        self._expect("(", "here ( should stand, before a list")
        each = [self._call("eq", (left, one), at) for one in self._arguments(depth)]
        if not each:
            raise QueryError("here at least one value should stand", at, option=self._option)
        return self._call("or", tuple(each), at) if len(each) > 1 else each[0]

    def _joined(self, name: str, left: Node, right: Node, at: int) -> Node:
        """A chain of one logical operator is one call, so that its length is no depth."""
        if name in {"and", "or"} and isinstance(left, Call) and left.name == name:
            return self._call(name, (*left.args, right), left.at)
        return self._call(name, (left, right), at)

    def _call(self, name: str, args: tuple[Node, ...], at: int) -> Call:
        deep = 1 + max((one.deep for one in args if isinstance(one, Call)), default=0)
        if deep > DEEPEST:
            raise QueryError(f"deeper than {DEEPEST} levels", at, option=self._option)
        size = 1 + sum(map(size_of, args))
        if size > MOST_NODES:
            raise _too_large(at, self._option)
        return Call(name, args, at, deep, size)

    def _operand(self, depth: int) -> Node:
        token = self._take()
        match token.kind:
            case "literal":
                return Literal(token.value, token.at)
            case "(":
                found = self._expression(0, depth + 1)
                self._expect(")", "here ) should stand")
                return found
            case "-":
                return self._negative(token, depth)
            case "word" if token.value == "not":
                return self._call("not", (self._expression(BINDING["and"], depth + 1),), token.at)
            case "word":
                return self._name(token, depth)
        return self._fail("here a value, a property or a function should stand", token)

    def _negative(self, sign: Token, depth: int) -> Node:
        inner = self._expression(UNARY, depth + 1)
        if isinstance(inner, Literal) and isinstance(inner.value, float):
            return Literal(-inner.value, sign.at)
        return self._call("neg", (inner,), sign.at)

    def _name(self, word: Token, depth: int) -> Node:
        if self._next.kind == "(":
            self._take()
            return self._call(str(word.value).lower(), tuple(self._arguments(depth)), word.at)
        parts = [str(word.value)]
        while self._next.kind == "/":
            self._take()
            part = self._take()
            if part.kind not in {"word", "literal"}:
                self._fail("here a name should stand", part)
            parts.append(f"{part.value:g}" if isinstance(part.value, float) else str(part.value))
        return Path(tuple(parts), word.at)

    def _arguments(self, depth: int) -> Iterator[Node]:
        if self._next.kind == ")":
            self._take()
            return
        while True:
            yield self._expression(0, depth + 1)
            if self._next.kind == ")":
                self._take()
                return
            self._expect(",", "here a comma or ) should stand")

    def _take(self) -> Token:
        taken = self._next
        if taken.kind != "end":
            self._next = next(self._tokens)
        return taken

    def _expect(self, kind: str, otherwise: str) -> None:
        if self._next.kind != kind:
            self._fail(otherwise)
        self._take()

    def _fail(self, detail: str, token: Token | None = None) -> NoReturn:
        raise QueryError(detail, (token or self._next).at, option=self._option)
