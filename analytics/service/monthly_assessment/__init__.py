"""Periodic task that computes the monthly assessments again when their data changed (docs/assessments.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from analytics.service.item_backoff import ItemBackoff
from analytics.service.monthly_assessment import index_weights, site_assessments, town_assessments
from analytics.service.monthly_assessment import month_data as months
from analytics.service.monthly_assessment.month_data import MonthData
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.postgres.assessments import Assessments

if TYPE_CHECKING:
    from analytics.service.monthly_assessment.index_weights import IndexRules
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.store import Database, Store
    from ingest_service.storage.postgres.assessments import Assessment

DAY_S = 86_400.0
STALE_S = 3_600.0  # rollups are hourly: newer readings within an hour do not change an assessment
STALE_LOOK_S = 45.0  # with the service's period, a stale month is assessed again within a minute
INCOMPLETE_PREFIX = "incomplete/"  # before a fingerprint: the month is computed again at the next check


def assess(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Check the newest months at intervals, and compute those whose data changed.

    Months that a turn has no time for come first in the next one. Readings measured in the future, by a wrong
    clock, belong to no month. While the newest reading is more than an hour newer than its month's
    assessments, the months are checked again within a minute.
    """
    database = store.database
    if database is None:
        return
    service_state = service_state or ServiceState()
    assessment_store, month_backoff = Assessments(database), service_state.backoff("assess")
    newest_s = assessment_store.newest_measured()
    if newest_s is None:
        return
    newest_s = min(newest_s, time.time() + DAY_S)
    pending = service_state.pending_months
    if not pending:
        checked_ago_s = assessment_store.seconds_since_check()
        if checked_ago_s is not None and checked_ago_s < _look_every_s(database, settings, newest_s):
            return
        pending += _newest_months(months.month_at(newest_s, store.zone), settings.assess_months)
    rules = index_weights.read_index_rules(settings.index_file)
    while pending and not time_slice.is_over:
        month = pending.pop(0)
        if not month_backoff.is_deferred(month):
            with month_backoff.isolate(month):
                bring_up_to_date(database, month, rules, newest_s=newest_s)


def is_stale(assessed_until_s: float, newest_s: float) -> bool:
    """Whether the newest reading is so much newer than an assessment that the assessment is out of date."""
    return newest_s - assessed_until_s > STALE_S


def _look_every_s(store: Database, settings: Settings, newest_s: float) -> float:
    """Return the time between two checks [s]: shorter while the current month is stale."""
    month = months.month_at(newest_s, store.zone)
    until_s = Assessments(store).assessed_until(month)
    if until_s is None:
        until_s = months.month_bounds(month, store.zone)[0]
    return (
        min(settings.assess_every_s, STALE_LOOK_S) if is_stale(until_s, newest_s) else settings.assess_every_s
    )


def _newest_months(month: str, n: int) -> list[str]:
    """Return ``month`` and those before it, ``n`` in all, newest first."""
    months_found = [month]
    while len(months_found) < n:
        months_found.append(months.month_before(months_found[-1]))
    return months_found


def bring_up_to_date(store: Database, month: str, rules: IndexRules, *, newest_s: float) -> bool:
    """Compute a month unless it was computed from the same data; return whether it was computed now."""
    assessment_store = Assessments(store)
    from_s, to_s = months.month_bounds(month, store.zone)
    fingerprint = assessment_store.fingerprint(from_s, to_s, rules.version_text)
    if assessment_store.computed_from(month) == fingerprint:
        assessment_store.mark_checked(month)
        return False
    faults = ItemBackoff("assess")
    computed = (
        compute_assessments(_read_month(store, month, min(to_s, newest_s)), rules, faults)
        if newest_s > from_s
        else []
    )
    assessment_store.replace_month(
        month, computed, INCOMPLETE_PREFIX + fingerprint if faults.failed_items() else fingerprint
    )
    return True


def compute_assessments(
    month: MonthData, rules: IndexRules, faults: ItemBackoff | None = None
) -> list[Assessment]:
    """Return all assessments of a month; none for a month without readings.

    A site, link or town that can't be assessed is left out, and recorded in ``faults``.
    """
    faults = faults or ItemBackoff("assess")
    if not any(one.count for one in month.measured.values()):
        return []
    sections = site_assessments.assess_sections(month, faults)
    return [
        *site_assessments.assess_sites(month, sections, faults),
        *site_assessments.assess_links(month, faults),
        *town_assessments.assess_towns(month, sections, rules, faults),
    ]


def _read_month(store: Database, name: str, until_s: float) -> MonthData:
    assessment_store = Assessments(store)
    from_s, to_s = months.month_bounds(name, store.zone)
    return MonthData(
        name=name,
        from_s=from_s,
        to_s=until_s,
        directory=store.directory().valid_at(min(until_s, to_s - 1.0)),
        measured={one.series_id: one for one in assessment_store.series(from_s, to_s)},
        hours=assessment_store.traffic(from_s, to_s),
        handled_anomalies=assessment_store.handled_anomalies(from_s, to_s),
        handled_incidents=assessment_store.handled_incidents(from_s, to_s),
        incident_deadlines=assessment_store.incident_deadlines(from_s, to_s),
    )
