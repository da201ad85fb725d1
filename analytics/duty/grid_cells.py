"""Finds the grid cell (网格) of a point or site, and checks the polygons of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import Point, shape

from analytics.duty.errors import DutyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from ingest_service.storage.contract.duty import GridCell
    from ingest_service.storage.contract.models import Site

MAX_VERTICES = 20_000  # of one cell; surveyed boundaries of a village have some hundreds


def check_geometry(geometry: dict[str, Any]) -> BaseGeometry:
    """Return the polygon of a GeoJSON geometry. Raises `DutyError`, with the reason and the place."""
    if geometry.get("type") not in {"Polygon", "MultiPolygon"}:
        raise DutyError("geometry: a cell is a Polygon or a MultiPolygon")
    try:
        polygon = shape(geometry)
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        shapely.errors.ShapelyError,
    ) as error:
        raise DutyError(f"geometry: the coordinates are no polygon ({error})") from error
    if polygon.is_empty or shapely.get_num_coordinates(polygon) > MAX_VERTICES:
        raise DutyError(f"geometry: a cell has 4 to {MAX_VERTICES:,} positions")
    west, south, east, north = polygon.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise DutyError("geometry: positions are longitude, latitude in degrees (WGS 84)")
    if not polygon.is_valid:
        raise DutyError(f"geometry: {shapely.is_valid_reason(polygon)}: mend the boundary")
    return polygon


class CellIndex:
    """The enabled cells, for looking up the cell of a point; where cells overlap, the smallest one wins.

    Cells that are invalid are left out: they were checked when they were stored.
    """

    def __init__(self, cells: Sequence[GridCell]) -> None:
        polygons = []
        for one in cells:
            if one.enabled:
                try:
                    polygons.append((check_geometry(one.geometry), one))
                except DutyError:
                    continue
        polygons.sort(key=lambda pair: pair[0].area)
        self._cells = [cell for _, cell in polygons]
        self._by_id = {one.cell_id: one for one in self._cells}
        self._tree = shapely.STRtree([polygon for polygon, _ in polygons])

    def cell_at(self, lon: float, lat: float) -> GridCell | None:
        """Return the cell that covers a point, its boundary included; None outside of all cells."""
        found = self._tree.query(Point(lon, lat), predicate="intersects")
        return self._cells[min(found)] if len(found) else None

    def cell_of_site(self, site: Site) -> GridCell | None:
        """Return the cell that a site names (``grid_cell``), or else the one that covers it."""
        named = self._by_id.get(site.grid_cell or "")
        return named or self.cell_at(site.lon, site.lat)
