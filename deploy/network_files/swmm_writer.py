"""Writes the river network as an input file of SWMM 5 (``.inp``) that can be run, in metres and m³/s.

What SWMM needs and the network lacks is assumed, and marked in [TAGS], so that the reader leaves it out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from deploy.network_files import map_projection
from deploy.network_files.swmm_reader import ADDED_TAG, ASSUMED_TAG
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory, Link, Node

ASSUMED_WIDTH_M, ASSUMED_DEPTH_M, ASSUMED_MANNING_N, ASSUMED_ELEVATION_M = 10.0, 3.0, 0.03, 0.0
ADDED_LENGTH_M = 10.0
SHAPE_WORDS = {
    "circular": ("CIRCULAR",),
    "trapezoidal": ("TRAPEZOIDAL",),
    "rectangular": ("RECT_OPEN", "RECT_CLOSED"),
}
NAME_PATTERN = re.compile(r"[^\s;\"\[][^\s;\"]*")
OPTIONS = """[OPTIONS]
FLOW_UNITS CMS
FLOW_ROUTING DYNWAVE
LINK_OFFSETS DEPTH
START_DATE 01/01/2026
START_TIME 00:00:00
END_DATE 01/02/2026
END_TIME 00:00:00
REPORT_STEP 00:15:00
WET_STEP 00:15:00
DRY_STEP 01:00:00
ROUTING_STEP 10
INERTIAL_DAMPING PARTIAL
NORMAL_FLOW_LIMITED BOTH
"""


class _SwmmSections(NamedTuple):
    """Lines of each section of the file."""

    junctions: list[str]
    outfalls: list[str]
    conduits: list[str]
    orifices: list[str]
    weirs: list[str]
    pumps: list[str]
    xsections: list[str]
    tags: list[str]
    coordinates: list[str]
    vertices: list[str]


def write_swmm(path: Path, directory: Directory, crs: str | None = None) -> list[str]:
    """Write the rivers of a directory; return one sentence for each kind of value that was assumed.

    Parameters
    ----------
    path : of the file
    directory : with the network
    crs : coordinate system of the map; None for longitude and latitude

    Raises
    ------
    SiteFileError
        If there is no river, or an id can't stand in the file.

    """
    nodes = [one for one in directory.nodes if one.network == "river"]
    links = [one for one in directory.links if one.network == "river"]
    names = [*(one.node_id for one in nodes), *(one.link_id for one in links)]
    invalid = [name for name in names if not NAME_PATTERN.fullmatch(name)]
    if invalid or not links:
        reason = (
            f"id {invalid[0]!r} has spaces, quotes or semicolons" if invalid else "there is no river reach"
        )
        raise SiteFileError([f"{path}: {reason}: SWMM can't have it"])
    sections = _SwmmSections(*([] for _ in _SwmmSections._fields))
    convert = map_projection.from_lon_lat(crs)
    joined: dict[str, list[Link]] = {one.node_id: [] for one in nodes}
    for link in links:
        for end in {link.from_node, link.to_node}:
            joined[end].append(link)
    for node in nodes:
        _add_node(sections, node, joined[node.node_id], convert((node.lon, node.lat)))
    for link in links:
        _add_link(sections, link, joined[link.from_node])
        points = [convert(point) for point in link.coordinates[1:-1]]
        sections.vertices.extend(f"{link.link_id} {x!r} {y!r}" for x, y in points)
    text = "[TITLE]\ntowntwin: the river network\n\n" + OPTIONS
    for name, lines in sections._asdict().items():
        if lines:
            text += "\n" + "\n".join([f"[{name.upper()}]", *lines]) + "\n"
    path.write_text(text, encoding="utf-8")
    n_assumed = sum(ASSUMED_TAG in one for one in sections.tags)
    return [f"{n_assumed} nodes and reaches have values that were assumed: see [TAGS]"] if n_assumed else []


def _add_node(sections: _SwmmSections, node: Node, joined: list[Link], point: tuple[float, float]) -> None:
    """Add a junction, or an outfall where the river ends: outfalls have one link, so one may be added."""
    name, elevation = node.node_id, node.elevation_m
    if elevation is None:
        elevation = ASSUMED_ELEVATION_M
        sections.tags.append(f"Node {name} {ASSUMED_TAG}elevation_m")
    into = sum(one.to_node == name for one in joined)
    is_end = all(one.from_node != name for one in joined)
    sections.coordinates.append(f"{name} {point[0]!r} {point[1]!r}")
    if is_end and into == 1:
        sections.outfalls.append(f"{name} {elevation!r} FREE NO")
        return
    depths = [one.depth_m or ASSUMED_DEPTH_M for one in joined]
    sections.junctions.append(f"{name} {elevation!r} {max(depths, default=ASSUMED_DEPTH_M)!r} 0 0 0")
    if is_end and into:
        added = f"{name}:out"
        sections.outfalls.append(f"{added} {elevation!r} FREE NO")
        sections.coordinates.append(f"{added} {point[0]!r} {point[1]!r}")
        sections.conduits.append(f"{added} {name} {added} {ADDED_LENGTH_M} {ASSUMED_MANNING_N} 0 0 0 0")
        sections.xsections.append(f"{added} RECT_OPEN {ASSUMED_DEPTH_M} {ASSUMED_WIDTH_M} 0 0 1")
        sections.tags.extend([f"Node {added} {ADDED_TAG}", f"Link {added} {ADDED_TAG}"])


def _add_link(sections: _SwmmSections, link: Link, joined: list[Link]) -> None:
    """Add a conduit, orifice, weir or pump with its cross-section; ``joined`` are all links at its begin."""
    name, ends = link.link_id, f"{link.from_node} {link.to_node}"
    assumed = []
    # An ideal pump has to be the only link that leaves its node.
    is_pump = link.structure == "pump" and sum(one.from_node == link.from_node for one in joined) == 1
    if is_pump:
        sections.pumps.append(f"{name} {ends} * ON 0 0")
        return
    shape = {"circular": "CIRCULAR", "trapezoidal": "TRAPEZOIDAL"}.get(link.section_shape or "", "RECT_OPEN")
    if link.section_shape is None or link.width_m is None or link.depth_m is None:
        assumed += ["section_shape", "width_m", "depth_m", "side_slope"]
        shape = "RECT_OPEN"
    depth, width = link.depth_m or ASSUMED_DEPTH_M, link.width_m or ASSUMED_WIDTH_M
    slope = link.side_slope or 0.0
    if link.structure == "sluice":
        sections.orifices.append(f"{name} {ends} SIDE 0 0.65 NO 0")
        shape = "CIRCULAR" if shape == "CIRCULAR" else "RECT_CLOSED"
    elif link.structure == "weir":
        sections.weirs.append(f"{name} {ends} TRANSVERSE 0 1.84 NO 0 0 YES")
        shape = "RECT_OPEN"
    else:
        if link.manning_n is None:
            assumed.append("manning_n")
        roughness = link.manning_n or ASSUMED_MANNING_N
        sections.conduits.append(f"{name} {ends} {link.length_m!r} {roughness!r} 0 0 0 0")
    sections.xsections.append(f"{name} {shape} {depth!r} {_further(shape, width, slope)} 1")
    if link.section_shape is not None and shape not in SHAPE_WORDS[link.section_shape]:
        assumed += ["section_shape", "side_slope"]  # orifices and weirs have no other
    if assumed:
        sections.tags.append(f"Link {name} {ASSUMED_TAG}{'+'.join(assumed)}")


def _further(shape: str, width: float, slope: float) -> str:
    """Return the second to fourth number of a section, after its depth."""
    if shape == "CIRCULAR":
        return "0 0 0"
    return f"{width!r} {slope!r} {slope!r}" if shape == "TRAPEZOIDAL" else f"{width!r} 0 0"
