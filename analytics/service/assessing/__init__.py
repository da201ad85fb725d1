"""Assessments by month: made where its data changed, the same from the same data (docs/assessments.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.assessing import month as months
from analytics.service.assessing import rules as rule_files
from analytics.service.assessing import sites, towns
from analytics.service.assessing.month import Month
from ingest_service.storage.assessments import Assessments
from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from analytics.service.assessing.rules import Rules
    from analytics.service.settings import Settings
    from ingest_service.storage.assessments import Assessment
    from ingest_service.storage.store import Store


def assess(store: Store, settings: Settings) -> None:
    """The periodic task: look, now and then, at the newest months, and compute those whose data changed."""
    if not isinstance(store, PostgresStore):
        return
    kept = Assessments(store)
    ago_s = kept.checked_ago()
    if ago_s is not None and ago_s < settings.assess_every_s:
        return
    newest_s = kept.newest_measured()
    if newest_s is None:
        return
    rules = rule_files.read(settings.index_file)
    month = months.of_moment(newest_s, store.zone)
    for _ in range(settings.assess_months):
        bring_up_to_date(store, month, rules, newest_s=newest_s)
        month = months.before(month)


def bring_up_to_date(store: PostgresStore, month: str, rules: Rules, *, newest_s: float) -> bool:
    """Compute a month unless it was computed from the very same data; whether it was."""
    kept = Assessments(store)
    from_s, to_s = months.bounds(month, store.zone)
    fingerprint = kept.fingerprint(from_s, to_s, rules.made_by)
    if kept.computed_from(month) == fingerprint:
        kept.checked(month)
        return False
    made = compute(_read(store, month, min(to_s, newest_s)), rules) if newest_s > from_s else []
    kept.keep(month, made, fingerprint)
    return True


def compute(month: Month, rules: Rules) -> list[Assessment]:
    """Everything that is said of a month; nothing of one that has no reading."""
    if not any(one.count for one in month.measured.values()):
        return []
    sections = sites.sections_of(month)
    return [
        *sites.of_sites(month, sections),
        *sites.of_links(month),
        *towns.of_towns(month, sections, rules),
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
