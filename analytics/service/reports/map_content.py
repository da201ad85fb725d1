"""Builds the report section with the maps of the towns: rivers, roads, sections and sources of incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.reports.blocks import Figure, SectionHeading
from analytics.service.reports.map_plot import (
    MapLine,
    MapMark,
    MapSection,
    TownMap,
    draw_map,
)
from analytics.service.reports.translations import translate
from ingest_service.storage.contract.area_tree import areas_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.report_data import ReportData
    from ingest_service.storage.contract.models import Link, Node

MAX_TOWNS = 6  # with a map of their own; an area of more towns has one map
MIN_PROBABILITY = 0.05  # of a source that is drawn
MAX_SOURCES = 3  # of an incident


def maps(source: ReportData) -> Iterator[Block]:
    """Yield a map of each town, or one of the whole area; nothing where no network is enrolled."""
    language = source.language
    below = areas_below(source.directory.areas, source.area.area_id)
    with_nodes = {one.area_id for one in source.directory.nodes} & below
    areas = [one for one in source.directory.areas if one.area_id in with_nodes]
    groups = (
        [(one, {one.area_id}) for one in areas] if len(areas) <= MAX_TOWNS else [(source.area, with_nodes)]
    )
    if groups:
        yield SectionHeading(translate("maps", language))
    for area, ids in groups:
        caption = translate("picture_map", language, area=getattr(area, language))
        yield Figure(draw_map(town_map(source, ids), language), caption)


def town_map(source: ReportData, area_ids: set[str]) -> TownMap:
    """Return what is drawn of some areas."""
    directory, language = source.directory, source.language
    nodes = {one.node_id: one for one in directory.nodes}
    own = [one for one in directory.nodes if one.area_id in area_ids]
    own_ids = {one.node_id for one in own}
    classes = {one.site_id: one.class_ for one in source.assessments_of("water_class", "site")}
    levels = {one.link_id: one.class_ for one in source.assessments_of("congestion", "link")}
    lines = [
        MapLine(getattr(one, language), one.network, course_of(one, nodes), levels.get(one.link_id))
        for one in directory.links
        if {one.from_node, one.to_node} & own_ids and {one.from_node, one.to_node} <= nodes.keys()
    ]
    sections = [
        MapSection(getattr(one, language), one.lon, one.lat, classes[one.site_id])
        for one in directory.sites
        if one.area_id in area_ids and one.site_id in classes
    ]
    return TownMap(
        bounds=[(one.lon, one.lat) for one in own],
        lines=lines,
        sections=sections,
        outfalls=[(one.lon, one.lat) for one in own if one.kind == "outfall"],
        marks=list(_sources(source, own_ids, nodes)),
        marks_key="map_source",
    )


def course_of(link: Link, nodes: dict[str, Node]) -> list[tuple[float, float]]:
    """Return the points of a link, from end to end if it has no others [deg]."""
    if len(link.coordinates) > 1:
        return link.coordinates
    return [(nodes[end].lon, nodes[end].lat) for end in (link.from_node, link.to_node)]


def _sources(source: ReportData, own_ids: set[str], nodes: dict[str, Node]) -> Iterator[MapMark]:
    """Yield the likeliest sources of the traced incidents at some nodes, each node once."""
    found: dict[str, float] = {}
    for trace in source.traces.values():
        for one in (trace.posterior or {}).get("candidates", [])[:MAX_SOURCES]:
            if one["node_id"] in own_ids and one["probability"] >= MIN_PROBABILITY:
                found[one["node_id"]] = max(one["probability"], found.get(one["node_id"], 0.0))
    for node_id, probability in sorted(found.items(), key=lambda one: -one[1]):
        node = nodes[node_id]
        share = f"{100 * probability:.0f}{' ' if source.language == 'en' else ''}%"
        name = getattr(node, source.language)
        text = translate("map_source_of", source.language, name=name, share=share)
        yield MapMark(text, node.lon, node.lat)
