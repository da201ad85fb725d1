"""Reads the inputs of monthly assessments from PostgreSQL, and stores their results (docs/assessments.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.store import Database

AssessmentKind = Literal[
    "water_class", "water_status", "trophic_state", "congestion", "capture", "response", "index"
]
FIRST_DAY_SUFFIX = "-01"


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one kind of assessment of a site, a link or an area in a month.

    ``subject`` is ``site/…``, ``link/…`` or ``area/…``; ``month`` is ``2026-10``, in local time.
    The meaning of ``value`` and ``class_`` depends on ``kind``; ``items`` of ``items_of`` were measured.
    It was computed from ``readings`` readings in ``data_from_s`` to ``data_to_s``, Unix seconds [s].
    """

    assessment_id: int = 0  # given by the database
    kind: AssessmentKind
    subject: str
    area_id: str
    site_id: str | None = None
    link_id: str | None = None
    month: str
    value: float | None = None
    class_: int | None = msgspec.field(default=None, name="class")
    target: int | None = None
    met: bool | None = None
    items: int | None = None
    items_of: int | None = None
    detail: dict[str, Any] = {}
    data_from_s: float
    data_to_s: float
    readings: int
    version: str
    computed_s: float = 0.0  # given by the database


class SeriesMonth(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a series in a time range; mean of good readings in the canonical unit.

    ``first_s`` is the first hour in which the series ever had a reading, Unix seconds [s].
    """

    series_id: int
    count: int
    good: int
    mean: float | None
    first_s: float | None


class TrafficHour(msgspec.Struct, frozen=True, kw_only=True):
    """Hourly mean flow [veh/h] and speed [km/h] of a road site."""

    site_id: str
    time_s: float
    flow: float
    speed: float


class HandledAnomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Times of an anomaly and of the first response to it, Unix seconds [s].

    ``said_s`` is the time of the first feedback that was not withdrawn, or of the acknowledgement, filing or
    dispatch of its incident if that was earlier.
    """

    site_id: str
    detector: str
    severity: int
    start_s: float
    end_s: float | None
    said_s: float | None


class HandledIncident(msgspec.Struct, frozen=True, kw_only=True):
    """Times of an incident's steps, Unix seconds [s]; None: not yet."""

    incident_id: int
    area_id: str
    opened_s: float
    acknowledged_s: float | None
    dispatched_s: float | None
    reported_s: float | None
    closed_s: float | None


class IncidentDeadline(msgspec.Struct, frozen=True, kw_only=True):
    """When a phase of an incident had to be over, and when it was (None: not yet), Unix seconds [s]."""

    incident_id: int
    area_id: str
    phase: str
    due_s: float
    met_s: float | None


class DailyMean(msgspec.Struct, frozen=True, kw_only=True):
    """Mean of a series on a day of the month."""

    series_id: int
    day: int
    mean: float


class AssessmentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter, joined by "and"; months are ``2026-10``; ``after`` is the month and id of the last row."""

    area_ids: list[str] | None = None
    site_id: str | None = None
    kinds: list[str] | None = None
    from_month: str | None = None
    to_month: str | None = None
    after: tuple[str, int] | None = None
    limit: int | None = 10_000  # None: all


class Assessments:
    """Assessments in the database. Methods raise the errors of the store; each is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_measured(self) -> float | None:
        """Return the newest measured time of any reading, Unix seconds [s]."""
        return self._number("newest_measured", None)

    def newest_of_sites(self, site_ids: Sequence[str]) -> float | None:
        """When anything was measured last at some sites, Unix seconds [s]."""
        return self._number("newest_of_sites", {"site_ids": list(site_ids)})

    def assessed_until(self, month: str) -> float | None:
        """The newest moment that the assessments of a month take into account, Unix seconds [s]."""
        return self._number("assessed_until", {"month": month + FIRST_DAY_SUFFIX})

    def seconds_since_check(self) -> float | None:
        """Return the time since any month was last checked [s]; None if none ever was."""
        return self._number("assessed_checked", None)

    def fingerprint(self, from_s: float, to_s: float, made_by: str) -> str:
        """Return a text that changes when the inputs of the assessments in a time range change."""
        parameters = {"from_s": from_s, "to_s": to_s, "made_by": made_by}
        with self._database.transaction() as connection:
            return str((connection.execute(QUERIES["month_fingerprint"], parameters).fetchone() or ("",))[0])

    def computed_from(self, month: str) -> str | None:
        """Return the fingerprint that a month was last computed from; None if it never was."""
        with self._database.transaction() as connection:
            found = connection.execute(
                QUERIES["assessed_fingerprint"], {"month": month + FIRST_DAY_SUFFIX}
            ).fetchone()
        return None if found is None else str(found[0])

    def mark_checked(self, month: str) -> None:
        """Record that a month was checked and is up to date."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["assessed_again"], {"month": month + FIRST_DAY_SUFFIX})

    def series(self, from_s: float, to_s: float) -> list[SeriesMonth]:
        """Return the totals of every series in a time range, from the hourly rollup."""
        return self._rows("month_series", {"from_s": from_s, "to_s": to_s}, SeriesMonth)

    def traffic(self, from_s: float, to_s: float) -> list[TrafficHour]:
        """Return the hours of road sites that have both a good flow and a good speed."""
        return self._rows("month_traffic", {"from_s": from_s, "to_s": to_s}, TrafficHour)

    def handled_anomalies(self, from_s: float, to_s: float) -> list[HandledAnomaly]:
        """Return the anomalies that started in a time range and were not withdrawn."""
        return self._rows("month_anomalies", {"from_s": from_s, "to_s": to_s}, HandledAnomaly)

    def handled_incidents(self, from_s: float, to_s: float) -> list[HandledIncident]:
        """Return the incidents that were opened in a time range, without those merged into others."""
        return self._rows("month_incidents", {"from_s": from_s, "to_s": to_s}, HandledIncident)

    def incident_deadlines(self, from_s: float, to_s: float) -> list[IncidentDeadline]:
        """Return the deadlines of the incidents of `handled_incidents`."""
        return self._rows("month_deadlines", {"from_s": from_s, "to_s": to_s}, IncidentDeadline)

    def days(self, series_ids: Sequence[int], from_s: float, to_s: float) -> list[DailyMean]:
        """Return the daily means of some series, by local day."""
        parameters = {
            "series_ids": list(series_ids),
            "from_s": from_s,
            "to_s": to_s,
            "zone": self._database.zone.key,
        }
        return self._rows("days_of_series", parameters, DailyMean)

    def replace_month(self, month: str, assessments: Sequence[Assessment], fingerprint: str) -> None:
        """Replace the assessments of a month; unchanged ones keep their time and id."""
        kept_subjects = [f"{one.kind} {one.subject}" for one in assessments]
        with self._database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                QUERIES["forget_assessments"], {"month": month + FIRST_DAY_SUFFIX, "kept": kept_subjects}
            )
            if assessments:
                cursor.executemany(
                    QUERIES["upsert_assessment"], [_assessment_row(one) for one in assessments]
                )
            cursor.execute(
                QUERIES["assessed"], {"month": month + FIRST_DAY_SUFFIX, "fingerprint": fingerprint}
            )

    def found(self, query: AssessmentQuery) -> list[Assessment]:
        """Return assessments by filter, newest month first."""
        after_month, after_id = query.after or (None, None)
        parameters = msgspec.structs.asdict(query) | {
            "from_month": _first_day(query.from_month),
            "to_month": _first_day(query.to_month),
            "after_month": _first_day(after_month),
            "after_id": after_id,
        }
        return self._rows("assessments", parameters, Assessment)

    def _rows(self, query: str, parameters: Any, kind: type[Any]) -> list[Any]:
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, query, parameters, kind)

    def _number(self, query: str, parameters: Any) -> float | None:
        with self._database.transaction() as connection:
            found = connection.execute(QUERIES[query], parameters).fetchone()
        return None if found is None or found[0] is None else float(found[0])


def _assessment_row(one: Assessment) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(one)
    return row | {"detail": Jsonb(row["detail"]), "month": one.month + FIRST_DAY_SUFFIX}


def _first_day(month: str | None) -> str | None:
    return None if month is None else month + FIRST_DAY_SUFFIX
