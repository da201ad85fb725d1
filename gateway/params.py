"""Query parameters shared by several operations."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator

_LOST_PLUS = re.compile(r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}\S*) (\d{2}(?::?\d{2})?)")


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("give the time with its offset, as 2026-11-23T08:00:00+08:00 or …Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the calendar has no such moment: it goes from year 1 to 9999, in UTC") from None


def _with_plus(text: object) -> object:
    """A time with the plus of its offset, which is a blank where a client did not write it as ``%2B``.

    >>> _with_plus("2026-11-23T08:00:00 08:00")
    '2026-11-23T08:00:00+08:00'
    """
    found = _LOST_PLUS.fullmatch(text) if isinstance(text, str) else None
    return text if found is None else f"{found[1]}+{found[2]}"


Moment = Annotated[datetime, AfterValidator(_aware)]
AskedMoment = Annotated[datetime, AfterValidator(_aware), BeforeValidator(_with_plus)]
"""A moment in a query."""
Area = Annotated[str | None, Query(description="An area, with all below it", examples=["330483"])]
Site = Annotated[str | None, Query(description="One site", examples=["330483-d1-r04"])]
Kind = Annotated[str | None, Query(description="One kind of site", examples=["river_section"])]
Quantity = Annotated[str | None, Query(description="One quantity", examples=["dissolved_oxygen"])]
From = Annotated[AskedMoment | None, Query(alias="from", description="From this moment on (RFC 3339)")]
To = Annotated[AskedMoment | None, Query(description="Before this moment (RFC 3339)")]
Limit = Annotated[int, Query(ge=1, description="Rows in the page; a setting bounds them")]
SomeLimit = Annotated[int | None, Query(ge=1, description="Rows in the page; a setting bounds them")]
Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=200)]
Identifier = Path(ge=1, lt=2**63)
SeriesId = Annotated[int, Path(ge=1, lt=2**31)]
