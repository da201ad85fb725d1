"""Builds an area's monthly report as blocks: river sections, lakes, roads, data capture, missing data."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from analytics.assessments import gb3838
from analytics.service.reports import incident_content, map_content, plots, probe_content, town_content
from analytics.service.reports.blocks import (
    Figure,
    MonthlyReport,
    Notice,
    Paragraph,
    ReportTable,
    SectionHeading,
    TableCell,
)
from analytics.service.reports.table_cells import (
    class_cell,
    missing_value_text,
    number_cell,
    pale_colour,
    percent_cell,
    table_or_text,
)
from analytics.service.reports.translations import SEPARATOR, join_texts, translate
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.report_data import ReportData
    from ingest_service.storage.postgres.assessments import Assessment


def build_report(source: ReportData) -> MonthlyReport:
    """Build the report of an area's month."""
    language = source.language
    year, number_ = (int(part) for part in source.month.split("-"))
    month = translate("month", language, year=year, number=number_)
    first = source.month_assessments[0]
    begin, end, newest = (
        datetime.fromtimestamp(one, source.zone).strftime("%Y-%m-%d %H:%M")
        for one in (first.data_from_s, source.as_of_s, source.newest_s)
    )
    stale = [Notice(translate("stale", language, end=end, newest=newest))] if source.is_stale else []
    readings_received = sum(one.readings for one in source.assessments_of("capture", "site"))
    return MonthlyReport(
        title=translate("title", language, area=getattr(source.area, language), month=month),
        subtitle=translate(
            "under", language, begin=begin, end=end, readings=f"{readings_received:,}", version=first.version
        ),
        language=language,
        data_until_s=source.as_of_s,
        blocks=[
            *stale,
            *town_content.summary(source),
            *map_content.maps(source),
            *_sections(source),
            *town_content.water(source),
            *_lakes(source),
            *_roads(source),
            *_capture(source),
            *probe_content.calibrations(source),
            *town_content.anomalies(source),
            *incident_content.incidents(source),
            *town_content.ranking(source),
            *_unmeasured(source),
        ],
    )


def _sections(source: ReportData) -> Iterator[Block]:
    sections, language = source.assessments_of("water_class", "site"), source.language
    if not sections:
        return
    yield SectionHeading(translate("water", language))
    yield Paragraph(translate("partial", language))
    heads = ("section", "items", "target", "class", "before", "keeps", "worst", "main", "cwqi")
    yield ReportTable(
        [translate(one, language) for one in heads],
        [_section_row(source, one) for one in sections],
        (22, 9, 7, 9, 9, 6, 15, 16, 7),
    )
    rows = []
    for one in sections:
        old = source.month_before(one)
        rows.append((source.name(one), one.class_, old.class_ if old else None, one.target))
    for part in plots.split_rows(rows):
        yield Figure(plots.draw_classes(part, language), translate("picture_classes", language))
    if source.item and source.days:
        quantity = QUANTITIES[source.item]
        limit = gb3838.RIVER[source.item].limits[gb3838.CLASS_III - 1]
        lines = {source.names[f"site/{site}"]: days for site, days in source.days.items()}
        caption = translate("picture_days", language, item=getattr(quantity, language), unit=quantity.unit)
        yield Figure(plots.draw_daily_means(lines, limit, quantity.unit, language), caption)


def _section_row(source: ReportData, one: Assessment) -> list[TableCell]:
    language, old = source.language, source.month_before(one)
    return [
        TableCell(source.name(one)),
        TableCell(translate("items_of", language, n=one.items, all=one.items_of)),
        TableCell(translate(f"class_{one.target}", language) if one.target else translate("none", language)),
        class_cell(one.class_, language),
        class_cell(old.class_ if old else None, language),
        TableCell(translate("none" if one.met is None else "yes" if one.met else "no", language)),
        TableCell(
            join_texts(one.detail["worst"], language)
            if (one.class_ or 0) > 1
            else translate("none", language)
        ),
        TableCell(
            SEPARATOR[language].join(_pollutant(one, name, source) for name in one.detail["main"])
            or missing_value_text(language)
        ),
        number_cell(one.value, language, ".2f"),
    ]


def _pollutant(one: Assessment, name: str, source: ReportData) -> str:
    exceeds = one.detail["items"][name]["exceeds"]
    language = translate(name, source.language)
    return language if exceeds is None else f"{language} ({exceeds:.2f})"


def _lakes(source: ReportData) -> Iterator[Block]:
    lakes, language = source.assessments_of("trophic_state", "site"), source.language
    if lakes:
        yield SectionHeading(translate("lakes", language))
        yield ReportTable(
            [translate(one, language) for one in ("section", "items", "tli", "status", "before")],
            [
                [
                    TableCell(source.name(one)),
                    TableCell(translate("items_of", language, n=one.items, all=one.items_of)),
                    number_cell(one.value, language, ".1f"),
                    TableCell(translate(f"trophic_{one.class_}", language)),
                    number_cell(old.value if (old := source.month_before(one)) else None, language, ".1f"),
                ]
                for one in lakes
            ],
            (34, 16, 14, 22, 14),
        )


def _roads(source: ReportData) -> Iterator[Block]:
    links, language = (
        [one for one in source.assessments_of("congestion", "link") if one.value is not None],
        source.language,
    )
    if not links:
        return
    yield SectionHeading(translate("roads", language))
    yield Paragraph(translate("roads_about", language))
    heads = ("link", "level", "tti", "before", "speed", "delay", "congested", "worst_hour")
    yield ReportTable(
        [translate(one, language) for one in heads],
        [_link_row(source, one) for one in links],
        (30, 9, 8, 7, 12, 9, 9, 16),
    )
    rows = [(source.name(one), one.detail["hours_by_level"]) for one in links]
    for part in plots.split_rows(rows):
        yield Figure(plots.draw_congestion_levels(part, language), translate("picture_roads", language))


def _link_row(source: ReportData, one: Assessment) -> list[TableCell]:
    language, detail, old = source.language, one.detail, source.month_before(one)
    worst = detail["worst_hour"]
    at = datetime.fromtimestamp(worst["time_s"], source.zone).strftime("%m-%d %H:00")
    hours = detail["hours_by_level"]
    return [
        TableCell(source.name(one)),
        TableCell(
            translate(f"level_{one.class_}", language), pale_colour(plots.LEVEL_FILLS[(one.class_ or 1) - 1])
        ),
        number_cell(one.value, language, ".2f"),
        number_cell(old.value if old else None, language, ".2f"),
        TableCell(f"{detail['speed_km_h']:.0f} / {detail['free_km_h']:.0f}"),
        number_cell(detail["delay_vehicle_h"], language, ",.0f"),
        percent_cell(sum(hours[2:]) / sum(hours), language),
        TableCell(f"{at}, {worst['speed_km_h']:.0f} km/h"),
    ]


def _capture(source: ReportData) -> Iterator[Block]:
    language = source.language
    yield SectionHeading(translate("capture", language))
    yield Paragraph(translate("capture_about", language))
    heads = ("site", "expected", "come", "rate_capture", "before", "rate_validity")
    rows = []
    for one in source.assessments_of("capture", "site"):
        old = source.month_before(one)
        rows.append(
            [
                TableCell(source.name(one)),
                TableCell(f"{one.detail['expected']:,}"),
                TableCell(f"{one.detail['come']:,}"),
                percent_cell(one.value, language),
                percent_cell(old.value if old else None, language),
                percent_cell(one.detail["validity"], language),
            ]
        )
    yield table_or_text(
        ReportTable([translate(one, language) for one in heads], rows, (40, 12, 12, 12, 12, 12)),
        "empty_capture",
        language,
    )


def _unmeasured(source: ReportData) -> Iterator[Block]:
    """Yield the section on what is not measured."""
    language = source.language
    sections = source.assessments_of("water_class", "site")
    yield SectionHeading(translate("missing", language))
    if sections:
        measured = {name for one in sections for name in one.detail["items"]}
        absent = [name for name in gb3838.RIVER if name not in measured]
        yield Paragraph(translate("missing_items", language, items=join_texts(absent, language)))
    silent: dict[str, list[Assessment]] = {
        "missing_nothing": [one for one in sections if one.class_ is None],
        "missing_links": [one for one in source.assessments_of("congestion", "link") if one.value is None],
        "missing_sites": [one for one in source.assessments_of("capture", "site") if not one.readings],
    }
    for key, ones in silent.items():
        if ones:
            names = SEPARATOR[language].join(source.name(one) for one in ones)
            yield Paragraph(
                translate(
                    key, language, **{key.removeprefix("missing_").replace("nothing", "sections"): names}
                )
            )
    if not source.previous_assessments:
        yield Paragraph(translate("missing_before", language))
    yield Paragraph(translate("missing_sources", language))
