"""Renders a report as an A4 PDF with an embedded font subset; the same report gives the same bytes."""

from __future__ import annotations

import logging
import re
import struct
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from analytics.service.reports.blocks import Figure, Notice, Paragraph, ReportTable, SectionHeading
from analytics.service.reports.errors import MissingExtraError
from analytics.service.reports.fonts import font_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fpdf.table import RowLayoutInfo

    from analytics.service.reports.blocks import Block, MonthlyReport

FONT, MARGIN_MM = "sans", 15.0
TITLE_PT, HEADING_PT, TEXT_PT, TABLE_PT, FOOT_PT = 16, 12, 9.5, 7.5, 7.5
TEXT_COLOUR, MUTED_COLOUR, HEAD_FILL = (28, 39, 51), (86, 97, 109), (238, 242, 246)
NOTICE_FILL = (253, 236, 234)
PADDING_MM = 0.8
HEADING_SPACE_MM = 35.0  # space for a heading and the first lines after it
CAPTION_MM = 8.0
MIN_SCALE = 0.66
"""A figure is scaled down to this factor rather than moved to the next page: with at most
`MAX_ROWS_PER_PLOT` rows (`analytics.service.reports.plots`) it fits wherever a third of a page is left."""
_UNBREAKABLE = re.compile(r"[“（《(]*(?:[!-~Ⅰ-Ⅻ]+ ?|.)[，。、；：）”》！？%)]*")
"""A unit without a line break in Chinese text: a character or a Latin word, with its punctuation."""


def render_pdf(report: MonthlyReport) -> bytes:
    """Return the document. Raises `MissingExtraError` if the extra is not installed."""
    page = new_document(report)
    try:
        _write_report(page, report)
        return bytes(page.output())
    finally:
        close_fonts(page)


def _write_report(page: Any, report: MonthlyReport) -> None:
    page.set_font(FONT, "B", TITLE_PT)
    page.multi_cell(0, TITLE_PT * 0.5, report.title, align="L", new_x="LMARGIN", new_y="NEXT")
    page.set_text_color(*MUTED_COLOUR)
    _write_text(page, report.subtitle, FOOT_PT)
    page.set_text_color(*TEXT_COLOUR)
    for block in report.blocks:
        _write_block(page, block)


def close_fonts(page: Any) -> None:
    """Close the font files, which fpdf2 keeps open."""
    for font in page.fonts.values():
        font.ttfont.close()


def new_document(report: MonthlyReport) -> Any:
    """Create a document with the font and an empty first page; the caller closes it by `close_fonts`."""
    try:
        from fpdf import FPDF  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("PDF needs the extra reports: pip install towntwin[reports]") from error

    class Paper(FPDF):
        """A document with page numbers in the footer, and no random file id."""

        def footer(self) -> None:
            self.set_y(-MARGIN_MM + 2)
            self.set_font(FONT, "", FOOT_PT)
            self.set_text_color(*MUTED_COLOUR)
            self.cell(0, 4, f"{report.title}   {self.page_no()}", align="C")
            self.set_text_color(*TEXT_COLOUR)

        def file_id(self) -> None:
            """Return None: a random or time-based id would differ between two renderings."""

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # at lower levels it logs every glyph
    paper = Paper(format="A4")
    paper.set_margins(MARGIN_MM, MARGIN_MM, MARGIN_MM)
    paper.set_auto_page_break(auto=True, margin=MARGIN_MM)
    paper.creation_date = datetime.fromtimestamp(report.data_until_s, UTC)
    paper.set_title(report.title)
    paper.set_lang("zh-CN" if report.language == "zh" else "en")
    for style in ("", "B"):
        paper.add_font(FONT, style=style, fname=str(font_path()))
    paper.set_text_color(*TEXT_COLOUR)
    paper.add_page()
    return paper


def _write_block(page: Any, block: Block) -> None:
    match block:
        case SectionHeading(text):
            _require_space(page, HEADING_SPACE_MM)
            page.ln(3)
            page.set_font(FONT, "B", HEADING_PT)
            page.multi_cell(0, HEADING_PT * 0.55, text, align="L", new_x="LMARGIN", new_y="NEXT")
            page.ln(1)
        case Paragraph(text):
            _write_text(page, text, TEXT_PT)
        case Notice(text):
            _write_notice(page, text)
        case Figure(png, caption):
            _write_figure(page, png, caption)
        case ReportTable():
            _write_table(page, block)


def _remaining_height_mm(page: Any) -> float:
    """Return the remaining height of the page [mm]."""
    return float(page.h - page.b_margin - page.get_y())


def _require_space(page: Any, needed_mm: float) -> None:
    """Begin a new page if less than ``needed_mm`` is left of this one."""
    if _remaining_height_mm(page) < needed_mm:
        page.add_page()


def _write_figure(page: Any, png: bytes, caption: str) -> None:
    """Write a figure above its caption, scaled down if it then still fits on this page."""
    width, height = struct.unpack(">II", png[16:24])  # of the IHDR chunk, which is a PNG's first
    full_height_mm = page.epw * height / width
    scale = (_remaining_height_mm(page) - CAPTION_MM) / full_height_mm
    if scale < MIN_SCALE:
        page.add_page()
        scale = (_remaining_height_mm(page) - CAPTION_MM) / full_height_mm
    image_width_mm = page.epw * min(1.0, scale)
    page.image(
        BytesIO(png), x=page.l_margin + (page.epw - image_width_mm) / 2, w=image_width_mm, alt_text=caption
    )
    page.set_text_color(*MUTED_COLOUR)
    _write_text(page, caption, FOOT_PT)
    page.set_text_color(*TEXT_COLOUR)


def _write_notice(page: Any, text: str) -> None:
    page.set_font(FONT, "B", TEXT_PT)
    if _is_chinese(text):
        text = "\n".join(wrap_chinese(page, text, _text_width_mm(page)))
    with page.local_context(fill_color=NOTICE_FILL):  # else table cells inherit the fill
        page.multi_cell(0, TEXT_PT * 0.6, text, align="L", fill=True, new_x="LMARGIN", new_y="NEXT")
    page.ln(1)


def _write_text(page: Any, text: str, size: float) -> None:
    page.set_font(FONT, "", size)
    if _is_chinese(text):
        text = "\n".join(wrap_chinese(page, text, _text_width_mm(page)))
    page.multi_cell(0, size * 0.55, text, align="L", new_x="LMARGIN", new_y="NEXT")
    page.ln(1)


def _text_width_mm(page: Any) -> float:
    """Return the width of a paragraph [mm]."""
    return float(page.epw - 2 * page.c_margin)


def wrap_chinese(page: Any, text: str, width_mm: float) -> Iterator[str]:
    """Yield the lines of Chinese text that fit a width [mm]; no line starts with closing punctuation.

    Numbers, units and Latin words are not broken.
    """
    line = ""
    for piece in _UNBREAKABLE.findall(text):
        if line and page.get_string_width(line + piece) > width_mm:
            yield line
            line = ""
        line += piece
    yield line


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def _write_table(page: Any, block: ReportTable) -> None:
    from fpdf.enums import WrapMode  # noqa: PLC0415 - an extra
    from fpdf.fonts import FontFace  # noqa: PLC0415
    from fpdf.table import Table  # noqa: PLC0415

    class WholeEndsTable(Table):
        """A table whose first two rows, and its last two, stay on one page with each other."""

        def _compute_rows_info(self) -> Iterator[RowLayoutInfo]:  # internal: fpdf2 has no setting for it
            yield from keep_ends_together(list(super()._compute_rows_info()))

    all_text = "".join([*block.head, *(cell.text for row in block.rows for cell in row)])
    page.set_font(FONT, "", TABLE_PT)
    widths_mm = [page.epw * width / sum(block.widths) - 2 * PADDING_MM - 0.1 for width in block.widths]

    def wrapped(text: str, column: int) -> str:
        return "\n".join(wrap_chinese(page, text, widths_mm[column])) if _is_chinese(text) else text

    page.set_draw_color(201, 209, 217)
    table = WholeEndsTable(
        page,
        col_widths=tuple(block.widths),
        line_height=TABLE_PT * 0.5,
        padding=PADDING_MM,
        text_align="LEFT",
        wrapmode=WrapMode.CHAR if _is_chinese(all_text) else WrapMode.WORD,
        headings_style=FontFace(emphasis="BOLD", fill_color=HEAD_FILL),
    )
    head = table.row()
    for column, text in enumerate(block.head):
        head.cell(wrapped(text, column))
    for row in block.rows:
        line = table.row()
        for column, cell in enumerate(row):
            style = FontFace(fill_color=cell.fill) if cell.fill else None
            line.cell(wrapped(cell.text, column), style=style)
    table.render()
    page.ln(2)


def keep_ends_together(rows: list[RowLayoutInfo]) -> list[RowLayoutInfo]:
    """Return the layout of a table's head and rows with the space that each needs below it on its page.

    The first row needs that of the second one too, and the last but one that of the last, so that no page has
    a single row of a table with more of them.
    """
    kept = list(rows)
    for at in range(len(rows) - 2, 0, -1):
        if at in {1, len(rows) - 2}:
            height = rows[at].height + kept[at + 1].pagebreak_height
            kept[at] = replace(rows[at], pagebreak_height=height)
    return kept
