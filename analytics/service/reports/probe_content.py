"""Builds the report section on calibrated probes: last calibration, its error, drift and due date."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from analytics.service.probe_reports import drift_of
from analytics.service.reports.blocks import Paragraph, ReportTable, SectionHeading, TableCell
from analytics.service.reports.table_cells import missing_value_text
from analytics.service.reports.translations import translate
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.report_data import ReportData
    from ingest_service.storage.contract.models import Series
    from ingest_service.storage.postgres.maintenance import Calibration

HEADS = ("site", "quantity", "calibrated", "calibrations", "error", "drift", "due")


def calibrations(source: ReportData) -> Iterator[Block]:
    """Yield the section; nothing if no probe was calibrated up to the time of the assessments."""
    language = source.language
    series = [one for one in source.directory.series if source.calibrations.get(one.series_id)]
    if not series:
        return
    series.sort(key=lambda one: (one.site_id, one.quantity))
    yield SectionHeading(translate("probes", language))
    yield Paragraph(translate("probes_about", language))
    yield ReportTable(
        [translate(one, language) for one in HEADS],
        [_row(source, one, source.calibrations[one.series_id]) for one in series],
        (27, 15, 11, 9, 14, 14, 14),
    )


def _row(source: ReportData, series: Series, stored: Sequence[Calibration]) -> list[TableCell]:
    """Return the row of a probe, with its calibrations up to the time of the assessments, oldest first."""
    language, quantity = source.language, QUANTITIES[series.quantity]
    last, drift = stored[-1], drift_of(stored, series.quantity)
    rate, due = missing_value_text(language), missing_value_text(language)
    if drift is not None:
        if drift.per_week is not None:
            rate = f"{drift.per_week:+.3g} {quantity.unit}"
        due = f"{datetime.fromtimestamp(drift.due_s, source.zone):%Y-%m-%d}"
        if drift.due_s < source.as_of_s:
            due = translate("overdue", language, day=due)
    in_month = sum(one.calibrated_s >= source.month_starts_s for one in stored)
    return [
        TableCell(source.names[f"site/{series.site_id}"]),
        TableCell(getattr(quantity, language)),
        TableCell(f"{datetime.fromtimestamp(last.calibrated_s, source.zone):%Y-%m-%d}"),
        TableCell(f"{in_month}"),
        TableCell(f"{last.before - last.reference:+.3g} → {last.after - last.reference:+.3g}"),
        TableCell(rate),
        TableCell(due),
    ]
