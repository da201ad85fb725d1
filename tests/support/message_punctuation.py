"""Finds message texts whose punctuation is doubled, or would be in a longer message."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_PUNCTUATION = re.compile(r"\.\.\.|…|\bdata:")  # ellipses, and the scheme in security headers
_DOUBLED = re.compile(
    r"[\w'\"}`)\]][?!.,;:]\s?[?!.,;:](?=[\s'\"`)\]]|$)|[，。；：！？、]{2,}|[。；：！？，][;:,.?!](?=\s|$)"
)
_OPEN_QUESTION = re.compile(r"[\w'\"}][?？]$")  # SQL has a blank before, a pattern a bracket or a sign
_WORDS = re.compile(r"\w+ \w+|[\u4e00-\u9fff]{3}")


def texts_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield each text of a module with its line, without docstrings; interpolated values are ``{x}``."""
    nodes = list(ast.walk(ast.parse(source)))
    left_out = {
        id(node.value)
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    left_out |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{x}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))


def odd_punctuation(text: str) -> str | None:
    """Return what is odd about the punctuation of a text; None if nothing is, or it is no text.

    A question outside of brackets at the end counts, too: messages are put together, and what follows it
    would begin with a second sign.

    >>> odd_punctuation("there is no key 'a': did you mean 'b'?; there are c, d")
    "'?;"
    >>> odd_punctuation("there is no key 'a': did you mean 'b'?")
    "'?"
    >>> odd_punctuation("there is no key 'a' (did you mean 'b'?); there are c, d")
    """
    if not _WORDS.search(text):
        return None
    found = _DOUBLED.search(_NO_PUNCTUATION.sub("", text)) or _OPEN_QUESTION.search(text)
    return None if found is None else found.group()
