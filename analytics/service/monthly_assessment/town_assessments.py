"""Computes monthly assessments of towns: water status, CWQI, congestion, capture, response, index, rank."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from analytics.assessments import gb3838
from analytics.assessments.capture_and_response import response_statistics
from analytics.assessments.town_index import ranks, weighted_index
from analytics.service.monthly_assessment.incident_response import incident_response
from analytics.service.monthly_assessment.month_data import SECTION_KINDS
from analytics.service.monthly_assessment.site_assessments import (
    assess_congestion,
    make_assessment,
    round_significant,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics.assessments.gb3838 import AssessedSection
    from analytics.service.item_backoff import ItemBackoff
    from analytics.service.monthly_assessment.index_weights import IndexRules
    from analytics.service.monthly_assessment.month_data import MonthData
    from ingest_service.storage.postgres.assessments import Assessment, HandledAnomaly


def assess_towns(
    month: MonthData, sections: Mapping[str, AssessedSection], rules: IndexRules, faults: ItemBackoff
) -> list[Assessment]:
    """Assess every town that has series, and rank the towns."""
    found: list[Assessment] = []
    shared = _shared_items(month, sections)
    for town in month.towns:
        sites = [
            one.site_id for one in month.sites_in_town(town.area_id) if month.series_by_site[one.site_id]
        ]
        if sites:
            with faults.isolate(f"{month.name} town {town.area_id}"):
                found += [
                    *_water_status(month, town.area_id, sections, shared),
                    *_roads(month, town.area_id),
                    _capture(month, town.area_id, sites),
                    _response(month, town.area_id, rules),
                ]
    return [*_rank_water_status(found), *_town_indices(month, found, rules)]


def _shared_items(month: MonthData, sections: Mapping[str, AssessedSection]) -> set[str]:
    """Return the items that every town with sections measures; towns are compared on these only."""
    by_town = [set(gb3838.mean_by_item(one)) for one in _sections_by_town(month, sections).values() if one]
    return set.intersection(*by_town) if by_town else set()


def _sections_by_town(
    month: MonthData, sections: Mapping[str, AssessedSection]
) -> dict[str, list[AssessedSection]]:
    found: dict[str, list[AssessedSection]] = {}
    for site_id, one in sections.items():
        if one.class_ is not None:
            found.setdefault(month.sites[site_id].area_id, []).append(one)
    return found


def _water_status(
    month: MonthData, area_id: str, sections: Mapping[str, AssessedSection], shared: set[str]
) -> Iterator[Assessment]:
    sites = [one for one in month.sites_in_town(area_id, SECTION_KINDS) if one.site_id in sections]
    if not sites:
        return
    classed_sections = [sections[one.site_id] for one in sites if sections[one.site_id].class_ is not None]
    temperatures = [month.means(one.site_id).get("water_temperature") for one in sites]
    warm = [one for one in temperatures if one is not None]
    temperature = sum(warm) / len(warm) if warm else None
    joint_section = gb3838.assess_section(gb3838.mean_by_item(classed_sections), temperature=temperature)
    targets = [
        (sections[one.site_id].class_ or gb3838.WORSE_THAN_V) <= one.target_class
        for one in sites
        if one.target_class is not None and sections[one.site_id].class_ is not None
    ]
    sections_by_class = Counter(one.class_ for one in classed_sections)
    yield make_assessment(
        month,
        "water_status",
        f"area/{area_id}",
        area_id,
        month.readings(one.site_id for one in sites),
        value=round_significant(joint_section.index) if joint_section.items else None,
        class_=gb3838.town_status(classed_sections, temperature=temperature),
        items=len(joint_section.items),
        items_of=gb3838.N_ITEMS,
        detail={
            "sections": len(sites),
            "assessed": len(classed_sections),
            "classes": [sections_by_class[one] for one in range(1, 7)],
            "with_target": len(targets),
            "met": sum(targets),
            "main": list(joint_section.main),
            "shared_items": sorted(shared & set(joint_section.items)),
            "shared_index": round_significant(
                sum(joint_section.items[name].index for name in sorted(shared & set(joint_section.items)))
            ),
        },
    )


def _roads(month: MonthData, area_id: str) -> Iterator[Assessment]:
    links = [
        link
        for link in month.roads
        if month.area_of_node[link.from_node] == area_id and month.road_ends[link.link_id]
    ]
    if links:
        yield assess_congestion(month, f"area/{area_id}", area_id, links, worst=None)


def _capture(month: MonthData, area_id: str, sites: Sequence[str]) -> Assessment:
    capture_rate = month.capture_rate(sites)
    return make_assessment(
        month,
        "capture",
        f"area/{area_id}",
        area_id,
        capture_rate.count,
        value=round_significant(capture_rate.capture),
        detail={
            "expected": round(capture_rate.expected),
            "come": capture_rate.count,
            "good": capture_rate.good,
            "validity": round_significant(capture_rate.validity),
        },
    )


def _response(month: MonthData, area_id: str, rules: IndexRules) -> Assessment:
    handled_anomalies = [
        one for one in month.handled_anomalies if month.sites[one.site_id].area_id == area_id
    ]
    total = _response_detail(handled_anomalies, month, rules)
    return make_assessment(
        month,
        "response",
        f"area/{area_id}",
        area_id,
        0,
        value=total["in_time"],
        detail=total
        | {
            "wanted_h": rules.response_wanted_h,
            "incidents": _incident_detail(month, area_id),
            "by_detector": {
                detector: _response_detail(
                    [one for one in handled_anomalies if one.detector == detector], month, rules
                )
                for detector in sorted({one.detector for one in handled_anomalies})
            },
        },
    )


def _response_detail(
    handled_anomalies: Iterable[HandledAnomaly], month: MonthData, rules: IndexRules
) -> dict[str, Any]:
    found = response_statistics(
        [(one.start_s, one.end_s, one.said_s) for one in handled_anomalies],
        now_s=month.to_s,
        target_h=rules.response_wanted_h,
    )
    return _rounded(asdict(found))


def _incident_detail(month: MonthData, area_id: str) -> dict[str, Any]:
    found = incident_response(
        [one for one in month.handled_incidents if one.area_id == area_id],
        [one for one in month.incident_deadlines if one.area_id == area_id],
        now_s=month.to_s,
    )
    return _rounded(asdict(found))


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with every number of a nested mapping rounded."""
    return {
        name: _rounded(one)
        if isinstance(one, dict)
        else round_significant(one)
        if isinstance(one, float)
        else one
        for name, one in values.items()
    }


def _rank_water_status(found: Sequence[Assessment]) -> list[Assessment]:
    """Add CWQI ranks to the details, over the items that all towns share; the smallest sum ranks first."""
    water = {
        one.subject: one.detail["shared_index"] if one.detail["shared_items"] else None
        for one in found
        if one.kind == "water_status"
    }
    rank_by_town = ranks(water, high_first=False)
    for one in found:
        if one.kind == "water_status":
            one.detail["rank"], one.detail["ranked"] = rank_by_town.get(one.subject), len(rank_by_town)
    return list(found)


def _town_indices(month: MonthData, found: Sequence[Assessment], rules: IndexRules) -> Iterator[Assessment]:
    """Yield the index of each town, with its rank."""
    scores: dict[str, dict[str, float | None]] = {}
    for one in found:
        scores.setdefault(one.area_id, {}).update(_scores(one))
    values = {area: round_significant(weighted_index(parts, rules.weights)) for area, parts in scores.items()}
    rank_by_town = ranks(values)
    for area, parts in scores.items():
        yield make_assessment(
            month,
            "index",
            f"area/{area}",
            area,
            month.readings(one.site_id for one in month.sites_in_town(area)),
            value=values[area],
            class_=rank_by_town.get(area),
            items=sum(parts.get(name) is not None for name in rules.weights),
            items_of=len(rules.weights),
            detail={
                "ranked": len(rank_by_town),
                "parts": [
                    {"part": name, "weight": weight, "score": round_significant(parts.get(name))}
                    for name, weight in rules.weights.items()
                ],
            },
        )


def _scores(one: Assessment) -> dict[str, float | None]:
    """Return the index parts that a town's assessment contributes, each from 0 to 1."""
    detail = one.detail
    match one.kind:
        case "water_status":
            good = sum(detail["classes"][: gb3838.CLASS_III])
            return {
                "water_target": _share(detail["met"], detail["with_target"]),
                "water_good": _share(good, detail["assessed"]),
            }
        case "congestion":
            hours = detail.get("hours_by_level", [])
            return {"roads": _share(sum(hours[:2]), sum(hours))}
        case "capture":
            return {"capture": one.value, "validity": detail["validity"]}
        case "response":
            kept = detail["incidents"]["deadlines"]["in_time"]
            return {"response": one.value, "incidents": kept}
        case _:
            return {}


def _share(part: int, total: int) -> float | None:
    return part / total if total else None
