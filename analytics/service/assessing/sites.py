"""Monthly assessments of sites and links: class and target, trophic state, capture, congestion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics.assessments import gb3838, traffic, trophic
from analytics.assessments.traffic import levels, performance
from analytics.service.assessing.month import LAKE, SECTIONS
from analytics.service.assessing.rules import VERSION
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.assessments import Assessment, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from analytics.assessments.gb3838 import Judged, Section
    from analytics.assessments.traffic import Performance
    from analytics.service.assessing.month import Month
    from analytics.service.items import Items
    from ingest_service.storage.model import Link, Site

DIGITS = 6


def made(month: Month, kind: Kind, subject: str, area_id: str, readings: int, **more: Any) -> Assessment:
    """An assessment of a month."""
    return Assessment(
        kind=kind,
        subject=subject,
        area_id=area_id,
        month=month.name,
        data_from_s=month.from_s,
        data_to_s=month.to_s,
        readings=readings,
        version=VERSION,
        **more,
    )


def rounded(value: float | None) -> float | None:
    """To so many significant digits that summing in another order makes no other number."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def of_sites(month: Month, sections: Mapping[str, Section], faults: Items) -> list[Assessment]:
    """Every site: how much came; every section: its class; every lake: its trophic state."""
    found: list[Assessment] = []
    for site in month.sites.values():
        with faults.isolated(f"{month.name} site {site.site_id}"):
            found += list(_of_site(month, site, sections))
    return found


def _of_site(month: Month, site: Site, sections: Mapping[str, Section]) -> Iterator[Assessment]:
    if month.series_of[site.site_id]:
        yield _capture(month, site)
    if site.site_id in sections:
        yield _class(month, site, sections[site.site_id])
    if site.kind == LAKE:
        yield from _trophic(month, site)


def sections_of(month: Month, faults: Items) -> dict[str, Section]:
    """Every river and lake section that has series, judged."""
    found = {}
    for site in month.sites.values():
        if site.kind in SECTIONS and month.series_of[site.site_id]:
            with faults.isolated(f"{month.name} section {site.site_id}"):
                found[site.site_id] = gb3838.section(
                    _in_limit_units(month.means(site.site_id)),
                    lake=site.kind == LAKE,
                    temperature=month.means(site.site_id).get("water_temperature"),
                )
    return found


def _in_limit_units(means: Mapping[str, float]) -> dict[str, float]:
    limits = {**gb3838.LAKE_REFERENCE, **gb3838.LAKE}
    return {
        name: gb3838.in_unit_of(limits[name], value, QUANTITIES[name].unit) if name in limits else value
        for name, value in means.items()
    }


def _capture(month: Month, site: Site) -> Assessment:
    rate = month.rate([site.site_id])
    return made(
        month,
        "capture",
        f"site/{site.site_id}",
        site.area_id,
        rate.count,
        site_id=site.site_id,
        value=rounded(rate.capture),
        detail={
            "expected": round(rate.expected),
            "come": rate.count,
            "good": rate.good,
            "validity": rounded(rate.validity),
        },
    )


def _class(month: Month, site: Site, found: Section) -> Assessment:
    means = month.means(site.site_id)
    counted = {one.quantity: month.measured[one.series_id].good for one in month.series_of[site.site_id]}
    target = site.target_class
    return made(
        month,
        "water_class",
        f"site/{site.site_id}",
        site.area_id,
        month.readings([site.site_id]),
        site_id=site.site_id,
        value=rounded(found.index) if found.items else None,
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
            "status": None if found.class_ is None else gb3838.status(found.class_),
            "limits": "lake" if site.kind == LAKE else "river",
            "temperature": rounded(means.get("water_temperature")),
        },
    )


def _item(one: Judged, readings: int) -> dict[str, Any]:
    return {
        "mean": rounded(one.value),
        "class": one.class_,
        "index": rounded(one.index),
        "exceeds": rounded(one.exceeds),
        "readings": readings,
    }


def _trophic(month: Month, site: Site) -> Iterator[Assessment]:
    found = trophic.index(month.means(site.site_id))
    if found is not None:
        tli, each = found
        yield made(
            month,
            "trophic_state",
            f"site/{site.site_id}",
            site.area_id,
            month.readings([site.site_id]),
            site_id=site.site_id,
            value=rounded(tli),
            class_=trophic.state(tli),
            items=len(each),
            items_of=len(trophic.TERMS),
            detail={"items": {name: rounded(one) for name, one in each.items()}},
        )


def performance_of(month: Month, links: Iterable[Link]) -> Performance | None:
    """What some road links add up to; a link's length is shared by the detectors at its ends."""
    hours: dict[str, list[tuple[float, float]]] = {}
    for hour in month.hours:
        hours.setdefault(hour.site_id, []).append((hour.flow, hour.speed))
    rows = []
    for link in links:
        seen = [one for one in month.road_ends[link.link_id] if one in hours]
        rows += [
            (flow, speed, link.length_m / 1000 / len(seen), link.speed_m_s * 3.6)
            for site in seen
            for flow, speed in hours[site]
        ]
    return performance(*zip(*rows, strict=True)) if rows else None


def of_links(month: Month, faults: Items) -> list[Assessment]:
    """Every road link with a detector at an end."""
    found = []
    for link in month.roads:
        if month.road_ends[link.link_id]:
            with faults.isolated(f"{month.name} link {link.link_id}"):
                one = congestion(
                    month,
                    f"link/{link.link_id}",
                    month.area_of_node[link.from_node],
                    [link],
                    link_id=link.link_id,
                    worst=_worst_hour(month, link),
                )
                found.append(one)
    return found


def congestion(
    month: Month, subject: str, area_id: str, links: list[Link], *, worst: dict[str, Any] | None, **more: Any
) -> Assessment:
    """Congestion of road links together."""
    found = performance_of(month, links)
    ends = sorted({site for link in links for site in month.road_ends[link.link_id]})
    detail: dict[str, Any] = {"links": len(links), "detectors": ends}
    if found is not None:
        detail |= {
            "speed_km_h": rounded(found.speed_km_h),
            "free_km_h": rounded(links[0].speed_m_s * 3.6) if len(links) == 1 else None,
            "delay_vehicle_h": rounded(found.delay_vehicle_h),
            "vehicle_km": rounded(found.vehicle_km),
            "congestion_index": rounded(traffic.congestion_index(found.travel_time_index - 1.0)),
            "hours": found.hours,
            "hours_by_level": list(found.hours_by_level),
            "worst_hour": worst,
        }
    return made(
        month,
        "congestion",
        subject,
        area_id,
        month.readings(ends),
        value=None if found is None else rounded(found.travel_time_index),
        class_=None if found is None else found.level,
        detail=detail,
        **more,
    )


def _worst_hour(month: Month, link: Link) -> dict[str, Any] | None:
    ends = month.road_ends[link.link_id]
    hours = [(hour.speed, hour.time_s, hour.flow) for hour in month.hours if hour.site_id in ends]
    if not hours:
        return None
    speed, time_s, flow = min(hours)
    level = int(levels(speed / (link.speed_m_s * 3.6)))
    return {"time_s": time_s, "speed_km_h": rounded(speed), "flow_veh_h": rounded(flow), "level": level}
