"""Builds the blocks of an area's monthly report."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from analytics.assessments import gb3838
from analytics.service.reports import content_towns, plots
from analytics.service.reports.blocks import Cell, Heading, Notice, Picture, Report, Table, Text
from analytics.service.reports.figures import class_cell, listing, number, pale, percent, plain
from analytics.service.reports.words import SEPARATOR, listed, word
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.source import Source
    from ingest_service.storage.assessments import Assessment


def of(source: Source) -> Report:
    """The report of an area's month."""
    spoken = source.language
    year, number_ = (int(part) for part in source.month.split("-"))
    month = word("month", spoken, year=year, number=number_)
    first = source.now[0]
    begin, end, newest = (
        datetime.fromtimestamp(one, source.zone).strftime("%Y-%m-%d %H:%M")
        for one in (first.data_from_s, source.as_of_s, source.newest_s)
    )
    stale = [Notice(word("stale", spoken, end=end, newest=newest))] if source.is_stale else []
    come = sum(one.readings for one in source.of("capture", "site"))
    return Report(
        title=word("title", spoken, area=getattr(source.area, spoken), month=month),
        under=word("under", spoken, begin=begin, end=end, readings=f"{come:,}", version=first.version),
        language=spoken,
        made_s=source.as_of_s,
        blocks=[
            *stale,
            *content_towns.summary(source),
            *_sections(source),
            *content_towns.water(source),
            *_lakes(source),
            *_roads(source),
            *_capture(source),
            *content_towns.anomalies(source),
            *content_towns.ranking(source),
            *_missing(source),
        ],
    )


def _sections(source: Source) -> Iterator[Block]:
    sections, spoken = source.of("water_class", "site"), source.language
    if not sections:
        return
    yield Heading(word("water", spoken))
    yield Text(word("partial", spoken))
    heads = ("section", "items", "target", "class", "before", "keeps", "worst", "main", "cwqi")
    yield Table(
        [word(one, spoken) for one in heads],
        [_section_row(source, one) for one in sections],
        (22, 9, 7, 9, 9, 6, 15, 16, 7),
    )
    rows = []
    for one in sections:
        old = source.earlier(one)
        rows.append((source.name(one), one.class_, old.class_ if old else None, one.target))
    for part in plots.shared_out(rows):
        yield Picture(plots.classes(part, spoken), word("picture_classes", spoken))
    if source.item and source.days:
        quantity = QUANTITIES[source.item]
        limit = gb3838.RIVER[source.item].limits[gb3838.III - 1]
        lines = {source.names[f"site/{site}"]: days for site, days in source.days.items()}
        caption = word("picture_days", spoken, item=getattr(quantity, spoken), unit=quantity.unit)
        yield Picture(plots.days(lines, limit, quantity.unit, spoken), caption)


def _section_row(source: Source, one: Assessment) -> list[Cell]:
    spoken, old = source.language, source.earlier(one)
    return [
        Cell(source.name(one)),
        Cell(word("items_of", spoken, n=one.items, all=one.items_of)),
        Cell(word(f"class_{one.target}", spoken) if one.target else word("none", spoken)),
        class_cell(one.class_, spoken),
        class_cell(old.class_ if old else None, spoken),
        Cell(word("none" if one.met is None else "yes" if one.met else "no", spoken)),
        Cell(listed(one.detail["worst"], spoken) if (one.class_ or 0) > 1 else word("none", spoken)),
        Cell(
            SEPARATOR[spoken].join(_pollutant(one, name, source) for name in one.detail["main"])
            or plain(spoken)
        ),
        number(one.value, spoken, ".2f"),
    ]


def _pollutant(one: Assessment, name: str, source: Source) -> str:
    exceeds = one.detail["items"][name]["exceeds"]
    spoken = word(name, source.language)
    return spoken if exceeds is None else f"{spoken} ({exceeds:.2f})"


def _lakes(source: Source) -> Iterator[Block]:
    lakes, spoken = source.of("trophic_state", "site"), source.language
    if lakes:
        yield Heading(word("lakes", spoken))
        yield Table(
            [word(one, spoken) for one in ("section", "items", "tli", "status", "before")],
            [
                [
                    Cell(source.name(one)),
                    Cell(word("items_of", spoken, n=one.items, all=one.items_of)),
                    number(one.value, spoken, ".1f"),
                    Cell(word(f"trophic_{one.class_}", spoken)),
                    number(old.value if (old := source.earlier(one)) else None, spoken, ".1f"),
                ]
                for one in lakes
            ],
            (34, 16, 14, 22, 14),
        )


def _roads(source: Source) -> Iterator[Block]:
    links, spoken = [one for one in source.of("congestion", "link") if one.value is not None], source.language
    if not links:
        return
    yield Heading(word("roads", spoken))
    yield Text(word("roads_about", spoken))
    heads = ("link", "level", "tti", "before", "speed", "delay", "congested", "worst_hour")
    yield Table(
        [word(one, spoken) for one in heads],
        [_link_row(source, one) for one in links],
        (30, 9, 8, 7, 12, 9, 9, 16),
    )
    rows = [(source.name(one), one.detail["hours_by_level"]) for one in links]
    for part in plots.shared_out(rows):
        yield Picture(plots.levels(part, spoken), word("picture_roads", spoken))


def _link_row(source: Source, one: Assessment) -> list[Cell]:
    spoken, detail, old = source.language, one.detail, source.earlier(one)
    worst = detail["worst_hour"]
    at = datetime.fromtimestamp(worst["time_s"], source.zone).strftime("%m-%d %H:00")
    hours = detail["hours_by_level"]
    return [
        Cell(source.name(one)),
        Cell(word(f"level_{one.class_}", spoken), pale(plots.LEVEL_FILLS[(one.class_ or 1) - 1])),
        number(one.value, spoken, ".2f"),
        number(old.value if old else None, spoken, ".2f"),
        Cell(f"{detail['speed_km_h']:.0f} / {detail['free_km_h']:.0f}"),
        number(detail["delay_vehicle_h"], spoken, ",.0f"),
        percent(sum(hours[2:]) / sum(hours), spoken),
        Cell(f"{at}, {worst['speed_km_h']:.0f} km/h"),
    ]


def _capture(source: Source) -> Iterator[Block]:
    spoken = source.language
    yield Heading(word("capture", spoken))
    yield Text(word("capture_about", spoken))
    heads = ("site", "expected", "come", "rate_capture", "before", "rate_validity")
    rows = []
    for one in source.of("capture", "site"):
        old = source.earlier(one)
        rows.append(
            [
                Cell(source.name(one)),
                Cell(f"{one.detail['expected']:,}"),
                Cell(f"{one.detail['come']:,}"),
                percent(one.value, spoken),
                percent(old.value if old else None, spoken),
                percent(one.detail["validity"], spoken),
            ]
        )
    yield listing(
        Table([word(one, spoken) for one in heads], rows, (40, 12, 12, 12, 12, 12)), "empty_capture", spoken
    )


def _missing(source: Source) -> Iterator[Block]:
    """What is not measured, plainly."""
    spoken = source.language
    sections = source.of("water_class", "site")
    yield Heading(word("missing", spoken))
    if sections:
        measured = {name for one in sections for name in one.detail["items"]}
        absent = [name for name in gb3838.RIVER if name not in measured]
        yield Text(word("missing_items", spoken, items=listed(absent, spoken)))
    silent: dict[str, list[Assessment]] = {
        "missing_nothing": [one for one in sections if one.class_ is None],
        "missing_links": [one for one in source.of("congestion", "link") if one.value is None],
        "missing_sites": [one for one in source.of("capture", "site") if not one.readings],
    }
    for key, ones in silent.items():
        if ones:
            names = SEPARATOR[spoken].join(source.name(one) for one in ones)
            yield Text(
                word(key, spoken, **{key.removeprefix("missing_").replace("nothing", "sections"): names})
            )
    if not source.before:
        yield Text(word("missing_before", spoken))
    yield Text(word("missing_sources", spoken))
