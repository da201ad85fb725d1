"""Builds the towns' part of a report: summary, water status, anomalies, index and ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics.service.reports.blocks import Cell, Heading, Table, Text
from analytics.service.reports.figures import listing, number, percent, plain
from analytics.service.reports.words import SEPARATOR, detector, listed, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.service.reports.blocks import Block
    from analytics.service.reports.source import Source
    from ingest_service.storage.assessments import Assessment


def summary(source: Source) -> Iterator[Block]:
    """What matters most, each town in a sentence or two."""
    spoken = source.language
    yield Heading(word("summary", spoken))
    towns = source.of("index", "area")
    if not towns:
        yield Text(word("empty_summary", spoken))
    for town in towns:
        mine = {one.kind: one for one in source.now if one.subject == town.subject}
        said = " ".join(_said(mine, source)) if spoken == "en" else "".join(_said(mine, source))
        begin = f"{source.name(town)}: " if spoken == "en" else f"{source.name(town)}："
        yield Text(begin + said)


def _said(mine: dict[Any, Assessment], source: Source) -> Iterator[str]:
    spoken = source.language
    if (water_ := mine.get("water_status")) is not None:
        detail = water_.detail
        yield word(
            "summary_water",
            spoken,
            assessed=detail["assessed"],
            sections=detail["sections"],
            good=sum(detail["classes"][:3]),
            met=detail["met"],
            targets=detail["with_target"],
        )
    if (roads := mine.get("congestion")) is not None and roads.value is not None:
        level = word(f"level_{roads.class_}", spoken)
        yield word("summary_roads", spoken, tti=f"{roads.value:.2f}", level=level)
    capture = mine["capture"]
    yield word(
        "summary_capture",
        spoken,
        capture=percent(capture.value, spoken).text,
        validity=percent(capture.detail["validity"], spoken).text,
    )
    response = mine["response"].detail
    yield word("summary_anomalies", spoken, n=response["anomalies"], open=response["is_open"])
    index = mine["index"]
    if index.value is not None:
        ranked = index.detail["ranked"]
        yield word("summary_index", spoken, value=f"{index.value:.1f}", rank=index.class_, ranked=ranked)


def water(source: Source) -> Iterator[Block]:
    """The towns' rivers as a whole."""
    towns, spoken = source.of("water_status", "area"), source.language
    if not towns:
        return
    yield Heading(word("towns_water", spoken))
    yield Table(
        [
            word(one, spoken)
            for one in ("town", "status", "before", "share_good", "share_met", "main", "rank_cwqi")
        ],
        [_water_row(source, one) for one in towns],
        (24, 13, 13, 10, 10, 16, 14),
    )
    shared = towns[0].detail["shared_items"]
    yield Text(word("shared", spoken, items=listed(shared, spoken)))


def _water_row(source: Source, one: Assessment) -> list[Cell]:
    spoken, detail, old = source.language, one.detail, source.earlier(one)
    rank = plain(spoken)
    if detail["rank"] is not None:
        rank = f"{detail['shared_index']:.2f} ({detail['rank']}/{detail['ranked']})"
    return [
        Cell(source.name(one)),
        Cell(plain(spoken) if one.class_ is None else word(f"status_{one.class_}", spoken)),
        Cell(word(f"status_{old.class_}", spoken) if old and old.class_ else plain(spoken)),
        Cell(f"{sum(detail['classes'][:3])} / {detail['assessed']}"),
        Cell(f"{detail['met']} / {detail['with_target']}"),
        Cell(listed(detail["main"], spoken)),
        Cell(rank),
    ]


def anomalies(source: Source) -> Iterator[Block]:
    """Anomalies of each town by detector, how long they lasted, how soon somebody answered."""
    spoken, towns = source.language, source.of("response", "area")
    if not towns:
        return
    yield Heading(word("anomalies", spoken))
    yield Text(word("anomalies_about", spoken, wanted=f"{towns[0].detail['wanted_h']:g}"))
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
        [Cell(source.name(one)), Cell(detector(name, spoken)), *_lasted(found, source)]
        for one in towns
        for name, found in one.detail["by_detector"].items()
    ]
    table = Table([word(one, spoken) for one in heads], rows, (22, 12, 8, 8, 10, 10, 10, 10, 10))
    yield listing(table, "empty_anomalies", spoken)


def _lasted(found: dict[str, Any], source: Source) -> list[Cell]:
    spoken = source.language
    return [
        Cell(str(found["anomalies"])),
        Cell(str(found["is_open"])),
        number(found["median_h"], spoken, ".1f"),
        number(found["longest_h"], spoken, ".1f"),
        percent(found["in_time"], spoken),
        Cell(str(found["answered"])),
        number(found["median_answer_h"], spoken, ".1f"),
    ]


def ranking(source: Source) -> Iterator[Block]:
    """The towns by their index, with its parts and weights."""
    spoken = source.language
    towns = sorted(source.of("index", "area"), key=lambda one: (one.class_ or 10**6, one.subject))
    if not towns:
        return
    parts = towns[0].detail["parts"]
    yield Heading(word("ranking", spoken))
    weights = SEPARATOR[spoken].join(
        f"{word('part_' + part['part'], spoken)} {part['weight']:g}" for part in parts
    )
    yield Text(word("ranking_about", spoken, weights=weights))
    heads = [word(one, spoken) for one in ("rank", "town", "index", "before")]
    rows = []
    for one in towns:
        old = source.earlier(one)
        rows.append(
            [
                Cell(plain(spoken) if one.class_ is None else f"{one.class_} / {one.detail['ranked']}"),
                Cell(source.name(one)),
                number(one.value, spoken, ".1f"),
                number(old.value if old else None, spoken, ".1f"),
                *(percent(part["score"], spoken) for part in one.detail["parts"]),
            ]
        )
    yield Table(
        [*heads, *(word(f"part_{part['part']}", spoken) for part in parts)],
        rows,
        (8, 22, 8, 8, *([54 / len(parts)] * len(parts))),
    )
