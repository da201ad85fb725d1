"""Validates names before they are stored, and escapes control characters in text for logs and terminals."""

from __future__ import annotations

import re
from typing import Any

NO_NAME = r"[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
"""Characters forbidden in names, in PostgreSQL's syntax: markup, control and bidirectional characters.

Migration 0028 has the same expression, and a test checks that both are equal. PostgreSQL itself refuses NUL.
"""
REMEDY = "holds '<', '>' or a control character, which pages and terminals obey: leave it out"
_NO_NAME = re.compile(NO_NAME.replace(r"\u0001", r"\x00"))
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_name(text: str) -> bool:
    r"""Whether a text is valid as a name.

    >>> is_name("乌镇 (north) & co."), is_name("<img src=x>"), is_name("a\x1b[31m")
    (True, False, False)
    """
    return _NO_NAME.search(text) is None


def printable(text: str, most: int | None = None) -> str:
    r"""Escape the control characters of a text, and truncate it to ``most`` characters if given.

    >>> printable("a\nb\x1b[31m\x00"), printable("abcdef", 3)
    ('a\\nb\\x1b[31m\\x00', 'abc… (6 characters)')
    """
    if most is not None and len(text) > most:
        return f"{printable(text[:most])}… ({len(text):,} characters)"
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_values(value: Any, most: int | None = None) -> Any:
    """Apply `printable` to every text in nested dictionaries and lists, keys included; keep other values."""
    if isinstance(value, str):
        return printable(value, most)
    if isinstance(value, dict):
        return {printable_values(key, most): printable_values(one, most) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [printable_values(one, most) for one in value]
    return value
