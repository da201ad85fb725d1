"""Loads a report's data: an area's assessments of the month and the month before, names, daily means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from analytics.assessments import gb3838
from analytics.errors import AnalyticsError
from analytics.incidents.performance import alarm_performance
from analytics.service import monthly_assessment
from analytics.service.monthly_assessment import month_data as months
from ingest_service.storage.contract.area_tree import areas_below
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.postgres.assessments import Assessment, AssessmentQuery, Assessments
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.maintenance import MaintenanceLog

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from analytics.incidents.performance import AlarmPerformance
    from analytics.service.reports.translations import Language
    from ingest_service.storage.contract.incidents import Incident, IncidentTrace
    from ingest_service.storage.contract.models import Area, Directory
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.assessments import AssessmentKind
    from ingest_service.storage.postgres.maintenance import Calibration

MAX_LINES = 6
MAX_INCIDENTS, MAX_HISTORY_ROWS = 100_000, 200_000


class NothingAssessedError(AnalyticsError, LookupError):
    """There is no such area, or nothing was assessed there in that month; the message says which."""


@dataclass(frozen=True)
class ReportData:
    """The data of an area's monthly report, limited to the sites and links of the directory."""

    area: Area
    month: str
    language: Language
    zone: ZoneInfo
    directory: Directory
    month_assessments: list[Assessment]
    previous_assessments: list[Assessment]
    days: dict[str, dict[int, float]]  # of `item`, by site
    as_of_s: float  # the newest time that the assessments take into account [Unix s]
    newest_s: float  # time of the newest reading of the area within the month [Unix s]
    # Of the area's series up to `as_of_s`, oldest first.
    calibrations: dict[int, list[Calibration]] = field(default_factory=dict)
    # At home in the area, not over before the month, as they were at `as_of_s`, newest opening first.
    incidents: list[Incident] = field(default_factory=list)
    # Of those incidents that were opened in the month, as computed last, by incident.
    traces: dict[int, IncidentTrace] = field(default_factory=dict)
    alarm_performance: AlarmPerformance | None = None  # of the month up to `as_of_s`

    @property
    def month_starts_s(self) -> float:
        """Start of the month in local time [Unix s]."""
        return months.month_bounds(self.month, self.zone)[0]

    @property
    def is_stale(self) -> bool:
        """Whether readings of the month are stored that are more than an hour newer than the assessments."""
        return monthly_assessment.is_stale(self.as_of_s, self.newest_s)

    def assessments_of(self, kind: AssessmentKind, subject_kind: str) -> list[Assessment]:
        """Return the assessments of a kind, of sites, links or areas (``subject_kind``)."""
        return [
            one
            for one in self.month_assessments
            if one.kind == kind and one.subject.startswith(f"{subject_kind}/")
        ]

    def month_before(self, one: Assessment) -> Assessment | None:
        """Return the assessment of the same kind and subject a month before."""
        return next(
            (old for old in self.previous_assessments if (old.kind, old.subject) == (one.kind, one.subject)),
            None,
        )

    def name(self, one: Assessment) -> str:
        """Return the name of an assessment's subject in the report's language."""
        return self.names[one.subject]

    @cached_property
    def names(self) -> dict[str, str]:
        """Name of every subject, in the report's language; that of a link includes its end nodes."""
        language = self.language
        at = {node.node_id: getattr(node, language) for node in self.directory.nodes}
        found = {f"site/{one.site_id}": getattr(one, language) for one in self.directory.sites}
        found |= {f"area/{one.area_id}": getattr(one, language) for one in self.directory.areas}
        for one in self.directory.links:
            ends = " → ".join(at.get(node, node) for node in (one.from_node, one.to_node))
            found[f"link/{one.link_id}"] = f"{getattr(one, language)}: {ends}"
        return found

    @cached_property
    def item(self) -> str | None:
        """The item that decides the class of most rivers; its daily means are drawn."""
        return deciding_item(self.assessments_of("water_class", "site"))


def read_report_data(
    store: Database, directory: Directory, area_id: str, month: str, language: Language
) -> ReportData:
    """Load the data of a report.

    Parameters
    ----------
    directory : the part of the directory that the reader may see

    Raises
    ------
    NothingAssessedError
        If there is no such area, or nothing was assessed.

    """
    area = next((one for one in directory.areas if one.area_id == area_id), None)
    if area is None:
        raise NothingAssessedError(f"there is no area {area_id!r}")
    month_assessments = _assessments_below(store, directory, area_id, month)
    if not month_assessments:
        raise NothingAssessedError(
            f"nothing is assessed of {area_id} in {month}: the service does it where data are"
        )
    as_of_s = min(one.data_to_s for one in month_assessments)
    month_starts_s = months.month_bounds(month, store.zone)[0]
    incidents, alarms = _incidents(store, directory, area_id, month_starts_s, as_of_s)
    return ReportData(
        area=area,
        month=month,
        language=language,
        zone=store.zone,
        directory=directory,
        month_assessments=month_assessments,
        previous_assessments=_assessments_below(store, directory, area_id, months.month_before(month)),
        days=_daily_means(store, directory, month_assessments, (month_starts_s, as_of_s)),
        as_of_s=as_of_s,
        newest_s=_newest(store, directory, area_id, month),
        calibrations=_calibrations(store, directory, area_id, as_of_s),
        incidents=incidents,
        traces=Incidents(store).traces(
            one.incident_id for one in incidents if one.opened_s >= month_starts_s
        ),
        alarm_performance=alarms,
    )


def is_river(section: Assessment) -> bool:
    """Whether a section has the limits of rivers; only such sections share one limit line in a plot."""
    return bool(section.detail["limits"] == "river")


def deciding_item(sections: list[Assessment]) -> str | None:
    """Return the item that decides the class of most rivers, weighted by class squared, or None."""
    votes: dict[str, int] = {}
    for one in filter(is_river, sections):
        for name in one.detail["worst"]:
            if name != gb3838.PH:
                votes[name] = votes.get(name, 0) + (one.class_ or 0) ** 2
    return max(sorted(votes), key=lambda name: votes[name]) if votes else None


def _newest(store: Database, directory: Directory, area_id: str, month: str) -> float:
    """Return the time of the newest reading of an area within a month; the month's start if there is none."""
    areas = areas_below(directory.areas, area_id)
    from_s, to_s = months.month_bounds(month, store.zone)
    site_ids = [one.site_id for one in directory.sites if one.area_id in areas]
    newest_s = Assessments(store).newest_of_sites(site_ids)
    if newest_s is None:
        return from_s
    return min(
        newest_s, time.time() + monthly_assessment.DAY_S, to_s
    )  # readings from the future, by fast clocks, are bounded as in the assessments


def _calibrations(
    store: Database, directory: Directory, area_id: str, as_of_s: float
) -> dict[int, list[Calibration]]:
    """Return the calibrations of an area's series up to a time, oldest first, by series id."""
    areas = areas_below(directory.areas, area_id)
    sites = {one.site_id for one in directory.sites if one.area_id in areas}
    series_ids = [one.series_id for one in directory.series if one.site_id in sites]
    found: dict[int, list[Calibration]] = {}
    for one in MaintenanceLog(store).calibrations(series_ids):
        if one.calibrated_s <= as_of_s:
            found.setdefault(one.series_id, []).append(one)
    return found


def _incidents(
    store: Database, directory: Directory, area_id: str, from_s: float, as_of_s: float
) -> tuple[list[Incident], AlarmPerformance | None]:
    """Return an area's incidents as they were at a time, and the alarm performance up to it."""
    areas = sorted(areas_below(directory.areas, area_id))
    stored = Incidents(store)
    found = [
        _as_of(one, as_of_s)
        for one in stored.found(IncidentQuery(area_ids=areas, to_s=as_of_s, limit=MAX_INCIDENTS))
        if one.area_id in areas and (one.closed_s is None or one.closed_s >= from_s)
    ]
    if not found or as_of_s <= from_s:
        return found, None
    history = stored.history_between(from_s, as_of_s, area_ids=areas, limit=MAX_HISTORY_ROWS)
    return found, alarm_performance(found, history, from_s=from_s, to_s=as_of_s)


def _as_of(one: Incident, as_of_s: float) -> Incident:
    """Return an incident without what happened to it after a time."""
    later = {
        name: None
        for name in ("acknowledged_s", "filed_s", "dispatched_s", "reported_s", "closed_s")
        if (at_s := getattr(one, name)) is not None and at_s > as_of_s
    }
    return msgspec.structs.replace(one, **later) if later else one


def _assessments_below(store: Database, directory: Directory, area_id: str, month: str) -> list[Assessment]:
    sites = {one.site_id for one in directory.sites}
    links = {one.link_id for one in directory.links}
    areas = sorted(areas_below(directory.areas, area_id))
    query = AssessmentQuery(area_ids=areas, from_month=month, to_month=month, limit=None)
    found = [
        one
        for one in Assessments(store).found(query)
        if (one.site_id is None or one.site_id in sites) and (one.link_id is None or one.link_id in links)
    ]
    return sorted(found, key=lambda one: (one.kind, one.subject))


def _daily_means(
    store: Database, directory: Directory, month_assessments: list[Assessment], span: tuple[float, float]
) -> dict[str, dict[int, float]]:
    """Return the daily means of the deciding item at the worst sections (site to day to mean)."""
    sections = [one for one in month_assessments if one.kind == "water_class"]
    item = deciding_item(sections)
    if item is None:
        return {}
    measured = [one for one in sections if is_river(one) and item in one.detail["items"]]
    measured.sort(key=lambda one: (-one.detail["items"][item]["index"], one.subject))
    chosen = [one.site_id for one in measured[:MAX_LINES]]
    series = {
        one.series_id: one.site_id
        for one in directory.series
        if one.quantity == item and one.site_id in chosen
    }
    found: dict[str, dict[int, float]] = {}
    for one in Assessments(store).days(list(series), *span):
        found.setdefault(series[one.series_id], {})[one.day] = one.mean
    return {site: found[site] for site in chosen if site in found}
