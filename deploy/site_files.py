"""Reads, expands and validates site files into a `Directory`, with references to what is enrolled already."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import msgspec

from analytics.core.parameters import ALARM_BUDGET
from analytics.service.network_checks import distance_m
from deploy import site_checks, site_format
from deploy.site_checks import SiteFileEntry
from deploy.site_format import LinkEntry, NodeEntry, SiteEntry, SiteFile, SiteFileError
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Link, Node, Series, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["SiteFileError", "load_site_files"]

S = TypeVar("S", bound=msgspec.Struct)
W = TypeVar("W")


def load_site_files(files: Iterable[Path], enrolled: Directory | None = None) -> Directory:
    """Read a set of site files that may refer to each other, and to what the database has enrolled.

    Parameters
    ----------
    files : paths of the files
    enrolled : the directory of the database that the files are enrolled in; None where there is none

    Returns
    -------
    The entries of the files; nothing of ``enrolled`` is repeated.

    Raises
    ------
    SiteFileError
        With one sentence for each problem in any of them.
    """
    files_by_name: dict[str, SiteFile] = {}
    unread: list[str] = []
    unread_ids: set[str] = set()
    for path in files:
        try:
            files_by_name[str(path)], wrong, ids = site_format.read_site_file(path)
        except SiteFileError as error:
            raise SiteFileError([*unread, *error.problems]) from error
        unread += wrong
        unread_ids |= ids
    problems: list[str] = []
    entries = _expand_files(files_by_name, enrolled or Directory(), problems)
    problems += site_checks.entry_problems(entries, enrolled)
    # A reference to an entry that could not be read is only a consequence: it is not reported.
    named = re.compile("|".join(rf"(?<!\w){re.escape(one)}(?!\w)" for one in sorted(unread_ids)) or "(?!)")
    problems = [*unread, *(one for one in problems if not named.search(one))]
    if problems:
        raise SiteFileError(problems)
    return Directory(
        areas=_values_of_type(Area, entries),
        sites=_values_of_type(Site, entries),
        devices=_values_of_type(Device, entries),
        series=_values_of_type(Series, entries),
        channels=_values_of_type(Channel, entries),
        nodes=_values_of_type(Node, entries),
        links=_values_of_type(Link, entries),
    )


def _values_of_type(kind: type[S], entries: Iterable[SiteFileEntry]) -> list[S]:
    return [entry.value for entry in entries if isinstance(entry.value, kind)]


def _expand_files(
    files_by_name: Mapping[str, SiteFile], enrolled: Directory, problems: list[str]
) -> list[SiteFileEntry]:
    """Return all entries that the files contain or imply; invalid ones add a sentence to ``problems``."""
    entries: list[SiteFileEntry] = []
    for name, file in files_by_name.items():
        values: list[msgspec.Struct] = [*file.areas, *file.devices, *file.series, *file.channels]
        entries += [SiteFileEntry(name, value) for value in values]
        entries += _expand_each(name, file.sites, partial(_expand_site, defaults=file.defaults), problems)
    sites = {site.site_id: site for site in [*enrolled.sites, *_values_of_type(Site, entries)]}
    for name, file in files_by_name.items():
        entries += _expand_each(
            name, file.nodes, partial(expand_node, sites=sites, area_id=file.defaults.area_id), problems
        )
    nodes = {node.node_id: node for node in [*enrolled.nodes, *_values_of_type(Node, entries)]}
    for name, file in files_by_name.items():
        entries += _expand_each(name, file.links, partial(expand_link, nodes=nodes), problems)
    return entries


def _expand_each(
    name: str, files_by_name: Iterable[W], expand: Callable[[W], list[msgspec.Struct]], problems: list[str]
) -> Iterator[SiteFileEntry]:
    """Yield the expansion of each entry of a file; the error of an invalid one is added to ``problems``."""
    for one in files_by_name:
        try:
            yield from [SiteFileEntry(name, value) for value in expand(one)]
        except SiteFileError as error:
            problems.append(f"{name}: {error}")


def _expand_site(entry: SiteEntry, defaults: site_format.SiteFileDefaults) -> list[msgspec.Struct]:
    """Return a site with the device, series and channels that it implies."""
    for quantity in entry.limits.keys() - set(entry.quantities):
        raise SiteFileError(
            [f"site {entry.site_id!r} has limits for {quantity!r}, which it doesn't measure: add it"]
        )
    area_id = entry.area_id or defaults.area_id or ""
    target = entry.target_class
    interval_s = defaults.interval_s if entry.interval_s is None else entry.interval_s
    budget = defaults.alarms_per_month if entry.alarms_per_month is None else entry.alarms_per_month
    budget_limit = {} if budget is None else {ALARM_BUDGET: budget}
    site = Site(
        site_id=entry.site_id,
        area_id=area_id,
        kind=entry.kind,
        en=entry.en,
        zh=entry.zh,
        lon=entry.lon,
        lat=entry.lat,
        external_id=entry.external_id,
        grid_cell=entry.grid_cell,
        target_class=site_format.CLASSES.index(target) + 1 if isinstance(target, str) else target,
        demo=defaults.demo if entry.demo is None else entry.demo,
    )
    if not entry.quantities:
        return [site]
    device_id = entry.device or entry.site_id
    implied_entries: list[msgspec.Struct] = [site]
    if entry.device is None:
        implied_entries.append(Device(device_id=device_id, area_id=area_id))
    for quantity in entry.quantities:
        limits = budget_limit | entry.limits.get(quantity, {})
        implied_entries += [
            Series(site_id=entry.site_id, quantity=quantity, interval_s=interval_s, limits=limits),
            Channel(device_id=device_id, name=quantity, site_id=entry.site_id, quantity=quantity),
        ]
    return implied_entries


def expand_node(entry: NodeEntry, sites: Mapping[str, Site], area_id: str | None) -> list[msgspec.Struct]:
    """Return a node, completed with the fields of its site."""
    site = sites.get(entry.site_id) if entry.site_id else None
    name = entry.node_id or entry.site_id
    if name is None:
        raise SiteFileError(["a node has neither node_id nor site_id: name it by one of them"])
    if entry.site_id and site is None:
        raise SiteFileError(
            [f"node {name!r} stands at site {entry.site_id!r}, which is not enrolled: add that site"]
        )
    node_fields = {
        field: getattr(site, field) if getattr(entry, field) is None and site else getattr(entry, field)
        for field in ("area_id", "en", "zh", "lon", "lat")
    }
    node_fields["area_id"] = node_fields["area_id"] or area_id
    missing = [field for field, value in node_fields.items() if value is None]
    if missing:
        raise SiteFileError(
            [f"node {name!r} lacks {', '.join(missing)}: give it, or a site_id to take it from"]
        )
    return [
        Node(
            node_id=name,
            network=entry.network,
            kind=entry.kind,
            site_id=entry.site_id,
            elevation_m=entry.elevation_m,
            external_id=entry.external_id,
            **node_fields,
        )
    ]


def _course_length_m(course: Iterable[tuple[float, float]]) -> float:
    """Return the length of a course [m]; 0 where it leaves the globe, which the checks report."""
    points = list(course)
    if not all(site_checks.is_position(lon, lat) for lon, lat in points):
        return 0.0
    return round(sum(distance_m(one, other) for one, other in pairwise(points)))


def expand_link(entry: LinkEntry, nodes: Mapping[str, Node]) -> list[msgspec.Struct]:
    """Return a link with its course and length."""
    link_id = entry.link_id or f"{entry.from_node}:{entry.to_node}"
    for node_id in (entry.from_node, entry.to_node):
        if node_id not in nodes:
            raise SiteFileError(
                [f"link {link_id!r} ends at node {node_id!r}, which is not enrolled: add that node"]
            )
    begin, end = nodes[entry.from_node], nodes[entry.to_node]
    course = entry.coordinates or [(begin.lon, begin.lat), *entry.bends, (end.lon, end.lat)]
    return [
        Link(
            link_id=link_id,
            network=entry.network or begin.network,
            from_node=entry.from_node,
            to_node=entry.to_node,
            en=entry.en,
            zh=entry.zh,
            length_m=_course_length_m(course) if entry.length_m is None else entry.length_m,
            speed_m_s=entry.speed_m_s,
            lanes=entry.lanes,
            coordinates=course,
            direction=entry.direction,
            section_shape=entry.section_shape,
            width_m=entry.width_m,
            depth_m=entry.depth_m,
            side_slope=entry.side_slope,
            manning_n=entry.manning_n,
            structure=entry.structure,
            lane_capacity_veh_h=entry.lane_capacity_veh_h,
            external_id=entry.external_id,
        )
    ]
