"""Finds English words inside Chinese texts; names without a Chinese form and typed commands are allowed."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\{\{.*?\}\}|\{[^}]*\}|\$__?\w+|https?://\S+")
_TAG = re.compile(r"<[^>]*>")
_TYPED = re.compile(
    r"docs/[\w./-]+|TOWNTWIN_\w+|default_transaction_read_only|towntwin report --compute|towntwin enrol"
    r"|--[a-z-]+|towntwin/v1/\w+/\w+/data|towntwin/v1/|/data\b|“letters”"
)
_LATIN = re.compile(r"[A-Za-z]{3,}")
_CHINESE = re.compile("[\u4e00-\u9fff]")

ALLOWED = frozenset({
    "COD", "TOC", "CWQI", "TLI", "PeMS", "TTI", "NTU", "dBm", "veh",  # measures and units
    "SenML", "CBOR", "JSON", "MQTT", "QARTOD", "HTTP", "UTC", "WebSocket", "Grafana", "towntwin",  # names
    "EEMUA", "ISA",  # standards
})  # fmt: skip


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character."""
    return _CHINESE.search(text) is not None


def english_in(text: str) -> list[str]:
    """Return Latin words of three letters or more that a Chinese text should not contain.

    Placeholders, tags, URLs, names of settings and options are not words. A text may have both languages,
    the Chinese first or last, with `` · `` between them: then each side is checked alone, and a side without
    Chinese is the English one.

    >>> english_in("相差over 100倍离散度"), english_in("COD为{value} mg/L"), english_in("死信 · Dead letters")
    (['over'], [], [])
    """
    bare = _TAG.sub("\0", _TYPED.sub(" ", _PLACEHOLDER.sub(" ", text)))
    sides = re.split(" · |\0", bare)
    counted = [one for one in sides if is_chinese(one)] if is_chinese(bare) else sides
    return [word for side in counted for word in _LATIN.findall(side) if word not in ALLOWED]
