"""Reads roads from the tables of GMNS (General Modeling Network Specification).

``node.csv`` and ``link.csv`` have nodes and links, ``config.csv`` the units and the coordinate system.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.network_files import map_projection
from deploy.network_files.csv_files import TableRow, course_of_wkt, read_table
from deploy.network_files.feature_record import FeatureRecord, ReadFeatures
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Point = tuple[float, float]

MILE_M = 1609.344
METRES = {
    "m": 1.0, "meter": 1.0, "meters": 1.0, "metre": 1.0, "metres": 1.0,
    "km": 1000.0, "kilometer": 1000.0, "kilometers": 1000.0, "kilometre": 1000.0, "kilometres": 1000.0,
    "mi": MILE_M, "mile": MILE_M, "miles": MILE_M, "ft": 0.3048, "foot": 0.3048, "feet": 0.3048,
}  # fmt: skip
METRES_PER_SECOND = {
    "mph": MILE_M / 3600, "kph": 1 / 3.6, "kmh": 1 / 3.6, "km/h": 1 / 3.6, "kmph": 1 / 3.6, "m/s": 1.0,
}  # fmt: skip
FOR_CARS = {"all", "auto", "car", "cars", "drive", "motor", "truck", "vehicle", "veh", "sov", "hov"}
NOT_FOR_CARS = {"sidewalk", "crosswalk", "bikeway", "footway", "cycleway", "path", "steps", "pedestrian"}


class _GmnsUnits(NamedTuple):
    """What ``config.csv`` gives: length [m], speed [m/s], and the coordinate system."""

    length_m: float
    speed_m_s: float
    crs: str | None


def is_gmns_file(path: Path) -> bool:
    """Whether the columns of a table are those of GMNS."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = {one.strip().strip('"') for one in file.readline().split(",")}
    except OSError:
        return False  # reading it reports why
    return {"x_coord", "y_coord"} <= header or {"from_node_id", "to_node_id"} <= header


def read_gmns(paths: Sequence[Path], crs: str | None = None) -> ReadFeatures:
    """Read the tables of a network; ``config.csv`` is that in the folder of ``link.csv``.

    Links that are not for cars are left out, with the nodes that they alone have.

    Parameters
    ----------
    paths : of node.csv and link.csv, or of one of them
    crs : coordinate system; None for that of ``config.csv``

    Raises
    ------
    SiteFileError
        With one sentence for each problem, with its line.

    """
    reader = _GmnsReader(crs)
    tables = [read_table(path, reader.problems) for path in paths]
    units = [
        reader.units(path) for path, (header, _) in zip(paths, tables, strict=True) if "link_id" in header
    ]
    links: list[FeatureRecord] = []
    nodes: list[FeatureRecord] = []
    for path, (header, rows) in zip(paths, tables, strict=True):
        if "link_id" in header:
            links += [one for row in rows if (one := reader.link(row, units[0])) is not None]
        else:
            table_crs = crs or (units[0] if units else reader.units(path)).crs
            convert = map_projection.to_lon_lat(table_crs)
            nodes += [one for row in rows if (one := reader.node(row, convert)) is not None]
    if reader.n_left_out:
        reader.notes.append(f"{paths[0].parent}: {reader.n_left_out} links are not for cars and left out")
    neighbours: dict[str, set[str]] = {}
    for one in links:
        for begin, end in (("from_node", "to_node"), ("to_node", "from_node")):
            neighbours.setdefault(one.fields[begin], set()).add(one.fields[end])
    if links:
        nodes = [one for one in nodes if one.fields["node_id"] in neighbours]
        for one in nodes:
            is_end = len(neighbours[one.fields["node_id"]]) == 1
            one.defaults["kind"] = "end" if is_end else "junction"
    if reader.problems:
        raise SiteFileError(reader.problems)
    return ReadFeatures([*nodes, *links], reader.notes)


class _GmnsReader:
    def __init__(self, crs: str | None) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.n_left_out = 0
        self._crs = crs
        self._is_elsewhere = False  # whether positions are in another coordinate system

    def units(self, path: Path) -> _GmnsUnits:
        """Return the units in the ``config.csv`` beside a table; without one they are problems."""
        config = path.with_name("config.csv")
        _, rows = read_table(config, self.problems) if config.is_file() else ([], [])
        cells = rows[0].cells if rows else {}
        length, speed = cells.get("long_length", "").lower(), cells.get("speed", "").lower()
        if length not in METRES or speed not in METRES_PER_SECOND:
            where = rows[0].where if rows else str(config)
            self.problems.append(
                f"{where}: the units of length and speed are not known: give columns long_length (km, mile,"
                " m) and speed (kph, mph)"
            )
            return _GmnsUnits(math.nan, math.nan, None)
        crs = self._crs or cells.get("crs", "").strip()
        crs = f"EPSG:{crs}" if crs.isdigit() else crs
        is_geographic = crs.upper() in {"", "EPSG:4326", "EPSG:4490", "WGS84", "WGS 84"}
        return _GmnsUnits(METRES[length], METRES_PER_SECOND[speed], None if is_geographic else crs)

    def node(self, row: TableRow, convert: Callable[[Point], Point]) -> FeatureRecord | None:
        """Return a node; None for one without a position."""
        x, y = self._number(row, "x_coord"), self._number(row, "y_coord")
        if x is None or y is None:
            self.problems.append(f"{row.where}: has no x_coord and y_coord: give each node a position")
            return None
        lon, lat = convert((x, y))
        if not map_projection.is_lon_lat((lon, lat)):
            if not self._is_elsewhere:  # once is enough: it is the same for all
                self.problems.append(
                    f"{row.where}: {x:.10g} {y:.10g} is no longitude and latitude: name the coordinate system"
                    " in config.csv, column crs, or by --crs EPSG:4549"
                )
            self._is_elsewhere = True
            return None
        fields: dict[str, Any] = {"node_id": row.cells.get("node_id") or None, "lon": lon, "lat": lat}
        if (elevation := self._number(row, "z_coord")) is not None:
            fields["elevation_m"] = elevation
        name = row.cells.get("name") or None
        defaults = {"network": "road", "kind": "junction"} | ({"zh": name} if name else {})
        return FeatureRecord("node", row.where, fields, row.field_where(), defaults)

    def link(self, row: TableRow, units: _GmnsUnits) -> FeatureRecord | None:
        """Return a link; None for one that is not for cars."""
        uses = {one.strip().lower() for one in row.cells.get("allowed_uses", "").replace(";", ",").split(",")}
        facility = row.cells.get("facility_type", "").lower()
        if facility in NOT_FOR_CARS or not (uses == {""} or uses & FOR_CARS):
            self.n_left_out += 1
            return None
        fields: dict[str, Any] = {
            "link_id": row.cells.get("link_id") or None,
            "from_node": row.cells.get("from_node_id", ""),
            "to_node": row.cells.get("to_node_id", ""),
            "direction": "both" if row.cells.get("directed", "1").lower() in {"0", "false"} else "forward",
        }
        for column, field, factor in (
            ("length", "length_m", units.length_m),
            ("free_speed", "speed_m_s", units.speed_m_s),
            ("capacity", "lane_capacity_veh_h", 1.0),
        ):
            number = self._number(row, column)
            if number:
                fields[field] = round(number * factor, 6)
        lanes = self._number(row, "lanes")
        if lanes:
            fields["lanes"] = int(lanes) if lanes.is_integer() else lanes
        course = self._course(row, units)
        if course:
            fields["coordinates"] = course
        name = row.cells.get("name") or None
        defaults: dict[str, Any] = {"network": "road", "lanes": 1} | ({"zh": name} if name else {})
        return FeatureRecord("link", row.where, fields, row.field_where(), defaults)

    def _course(self, row: TableRow, units: _GmnsUnits) -> list[Point]:
        text = row.cells.get("geometry", "")
        if not text or not text.lstrip().upper().startswith("LINESTRING"):
            return []  # an id of geometry.csv, or a format that config.csv names
        try:
            course = course_of_wkt(text)
        except ValueError as error:
            self.problems.append(f"{row.where}, column geometry: {error}")
            return []
        convert = map_projection.to_lon_lat(units.crs)
        points = [convert(point) for point in course]
        return points[::-1] if row.cells.get("dir_flag") == "-1" else points

    def _number(self, row: TableRow, column: str) -> float | None:
        text = row.cells.get(column, "")
        if not text or text.upper() == "NULL":
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.problems.append(f"{row.where}, column {column}: {text!r} is no number")
            return None
        return number
