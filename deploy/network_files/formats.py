"""Reads and writes files of networks of any format, and previews what a change makes of a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from deploy.network_files import (
    csv_files,
    geojson_file,
    geopackage_file,
    gmns_reader,
    gmns_writer,
    osm_reader,
    swmm_reader,
    swmm_writer,
)
from deploy.network_files.feature_record import ReadFeatures
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.area_tree import areas_above, parents_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.network_changes import NetworkChange

EXPORT_FORMATS = ("geojson", "csv", "gpkg", "swmm", "gmns")
FORMAT_OF_ENDING = {".geojson": "geojson", ".json": "geojson", "": "csv", ".gpkg": "gpkg", ".inp": "swmm"}


ENDINGS = (".geojson", ".csv", ".gpkg", ".inp", ".osm", ".osm.pbf")


NETWORK_OF_FORMAT = {"swmm": "river", "gmns": "road"}  # of formats that have one network alone


class WrittenFiles(NamedTuple):
    """The files of an export, and one sentence for each thing that is not in them as it is enrolled."""

    paths: list[Path]
    notes: list[str]
    file_format: str


def read_files(paths: Sequence[Path], crs: str | None = None, network: str | None = None) -> ReadFeatures:
    """Return the features of files of any format, by their names and headers.

    Parameters
    ----------
    paths : of the files
    crs : coordinate system of a map without one of its own; None for longitude and latitude
    network : river or road, of formats that have both and don't distinguish their features; None for both

    Raises
    ------
    SiteFileError
        With one sentence for each problem in any of them, with its line.

    """
    found = ReadFeatures([], [])
    problems: list[str] = []
    for group in _groups(paths):
        try:
            one = _read_group(group, crs, network)
        except SiteFileError as error:
            problems += error.problems
        else:
            found.records.extend(one.records)
            found.notes.extend(one.notes)
    if problems:
        raise SiteFileError(problems)
    return found


def with_prefix(found: ReadFeatures, prefix: str) -> ReadFeatures:
    """Return features with a prefix before the ids of nodes and links, to make them unique."""
    ids = ("node_id", "link_id", "from_node", "to_node")
    return found._replace(
        records=[
            one._replace(
                fields={
                    name: f"{prefix}{value}" if name in ids and value else value
                    for name, value in one.fields.items()
                }
            )
            for one in found.records
        ]
    )


def _groups(paths: Sequence[Path]) -> list[list[Path]]:
    """Return the files one by one, but the tables of GMNS, which need each other, together."""
    of_gmns = [one for one in paths if one.suffix.lower() == ".csv" and gmns_reader.is_gmns_file(one)]
    groups = [[one] for one in paths if one not in of_gmns]
    return [*groups, of_gmns] if of_gmns else groups


def _read_group(paths: list[Path], crs: str | None, network: str | None) -> ReadFeatures:
    path = paths[0]
    match path.suffix.lower():
        case ".geojson" | ".json":
            return ReadFeatures(geojson_file.read_geojson(path), [])
        case ".csv" if gmns_reader.is_gmns_file(path):
            return gmns_reader.read_gmns(paths, crs)
        case ".csv":
            return ReadFeatures(csv_files.read_csv(path), [])
        case ".gpkg":
            return ReadFeatures(geopackage_file.read_geopackage(path), [])
        case ".inp":
            return swmm_reader.read_swmm(path, crs)
        case ".osm" | ".pbf":
            return osm_reader.read_osm(path, network)
        case suffix:
            raise SiteFileError([f"{path}: {suffix or 'no ending'} is not known: give {', '.join(ENDINGS)}"])


def write_files(
    path: Path, directory: Directory, file_format: str | None = None, crs: str | None = None
) -> WrittenFiles:
    """Write networks in a format, by default that of the path's ending; return what was written.

    Parameters
    ----------
    path : of the file, or of the folder for CSV
    directory : with the networks
    file_format : of `EXPORT_FORMATS`; None for that of the path's ending
    crs : coordinate system of a map that names none; None for longitude and latitude

    Raises
    ------
    SiteFileError
        If the format is not known, or can't hold the networks.

    """
    match file_format or FORMAT_OF_ENDING.get(path.suffix.lower()):
        case "geojson":
            geojson_file.write_geojson(path, directory)
            return WrittenFiles([path], [], "geojson")
        case "gpkg":
            geopackage_file.write_geopackage(path, directory)
            return WrittenFiles([path], [], "gpkg")
        case "csv":
            return WrittenFiles(csv_files.write_csv(path, directory), [], "csv")
        case "gmns":
            return WrittenFiles(gmns_writer.write_gmns(path, directory), [], "gmns")
        case "swmm":
            return WrittenFiles([path], swmm_writer.write_swmm(path, directory, crs), "swmm")
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
    parents = parents_of(directory.areas)
    named = {above for name in area_ids for above in areas_above(parents, name)}
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
    ended_nodes, ended_links = set(change.ended_nodes), set(change.ended_links)
    return msgspec.structs.replace(
        enrolled,
        sites=list(sites.values()),
        nodes=[one for name, one in nodes.items() if name not in ended_nodes],
        links=[one for name, one in links.items() if name not in ended_links],
    )
