"""Validates names and ids before they are stored, and escapes control characters for logs and terminals."""

from __future__ import annotations

import re
from typing import Any

FORBIDDEN_IN_NAMES = r"[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
"""Characters forbidden in names, in PostgreSQL's syntax: markup, control and bidirectional characters.

Migration 0028 has the same expression, and a test checks that both are equal. PostgreSQL itself refuses NUL.
"""
FORBIDDEN_NAME_ADVICE = "holds '<', '>' or a control character, which pages and terminals obey: leave it out"
ID_ADVICE = "addresses and file names can't hold: use letters, digits and _ . : -, a letter or digit first"
_ID_PATTERN = re.compile(r"[^\W_][\w.:-]*")
_FORBIDDEN_PATTERN = re.compile(FORBIDDEN_IN_NAMES.replace(r"\u0001", r"\x00"))
_CONTROL_PATTERN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_valid_name(text: str) -> bool:
    r"""Whether a text is valid as a name.

    >>> is_valid_name("乌镇 (north) & co."), is_valid_name("<img src=x>"), is_valid_name("a\x1b[31m")
    (True, False, False)
    """
    return _FORBIDDEN_PATTERN.search(text) is None


def is_valid_id(text: str) -> bool:
    r"""Whether a text is valid as the id of a site, node or link: it stands in addresses and file names.

    Those of areas, devices and channels stand in topics, too: `edge.wire.topics.LEVEL_PATTERN` is narrower.

    >>> [is_valid_id(one) for one in ("330483-d1-r04", "wz-q1:wz-01", "东栅-1")]
    [True, True, True]
    >>> [is_valid_id(one) for one in ("a/b", "a b", "a?b", "a#b", "50%", "..", "", "a\x1b")]
    [False, False, False, False, False, False, False, False]
    """
    return _ID_PATTERN.fullmatch(text) is not None


def escape_controls(text: str, max_characters: int | None = None) -> str:
    r"""Escape the control characters of a text, and truncate it to ``max_characters`` characters if given.

    >>> escape_controls("a\nb\x1b[31m\x00"), escape_controls("abcdef", 3)
    ('a\\nb\\x1b[31m\\x00', 'abc… (6 characters)')
    """
    if max_characters is not None and len(text) > max_characters:
        return f"{escape_controls(text[:max_characters])}… ({len(text):,} characters)"
    return _CONTROL_PATTERN.sub(lambda matched: matched[0].encode("unicode_escape").decode(), text)


def escape_controls_in(value: Any, max_characters: int | None = None) -> Any:
    """Apply `escape_controls` to all texts in nested dictionaries and lists, keys included; keep the rest."""
    if isinstance(value, str):
        return escape_controls(value, max_characters)
    if isinstance(value, dict):
        return {
            escape_controls_in(key, max_characters): escape_controls_in(one, max_characters)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [escape_controls_in(one, max_characters) for one in value]
    return value
