"""Tests the layout of reports: pages are filled, and an empty table is replaced by a sentence."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from analytics.service.reports import content, html, pdf, plots, table_cells, town_content, translations
from analytics.service.reports.blocks import (
    Figure,
    MonthlyReport,
    Notice,
    Paragraph,
    ReportTable,
    SectionHeading,
    TableCell,
)
from analytics.service.reports.report_data import ReportData
from ingest_service.storage.contract.models import Area, Directory
from ingest_service.storage.postgres.assessments import Assessment

TOWN = Area(area_id="t", level="town", en="Town", zh="镇")


def report(*blocks: Any, language: translations.Language = "en") -> MonthlyReport:
    return MonthlyReport("title", "as of now", language, 0.0, blocks)


def picture(rows: int) -> Figure:
    return Figure(
        plots.draw_congestion_levels([(f"link {at}", (3, 2, 1, 0, 0)) for at in range(rows)], "en"), "hours"
    )


def table(rows: int) -> ReportTable:
    return ReportTable(
        ("site", "value"), [(TableCell(f"site {at}"), TableCell("1.5")) for at in range(rows)], (60, 40)
    )


def blank_mm(made: MonthlyReport) -> list[float]:
    """What is left blank at the foot of every page but the last [mm]."""
    page = pdf.new_document(made)
    left: list[float] = []
    foot = page.footer

    def footer() -> None:
        left.append(page.h - page.b_margin - page.get_y())
        foot()

    page.footer = footer
    pdf._write_report(page, made)
    page.output()
    pdf.close_fonts(page)
    return left[:-1]


def test_no_third_of_a_page_is_blank_before_a_picture() -> None:
    """A picture that does not fit is made smaller, or moved where little is left."""
    largest, heading, third_mm = (
        picture(plots.MAX_ROWS_PER_PLOT),
        SectionHeading("roads"),
        (297 - 2 * pdf.MARGIN_MM) / 3,
    )
    for rows in (2, 17, 26, 34):
        left = blank_mm(
            report(heading, table(rows + 1), largest, heading, Paragraph("about"), table(9), largest)
        )
        assert left
        assert max(left) < third_mm, (rows, left)


def test_no_page_has_a_single_row_of_a_longer_table() -> None:
    """Neither the last row alone on the next page, nor the first one alone under its head."""
    page = pdf.new_document(report())
    new_line, pages = page.ln, list[int]()

    def ln(height: float) -> None:
        if height > pdf.TABLE_PT * 0.5:  # that of a row; those between blocks are smaller
            pages.append(page.page_no())
        new_line(height)

    page.ln = ln
    broken = 0
    for rows in (*range(2, 50), *[7] * 20):
        pages.clear()
        pdf._write_table(page, table(rows))
        counts = Counter(pages)
        assert min(counts.values()) >= 3, (rows, counts)  # the head and two rows
        assert len(pages) == rows + len(counts)
        broken += len(counts) > 1
    assert broken > 20
    pdf.close_fonts(page)


def test_a_unit_in_a_narrow_chinese_column_is_not_broken() -> None:
    made = report(language="zh")
    page = pdf.new_document(made)
    page.set_font(pdf.FONT, "", pdf.TABLE_PT)
    for text, unit in (("速度／自由流（km/h）", "（km/h）"), ("运河大道西口(演示)", "示)")):
        for width_mm in range(12, 30):
            lines = list(pdf.wrap_chinese(page, text, width_mm))
            assert "".join(lines) == text
            assert [line for line in lines if unit in line], (width_mm, lines)
            assert all(page.get_string_width(line) <= width_mm for line in lines)
    pdf.close_fonts(page)


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 40])
def test_many_rows_are_shared_out_among_pictures_that_fit_a_page(rows: int) -> None:
    parts = plots.split_rows(list(range(rows)))
    assert [one for part in parts for one in part] == list(range(rows))
    assert all(1 <= len(part) <= plots.MAX_ROWS_PER_PLOT for part in parts)


def test_a_notice_stands_out_in_the_page_and_fits_the_paper() -> None:
    for language, text in (("en", "Stale: <newer> readings"), ("zh", "数据未更新：" + "读数已入库，" * 40)):
        made = report(Notice(text), language=language)  # type: ignore[arg-type]
        assert '<p class="notice">' in html.render_html(made).decode()
        assert "<newer>" not in html.render_html(made).decode()
        assert pdf.render_pdf(made).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["No town has an assessment", "No site with series", "No anomalies began in the month."]),
        ("zh", ["本月无乡镇评价结果。", "本区域未登记有监测序列的站点。", "本月无新发异常。"]),
    ],
)
def test_an_empty_table_is_a_sentence(language: translations.Language, sentences: list[str]) -> None:
    response = Assessment(
        kind="response", subject="area/t", area_id="t", month="2026-11", data_from_s=0.0, data_to_s=1.0,
        readings=0, version="1", detail={"wanted_h": 24, "by_detector": {}, "anomalies": 0, "is_open": 0},
    )  # fmt: skip
    source = ReportData(
        area=TOWN, month="2026-11", language=language, zone=ZoneInfo("Asia/Shanghai"),
        directory=Directory(areas=[TOWN]), month_assessments=[response], previous_assessments=[],
        days={}, as_of_s=1.0, newest_s=1.0,
    )  # fmt: skip
    made = content.build_report(source)
    assert not [one for one in made.blocks if isinstance(one, ReportTable) and not one.rows]
    texts = " ".join(one.text for one in made.blocks if isinstance(one, Paragraph))
    assert [one for one in sentences if one not in texts] == []
    assert list(town_content.water(source)) == []
    assert table_cells.table_or_text(table(1), "empty_capture", language) == table(1)
