"""Reads networks from GeoJSON (RFC 7946) and writes them, with the line of each feature and property."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from analytics.service import geojson
from deploy.network_files.feature_record import FeatureRecord, known_fields, misspelt, read_text
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.network_files.feature_record import FeatureKind
    from ingest_service.storage.contract.models import Directory

DECODER = json.JSONDecoder()
SPACE = re.compile(r"[ \t\r\n]*")
KIND_OF_GEOMETRY: dict[str, FeatureKind] = {"Point": "node", "LineString": "link"}
KINDS: tuple[FeatureKind, ...] = ("area", "site", "node", "link")
LONGITUDE_LATITUDE = re.compile(r"CRS84|EPSG:+(4326|4490)\b")  # 4490 is CGCS2000, within a metre of WGS 84
ADDED_BY_EXPORT = {"feature", "state", "valid_from_s"}


def read_geojson(path: Path) -> list[FeatureRecord]:
    """Read a FeatureCollection.

    Raises
    ------
    SiteFileError
        With one sentence for each problem, with its line.

    """
    reader = _GeoJsonReader(path, read_text(path, "a GeoJSON file"))
    records = list(reader.records())
    if not records and not reader.problems:
        reader.problems.append(f"{path}: has no features: it is no FeatureCollection, or an empty one")
    if reader.problems:
        raise SiteFileError(reader.problems)
    return records


def write_geojson(path: Path, directory: Directory) -> None:
    """Write areas, sites, nodes and links as a FeatureCollection with one feature a line."""
    found = geojson.network_geojson(directory, with_areas=True)
    lines = [json.dumps(one, ensure_ascii=False) for one in found["features"]]
    path.write_text(
        '{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8"
    )


class _GeoJsonReader:
    """Decodes the features of a text one by one, so that each has its line."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.problems: list[str] = []
        self._text = text
        self._line, self._counted = 1, 0

    def records(self) -> Iterator[FeatureRecord]:
        """Yield the features; problems are collected."""
        try:
            for begin, end, feature in self._features():
                where = self._where(begin)
                record = self._record(feature, where, begin, end)
                if record is not None:
                    yield record
        except json.JSONDecodeError as error:
            self.problems.append(f"{self.path}, line {error.lineno}: is no JSON: {error.msg}")
        except RecursionError:
            self.problems.append(f"{self.path}: has brackets within brackets that are too deep")

    def _features(self) -> Iterator[tuple[int, int, Any]]:
        """Yield begin, end and content of each element of ``features`` of the top-level object."""
        at = self._expect("{", 0)
        while self._text[at : at + 1] != "}":
            name, at = DECODER.raw_decode(self._text, at)
            at = self._expect(":", at)
            if name == "features" and self._text[at : at + 1] == "[":
                at = SPACE.match(self._text, at + 1).end()  # type: ignore[union-attr]
                while self._text[at : at + 1] != "]":
                    begin = at
                    feature, at = DECODER.raw_decode(self._text, at)
                    yield begin, at, feature
                    at = self._after(at, "]")
                at = self._after(at + 1, "}")
            else:
                value, end = DECODER.raw_decode(self._text, at)
                if name == "crs" and not LONGITUDE_LATITUDE.search(json.dumps(value)):
                    self.problems.append(
                        f"{self._where(at)}: has the coordinate system {json.dumps(value)}: convert it to"
                        " longitude and latitude (EPSG:4326), as `ogr2ogr -t_srs EPSG:4326` does"
                    )
                at = self._after(end, "}")

    def _expect(self, mark: str, at: int) -> int:
        """Return the position after a mark and the space around it."""
        at = SPACE.match(self._text, at).end()  # type: ignore[union-attr]
        if self._text[at : at + 1] != mark:
            raise json.JSONDecodeError(f"{mark!r} is missing", self._text, at)
        return SPACE.match(self._text, at + 1).end()  # type: ignore[union-attr]

    def _after(self, at: int, closing: str) -> int:
        """Return the position of the next element, or of the closing bracket."""
        at = SPACE.match(self._text, at).end()  # type: ignore[union-attr]
        return at if self._text[at : at + 1] == closing else self._expect(",", at)

    def _where(self, position: int) -> str:
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        return f"{self.path}, line {self._line}"

    def _record(self, feature: Any, where: str, begin: int, end: int) -> FeatureRecord | None:
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            self.problems.append(f"{where}: is no Feature: a FeatureCollection has features alone")
            return None
        given, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
        if not isinstance(given, dict) or not isinstance(geometry, dict):
            self.problems.append(f"{where}: has properties or geometry that are no objects")
            return None
        geometry = _single_line(geometry)
        shape = geometry.get("type")
        kind = given.get("feature") or KIND_OF_GEOMETRY.get(str(shape))
        if kind not in KINDS:
            self.problems.append(
                f"{where}: is a {shape}, and no node (Point) or link (LineString): leave it out, or divide it"
            )
            return None
        names = known_fields(kind)
        field_where: dict[str, str] = {}
        for name in given:
            found = re.search(rf'"{re.escape(name)}"\s*:', self._text[begin:end])
            line = self._line + (self._text.count("\n", begin, begin + found.start()) if found else 0)
            field_where[name] = f"{self.path}, line {line}"
            meant = None if name in names or name in ADDED_BY_EXPORT else misspelt(name, names)
            if meant is not None:
                self.problems.append(
                    f"{field_where[name]}: property {name!r} is not known (did you mean {meant!r}?):"
                    " correct it"
                )
        fields = {name: value for name, value in given.items() if name in names}
        if f"{kind}_id" not in fields and feature.get("id") is not None:
            fields[f"{kind}_id"] = str(feature["id"])
        fields |= _fields_of_geometry(shape, geometry.get("coordinates"))
        return FeatureRecord(kind, where, fields, field_where, {})


def _single_line(geometry: dict[str, Any]) -> dict[str, Any]:
    """Return a MultiLineString of one line, as GIS programs write it, as that line."""
    lines = geometry.get("coordinates")
    if geometry.get("type") == "MultiLineString" and isinstance(lines, list) and len(lines) == 1:
        return {"type": "LineString", "coordinates": lines[0]}
    return geometry


def _fields_of_geometry(shape: Any, coordinates: Any) -> dict[str, Any]:
    """Return position or course; a third coordinate is left out, for its zero is not that of elevations."""
    if shape == "Point" and isinstance(coordinates, list) and len(coordinates) >= 2:
        return {"lon": coordinates[0], "lat": coordinates[1]}
    if shape == "LineString" and isinstance(coordinates, list):
        return {"coordinates": [one[:2] if isinstance(one, list) else one for one in coordinates]}
    return {}
