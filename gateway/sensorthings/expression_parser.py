"""Parses $filter and $orderby to syntax trees: a Pratt parser with limits on depth and length.

Precedence is that of OData 4.0 (part 2, 5.1.1.9), except that ``not`` applies to the whole comparison after
it: for boolean operands this is the same, and ``not result gt 8``, which some clients write, gets the
intended meaning. A parser of our own because the grammar is one table, and every error must report its
column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gateway.sensorthings.expression_tokens import ExpressionToken, tokenize
from gateway.sensorthings.expression_tree import (
    ExpressionNode,
    FunctionCall,
    LiteralValue,
    NamePath,
    QueryError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EXPRESSION_LENGTH = 10_000
MAX_DEPTH = 60
MAX_NODES = 10_000
"""Limit for all expressions of a request: operators, functions and values, each as often as evaluated."""
BINDING_POWER = (
    {"or": 1, "and": 2, "eq": 3, "ne": 3}
    | dict.fromkeys(("gt", "ge", "lt", "le"), 4)
    | dict.fromkeys(("add", "sub"), 5)
    | dict.fromkeys(("mul", "div", "mod"), 6)
)
OPERATOR_POWER = BINDING_POWER | {"in": 4}  # OData 4.01; parsed to a chain of eq
UNARY_POWER = 7


class NodeBudget:
    """Number of nodes that the expressions of a request may still have."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self._remaining = nodes

    def spend(self, node: ExpressionNode, option: str) -> ExpressionNode:
        """Subtract the nodes of a parsed expression. Raises `QueryError` if none are left."""
        self._remaining -= evaluated_size(node)
        if self._remaining < 0:
            raise _too_large_error(node.at, option)
        return node


def evaluated_size(node: ExpressionNode) -> int:
    """Return the number of nodes evaluated with this one; a shared operand counts each time."""
    return node.size if isinstance(node, FunctionCall) else 1


def _too_large_error(at: int, option: str) -> QueryError:
    detail = (
        f"this comes to more than {MAX_NODES:,} operations; each value of `in` repeats what stands before"
    )
    return QueryError(detail, at, option=option)


class ExpressionParser:
    """Parser of one expression, or of a comma-separated list.

    Parameters
    ----------
    text : the option's value
    offset : column of the text in the option, for errors
    option : name of the option, for errors
    node_budget : shared by all expressions of a request

    """

    def __init__(
        self, text: str, offset: int = 0, option: str = "$filter", node_budget: NodeBudget | None = None
    ) -> None:
        self._node_budget = node_budget or NodeBudget()
        if len(text) > MAX_EXPRESSION_LENGTH:
            raise QueryError(
                f"longer than {MAX_EXPRESSION_LENGTH:,} characters",
                offset + MAX_EXPRESSION_LENGTH,
                option=option,
            )
        self._tokens: Iterator[ExpressionToken] = tokenize(text, offset, option)
        self._option = option
        self._next_token = next(self._tokens)

    def parse_expression(self) -> ExpressionNode:
        """Parse the whole text as one expression. Raises `QueryError`."""
        parsed = self._parse_expression(0, 0)
        if self._next_token.kind != "end":
            self._fail("here an operator should stand, such as and, eq, add")
        return self._node_budget.spend(parsed, self._option)

    def parse_orderby(self) -> list[tuple[ExpressionNode, bool]]:
        """Parse comma-separated sort keys, each with an optional asc or desc; True is descending."""
        parsed = []
        while True:
            key = self._parse_expression(0, 0)
            keyword = str(self._next_token.value).lower() if self._next_token.kind == "word" else None
            if keyword in {"asc", "desc"}:
                self._consume()
            parsed.append((self._node_budget.spend(key, self._option), keyword == "desc"))
            if self._next_token.kind == "end":
                return parsed
            self._expect(",", "here a comma, asc or desc should stand")

    def _parse_expression(self, min_power: int, depth: int) -> ExpressionNode:
        if depth > MAX_DEPTH:
            self._fail(f"deeper than {MAX_DEPTH} levels")
        left = self._parse_operand(depth)
        while (
            self._next_token.kind == "word"
            and (power := OPERATOR_POWER.get(str(self._next_token.value), 0)) > min_power
        ):
            operator = self._consume()
            if operator.value == "in":
                left = self._in_list(left, operator.at, depth)
                continue
            right = self._parse_expression(power, depth + 1)
            left = self._chained_call(str(operator.value), left, right, operator.at)
        return left

    def _in_list(self, left: ExpressionNode, at: int, depth: int) -> ExpressionNode:
        """Parse the list of an ``in`` to a chain of ``eq``."""
        self._expect("(", "here ( should stand, before a list")
        comparisons = [self._call("eq", (left, one), at) for one in self._parse_arguments(depth)]
        if not comparisons:
            raise QueryError("here at least one value should stand", at, option=self._option)
        return self._call("or", tuple(comparisons), at) if len(comparisons) > 1 else comparisons[0]

    def _chained_call(
        self, name: str, left: ExpressionNode, right: ExpressionNode, at: int
    ) -> ExpressionNode:
        """Return a call; a chain of one logical operator is one call, so that its length adds no depth."""
        if name in {"and", "or"} and isinstance(left, FunctionCall) and left.name == name:
            return self._call(name, (*left.args, right), left.at)
        return self._call(name, (left, right), at)

    def _call(self, name: str, args: tuple[ExpressionNode, ...], at: int) -> FunctionCall:
        subtree_depth = 1 + max(
            (one.subtree_depth for one in args if isinstance(one, FunctionCall)), default=0
        )
        if subtree_depth > MAX_DEPTH:
            raise QueryError(f"deeper than {MAX_DEPTH} levels", at, option=self._option)
        size = 1 + sum(map(evaluated_size, args))
        if size > MAX_NODES:
            raise _too_large_error(at, self._option)
        return FunctionCall(name, args, at, subtree_depth, size)

    def _parse_operand(self, depth: int) -> ExpressionNode:
        token = self._consume()
        match token.kind:
            case "literal":
                return LiteralValue(token.value, token.at)
            case "(":
                parsed = self._parse_expression(0, depth + 1)
                self._expect(")", "here ) should stand")
                return parsed
            case "-":
                return self._parse_negation(token, depth)
            case "word" if token.value == "not":
                return self._call("not", (self._parse_expression(BINDING_POWER["and"], depth + 1),), token.at)
            case "word":
                return self._parse_name(token, depth)
        return self._fail("here a value, a property or a function should stand", token)

    def _parse_negation(self, sign: ExpressionToken, depth: int) -> ExpressionNode:
        inner = self._parse_expression(UNARY_POWER, depth + 1)
        if isinstance(inner, LiteralValue) and isinstance(inner.value, float):
            return LiteralValue(-inner.value, sign.at)
        return self._call("neg", (inner,), sign.at)

    def _parse_name(self, keyword: ExpressionToken, depth: int) -> ExpressionNode:
        if self._next_token.kind == "(":
            self._consume()
            return self._call(str(keyword.value).lower(), tuple(self._parse_arguments(depth)), keyword.at)
        parts = [str(keyword.value)]
        while self._next_token.kind == "/":
            self._consume()
            part = self._consume()
            if part.kind not in {"word", "literal"}:
                self._fail("here a name should stand", part)
            parts.append(f"{part.value:g}" if isinstance(part.value, float) else str(part.value))
        return NamePath(tuple(parts), keyword.at)

    def _parse_arguments(self, depth: int) -> Iterator[ExpressionNode]:
        if self._next_token.kind == ")":
            self._consume()
            return
        while True:
            yield self._parse_expression(0, depth + 1)
            if self._next_token.kind == ")":
                self._consume()
                return
            self._expect(",", "here a comma or ) should stand")

    def _consume(self) -> ExpressionToken:
        consumed = self._next_token
        if consumed.kind != "end":
            self._next_token = next(self._tokens)
        return consumed

    def _expect(self, kind: str, message: str) -> None:
        if self._next_token.kind != kind:
            self._fail(message)
        self._consume()

    def _fail(self, detail: str, token: ExpressionToken | None = None) -> NoReturn:
        raise QueryError(detail, (token or self._next_token).at, option=self._option)
