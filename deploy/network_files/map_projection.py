"""Converts positions between a map's coordinate system and longitude and latitude on WGS 84."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Callable

    Point = tuple[float, float]


def to_lon_lat(crs: str | None) -> Callable[[Point], Point]:
    """Return the conversion from a coordinate system to longitude and latitude [deg].

    Raises `SiteFileError` for a system that is not known, or where `pyproj` is not installed; None needs
    neither.
    """
    return _conversion(crs, "EPSG:4326")


def from_lon_lat(crs: str | None) -> Callable[[Point], Point]:
    """Return the conversion from longitude and latitude [deg] to a coordinate system; see `to_lon_lat`."""
    return _conversion("EPSG:4326", crs)


def _conversion(source: str | None, target: str | None) -> Callable[[Point], Point]:
    crs = source if target == "EPSG:4326" else target
    if crs is None:
        return lambda point: point
    try:
        import pyproj  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SiteFileError(
            [f"--crs {crs}: pyproj is not installed: run `pip install 'towntwin[gis]'`"]
        ) from error
    try:
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.CRSError as error:
        raise SiteFileError([f"--crs {crs}: is not known: give one as EPSG:4549"]) from error

    def convert(point: Point) -> Point:
        x, y = transformer.transform(*point)
        return float(x), float(y)

    return convert


def is_lon_lat(point: Point) -> bool:
    """Whether a point can be a longitude and latitude [deg].

    >>> is_lon_lat((120.5, 30.7)), is_lon_lat((40_512_345.0, 3_401_234.0))
    (True, False)
    """
    return -180 <= point[0] <= 180 and -90 <= point[1] <= 90
