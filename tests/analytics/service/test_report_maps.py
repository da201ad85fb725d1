"""Tests the maps of reports: what is on them, labels without overlap, the scale; the placement report."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from msgspec import structs

from analytics.errors import TwinModelError
from analytics.service import reports
from analytics.service.placement_report import MAX_OUTFALLS, PlacementReport, placement_report
from analytics.service.reports import map_content, map_plot, placement_content, plots
from analytics.service.reports.blocks import Figure, Paragraph, ReportTable, SectionHeading
from analytics.service.reports.report_data import ReportData
from deploy import demo
from ingest_service.storage.contract.incidents import IncidentTrace
from ingest_service.storage.contract.models import READING, Directory
from ingest_service.storage.postgres.assessments import Assessment
from tests.support.chinese_texts import english_in

if TYPE_CHECKING:
    from analytics.service.reports.translations import Language

ZONE = ZoneInfo("Asia/Shanghai")
DIRECTORY = demo.directory()


def assessed(kind: Literal["water_class", "congestion"], subject: str, class_: int | None) -> Assessment:
    is_site = kind == "water_class"
    return Assessment(
        kind=kind, subject=f"{'site' if is_site else 'link'}/{subject}", area_id="330483", month="2026-10",
        site_id=subject if is_site else None, link_id=None if is_site else subject, class_=class_,
        data_from_s=0.0, data_to_s=1.0, readings=9, version="1",
    )  # fmt: skip


def report_data(language: Language, *, directory: Directory = DIRECTORY) -> ReportData:
    """A month in which sections have classes 1 to 6 and roads levels 1 to 5, with one traced incident."""
    sections = [one for one in DIRECTORY.sites if one.kind == "river_section"]
    roads = [one for one in DIRECTORY.links if one.network == "road"]
    outfalls = [one for one in DIRECTORY.nodes if one.kind == "outfall"]
    candidates = [
        {"node_id": one.node_id, "probability": probability}
        for one, probability in zip(outfalls, (0.72, 0.2, 0.01), strict=False)
    ]
    trace = IncidentTrace(incident_id=1, inputs="", computing_s=0.1, posterior={"candidates": candidates})
    found = [assessed("water_class", one.site_id, at % 7 or None) for at, one in enumerate(sections)]
    found += [assessed("congestion", one.link_id, at % 6 or None) for at, one in enumerate(roads)]
    return ReportData(
        area=next(one for one in DIRECTORY.areas if one.level == "city"), month="2026-10",
        language=language, zone=ZONE, directory=directory, month_assessments=found,
        previous_assessments=[], days={}, as_of_s=1.0, newest_s=1.0, traces={1: trace},
    )  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_town_has_a_map_of_its_sections_roads_and_sources(language: Language) -> None:
    source = report_data(language)
    heading, *figures = map_content.maps(source)
    assert isinstance(heading, SectionHeading)
    towns = [one for one in DIRECTORY.areas if one.level == "town"]
    below = {one.area_id for one in towns}
    assert len(figures) == len(towns) > 1
    for one, town in zip(figures, towns, strict=True):
        assert isinstance(one, Figure)
        assert getattr(town, language) in one.caption
        width, height = struct.unpack(">II", one.png[16:24])
        assert width == plots.WIDTH_IN * plots.DPI
        assert map_plot.MIN_HEIGHT_IN <= height / plots.DPI <= map_plot.MAX_HEIGHT_IN
    drawn = map_content.town_map(source, below)
    assert {one.class_ for one in drawn.sections} > {1, 6, None}
    assert {one.level for one in drawn.lines if one.network == "road"} > {1, 5, None}
    texts = [one.text for one in drawn.marks]
    assert ["72" in texts[0], "20" in texts[1], len(texts)] == [True, True, 2], "the likeliest first"


def test_what_a_reader_may_not_see_is_not_on_the_map() -> None:
    hidden = {one.node_id for one in DIRECTORY.nodes if one.kind == "outfall"}
    seen = Directory(
        areas=DIRECTORY.areas,
        sites=DIRECTORY.sites,
        nodes=[one for one in DIRECTORY.nodes if one.node_id not in hidden],
        links=DIRECTORY.links,
    )
    drawn = map_content.town_map(report_data("en", directory=seen), {one.area_id for one in DIRECTORY.areas})
    assert (drawn.marks, drawn.outfalls) == ([], [])
    assert len(drawn.lines) == sum(not {one.from_node, one.to_node} & hidden for one in DIRECTORY.links)
    assert list(map_content.maps(report_data("en", directory=Directory(areas=DIRECTORY.areas)))) == []


def test_labels_neither_overlap_nor_leave_the_map_and_the_bar_is_as_long_as_it_states() -> None:
    figure, axes, font = plots.new_figure(4.0)
    aspect = 1 / math.cos(math.radians(30.6))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    map_plot._set_limits(axes, (120.5, 120.6, 30.55, 30.65), aspect)
    courses = map_plot._points_of_courses(
        axes, [map_plot.MapLine("canal", "river", [(120.5, 30.55), (120.52, 30.57)], None)]
    )
    fixed = list(map_plot._draw_scale(axes, aspect, courses, font, "en"))
    labels = [map_plot._Label(f"section {at}", (120.5 + at % 7 / 70, 30.6), "k") for at in range(60)]
    labels.append(map_plot._Label("canal", (120.51, 30.56), "k"))
    boxes = map_plot._place_labels(axes, labels, fixed, courses, font)
    assert len(fixed) + 7 < len(boxes) < len(fixed) + 60, "those without a place are left out"
    assert not [1 for at, one in enumerate(boxes) for other in boxes[:at] if one.overlaps(other)]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= one.x0 and one.x1 <= frame.x1 for one in boxes)
    assert [map_plot._covered(one, courses) for one in (fixed[-1], boxes[-1])] == [0, 0], "beside the canal"
    (bar,) = axes.lines
    (west, east), text = bar.get_xdata(), axes.texts[0].get_text()
    assert text.endswith(" km")
    length_m = 6_371_000 * math.radians(east - west) / aspect
    assert length_m == pytest.approx(1000 * float(text.removesuffix(" km")), rel=0.005)


def test_more_outfalls_than_can_be_computed_are_refused_and_those_of_an_area_are_placed() -> None:
    outfall = next(one for one in DIRECTORY.nodes if one.kind == "outfall")
    drain = next(one for one in DIRECTORY.links if one.from_node == outfall.node_id)
    names = [f"more-{at}" for at in range(MAX_OUTFALLS)]
    crowded = structs.replace(
        DIRECTORY,
        nodes=[*DIRECTORY.nodes, *(structs.replace(outfall, node_id=one) for one in names)],
        links=[*DIRECTORY.links, *(structs.replace(drain, link_id=one, from_node=one) for one in names)],
    )
    elsewhere = {one.area_id for one in DIRECTORY.areas if one.area_id.startswith("330402")}
    assert outfall.area_id not in elsewhere

    def placed(areas: set[str] | None) -> PlacementReport:
        return placement_report(
            crowded, lambda *_: np.zeros(0, READING), n_sensors=2, amount_kg=50.0, limit_mg_l=0.1,
            now_s=1.7e9, area_ids=areas, keeps_existing=True,
        )  # fmt: skip

    with pytest.raises(TwinModelError, match="outfalls: at most 100 are computed; name an area with fewer"):
        placed(None)
    with pytest.raises(TwinModelError, match="no outfall with a reach is enrolled there"):
        placed(set())
    found = placed(elsewhere)
    assert found.n_existing > 0
    assert {one.area_id for one in found.rows} <= elsewhere


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_placement_is_a_report_with_advice_map_table_and_course(language: Language) -> None:
    placed = placement_report(
        DIRECTORY, lambda *_: np.zeros(0, READING), n_sensors=4, amount_kg=50.0, limit_mg_l=0.1, now_s=1.7e9
    )
    made = placement_content.build_placement_report(DIRECTORY, placed, language, zone=ZONE, now_s=1.7e9)
    advice, town_map, table, course, *_ = made.blocks
    number = placed.worthwhile
    assert 0 < number <= len(placed.rows)
    traceable = {one.outfalls_traceable for one in placed.rows[number - 1 :]}
    assert len(traceable) == 1, "no place after the recommended ones makes another outfall traceable"
    assert isinstance(advice, Paragraph)
    assert str(number) in advice.text
    assert isinstance(table, ReportTable)
    assert [row[0].text for row in table.rows] == [str(one.rank) for one in placed.rows]
    assert isinstance(town_map, Figure)
    assert isinstance(course, Figure)
    if language == "zh":
        texts = [made.title, advice.text, course.caption, town_map.caption, *table.head]
        assert [english_in(one) for one in texts if english_in(one)] == []
    price = r"Weir $\frac$"  # ended in an error: names were drawn as formulas
    first = structs.replace(placed.rows[0], en=price, zh=price)
    written = reports.render_placement(
        DIRECTORY,
        structs.replace(placed, rows=[first, *placed.rows[1:]]),
        zone=ZONE,
        now_s=1.7e9,
        language=language,
        form="pdf" if language == "zh" else "html",
    )
    assert written.startswith(b"%PDF-" if language == "zh" else b"<!DOCTYPE")
