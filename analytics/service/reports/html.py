"""Renders a report as one self-contained HTML file, without scripts and readable without CSS."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from analytics.service.reports.blocks import Figure, Notice, Paragraph, ReportTable, SectionHeading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block, MonthlyReport, TableCell

STYLE = """
body { font: 15px/1.5 "Noto Sans SC", "Microsoft YaHei", "PingFang SC", sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; color: #1c2733; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th, td { border: 1px solid #c9d1d9; padding: .25rem .5rem; text-align: left; }
th { background: #eef2f6; } img { max-width: 100%; } figure { margin: 1rem 0; }
.notice { border-left: .3rem solid #c0392b; background: #fdecea; padding: .5rem .8rem; font-weight: 600; }
figcaption, .under { color: #56616d; font-size: .87rem; }
@media print { h2 { break-after: avoid; } tr, figure { break-inside: avoid; }
  tbody tr:first-child, tbody tr:nth-last-child(2) { break-after: avoid; } }
"""


def render_html(report: MonthlyReport) -> bytes:
    """Return the page in UTF-8; the same report gives the same bytes."""
    body = "\n".join(part for block in report.blocks for part in _block(block))
    language = "zh-CN" if report.language == "zh" else "en"
    page = (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(report.title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(report.title)}</h1>\n"
        f'<p class="under">{escape(report.subtitle)}</p>\n{body}\n</body>\n</html>\n'
    )
    return page.encode("utf-8")


def _block(block: Block) -> Iterator[str]:
    match block:
        case SectionHeading(text):
            yield f"<h2>{escape(text)}</h2>"
        case Paragraph(text):
            yield f"<p>{escape(text)}</p>"
        case Notice(text):
            yield f'<p class="notice">{escape(text)}</p>'
        case Figure(png, caption):
            data = b64encode(png).decode("ascii")
            alt_text = escape(caption)
            yield f'<figure><img src="data:image/png;base64,{data}" alt="{alt_text}">'
            yield f"<figcaption>{alt_text}</figcaption></figure>"
        case ReportTable(head, rows, _):
            yield (
                "<table><thead><tr>"
                + "".join(f"<th>{escape(one)}</th>" for one in head)
                + "</tr></thead><tbody>"
            )
            for row in rows:
                yield "<tr>" + "".join(_cell(cell) for cell in row) + "</tr>"
            yield "</tbody></table>"


def _cell(cell: TableCell) -> str:
    fill = f' style="background:{cell.fill}"' if cell.fill else ""
    return f"<td{fill}>{escape(cell.text)}</td>"
