"""Renders the monthly report of an area in Chinese or English, as HTML or PDF (docs/assessments.md)."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection
    from zoneinfo import ZoneInfo

    from analytics.service.placement_report import PlacementReport
    from analytics.service.reports.translations import Language
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Database

Format = Literal["html", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
_PLOT_LOCK = Lock()  # Matplotlib is not thread-safe


def render_report(
    store: Database,
    directory: Directory,
    area_id: str,
    month: str,
    *,
    language: Language,
    form: Format,
) -> bytes:
    """Return the report of an area's month; the same inputs give the same bytes.

    Parameters
    ----------
    directory : the part of the directory that the reader may see; the report is limited to it
    month : ``2026-10``

    Raises
    ------
    analytics.service.reports.report_data.NothingAssessedError
        If there is no such area, or nothing was assessed there in that month.
    analytics.service.reports.errors.MissingExtraError
        If the extra ``reports`` is not installed.

    """
    # Imported here, so that importing the constants above does not load the plotting and PDF libraries.
    from analytics.service.reports import content, html, pdf, report_data  # noqa: PLC0415

    data = report_data.read_report_data(store, directory, area_id, month, language)
    with _PLOT_LOCK:
        report = content.build_report(data)
        return html.render_html(report) if form == "html" else pdf.render_pdf(report)


def render_placement(
    directory: Directory,
    placed: PlacementReport,
    *,
    zone: ZoneInfo,
    now_s: float,
    language: Language,
    form: Format,
    area_ids: Collection[str] | None = None,
) -> bytes:
    """Return the report on the placement of sensors, made at a time [Unix s], with a map of the areas.

    Raises `analytics.service.reports.errors.MissingExtraError` if the extra ``reports`` is not installed.
    """
    from analytics.service.reports import html, pdf, placement_content  # noqa: PLC0415 - as above

    with _PLOT_LOCK:
        report = placement_content.build_placement_report(
            directory, placed, language, zone=zone, now_s=now_s, area_ids=area_ids
        )
        return html.render_html(report) if form == "html" else pdf.render_pdf(report)
