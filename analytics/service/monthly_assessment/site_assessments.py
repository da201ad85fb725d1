"""Computes monthly assessments of sites and road links: water class, trophic state, capture, congestion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics.assessments import congestion, gb3838, trophic_level
from analytics.assessments.congestion import congestion_levels, road_performance
from analytics.service.monthly_assessment.index_weights import VERSION
from analytics.service.monthly_assessment.month_data import LAKE_SECTION, SECTION_KINDS
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.postgres.assessments import Assessment, AssessmentKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from analytics.assessments.congestion import RoadPerformance
    from analytics.assessments.gb3838 import AssessedItem, AssessedSection
    from analytics.service.item_backoff import ItemBackoff
    from analytics.service.monthly_assessment.month_data import MonthData
    from ingest_service.storage.contract.models import Link, Site

DIGITS = 6


def make_assessment(
    month: MonthData, kind: AssessmentKind, subject: str, area_id: str, readings: int, **other_fields: Any
) -> Assessment:
    """Build an assessment of a month; keyword arguments are its other fields."""
    return Assessment(
        kind=kind,
        subject=subject,
        area_id=area_id,
        month=month.name,
        data_from_s=month.from_s,
        data_to_s=month.to_s,
        readings=readings,
        version=VERSION,
        **other_fields,
    )


def round_significant(value: float | None) -> float | None:
    """Round to `DIGITS` significant digits, so that the result does not depend on the order of summing."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def assess_sites(
    month: MonthData, sections: Mapping[str, AssessedSection], faults: ItemBackoff
) -> list[Assessment]:
    """Assess the capture rate of every site, the class of every section, the trophic state of every lake."""
    found: list[Assessment] = []
    for site in month.sites.values():
        with faults.isolate(f"{month.name} site {site.site_id}"):
            found += list(_assess_site(month, site, sections))
    return found


def _assess_site(
    month: MonthData, site: Site, sections: Mapping[str, AssessedSection]
) -> Iterator[Assessment]:
    if month.series_by_site[site.site_id]:
        yield _capture(month, site)
    if site.site_id in sections:
        yield _water_class(month, site, sections[site.site_id])
    if site.kind == LAKE_SECTION:
        yield from _trophic(month, site)


def assess_sections(month: MonthData, faults: ItemBackoff) -> dict[str, AssessedSection]:
    """Assess every river and lake section that has series by GB 3838, by site id."""
    found = {}
    for site in month.sites.values():
        if site.kind in SECTION_KINDS and month.series_by_site[site.site_id]:
            with faults.isolate(f"{month.name} section {site.site_id}"):
                found[site.site_id] = gb3838.assess_section(
                    _convert_to_limit_units(month.means(site.site_id)),
                    lake=site.kind == LAKE_SECTION,
                    temperature=month.means(site.site_id).get("water_temperature"),
                )
    return found


def _convert_to_limit_units(means: Mapping[str, float]) -> dict[str, float]:
    limits = {**gb3838.LAKE_REFERENCE, **gb3838.LAKE}
    return {
        name: gb3838.convert_to_item_unit(limits[name], value, QUANTITIES[name].unit)
        if name in limits
        else value
        for name, value in means.items()
    }


def _capture(month: MonthData, site: Site) -> Assessment:
    capture_rate = month.capture_rate([site.site_id])
    return make_assessment(
        month,
        "capture",
        f"site/{site.site_id}",
        site.area_id,
        capture_rate.count,
        site_id=site.site_id,
        value=round_significant(capture_rate.capture),
        detail={
            "expected": round(capture_rate.expected),
            "come": capture_rate.count,
            "good": capture_rate.good,
            "validity": round_significant(capture_rate.validity),
        },
    )


def _water_class(month: MonthData, site: Site, found: AssessedSection) -> Assessment:
    means = month.means(site.site_id)
    counted = {one.quantity: month.measured[one.series_id].good for one in month.series_by_site[site.site_id]}
    target = site.target_class
    return make_assessment(
        month,
        "water_class",
        f"site/{site.site_id}",
        site.area_id,
        month.readings([site.site_id]),
        site_id=site.site_id,
        value=round_significant(found.index) if found.items else None,
        class_=found.class_,
        target=target,
        met=None if found.class_ is None or target is None else found.class_ <= target,
        items=len(found.items),
        items_of=gb3838.N_ITEMS,
        detail={
            "items": {name: _item(one, counted.get(name, 0)) for name, one in found.items.items()},
            "reference": {name: _item(one, counted.get(name, 0)) for name, one in found.reference.items()},
            "worst": list(found.worst),
            "main": list(found.main),
            "status": None if found.class_ is None else gb3838.status_of_class(found.class_),
            "limits": "lake" if site.kind == LAKE_SECTION else "river",
            "temperature": round_significant(means.get("water_temperature")),
        },
    )


def _item(one: AssessedItem, readings: int) -> dict[str, Any]:
    return {
        "mean": round_significant(one.value),
        "class": one.class_,
        "index": round_significant(one.index),
        "exceeds": round_significant(one.exceeds),
        "readings": readings,
    }


def _trophic(month: MonthData, site: Site) -> Iterator[Assessment]:
    found = trophic_level.trophic_level_index(month.means(site.site_id))
    if found is not None:
        tli, each = found
        yield make_assessment(
            month,
            "trophic_state",
            f"site/{site.site_id}",
            site.area_id,
            month.readings([site.site_id]),
            site_id=site.site_id,
            value=round_significant(tli),
            class_=trophic_level.trophic_state(tli),
            items=len(each),
            items_of=len(trophic_level.TERMS),
            detail={"items": {name: round_significant(one) for name, one in each.items()}},
        )


def performance_of(month: MonthData, links: Iterable[Link]) -> RoadPerformance | None:
    """Return the performance of some road links together; detectors at a link's ends share its length."""
    hours: dict[str, list[tuple[float, float]]] = {}
    for hour in month.hours:
        hours.setdefault(hour.site_id, []).append((hour.flow, hour.speed))
    rows = []
    for link in links:
        ends_with_hours = [one for one in month.road_ends[link.link_id] if one in hours]
        rows += [
            (flow, speed, link.length_m / 1000 / len(ends_with_hours), link.speed_m_s * 3.6)
            for site in ends_with_hours
            for flow, speed in hours[site]
        ]
    return road_performance(*zip(*rows, strict=True)) if rows else None


def assess_links(month: MonthData, faults: ItemBackoff) -> list[Assessment]:
    """Assess every road link with a detector at an end."""
    found = []
    for link in month.roads:
        if month.road_ends[link.link_id]:
            with faults.isolate(f"{month.name} link {link.link_id}"):
                one = assess_congestion(
                    month,
                    f"link/{link.link_id}",
                    month.area_of_node[link.from_node],
                    [link],
                    link_id=link.link_id,
                    worst=_worst_hour(month, link),
                )
                found.append(one)
    return found


def assess_congestion(
    month: MonthData,
    subject: str,
    area_id: str,
    links: list[Link],
    *,
    worst: dict[str, Any] | None,
    **other_fields: Any,
) -> Assessment:
    """Assess the congestion of road links together."""
    found = performance_of(month, links)
    ends = sorted({site for link in links for site in month.road_ends[link.link_id]})
    detail: dict[str, Any] = {"links": len(links), "detectors": ends}
    if found is not None:
        detail |= {
            "speed_km_h": round_significant(found.speed_km_h),
            "free_km_h": round_significant(links[0].speed_m_s * 3.6) if len(links) == 1 else None,
            "delay_vehicle_h": round_significant(found.delay_vehicle_h),
            "vehicle_km": round_significant(found.vehicle_km),
            "congestion_index": round_significant(congestion.congestion_index(found.travel_time_index - 1.0)),
            "hours": found.hours,
            "hours_by_level": list(found.hours_by_level),
            "worst_hour": worst,
        }
    return make_assessment(
        month,
        "congestion",
        subject,
        area_id,
        month.readings(ends),
        value=None if found is None else round_significant(found.travel_time_index),
        class_=None if found is None else found.level,
        detail=detail,
        **other_fields,
    )


def _worst_hour(month: MonthData, link: Link) -> dict[str, Any] | None:
    ends = month.road_ends[link.link_id]
    hours = [(hour.speed, hour.time_s, hour.flow) for hour in month.hours if hour.site_id in ends]
    if not hours:
        return None
    speed, time_s, flow = min(hours)
    level = int(congestion_levels(speed / (link.speed_m_s * 3.6)))
    return {
        "time_s": time_s,
        "speed_km_h": round_significant(speed),
        "flow_veh_h": round_significant(flow),
        "level": level,
    }
