"""A report as PDF: A4, the font embedded in part, the same bytes from the same report."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from analytics.service.reports.blocks import Heading, Picture, Table, Text
from analytics.service.reports.fonts import MissingError, sans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block, Report

FONT, MARGIN_MM = "sans", 15.0
TITLE_PT, HEADING_PT, TEXT_PT, TABLE_PT, FOOT_PT = 16, 12, 9.5, 7.5, 7.5
INK, PALE, HEAD_FILL = (28, 39, 51), (86, 97, 109), (238, 242, 246)
PADDING_MM = 0.8
_PIECES = re.compile(r"[“（《]*(?:[!-~Ⅰ-Ⅻ]+ ?|.)[，。、；：）”》！？%]*")
"""What a line of Chinese is not broken within: a letter or a word of Latin ones, with its punctuation."""


def render(report: Report) -> bytes:
    """The document. Raises `MissingError` where the extra is not installed."""
    page = document(report)
    try:
        _write(page, report)
        return bytes(page.output())
    finally:
        close(page)


def _write(page: Any, report: Report) -> None:
    page.set_font(FONT, "B", TITLE_PT)
    page.multi_cell(0, TITLE_PT * 0.5, report.title, align="L", new_x="LMARGIN", new_y="NEXT")
    page.set_text_color(*PALE)
    _text(page, report.under, FOOT_PT)
    page.set_text_color(*INK)
    for at, block in enumerate(report.blocks):
        _block(page, block, report.blocks[at + 1 : at + 3])


def close(page: Any) -> None:
    """Let go of the font's file, which the library keeps open."""
    for font in page.fonts.values():
        font.ttfont.close()


def document(report: Report) -> Any:
    """An empty document with the font and its first page; to be closed."""
    try:
        from fpdf import FPDF  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingError("PDF needs the extra reports: pip install towntwin[reports]") from error

    class Paper(FPDF):
        """A page with its number at the foot, and an id that follows from the report."""

        def footer(self) -> None:
            self.set_y(-MARGIN_MM + 2)
            self.set_font(FONT, "", FOOT_PT)
            self.set_text_color(*PALE)
            self.cell(0, 4, f"{report.title}   {self.page_no()}", align="C")
            self.set_text_color(*INK)

        def file_id(self) -> None:
            """None: a random or timed id would differ from one making to the next."""

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # else it tells of every glyph
    paper = Paper(format="A4")
    paper.set_margins(MARGIN_MM, MARGIN_MM, MARGIN_MM)
    paper.set_auto_page_break(auto=True, margin=MARGIN_MM)
    paper.creation_date = datetime.fromtimestamp(report.made_s, UTC)
    paper.set_title(report.title)
    paper.set_lang("zh-CN" if report.language == "zh" else "en")
    for style in ("", "B"):
        paper.add_font(FONT, style=style, fname=str(sans()))
    paper.set_text_color(*INK)
    paper.add_page()
    return paper


def _block(page: Any, block: Block, following: Any) -> None:
    match block:
        case Heading(text):
            _keep_together(page, following)
            page.ln(3)
            page.set_font(FONT, "B", HEADING_PT)
            page.multi_cell(0, HEADING_PT * 0.55, text, align="L", new_x="LMARGIN", new_y="NEXT")
            page.ln(1)
        case Text(text):
            _text(page, text, TEXT_PT)
        case Picture(png, caption):
            page.image(BytesIO(png), w=page.epw, alt_text=caption)
            page.set_text_color(*PALE)
            _text(page, caption, FOOT_PT)
            page.set_text_color(*INK)
        case Table():
            _table(page, block)


def _keep_together(page: Any, following: Any) -> None:
    """A heading at the very foot of a page goes to the next one."""
    need_mm = 35.0 + 80.0 * any(isinstance(one, Picture) for one in following[:1])
    if page.get_y() + need_mm > page.h - MARGIN_MM:
        page.add_page()


def _text(page: Any, text: str, size: float) -> None:
    page.set_font(FONT, "", size)
    if _is_chinese(text):
        text = "\n".join(lines(page, text))
    page.multi_cell(0, size * 0.55, text, align="L", new_x="LMARGIN", new_y="NEXT")
    page.ln(1)


def lines(page: Any, text: str) -> Iterator[str]:
    """Chinese text in lines that fit; none begins with a mark that ends something, no number is torn."""
    width_mm, line = page.epw - 2 * page.c_margin, ""
    for piece in _PIECES.findall(text):
        if line and page.get_string_width(line + piece) > width_mm:
            yield line
            line = ""
        line += piece
    yield line


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


def _table(page: Any, block: Table) -> None:
    from fpdf.enums import WrapMode  # noqa: PLC0415 - an extra
    from fpdf.fonts import FontFace  # noqa: PLC0415

    whole = "".join([*block.head, *(cell.text for row in block.rows for cell in row)])
    page.set_font(FONT, "", TABLE_PT)
    page.set_draw_color(201, 209, 217)
    with page.table(
        col_widths=tuple(block.widths),
        line_height=TABLE_PT * 0.5,
        padding=PADDING_MM,
        text_align="LEFT",
        wrapmode=WrapMode.CHAR if _is_chinese(whole) else WrapMode.WORD,
        headings_style=FontFace(emphasis="BOLD", fill_color=HEAD_FILL),
    ) as table:
        head = table.row()
        for one in block.head:
            head.cell(one)
        for row in block.rows:
            line = table.row()
            for cell in row:
                line.cell(cell.text, style=FontFace(fill_color=cell.fill) if cell.fill else None)
    page.ln(2)
