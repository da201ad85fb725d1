"""Builds the report section on incidents: response times by priority, and alarm performance."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from analytics.service.reports.blocks import Paragraph, ReportTable, SectionHeading, TableCell
from analytics.service.reports.table_cells import number_cell, percent_cell
from analytics.service.reports.translations import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.report_data import ReportData
    from ingest_service.storage.contract.incidents import Incident

HEADS = ("priority", "number", "open", "to_acknowledge", "to_dispatch", "to_report", "to_close")
PHASES = ("acknowledge", "file", "dispatch", "handle", "verify")
MINUTE_S, HOUR_S = 60.0, 3600.0


def incidents(source: ReportData) -> Iterator[Block]:
    """Yield the section; nothing if no incident was opened in the month."""
    language = source.language
    opened = [one for one in source.incidents if one.opened_s >= source.month_starts_s]
    if not opened:
        return
    yield SectionHeading(translate("incidents", language))
    yield Paragraph(translate("incidents_about", language))
    rows = [
        _row(translate(f"priority_{priority}", language), of_priority, source)
        for priority in range(1, 5)
        if (of_priority := [one for one in opened if one.priority == priority])
    ]
    yield ReportTable(
        [translate(one, language) for one in HEADS],
        [*rows, _row(translate("all", language), opened, source)],
        (16, 10, 10, 16, 16, 16, 16),
    )
    yield from _deadlines(source)
    alarms = source.alarm_performance
    if alarms is not None:
        yield Paragraph(
            translate(
                "alarm_load",
                language,
                day=f"{alarms.per_operator_day:.1f}",
                peak=f"{alarms.peak_10min:.0f}",
                flood=percent_cell(alarms.flood_share, language).text,
                chattering=alarms.chattering,
                stale=alarms.stale,
                standing=alarms.standing,
            )
        )


def _deadlines(source: ReportData) -> Iterator[Block]:
    """Yield each town's share of deadlines that were kept; nothing if no deadline is over."""
    language = source.language
    rows = []
    for one in source.assessments_of("response", "area"):
        # Of a town's platform of an earlier version it has no incidents.
        found: dict[str, Any] = one.detail.get("incidents", {})
        if found and found["deadlines"]["judged"]:
            shares = [found["by_phase"].get(phase, {}).get("in_time") for phase in PHASES]
            rows.append(
                [
                    TableCell(source.name(one)),
                    TableCell(str(found["deadlines"]["judged"])),
                    percent_cell(found["deadlines"]["in_time"], language),
                    *(percent_cell(share, language) for share in shares),
                ]
            )
    if rows:
        yield Paragraph(translate("deadlines_about", language))
        heads = ("town", "deadlines_judged", "kept_all", *(f"kept_{phase}" for phase in PHASES))
        yield ReportTable([translate(one, language) for one in heads], rows, (22, 11, 11, 12, 11, 11, 11, 11))


def _row(name: str, found: Sequence[Incident], source: ReportData) -> list[TableCell]:
    """Return number, open ones, and the median times from opening."""

    def cell(time_of: Callable[[Incident], float | None], unit_s: float) -> TableCell:
        durations_s = [end_s - one.opened_s for one in found if (end_s := time_of(one)) is not None]
        return number_cell(median(durations_s) / unit_s if durations_s else None, source.language, ".1f")

    return [
        TableCell(name),
        TableCell(str(len(found))),
        TableCell(str(sum(one.closed_s is None for one in found))),
        cell(lambda one: one.acknowledged_s, MINUTE_S),
        cell(lambda one: one.dispatched_s, MINUTE_S),
        cell(lambda one: one.reported_s, HOUR_S),
        cell(lambda one: one.closed_s, HOUR_S),
    ]
