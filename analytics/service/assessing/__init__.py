"""Makes monthly assessments again where their data changed (docs/assessments.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from analytics.service import items
from analytics.service.assessing import month as months
from analytics.service.assessing import rules as rule_files
from analytics.service.assessing import sites, towns
from analytics.service.assessing.month import Month
from analytics.service.items import Items
from analytics.service.turn import ENDLESS
from ingest_service.storage.assessments import Assessments
from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from analytics.service.assessing.rules import Rules
    from analytics.service.settings import Settings
    from analytics.service.turn import Turn
    from ingest_service.storage.assessments import Assessment
    from ingest_service.storage.store import Store

DAY_S = 86_400.0
STALE_S = 3_600.0  # a rollup has hours: what is newer by less shows in no assessment
STALE_LOOK_S = 45.0  # with the service's period, a stale month is assessed again within a minute
INCOMPLETE = "incomplete/"  # before a fingerprint: the month is computed again at the next look

_waiting: WeakKeyDictionary[Store, list[str]] = WeakKeyDictionary()


def assess(store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
    """The periodic task: look, now and then, at the newest months, and compute those whose data changed.

    Months that a turn has no time for come first in the next one. What is measured in the future, by a clock
    that is wrong, is of no month. While the newest reading lies more than an hour beyond the assessments of
    its month, the months are looked at again within a minute.
    """
    if not isinstance(store, PostgresStore):
        return
    kept, each = Assessments(store), items.of(store, "assess")
    newest_s = kept.newest_measured()
    if newest_s is None:
        return
    newest_s = min(newest_s, time.time() + DAY_S)
    waiting = _waiting.setdefault(store, [])
    if not waiting:
        ago_s = kept.checked_ago()
        if ago_s is not None and ago_s < _look_every_s(store, settings, newest_s):
            return
        waiting += _newest(months.of_moment(newest_s, store.zone), settings.assess_months)
    rules = rule_files.read(settings.index_file)
    while waiting and not turn.over:
        month = waiting.pop(0)
        if not each.is_put_off(month):
            with each.isolated(month):
                bring_up_to_date(store, month, rules, newest_s=newest_s)


def is_stale(assessed_until_s: float, newest_s: float) -> bool:
    """Whether the newest reading lies so far beyond an assessment that its numbers are out of date."""
    return newest_s - assessed_until_s > STALE_S


def _look_every_s(store: PostgresStore, settings: Settings, newest_s: float) -> float:
    """How long to wait between two looks [s]: shorter while the current month is stale."""
    month = months.of_moment(newest_s, store.zone)
    until_s = Assessments(store).assessed_until(month)
    if until_s is None:
        until_s = months.bounds(month, store.zone)[0]
    return (
        min(settings.assess_every_s, STALE_LOOK_S) if is_stale(until_s, newest_s) else settings.assess_every_s
    )


def _newest(month: str, n: int) -> list[str]:
    """So many months, the newest first."""
    found = [month]
    while len(found) < n:
        found.append(months.before(found[-1]))
    return found


def bring_up_to_date(store: PostgresStore, month: str, rules: Rules, *, newest_s: float) -> bool:
    """Compute a month unless it was computed from the very same data; whether it was."""
    kept = Assessments(store)
    from_s, to_s = months.bounds(month, store.zone)
    fingerprint = kept.fingerprint(from_s, to_s, rules.made_by)
    if kept.computed_from(month) == fingerprint:
        kept.checked(month)
        return False
    faults = Items("assess")
    made = compute(_read(store, month, min(to_s, newest_s)), rules, faults) if newest_s > from_s else []
    kept.keep(month, made, INCOMPLETE + fingerprint if faults.all_failed() else fingerprint)
    return True


def compute(month: Month, rules: Rules, faults: Items | None = None) -> list[Assessment]:
    """Everything that is said of a month; nothing of one that has no reading.

    A site, link or town that can't be assessed is left out, and noted in ``faults``.
    """
    faults = faults or Items("assess")
    if not any(one.count for one in month.measured.values()):
        return []
    sections = sites.sections_of(month, faults)
    return [
        *sites.of_sites(month, sections, faults),
        *sites.of_links(month, faults),
        *towns.of_towns(month, sections, rules, faults),
    ]


def _read(store: PostgresStore, name: str, until_s: float) -> Month:
    kept = Assessments(store)
    from_s, to_s = months.bounds(name, store.zone)
    return Month(
        name=name,
        from_s=from_s,
        to_s=until_s,
        directory=store.directory(),
        measured={one.series_id: one for one in kept.series(from_s, to_s)},
        hours=kept.traffic(from_s, to_s),
        spans=kept.spans(from_s, to_s),
    )
