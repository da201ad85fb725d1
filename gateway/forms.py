"""Chooses the response format from ``format=`` or Accept: JSON, CSV, NDJSON, Arrow or Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from fastapi import Depends, Query, Request

from gateway import moments
from gateway.problems import ProblemError

Form = Literal["json", "csv", "ndjson", "arrow", "parquet"]
MEDIA: dict[Form, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
FormQuery = Annotated[Form | None, Query(alias="format", description="Form of the answer; else by Accept")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an answer is wanted."""

    request: Request
    form: Form


async def _wanted(request: Request, form: FormQuery = None) -> Wanted:
    return Wanted(request, form or accepted(request.headers.get("accept", "*/*")))


HowWanted = Annotated[Wanted, Depends(_wanted)]


@lru_cache(maxsize=256)
def accepted(header: str) -> Form:
    """The form that an Accept header (RFC 9110) likes best. Raises `ProblemError` (406) where it likes none.

    >>> accepted("text/csv;q=0.5, application/x-ndjson")
    'ndjson'
    >>> accepted("text/html, */*;q=0.8")
    'json'
    """
    ranges = liked(header)
    ranked = [(_quality(ranges, MEDIA[form]), form) for form in get_args(Form)]
    quality, best = max(ranked, key=lambda one: one[0])
    if quality <= 0 and ranges:
        raise ProblemError(406, f"accept: this can be had as {', '.join(MEDIA.values())}", where="accept")
    form: Form = best
    return form


def liked(header: str) -> list[tuple[str, float]]:
    """What a header of preferences (RFC 9110) names, each with its quality.

    >>> liked("gzip;q=0.5, BR")
    [('gzip', 0.5), ('br', 1.0)]
    """
    return [_range(one) for one in header.split(",") if one.strip()]


def _range(one: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in one.lower().split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(ranges: list[tuple[str, float]], media: str) -> float:
    """By the most specific range that names a media type."""
    for pattern in (media, f"{media.split('/', maxsplit=1)[0]}/*", "*/*"):
        for name, quality in ranges:
            if name == pattern:
                return quality
    return 0.0 if ranges else 1.0


def documented(*, again: bool = True) -> dict[int | str, dict[str, Any]]:
    """What an operation with forms says of its answer, besides the model of its JSON."""
    content: dict[str, Any] = {media: {} for form, media in MEDIA.items() if form != "json"}
    token = {
        "description": "Give it back as `reproduce`, and this answer comes again",
        "schema": {"type": "string"},
    }
    headers = {moments.HEADER: token} if again else {}
    return {200: {"content": content, "headers": headers}, 304: {"description": "Not changed since"}}
