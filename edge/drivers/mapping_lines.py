"""Finds the lines of a mapping's keys, so that an error message can name the line to change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KeyPath = tuple[str | int, ...]  # such as ("column", 0, "unit")

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w-]+)\s*\]")
_KEY = re.compile(r"""\s*(?:([\w-]+)|"([^"]*)"|'([^']*)')(?:\s*\.\s*([\w-]+))?\s*=""")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class MappingLines:
    """Lines of the tables and keys of one mapping; keys inside inline tables have that of their table."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        entry_counts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                brackets, name = header.groups()
                table = (name,)
                if brackets == "[[":
                    table = (name, entry_counts.get(name, 0))
                    entry_counts[name] = entry_counts.get(name, 0) + 1
                self._lines[table] = number
            elif key := _KEY.match(line):
                bare, double, single, dotted = key.groups()
                names = (bare or double or single or "", *([dotted] if dotted else []))
                self._lines.setdefault((*table, *names), number)

    def location(self, *key: str | int) -> str:
        r"""Return ``mapping FILE, line N`` for a key or the table around it; no line if neither is found.

        >>> from pathlib import Path
        >>> lines = MappingLines(Path("m.toml"), '[time]\ncolumn = "t"\n[[column]]\nmatch = "a"\n')
        >>> [lines.location("column", 0, key) for key in ("match", "unit")] + [lines.location("missing")]
        ['mapping m.toml, line 4', 'mapping m.toml, line 3', 'mapping m.toml']
        """
        for length in range(len(key), 0, -1):
            if key[:length] in self._lines:
                return f"mapping {self._path}, line {self._lines[key[:length]]}"
        return f"mapping {self._path}"


def key_path(json_path: str) -> KeyPath:
    """Return the keys of a path as msgspec writes it.

    >>> key_path("$.column[0].unit")
    ('column', 0, 'unit')
    """
    return tuple(name or int(index) for name, index in _STEP.findall(json_path))
