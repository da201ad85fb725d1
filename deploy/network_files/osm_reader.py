"""Reads roads and waterways from an extract of OpenStreetMap (``.osm``, ``.osm.pbf``)."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.network_files.feature_record import FeatureRecord, ReadFeatures
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MILE_M = 1609.344
# Usual speeds of the classes of roads where none is tagged [km/h].
ROAD_SPEED_KM_H = {
    "motorway": 100, "trunk": 80, "primary": 60, "secondary": 50, "tertiary": 40, "unclassified": 30,
    "residential": 30, "living_street": 15,
}  # fmt: skip
WIDE_ROADS = {"motorway", "trunk"}  # with two lanes a direction where none are tagged
WATERWAYS = {"river", "canal", "stream", "drain", "ditch"}
MAX_WAYS = 100_000


class _MapPoint(NamedTuple):
    """A node of the map."""

    ref: int
    lon: float
    lat: float


class _MapWay(NamedTuple):
    """A road or waterway, with the points whose positions are in the extract."""

    way_id: int
    network: str
    tags: Mapping[str, str]
    points: list[_MapPoint]


def read_osm(path: Path, network: str | None = None) -> ReadFeatures:
    """Read the roads for cars and the waterways of an extract as nodes and links.

    Ways are divided where others of their network join them. A road that is not one-way becomes a link for
    each direction. Ids are those of the map: ``n`` and ``w`` of roads, ``vn`` and ``vw`` of waterways.

    Parameters
    ----------
    path : of the extract
    network : river or road; None for both

    Raises
    ------
    SiteFileError
        If the file can't be read, has too many ways or none, or ``osmium`` is not installed.

    """
    ways = [one for one in _ways(path) if network in {None, one.network}]
    if not ways:
        raise SiteFileError([f"{path}: has no roads for cars and no waterways"])
    uses: dict[str, Counter[int]] = {"road": Counter(), "river": Counter()}
    for way in ways:
        uses[way.network].update([point.ref for point in way.points])
        uses[way.network].update([way.points[0].ref, way.points[-1].ref])  # ends are always nodes
    positions: dict[str, _MapPoint] = {}
    links: list[FeatureRecord] = []
    for way in ways:
        for number, part in enumerate(_parts(way.points, uses[way.network])):
            for end in (part[0], part[-1]):
                positions[_node_id(way, end)] = end
            links.append(_link(path, way, number, part))
    return ReadFeatures([*_nodes(path, positions, links), *links], [])


def _ways(path: Path) -> Iterator[_MapWay]:
    try:
        import osmium  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SiteFileError(
            [f"{path}: osmium is not installed: run `pip install 'towntwin[gis]'`"]
        ) from error
    n_ways = 0
    try:
        for way in osmium.FileProcessor(str(path)).with_locations():
            if not isinstance(way, osmium.osm.Way):
                continue
            tags = {tag.k: tag.v for tag in way.tags}
            network = _network(tags)
            points = [_MapPoint(node.ref, node.lon, node.lat) for node in way.nodes if node.location.valid()]
            if network is None or len(points) < 2:
                continue
            n_ways += 1
            if n_ways > MAX_WAYS:
                raise SiteFileError(
                    [f"{path}: has more than {MAX_WAYS:,} ways: cut the town out of it first"]
                )
            yield _MapWay(way.id, network, tags, points)
    except (RuntimeError, OSError) as error:
        raise SiteFileError([f"{path}: is no extract of OpenStreetMap: {error}"]) from error


def _network(tags: Mapping[str, str]) -> str | None:
    if tags.get("highway", "").removesuffix("_link") in ROAD_SPEED_KM_H and tags.get("area") != "yes":
        return "road"
    return "river" if tags.get("waterway") in WATERWAYS else None


def _parts(points: Sequence[_MapPoint], uses: Counter[int]) -> Iterator[list[_MapPoint]]:
    """Divide a way where another one joins it; a part that ends where it begins is divided in its middle."""
    part = [points[0]]
    for point in points[1:]:
        if point.ref == part[-1].ref:
            continue
        part.append(point)
        if uses[point.ref] > 1:
            if point.ref == part[0].ref and len(part) > 2:
                middle = len(part) // 2
                yield part[: middle + 1]
                part = part[middle:]
            yield part
            part = [point]


def _node_id(way: _MapWay, point: _MapPoint) -> str:
    return f"{'v' if way.network == 'river' else ''}n{point.ref}"


def _link(path: Path, way: _MapWay, number: int, part: Sequence[_MapPoint]) -> FeatureRecord:
    tags = way.tags
    prefix = "v" if way.network == "river" else ""
    oneway = tags.get("oneway", "")
    course = list(reversed(part)) if way.network == "road" and oneway == "-1" else list(part)
    fields: dict[str, Any] = {
        "link_id": f"{prefix}w{way.way_id}-{number}",
        "from_node": _node_id(way, course[0]),
        "to_node": _node_id(way, course[-1]),
        "coordinates": [(point.lon, point.lat) for point in course],
        "external_id": f"osm:way/{way.way_id}",
    }
    defaults: dict[str, Any] = {"network": way.network}
    for language, names in (("zh", ("name:zh", "name", "ref")), ("en", ("name:en", "name", "ref"))):
        name = next((tags[one] for one in names if one in tags), None)
        if name is not None:
            defaults[language] = name
    if way.network == "road":
        road = tags["highway"].removesuffix("_link")
        is_oneway = oneway in {"yes", "true", "1", "-1"} or (
            oneway != "no" and (road == "motorway" or tags.get("junction") in {"roundabout", "circular"})
        )
        fields["direction"] = "forward" if is_oneway else "both"
        lanes = (
            int(tags["lanes"]) if tags.get("lanes", "").isascii() and tags.get("lanes", "").isdigit() else 0
        )
        if lanes:
            fields["lanes"] = lanes if is_oneway else max(1, lanes // 2)
        defaults |= {
            "lanes": 2 if road in WIDE_ROADS else 1,
            "speed_m_s": _speed_m_s(tags.get("maxspeed", "")) or ROAD_SPEED_KM_H[road] / 3.6,
        }
    return FeatureRecord("link", f"{path}, way {way.way_id}", fields, {}, defaults)


def _speed_m_s(text: str) -> float | None:
    """Return a tagged speed [m/s]; None for one in words.

    >>> _speed_m_s("36"), _speed_m_s("walk")
    (10.0, None)
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(mph|km/h)?", text.strip())
    if matched is None or float(matched[1]) == 0:
        return None
    return float(matched[1]) * (MILE_M / 3600 if matched[2] == "mph" else 1 / 3.6)


def _nodes(
    path: Path, positions: Mapping[str, _MapPoint], links: Sequence[FeatureRecord]
) -> Iterator[FeatureRecord]:
    """Yield the nodes, with their kind by the links that join there."""
    into = Counter(one.fields["to_node"] for one in links)
    out_of = Counter(one.fields["from_node"] for one in links)
    for name, point in positions.items():
        if name.startswith("v"):
            network = "river"
            kind = "source" if not into[name] else "mouth" if not out_of[name] else "confluence"
        else:
            network = "road"
            kind = "end" if into[name] + out_of[name] == 1 else "junction"
        yield FeatureRecord(
            "node",
            f"{path}, node {point.ref}",
            {"node_id": name, "lon": point.lon, "lat": point.lat, "external_id": f"osm:node/{point.ref}"},
            {},
            {"network": network, "kind": kind},
        )
