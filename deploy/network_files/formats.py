"""Reads and writes files of networks of any format, and previews what a change makes of a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from deploy.network_files import csv_files, geojson_file
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.network_files.feature_record import FeatureRecord
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.network_changes import NetworkChange

EXPORT_FORMATS = ("geojson", "csv")


def read_files(paths: Sequence[Path]) -> list[FeatureRecord]:
    """Return the features of files of any format, by their names and headers.

    Raises
    ------
    SiteFileError
        With one sentence for each problem in any of them, with its line.

    """
    records: list[FeatureRecord] = []
    problems: list[str] = []
    for path in paths:
        try:
            records += _read_file(path)
        except SiteFileError as error:
            problems += error.problems
    if problems:
        raise SiteFileError(problems)
    return records


def _read_file(path: Path) -> list[FeatureRecord]:
    match path.suffix.lower():
        case ".geojson" | ".json":
            return geojson_file.read_geojson(path)
        case ".csv":
            return csv_files.read_csv(path)
        case suffix:
            raise SiteFileError(
                [f"{path}: {suffix or 'no ending'} is no known ending: give .geojson or .csv"]
            )


def write_files(path: Path, directory: Directory, file_format: str | None) -> list[Path]:
    """Write networks in a format, by default that of the path's ending; return what was written.

    Raises
    ------
    SiteFileError
        If the format is not known, or can't hold the networks.

    """
    if file_format is None:
        file_format = {".geojson": "geojson", ".json": "geojson", "": "csv"}.get(path.suffix.lower())
    match file_format:
        case "geojson":
            geojson_file.write_geojson(path, directory)
            return [path]
        case "csv":
            return csv_files.write_csv(path, directory)
        case _:
            raise SiteFileError([f"{path}: is of no known format: give --format {', '.join(EXPORT_FORMATS)}"])


def part_of(directory: Directory, area_ids: set[str], network: str | None) -> Directory:
    """Return areas, sites, nodes and links of some areas and of a network, or of both.

    The areas above are included, and links to other areas are left out.
    """
    nodes = [one for one in directory.nodes if one.area_id in area_ids and network in {None, one.network}]
    names = {one.node_id for one in nodes}
    sites = [one for one in directory.sites if one.area_id in area_ids]
    if network is not None:
        used = {one.site_id for one in nodes}
        sites = [one for one in sites if one.site_id in used]
    parents = {one.area_id: one.parent for one in directory.areas}
    named = set(area_ids)
    while above := {parents[name] for name in named} - named - {None}:
        named |= {name for name in above if name}
    return msgspec.structs.replace(
        directory,
        areas=[one for one in directory.areas if one.area_id in named],
        sites=sites,
        nodes=nodes,
        links=[one for one in directory.links if {one.from_node, one.to_node} <= names],
    )


def preview(enrolled: Directory, change: NetworkChange) -> Directory:
    """Return the directory as a change would make it."""
    sites = {one.site_id: one for one in [*enrolled.sites, *change.sites]}
    nodes = {one.node_id: one for one in [*enrolled.nodes, *change.nodes]}
    links = {one.link_id: one for one in [*enrolled.links, *change.links]}
    return msgspec.structs.replace(
        enrolled,
        sites=list(sites.values()),
        nodes=[one for name, one in nodes.items() if name not in set(change.ended_nodes)],
        links=[one for name, one in links.items() if name not in set(change.ended_links)],
    )
