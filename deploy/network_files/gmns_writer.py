"""Writes roads as the tables of GMNS (General Modeling Network Specification), in km and km/h."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from deploy.network_files.csv_files import wkt_of_course
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory, Link, Node

CONFIG = {
    "dataset_name": "towntwin",
    "short_length": "m",
    "long_length": "km",
    "speed": "kph",
    "crs": "EPSG:4326",
    "geometry_field_format": "wkt",
    "version_number": "0.96",
}


def write_gmns(folder: Path, directory: Directory) -> list[Path]:
    """Write the roads of a directory as node.csv, link.csv and config.csv; return their paths.

    Raises `SiteFileError` if there are none.
    """
    nodes = [_node_row(one) for one in directory.nodes if one.network == "road"]
    links = [_link_row(one) for one in directory.links if one.network == "road"]
    if not links:
        raise SiteFileError([f"{folder}: there are no roads: GMNS has roads alone"])
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write_table(folder / name, rows)
        for name, rows in (("node.csv", nodes), ("link.csv", links), ("config.csv", [CONFIG]))
    ]


def _node_row(node: Node) -> dict[str, Any]:
    return {
        "node_id": node.node_id,
        "name": node.zh,
        "x_coord": node.lon,
        "y_coord": node.lat,
        "z_coord": node.elevation_m,
        "node_type": node.kind,
    }


def _link_row(link: Link) -> dict[str, Any]:
    return {
        "link_id": link.link_id,
        "name": link.zh,
        "from_node_id": link.from_node,
        "to_node_id": link.to_node,
        "directed": 1,
        "geometry": wkt_of_course(link.coordinates) if link.coordinates else None,
        "dir_flag": 1,
        "length": round(link.length_m / 1000, 9),
        "capacity": link.lane_capacity_veh_h,
        "free_speed": round(link.speed_m_s * 3.6, 6),
        "lanes": link.lanes,
    }


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
