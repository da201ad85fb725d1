"""Geometry functions in degrees (WGS 84), by shapely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

MAX_POINTS = 2000
SPATIAL_PREDICATES = (
    "equals",
    "disjoint",
    "touches",
    "within",
    "overlaps",
    "crosses",
    "intersects",
    "contains",
)


def from_wkt(text: str) -> BaseGeometry:
    """A geometry in Well-Known Text; commas for blanks in a point, as some write it, are understood.

    Raises
    ------
    ValueError
        Where it is none, or has more points than the bound.

    >>> from_wkt("POINT (30, 10)").x
    30.0
    """
    srid, semicolon, wkt = text.rpartition(";")
    if semicolon and srid.strip().upper() not in {"SRID=4326", "SRID=0"}:
        raise ValueError(f"{srid} is not served: give degrees of WGS 84")
    wkt = wkt.strip()
    if wkt.upper().startswith("POINT"):
        wkt = wkt.replace(",", " ")
    if wkt.count(",") > MAX_POINTS:
        raise ValueError(f"a geometry has {MAX_POINTS} points at most")
    try:
        parsed: BaseGeometry = shapely.from_wkt(wkt)
        valid, reason = shapely.is_valid(parsed), shapely.is_valid_reason(parsed)
    except shapely.errors.GEOSException:
        raise ValueError("this is no geometry: write it as in POINT (120.7 30.7)") from None
    except NotImplementedError:
        raise ValueError("curves are not served: give straight lines") from None
    if not valid:
        raise ValueError(f"this geometry is not valid: {reason.lower()}")
    return parsed


def from_geojson(value: dict[str, Any]) -> BaseGeometry:
    """The geometry of a GeoJSON geometry."""
    parsed: BaseGeometry = shape(value)
    return parsed


def sort_value(value: Any) -> Any:
    """A value to sort by: a geometry as the text of its GeoJSON, anything else as it is.

    >>> sort_value(from_wkt("POINT (30 10)"))
    '{"type":"Point","coordinates":[30.0,10.0]}'
    """
    return shapely.to_geojson(value) if isinstance(value, shapely.Geometry) else value


def spatial_relation(name: str, one: BaseGeometry, other: BaseGeometry) -> bool:
    """One of the spatial relations of Simple Feature Access."""
    return bool(getattr(one, name)(other))


def matches_de9im(one: BaseGeometry, other: BaseGeometry, pattern: str) -> bool | None:
    """Whether the DE-9IM matrix fits a pattern; None where that is none."""
    if len(pattern) != 9 or set(pattern.upper()) - set("TF*012"):
        return None
    return bool(shapely.relate_pattern(one, other, pattern.upper()))
