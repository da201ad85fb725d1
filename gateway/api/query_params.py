"""Defines the query and path parameters that several routes share, and the parsing of times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator

_LOST_PLUS_PATTERN = re.compile(r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}\S*) (\d{2}(?::?\d{2})?)")


def _require_offset(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("give the time with its offset, as 2026-11-23T08:00:00+08:00 or …Z")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("the calendar has no such moment: it goes from year 1 to 9999, in UTC") from None


def _restore_plus(text: object) -> object:
    """Restore the plus of a time's offset, which decodes to a blank unless a client writes it as ``%2B``.

    >>> _restore_plus("2026-11-23T08:00:00 08:00")
    '2026-11-23T08:00:00+08:00'
    """
    match = _LOST_PLUS_PATTERN.fullmatch(text) if isinstance(text, str) else None
    return text if match is None else f"{match[1]}+{match[2]}"


AwareTime = Annotated[datetime, AfterValidator(_require_offset)]
QueryTime = Annotated[datetime, AfterValidator(_require_offset), BeforeValidator(_restore_plus)]
"""A time with offset in a query."""
AreaParam = Annotated[str | None, Query(description="An area, with all below it", examples=["330483"])]
SiteParam = Annotated[str | None, Query(description="One site", examples=["330483-d1-r04"])]
SiteKindParam = Annotated[str | None, Query(description="One kind of site", examples=["river_section"])]
QuantityParam = Annotated[str | None, Query(description="One quantity", examples=["dissolved_oxygen"])]
FromParam = Annotated[QueryTime | None, Query(alias="from", description="From this moment on (RFC 3339)")]
ToParam = Annotated[QueryTime | None, Query(description="Before this moment (RFC 3339)")]
LimitParam = Annotated[int, Query(ge=1, description="Rows in the page; a setting bounds them")]
OptionalLimitParam = Annotated[int | None, Query(ge=1, description="Rows in the page; a setting bounds them")]
CursorParam = Annotated[str | None, Query(description="`next` of the page before", max_length=200)]
ID_PATH = Path(ge=1, lt=2**63)
SeriesIdParam = Annotated[int, Path(ge=1, lt=2**31)]
