"""Builds the report sections about towns: summary, water status, anomalies, index and ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics.service.reports.blocks import Paragraph, ReportTable, SectionHeading, TableCell
from analytics.service.reports.table_cells import missing_value_text, number_cell, percent_cell, table_or_text
from analytics.service.reports.translations import SEPARATOR, detector_name, join_texts, translate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.report_data import ReportData
    from ingest_service.storage.postgres.assessments import Assessment


def summary(source: ReportData) -> Iterator[Block]:
    """Yield the summary section: some sentences for each town."""
    language = source.language
    yield SectionHeading(translate("summary", language))
    towns = source.assessments_of("index", "area")
    if not towns:
        yield Paragraph(translate("empty_summary", language))
    for town in towns:
        own_assessments = {one.kind: one for one in source.month_assessments if one.subject == town.subject}
        sentences = (
            " ".join(_summary_sentences(own_assessments, source))
            if language == "en"
            else "".join(_summary_sentences(own_assessments, source))
        )
        begin = f"{source.name(town)}: " if language == "en" else f"{source.name(town)}："
        yield Paragraph(begin + sentences)


def _summary_sentences(own_assessments: dict[Any, Assessment], source: ReportData) -> Iterator[str]:
    language = source.language
    if (water_ := own_assessments.get("water_status")) is not None:
        detail = water_.detail
        yield translate(
            "summary_water",
            language,
            assessed=detail["assessed"],
            sections=detail["sections"],
            good=sum(detail["classes"][:3]),
            met=detail["met"],
            targets=detail["with_target"],
        )
    if (roads := own_assessments.get("congestion")) is not None and roads.value is not None:
        level = translate(f"level_{roads.class_}", language)
        yield translate("summary_roads", language, tti=f"{roads.value:.2f}", level=level)
    capture = own_assessments["capture"]
    yield translate(
        "summary_capture",
        language,
        capture=percent_cell(capture.value, language).text,
        validity=percent_cell(capture.detail["validity"], language).text,
    )
    response = own_assessments["response"].detail
    yield translate("summary_anomalies", language, n=response["anomalies"], open=response["is_open"])
    index = own_assessments["index"]
    if index.value is not None:
        ranked = index.detail["ranked"]
        yield translate(
            "summary_index", language, value=f"{index.value:.1f}", rank=index.class_, ranked=ranked
        )


def water(source: ReportData) -> Iterator[Block]:
    """Yield the section on the water status of each town as a whole."""
    towns, language = source.assessments_of("water_status", "area"), source.language
    if not towns:
        return
    yield SectionHeading(translate("towns_water", language))
    yield ReportTable(
        [
            translate(one, language)
            for one in ("town", "status", "before", "share_good", "share_met", "main", "rank_cwqi")
        ],
        [_water_row(source, one) for one in towns],
        (24, 13, 13, 10, 10, 16, 14),
    )
    shared = towns[0].detail["shared_items"]
    yield Paragraph(translate("shared", language, items=join_texts(shared, language)))


def _water_row(source: ReportData, one: Assessment) -> list[TableCell]:
    language, detail, old = source.language, one.detail, source.month_before(one)
    rank = missing_value_text(language)
    if detail["rank"] is not None:
        rank = f"{detail['shared_index']:.2f} ({detail['rank']}/{detail['ranked']})"
    return [
        TableCell(source.name(one)),
        TableCell(
            missing_value_text(language)
            if one.class_ is None
            else translate(f"status_{one.class_}", language)
        ),
        TableCell(
            translate(f"status_{old.class_}", language)
            if old and old.class_
            else missing_value_text(language)
        ),
        TableCell(f"{sum(detail['classes'][:3])} / {detail['assessed']}"),
        TableCell(f"{detail['met']} / {detail['with_target']}"),
        TableCell(join_texts(detail["main"], language)),
        TableCell(rank),
    ]


def anomalies(source: ReportData) -> Iterator[Block]:
    """Yield the section on each town's anomalies by detector, their duration and the time to feedback."""
    language, towns = source.language, source.assessments_of("response", "area")
    if not towns:
        return
    yield SectionHeading(translate("anomalies", language))
    yield Paragraph(translate("anomalies_about", language, wanted=f"{towns[0].detail['wanted_h']:g}"))
    heads = (
        "town",
        "detector",
        "number",
        "open",
        "median",
        "longest",
        "in_time",
        "answered",
        "median_answer",
    )
    rows = [
        [
            TableCell(source.name(one)),
            TableCell(detector_name(name, language)),
            *_duration_cells(found, source),
        ]
        for one in towns
        for name, found in one.detail["by_detector"].items()
    ]
    table = ReportTable([translate(one, language) for one in heads], rows, (22, 12, 8, 8, 10, 10, 10, 10, 10))
    yield table_or_text(table, "empty_anomalies", language)


def _duration_cells(found: dict[str, Any], source: ReportData) -> list[TableCell]:
    language = source.language
    return [
        TableCell(str(found["anomalies"])),
        TableCell(str(found["is_open"])),
        number_cell(found["median_h"], language, ".1f"),
        number_cell(found["longest_h"], language, ".1f"),
        percent_cell(found["in_time"], language),
        TableCell(str(found["answered"])),
        number_cell(found["median_answer_h"], language, ".1f"),
    ]


def ranking(source: ReportData) -> Iterator[Block]:
    """Yield the ranking of the towns by index, with its parts and weights."""
    language = source.language
    towns = sorted(source.assessments_of("index", "area"), key=lambda one: (one.class_ or 10**6, one.subject))
    if not towns:
        return
    parts = towns[0].detail["parts"]
    yield SectionHeading(translate("ranking", language))
    weights = SEPARATOR[language].join(
        f"{translate('part_' + part['part'], language)} {part['weight']:g}" for part in parts
    )
    yield Paragraph(translate("ranking_about", language, weights=weights))
    heads = [translate(one, language) for one in ("rank", "town", "index", "before")]
    rows = []
    for one in towns:
        old = source.month_before(one)
        scores = {part["part"]: part["score"] for part in one.detail["parts"]}
        rows.append(
            [
                TableCell(
                    missing_value_text(language)
                    if one.class_ is None
                    else f"{one.class_} / {one.detail['ranked']}"
                ),
                TableCell(source.name(one)),
                number_cell(one.value, language, ".1f"),
                number_cell(old.value if old else None, language, ".1f"),
                *(percent_cell(scores.get(part["part"]), language) for part in parts),
            ]
        )
    yield ReportTable(
        [*heads, *(translate(f"part_{part['part']}", language) for part in parts)],
        rows,
        (8, 22, 8, 8, *([54 / len(parts)] * len(parts))),
    )
