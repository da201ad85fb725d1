"""Monthly assessments of towns: water status and CWQI, congestion, capture, response, index and rank."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from analytics.assessments import gb3838
from analytics.assessments.index import index, ranks
from analytics.assessments.rates import response
from analytics.service.assessing.month import SECTIONS
from analytics.service.assessing.sites import congestion, made, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics.assessments.gb3838 import Section
    from analytics.service.assessing.month import Month
    from analytics.service.assessing.rules import Rules
    from analytics.service.items import Items
    from ingest_service.storage.assessments import Assessment, Span


def of_towns(month: Month, sections: Mapping[str, Section], rules: Rules, faults: Items) -> list[Assessment]:
    """Every town that has series, and how they rank."""
    found: list[Assessment] = []
    shared = _shared(month, sections)
    for town in month.towns:
        sites = [one.site_id for one in month.in_town(town.area_id) if month.series_of[one.site_id]]
        if sites:
            with faults.isolated(f"{month.name} town {town.area_id}"):
                found += [
                    *_water(month, town.area_id, sections, shared),
                    *_roads(month, town.area_id),
                    _capture(month, town.area_id, sites),
                    _response(month, town.area_id, rules),
                ]
    return [*_ranked_water(found), *_indices(month, found, rules)]


def _shared(month: Month, sections: Mapping[str, Section]) -> set[str]:
    """The items that every town with sections measures: on these alone towns compare."""
    by_town = [set(gb3838.means(one)) for one in _sections_by_town(month, sections).values() if one]
    return set.intersection(*by_town) if by_town else set()


def _sections_by_town(month: Month, sections: Mapping[str, Section]) -> dict[str, list[Section]]:
    found: dict[str, list[Section]] = {}
    for site_id, one in sections.items():
        if one.class_ is not None:
            found.setdefault(month.sites[site_id].area_id, []).append(one)
    return found


def _water(
    month: Month, area_id: str, sections: Mapping[str, Section], shared: set[str]
) -> Iterator[Assessment]:
    sites = [one for one in month.in_town(area_id, SECTIONS) if one.site_id in sections]
    if not sites:
        return
    known = [sections[one.site_id] for one in sites if sections[one.site_id].class_ is not None]
    temperatures = [month.means(one.site_id).get("water_temperature") for one in sites]
    warm = [one for one in temperatures if one is not None]
    temperature = sum(warm) / len(warm) if warm else None
    joint = gb3838.section(gb3838.means(known), temperature=temperature)
    targets = [
        (sections[one.site_id].class_ or gb3838.WORSE) <= one.target_class
        for one in sites
        if one.target_class is not None and sections[one.site_id].class_ is not None
    ]
    counted = Counter(one.class_ for one in known)
    yield made(
        month,
        "water_status",
        f"area/{area_id}",
        area_id,
        month.readings(one.site_id for one in sites),
        value=rounded(joint.index) if joint.items else None,
        class_=gb3838.town_status(known, temperature=temperature),
        items=len(joint.items),
        items_of=gb3838.N_ITEMS,
        detail={
            "sections": len(sites),
            "assessed": len(known),
            "classes": [counted[one] for one in range(1, 7)],
            "with_target": len(targets),
            "met": sum(targets),
            "main": list(joint.main),
            "shared_items": sorted(shared & set(joint.items)),
            "shared_index": rounded(
                sum(joint.items[name].index for name in sorted(shared & set(joint.items)))
            ),
        },
    )


def _roads(month: Month, area_id: str) -> Iterator[Assessment]:
    links = [
        link
        for link in month.roads
        if month.area_of_node[link.from_node] == area_id and month.road_ends[link.link_id]
    ]
    if links:
        yield congestion(month, f"area/{area_id}", area_id, links, worst=None)


def _capture(month: Month, area_id: str, sites: Sequence[str]) -> Assessment:
    rate = month.rate(sites)
    return made(
        month,
        "capture",
        f"area/{area_id}",
        area_id,
        rate.count,
        value=rounded(rate.capture),
        detail={
            "expected": round(rate.expected),
            "come": rate.count,
            "good": rate.good,
            "validity": rounded(rate.validity),
        },
    )


def _response(month: Month, area_id: str, rules: Rules) -> Assessment:
    spans = [one for one in month.spans if month.sites[one.site_id].area_id == area_id]
    whole = _responded(spans, month, rules)
    return made(
        month,
        "response",
        f"area/{area_id}",
        area_id,
        0,
        value=whole["in_time"],
        detail=whole
        | {
            "wanted_h": rules.response_wanted_h,
            "by_detector": {
                detector: _responded([one for one in spans if one.detector == detector], month, rules)
                for detector in sorted({one.detector for one in spans})
            },
        },
    )


def _responded(spans: Iterable[Span], month: Month, rules: Rules) -> dict[str, Any]:
    found = response(
        [(one.start_s, one.end_s, one.said_s) for one in spans],
        now_s=month.to_s,
        wanted_h=rules.response_wanted_h,
    )
    return {name: rounded(one) if isinstance(one, float) else one for name, one in asdict(found).items()}


def _ranked_water(found: Sequence[Assessment]) -> list[Assessment]:
    """CWQI ranks over the items that all towns share: the smallest sum is first."""
    water = {
        one.subject: one.detail["shared_index"] if one.detail["shared_items"] else None
        for one in found
        if one.kind == "water_status"
    }
    places = ranks(water, high_first=False)
    for one in found:
        if one.kind == "water_status":
            one.detail["rank"], one.detail["ranked"] = places.get(one.subject), len(places)
    return list(found)


def _indices(month: Month, found: Sequence[Assessment], rules: Rules) -> Iterator[Assessment]:
    """The index of each town, and its rank."""
    scores: dict[str, dict[str, float | None]] = {}
    for one in found:
        scores.setdefault(one.area_id, {}).update(_scores(one))
    values = {area: rounded(index(parts, rules.weights)) for area, parts in scores.items()}
    places = ranks(values)
    for area, parts in scores.items():
        yield made(
            month,
            "index",
            f"area/{area}",
            area,
            month.readings(one.site_id for one in month.in_town(area)),
            value=values[area],
            class_=places.get(area),
            items=sum(parts.get(name) is not None for name in rules.weights),
            items_of=len(rules.weights),
            detail={
                "ranked": len(places),
                "parts": [
                    {"part": name, "weight": weight, "score": rounded(parts.get(name))}
                    for name, weight in rules.weights.items()
                ],
            },
        )


def _scores(one: Assessment) -> dict[str, float | None]:
    """What an assessment of a town says to the index: 0 to 1."""
    detail = one.detail
    match one.kind:
        case "water_status":
            good = sum(detail["classes"][: gb3838.III])
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
            return {"response": one.value}
        case _:
            return {}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
