"""Finds the lines of a site file, for its problem sentences."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest_service.storage.contract.models import Series


def field_reference(file: str, site_id: str, field: str) -> str:
    """Return the line of a site's field in a file, as text; empty where it can't be found."""
    lines = _lines_of(file)
    of_site = next((i for i, one in enumerate(lines) if "site_id" in one and site_id in one), 0)
    after = [*range(of_site, len(lines)), *range(of_site)]
    return next((f", line {i + 1}" for i in after if re.search(rf"\b{re.escape(field)}\b", lines[i])), "")


def interval_reference(file: str, series: Series) -> str:
    """Return the line with the interval of a series, as text: in a table with its site, or of the file.

    It is empty where it can't be found.
    """
    lines = _lines_of(file)
    found = [i for i, one in enumerate(lines) if _has_interval(one, series.interval_s)]
    own = (i for table in _tables_with(series.site_id, lines) for i in found if i in table)
    line = next(own, next(iter(found), None))
    return "" if line is None else f", line {line + 1}"


def _tables_with(site_id: str, lines: Sequence[str]) -> Iterator[range]:
    """Yield the lines of each table of a TOML file in which a site is named."""
    headers = [0, *(i for i, one in enumerate(lines) if one.lstrip().startswith("[")), len(lines)]
    for begin, end in pairwise(headers):
        if any("site_id" in one and f'"{site_id}"' in one for one in lines[begin:end]):
            yield range(begin, end)


def _has_interval(line: str, interval_s: float) -> bool:
    written = re.search(r"\binterval_s\s*=\s*([\w.+-]+)", line)
    try:
        return written is not None and repr(float(written[1])) == repr(interval_s)  # equal for NaN, too
    except ValueError:
        return False


def _lines_of(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
