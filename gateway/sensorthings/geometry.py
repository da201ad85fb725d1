"""Parses geometries (WKT, GeoJSON) and evaluates spatial relations, in degrees of WGS 84, by shapely."""

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
    """Parse a geometry in Well-Known Text; a point may have a comma in place of the blank.

    Raises
    ------
    ValueError
        If it is no valid geometry, or has more than `MAX_POINTS` points.

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
    """Return the geometry of a GeoJSON geometry object."""
    parsed: BaseGeometry = shape(value)
    return parsed


def sort_value(value: Any) -> Any:
    """Return a value to sort by: a geometry as its GeoJSON text, any other value unchanged.

    >>> sort_value(from_wkt("POINT (30 10)"))
    '{"type":"Point","coordinates":[30.0,10.0]}'
    """
    return shapely.to_geojson(value) if isinstance(value, shapely.Geometry) else value


def spatial_relation(name: str, one: BaseGeometry, other: BaseGeometry) -> bool:
    """Evaluate a spatial relation of Simple Feature Access by name."""
    return bool(getattr(one, name)(other))


def matches_de9im(one: BaseGeometry, other: BaseGeometry, pattern: str) -> bool | None:
    """Whether the DE-9IM matrix matches a pattern; None if the pattern is invalid."""
    if len(pattern) != 9 or set(pattern.upper()) - set("TF*012"):
        return None
    return bool(shapely.relate_pattern(one, other, pattern.upper()))
