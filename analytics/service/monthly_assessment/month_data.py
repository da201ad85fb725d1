"""Holds the input data of a month's assessments with queries on it, and computes the bounds of months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from analytics.assessments.capture_and_response import CaptureRate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from ingest_service.storage.contract.models import Area, Directory, Link, Series, Site
    from ingest_service.storage.postgres.assessments import (
        HandledAnomaly,
        HandledIncident,
        IncidentDeadline,
        SeriesMonth,
        TrafficHour,
    )

LAKE_SECTION, SECTION_KINDS = "lake_section", ("river_section", "lake_section")


def month_at(time_s: float, zone: ZoneInfo) -> str:
    """Return the month of a Unix time in the towns' time zone.

    >>> from zoneinfo import ZoneInfo
    >>> month_at(1793462400.0, ZoneInfo("Asia/Shanghai"))
    '2026-11'
    """
    return datetime.fromtimestamp(time_s, zone).strftime("%Y-%m")


def month_before(month: str) -> str:
    """Return the month before.

    >>> month_before("2026-01")
    '2025-12'
    """
    year, number = (int(part) for part in month.split("-"))
    return f"{year - 1}-12" if number == 1 else f"{year}-{number - 1:02}"


def month_bounds(month: str, zone: ZoneInfo) -> tuple[float, float]:
    """Return when a month begins and ends in the towns' time zone, Unix seconds [s]."""
    year, number = (int(part) for part in month.split("-"))
    after = (year + 1, 1) if number == 12 else (year, number + 1)
    return (
        datetime(year, number, 1, tzinfo=zone).timestamp(),
        datetime(*after, 1, tzinfo=zone).timestamp(),
    )


@dataclass(frozen=True)
class MonthData:
    """The month's data of everything enrolled, up to the newest reading."""

    name: str
    from_s: float
    to_s: float
    directory: Directory
    measured: dict[int, SeriesMonth]
    hours: list[TrafficHour]
    handled_anomalies: list[HandledAnomaly]
    handled_incidents: list[HandledIncident]
    incident_deadlines: list[IncidentDeadline]

    @cached_property
    def towns(self) -> list[Area]:
        """The towns, in the order of their ids."""
        return [one for one in self.directory.areas if one.level == "town"]

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Sites by id."""
        return {one.site_id: one for one in self.directory.sites}

    @cached_property
    def series_by_site(self) -> dict[str, list[Series]]:
        """The series of each site."""
        found: dict[str, list[Series]] = {one: [] for one in self.sites}
        for one in self.directory.series:
            found[one.site_id].append(one)
        return found

    @cached_property
    def road_ends(self) -> dict[str, list[str]]:
        """The measured sites at the ends of each road link."""
        at = {node.node_id: node.site_id for node in self.directory.nodes if node.site_id}
        return {
            link.link_id: [at[node] for node in (link.from_node, link.to_node) if node in at]
            for link in self.roads
        }

    @cached_property
    def roads(self) -> list[Link]:
        """The road links."""
        return [one for one in self.directory.links if one.network == "road"]

    @cached_property
    def area_of_node(self) -> dict[str, str]:
        """The area of each node."""
        return {one.node_id: one.area_id for one in self.directory.nodes}

    def sites_in_town(self, area_id: str, kinds: Iterable[str] | None = None) -> list[Site]:
        """Return the sites of a town, of some kinds or of all."""
        return [
            one
            for one in self.sites.values()
            if one.area_id == area_id and (kinds is None or one.kind in kinds)
        ]

    def means(self, site_id: str) -> dict[str, float]:
        """Return the mean of the good readings by quantity, in canonical units; only where there are any."""
        found = {}
        for one in self.series_by_site[site_id]:
            mean = self.measured[one.series_id].mean if one.series_id in self.measured else None
            if mean is not None:
                found[one.quantity] = mean
        return found

    def readings(self, site_ids: Iterable[str]) -> int:
        """Return the number of readings received from sites."""
        return self.capture_rate(site_ids).count

    def capture_rate(self, site_ids: Iterable[str]) -> CaptureRate:
        """Return the readings of sites: expected (since each series' first reading ever), received, good."""
        total = CaptureRate(0.0, 0, 0)
        for site_id in site_ids:
            for one in self.series_by_site[site_id]:
                found = self.measured.get(one.series_id)
                first_reading_s = found.first_s if found and found.first_s is not None else self.from_s
                expected = max(0.0, self.to_s - max(self.from_s, first_reading_s)) / one.interval_s
                total += CaptureRate(expected, found.count if found else 0, found.good if found else 0)
        return total
