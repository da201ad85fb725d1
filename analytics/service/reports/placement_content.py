"""Builds the report on the placement of sensors: what each adds, how many are worth it, where they are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from analytics.service.placement_report import WORTHWHILE
from analytics.service.reports import map_plot, plots
from analytics.service.reports.blocks import (
    Figure,
    MonthlyReport,
    Paragraph,
    ReportTable,
    SectionHeading,
    TableCell,
)
from analytics.service.reports.map_content import course_of
from analytics.service.reports.table_cells import percent_cell
from analytics.service.reports.translations import translate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from zoneinfo import ZoneInfo

    from analytics.service.placement_report import PlacementReport, PlacementRow
    from analytics.service.reports.translations import Language
    from ingest_service.storage.contract.models import Directory, Node

HEADS = ("rank", "place", "town", "place_state", "gain", "traceable", "detected", "told_apart")


def build_placement_report(
    directory: Directory,
    placed: PlacementReport,
    language: Language,
    *,
    zone: ZoneInfo,
    now_s: float,
    area_ids: Collection[str] | None = None,
) -> MonthlyReport:
    """Build the report of a placement made with the discharges up to ``now_s`` [Unix s].

    The map has the rivers of the areas; None for all.
    """
    day = f"{datetime.fromtimestamp(now_s, zone):%Y-%m-%d}"
    given = {"amount": f"{placed.amount_kg:g}", "limit": f"{placed.limit_mg_l:g}", "n": placed.n_outfalls}
    return MonthlyReport(
        title=translate("placement", language, day=day),
        subtitle=translate("placement_under", language, **given),
        language=language,
        data_until_s=now_s,
        blocks=[
            Paragraph(recommendation(placed, language)),
            Figure(_map(directory, placed, language, area_ids), translate("picture_placement_map", language)),
            _table(directory, placed, language),
            Figure(_course(placed, language), translate("picture_placement", language)),
            SectionHeading(translate("placement_method", language)),
            Paragraph(
                _joined(
                    [
                        translate("placement_about", language),
                        translate("placement_kept" if placed.n_existing else "placement_compete", language),
                    ],
                    language,
                )
            ),
        ],
    )


def recommendation(placed: PlacementReport, language: Language) -> str:
    """Return in words what the sensors that exist achieve, and how many further places are worth it."""
    number = placed.worthwhile
    sentences = []
    if placed.n_existing:
        sentences.append(
            translate(
                "placement_before",
                language,
                n=placed.n_existing,
                traceable=placed.before.outfalls_traceable,
                outfalls=placed.n_outfalls,
                detected=percent_cell(placed.before.detected, language).text,
            )
        )
    if not number:
        sentences.append(translate("placement_enough" if placed.n_existing else "placement_none", language))
        return _joined(sentences, language)
    last = placed.rows[number - 1]
    sentences.append(
        translate(
            "placement_advice",
            language,
            n=number,
            new=sum(not one.has_site for one in placed.rows[:number]),
            traceable=last.outfalls_traceable,
            outfalls=placed.n_outfalls,
            detected=percent_cell(last.detected, language).text,
        )
    )
    if number < len(placed.rows):
        least = percent_cell(WORTHWHILE, language).text
        sentences.append(translate("placement_further", language, least=least))
    return _joined(sentences, language)


def _joined(sentences: list[str], language: Language) -> str:
    return (" " if language == "en" else "").join(sentences)


def _table(directory: Directory, placed: PlacementReport, language: Language) -> ReportTable:
    areas = {one.area_id: getattr(one, language) for one in directory.areas}

    def row(one: PlacementRow) -> list[TableCell]:
        return [
            TableCell(str(one.rank)),
            TableCell(getattr(one, language)),
            TableCell(areas.get(one.area_id, one.area_id)),
            TableCell(translate("place_has_site" if one.has_site else "place_new", language)),
            percent_cell(one.gain, language),
            TableCell(translate("traceable_of", language, n=one.outfalls_traceable, all=placed.n_outfalls)),
            percent_cell(one.detected, language),
            percent_cell(one.separated, language),
        ]

    heads = [translate(one, language) for one in HEADS]
    return ReportTable(heads, [row(one) for one in placed.rows], (6, 24, 14, 12, 10, 12, 11, 11))


def _course(placed: PlacementReport, language: Language) -> bytes:
    """Draw what the sensors up to each number achieve; at 0, those that exist."""
    achieved = [placed.before, *placed.rows]
    numbers = list(range(len(achieved)))
    shares = {
        "detected": [100 * one.detected for one in achieved],
        "told_apart": [100 * one.separated for one in achieved],
        "traceable_share": [100 * one.outfalls_traceable / placed.n_outfalls for one in achieved],
    }
    figure, axes, font = plots.new_figure(3.2)
    for (key, values), colour, style in zip(
        shares.items(), plots.LINE_COLOURS, plots.LINE_STYLES, strict=False
    ):
        axes.plot(numbers, values, marker="o", color=colour, ls=style, label=translate(key, language))
    axes.set_ylim(0, 105)
    axes.set_xticks(numbers)
    axes.set_xlabel(translate("sensors", language))
    axes.set_ylabel("%")
    axes.grid(visible=True, alpha=0.3)
    return plots.save_png(figure, font)


def _map(
    directory: Directory, placed: PlacementReport, language: Language, area_ids: Collection[str] | None
) -> bytes:
    nodes = {
        one.node_id: one
        for one in directory.nodes
        if one.network == "river" and (area_ids is None or one.area_id in area_ids)
    }
    lines = [
        map_plot.MapLine("", one.network, course_of(one, nodes), None)
        for one in directory.links
        if {one.from_node, one.to_node} <= nodes.keys()
    ]
    return map_plot.draw_map(
        map_plot.TownMap(
            bounds=[(one.lon, one.lat) for one in nodes.values()],
            lines=lines,
            sections=[],
            outfalls=[(one.lon, one.lat) for one in nodes.values() if one.kind == "outfall"],
            marks=list(_marks(placed, nodes, language)),
            marks_key="map_sensor",
        ),
        language,
    )


def _marks(placed: PlacementReport, nodes: dict[str, Node], language: Language) -> Iterator[map_plot.MapMark]:
    for one in placed.rows:
        node = nodes[one.node_id]
        yield map_plot.MapMark(f"{one.rank} {getattr(one, language)}", node.lon, node.lat)
