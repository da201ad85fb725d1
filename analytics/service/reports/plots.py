"""Draws the plots of a report as PNG with Matplotlib, without a display and reproducible to the byte."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from analytics.service.reports.errors import MissingExtraError
from analytics.service.reports.fonts import font_path
from analytics.service.reports.translations import translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.service.reports.translations import Language

T = TypeVar("T")

CLASS_FILLS = ("#CCFFFF", "#00CCFF", "#00FF00", "#FFFF00", "#FF9B00", "#FF0000")
"""Colours of classes I to V and worse than V, as on China's real-time water quality platforms."""
LEVEL_FILLS = ("#3fa34d", "#a7d129", "#f5d547", "#f28e2b", "#c0392b")
HATCHES = ("", "", "..", "//", "xx")
TEXT_COLOUR, NOTE_COLOUR, MUTED_COLOUR = "#1c2733", "#56616d", "#8a949e"
LINE_COLOURS = ("#1f4e79", "#c0392b", "#3fa34d", "#7a52a3", "#f28e2b", "#56616d")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
WIDTH_IN, ROW_IN, DPI = 8.0, 0.27, 150
MIN_HEIGHT_IN = 1.4
MAX_ROWS_PER_PLOT = 15  # in one plot; more are split among several


def split_rows(rows: Sequence[T]) -> list[Sequence[T]]:
    """Split rows into parts of about the same length, each small enough for one plot.

    >>> [len(part) for part in split_rows(range(31))]
    [11, 10, 10]
    """
    parts = -(-len(rows) // MAX_ROWS_PER_PLOT)
    bounds = [-(-len(rows) * at // parts) for at in range(parts + 1)] if parts else [0]
    return [rows[begin:end] for begin, end in pairwise(bounds)]


def draw_classes(rows: Sequence[tuple[str, int | None, int | None, int | None]], language: Language) -> bytes:
    """Draw sections given by name, class, class of the month before and target, from the top."""
    figure, axes, font = new_figure(MIN_HEIGHT_IN + ROW_IN * len(rows))
    for at, (_, class_, before, target) in enumerate(rows):
        if before is not None:
            axes.plot(before, at, "o", ms=9, mfc="none", mec=MUTED_COLOUR, mew=1.5)
        if class_ is not None:
            axes.plot(class_, at, "o", ms=7, mfc=CLASS_FILLS[class_ - 1], mec=TEXT_COLOUR, mew=1)
        if target is not None:
            axes.plot([target + 0.5] * 2, [at - 0.42, at + 0.42], color=TEXT_COLOUR, lw=2)
    axes.set_xlim(0.5, 6.5)
    axes.set_xticks(range(1, 7), [translate(f"class_{one}", language) for one in range(1, 7)])
    _name_rows(axes, [row[0] for row in rows])
    axes.grid(axis="x", alpha=0.3)
    axes.plot([], [], "o", ms=7, mfc=CLASS_FILLS[2], mec=TEXT_COLOUR, label=translate("this_month", language))
    axes.plot(
        [], [], "o", ms=9, mfc="none", mec=MUTED_COLOUR, mew=1.5, label=translate("month_before", language)
    )
    axes.plot([], [], color=TEXT_COLOUR, lw=2, label=translate("target", language))
    return save_png(figure, font)


def draw_daily_means(
    lines: Mapping[str, Mapping[int, float]], limit: float, unit: str, language: Language
) -> bytes:
    """Draw the daily means of some sections, and a limit; a day without data is a gap."""
    figure, axes, font = new_figure(MIN_HEIGHT_IN + ROW_IN * 9)
    for at, (name, values) in enumerate(lines.items()):
        span = range(min(values), max(values) + 1)
        style: Any = LINE_STYLES[at % len(LINE_STYLES)]
        shown = [values.get(day, float("nan")) for day in span]
        axes.plot(
            list(span),
            shown,
            ls=style,
            marker="o",
            ms=3,
            lw=1.4,
            color=LINE_COLOURS[at % len(LINE_COLOURS)],
            label=name,
        )
    axes.axhline(limit, color=TEXT_COLOUR, lw=1, ls=(0, (6, 3)), label=translate("limit", language))
    highest = max([limit, *(value for values in lines.values() for value in values.values())])
    axes.set_ylim(0, 1.06 * highest)  # the limit is drawn clear of the frame
    axes.set_ylabel(unit)
    axes.set_xlabel(translate("day", language))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(visible=True, alpha=0.3)
    return save_png(figure, font, columns=3)


def draw_congestion_levels(rows: Sequence[tuple[str, Sequence[int]]], language: Language) -> bytes:
    """Draw the share of hours by congestion level of links given by name, from the top."""
    figure, axes, font = new_figure(MIN_HEIGHT_IN + ROW_IN * len(rows))
    for at, (_, hours) in enumerate(rows):
        left, total = 0.0, sum(hours) or 1
        for level, count in enumerate(hours):
            share = 100.0 * count / total
            axes.barh(
                at,
                share,
                left=left,
                color=LEVEL_FILLS[level],
                hatch=HATCHES[level],
                ec=TEXT_COLOUR,
                lw=0.3,
                height=0.7,
            )
            left += share
    for level in range(5):
        axes.barh(
            0, 0, color=LEVEL_FILLS[level], hatch=HATCHES[level], ec=TEXT_COLOUR, lw=0.3,
            label=translate(f"level_{level + 1}", language),
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_xlabel(translate("share_hours", language))
    _name_rows(axes, [row[0] for row in rows])
    return save_png(figure, font, columns=5)


def new_figure(height_in: float) -> tuple[Any, Any, Any]:
    """Return an empty figure as wide as the page, its axes and the report's font.

    Raises `MissingExtraError` if the extra is not installed.
    """
    try:
        from matplotlib import rcParams  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.font_manager import FontProperties  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("pictures need the extra reports: pip install towntwin[reports]") from error
    rcParams["text.parse_math"] = False  # names of places are no formulas
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    return figure, figure.subplots(), FontProperties(fname=font_path(), size=8)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def save_png(figure: Any, font: Any, *, columns: int = 3) -> bytes:
    """Return the figure as PNG, with all of its texts in the report's font."""
    from matplotlib.text import Text  # noqa: PLC0415 - an extra

    figure.legend(loc="outside lower center", ncols=columns, frameon=False, prop=font)
    for text in figure.findobj(Text):
        text.set_fontproperties(font)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
