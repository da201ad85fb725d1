"""Chooses the response format by ``format=`` or the Accept header: JSON, CSV, NDJSON, Arrow or Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from fastapi import Depends, Query, Request

from gateway.api import snapshots
from gateway.api.problems import ProblemError

FormatName = Literal["json", "csv", "ndjson", "arrow", "parquet"]
MEDIA_TYPES: dict[FormatName, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
FormatParam = Annotated[
    FormatName | None, Query(alias="format", description="Form of the answer; else by Accept")
]


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The format of a response, and the request that chose it."""

    request: Request
    format_name: FormatName


async def _requested_format(request: Request, format_name: FormatParam = None) -> ResponseFormat:
    return ResponseFormat(request, format_name or negotiate_format(request.headers.get("accept", "*/*")))


RequestedFormat = Annotated[ResponseFormat, Depends(_requested_format)]


@lru_cache(maxsize=256)
def negotiate_format(header: str) -> FormatName:
    """Return the format that an Accept header (RFC 9110) prefers. Raises `ProblemError` (406) if it has none.

    >>> negotiate_format("text/csv;q=0.5, application/x-ndjson")
    'ndjson'
    >>> negotiate_format("text/html, */*;q=0.8")
    'json'
    """
    ranges = parse_preferences(header)
    ranked = [
        (_quality_of(ranges, MEDIA_TYPES[format_name]), format_name) for format_name in get_args(FormatName)
    ]
    best_quality, best_name = max(ranked, key=lambda media_range: media_range[0])
    if best_quality <= 0 and ranges:
        raise ProblemError(
            406, f"accept: this can be had as {', '.join(MEDIA_TYPES.values())}", where="accept"
        )
    format_name: FormatName = best_name
    return format_name


def parse_preferences(header: str) -> list[tuple[str, float]]:
    """Return the values of a header like Accept (RFC 9110), each with its quality.

    >>> parse_preferences("gzip;q=0.5, BR")
    [('gzip', 0.5), ('br', 1.0)]
    """
    return [_parse_range(media_range) for media_range in header.split(",") if media_range.strip()]


def _parse_range(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in media_range.lower().split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality_of(ranges: list[tuple[str, float]], media_type: str) -> float:
    """Return the quality of a media type by the most specific range that matches it."""
    for pattern in (media_type, f"{media_type.split('/', maxsplit=1)[0]}/*", "*/*"):
        for name, best_quality in ranges:
            if name == pattern:
                return best_quality
    return 0.0 if ranges else 1.0


def format_responses(*, has_snapshot_token: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI ``responses`` of a route with several formats, besides its JSON model."""
    content: dict[str, Any] = {
        media_type: {} for format_name, media_type in MEDIA_TYPES.items() if format_name != "json"
    }
    token = {
        "description": "Pass it as `reproduce` to get the same response again",
        "schema": {"type": "string"},
    }
    headers = {snapshots.SNAPSHOT_HEADER: token} if has_snapshot_token else {}
    return {200: {"content": content, "headers": headers}, 304: {"description": "Not changed since"}}
