"""Assessments in the database: what they are made from, and what was made (docs/assessments.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage import reading
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.postgres import PostgresStore

Kind = Literal["water_class", "water_status", "trophic_state", "congestion", "capture", "response", "index"]
FIRST = "-01"


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What a site, a link or a town was in a month.

    ``subject`` is ``site/…``, ``link/…`` or ``area/…``; ``month`` is ``2026-10`` by the towns' clocks.
    ``value`` and ``class_`` mean what the kind says; ``items`` of ``items_of`` were measured.
    ``data_from_s``, ``data_to_s`` and ``readings`` are what it was computed from.
    """

    assessment_id: int = 0  # given by the database
    kind: Kind
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
    """A series over a time; mean of good readings in the canonical unit, and the first hour it ever had."""

    series_id: int
    count: int
    good: int
    mean: float | None
    first_s: float | None


class TrafficHour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour of a road site [veh/h], [km/h]."""

    site_id: str
    time_s: float
    flow: float
    speed: float


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """An anomaly, as far as its handling goes; ``said_s`` is the first feedback that stands."""

    site_id: str
    detector: str
    severity: int
    start_s: float
    end_s: float | None
    said_s: float | None


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A series on a day of its month."""

    series_id: int
    day: int
    mean: float


class AssessmentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters, joined by "and"; months are ``2026-10``; ``after`` is the last row's month and id."""

    area_ids: list[str] | None = None
    site_id: str | None = None
    kinds: list[str] | None = None
    from_month: str | None = None
    to_month: str | None = None
    after: tuple[str, int] | None = None
    limit: int = 10_000


class Assessments:
    """Assessments of a store. Every method raises as the store's do; each is one transaction."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def newest_measured(self) -> float | None:
        """When anything was measured last, Unix seconds [s]."""
        return self._number("newest_measured", None)

    def newest_of_sites(self, site_ids: Sequence[str]) -> float | None:
        """When anything was measured last at some sites, Unix seconds [s]."""
        return self._number("newest_of_sites", {"site_ids": list(site_ids)})

    def assessed_until(self, month: str) -> float | None:
        """The newest moment that the assessments of a month take into account, Unix seconds [s]."""
        return self._number("assessed_until", {"month": month + FIRST})

    def checked_ago(self) -> float | None:
        """How long ago any month was last looked at [s]; None where none ever was."""
        return self._number("assessed_checked", None)

    def fingerprint(self, from_s: float, to_s: float, made_by: str) -> str:
        """What the assessments of a time are made from, as one text."""
        parameters = {"from_s": from_s, "to_s": to_s, "made_by": made_by}
        with self._store.transaction() as connection:
            return str((connection.execute(QUERIES["month_fingerprint"], parameters).fetchone() or ("",))[0])

    def computed_from(self, month: str) -> str | None:
        """The fingerprint that a month was last computed from."""
        with self._store.transaction() as connection:
            found = connection.execute(QUERIES["assessed_fingerprint"], {"month": month + FIRST}).fetchone()
        return None if found is None else str(found[0])

    def checked(self, month: str) -> None:
        """A month was looked at, and is as it was."""
        with self._store.transaction() as connection:
            connection.execute(QUERIES["assessed_again"], {"month": month + FIRST})

    def series(self, from_s: float, to_s: float) -> list[SeriesMonth]:
        """Every series over a time, from the rollup of an hour."""
        return self._rows("month_series", {"from_s": from_s, "to_s": to_s}, SeriesMonth)

    def traffic(self, from_s: float, to_s: float) -> list[TrafficHour]:
        """Hours of road sites with a good flow and a good speed."""
        return self._rows("month_traffic", {"from_s": from_s, "to_s": to_s}, TrafficHour)

    def spans(self, from_s: float, to_s: float) -> list[Span]:
        """Anomalies that began in a time and were not withdrawn."""
        return self._rows("month_anomalies", {"from_s": from_s, "to_s": to_s}, Span)

    def days(self, series_ids: Sequence[int], from_s: float, to_s: float) -> list[Day]:
        """Some series by local day."""
        parameters = {
            "series_ids": list(series_ids),
            "from_s": from_s,
            "to_s": to_s,
            "zone": self._store.zone.key,
        }
        return self._rows("days_of_series", parameters, Day)

    def keep(self, month: str, made: Sequence[Assessment], fingerprint: str) -> None:
        """Put what was made in place of what a month had; what is as it was keeps its time and id."""
        kept = [f"{one.kind} {one.subject}" for one in made]
        with self._store.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(QUERIES["forget_assessments"], {"month": month + FIRST, "kept": kept})
            if made:
                cursor.executemany(QUERIES["upsert_assessment"], [_row(one) for one in made])
            cursor.execute(QUERIES["assessed"], {"month": month + FIRST, "fingerprint": fingerprint})

    def found(self, query: AssessmentQuery) -> list[Assessment]:
        """Assessments by filter, newest month first."""
        after_month, after_id = query.after or (None, None)
        parameters = msgspec.structs.asdict(query) | {
            "from_month": _first_day(query.from_month),
            "to_month": _first_day(query.to_month),
            "after_month": _first_day(after_month),
            "after_id": after_id,
        }
        return self._rows("assessments", parameters, Assessment)

    def _rows(self, query: str, parameters: Any, kind: type[Any]) -> list[Any]:
        with self._store.transaction() as connection:
            return reading.rows(connection, query, parameters, kind)

    def _number(self, query: str, parameters: Any) -> float | None:
        with self._store.transaction() as connection:
            found = connection.execute(QUERIES[query], parameters).fetchone()
        return None if found is None or found[0] is None else float(found[0])


def _row(one: Assessment) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(one)
    return row | {"detail": Jsonb(row["detail"]), "month": one.month + FIRST}


def _first_day(month: str | None) -> str | None:
    return None if month is None else month + FIRST
