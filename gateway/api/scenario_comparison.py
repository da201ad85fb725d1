"""Puts the results of two scenarios side by side."""

from __future__ import annotations

from gateway.api.models import scenario_models as models


def compared_sites(
    first: models.WaterScenarioResult, second: models.WaterScenarioResult
) -> list[models.ComparedSite]:
    """Return the places that the spills of either scenario reach."""
    a, b = ({one.node_id: one for one in result.sites} for result in (first, second))
    found = []
    for node_id in dict.fromkeys((*a, *b)):
        site = a.get(node_id) or b[node_id]
        passages = [
            None
            if one is None
            else models.PassageResponse(arrival_s=one.arrival_s, peak_s=one.peak_s, peak_mg_l=one.peak_mg_l)
            for one in (a.get(node_id), b.get(node_id))
        ]
        found.append(
            models.ComparedSite(node_id=node_id, en=site.en, zh=site.zh, a=passages[0], b=passages[1])
        )
    return found


def compared_links(
    first: models.WaterScenarioResult, second: models.WaterScenarioResult
) -> list[models.ComparedLink]:
    """Return the reaches whose discharge either scenario alters."""
    a, b = ({one.link_id: one for one in result.links} for result in (first, second))
    found = []
    for link_id in dict.fromkeys((*a, *b)):
        one, other = a.get(link_id), b.get(link_id)
        link = one or b[link_id]
        found.append(
            models.ComparedLink(
                link_id=link_id,
                en=link.en,
                zh=link.zh,
                base_a_m3_s=one.base_m3_s if one else None,
                base_b_m3_s=other.base_m3_s if other else None,
                a_m3_s=one.discharge_m3_s if one else None,
                b_m3_s=other.discharge_m3_s if other else None,
            )
        )
    return found


def compared_roads(
    first: models.RoadScenarioResult, second: models.RoadScenarioResult
) -> list[models.ComparedRoad]:
    """Return the road links that either scenario alters."""
    a, b = ({one.link_id: one for one in result.roads} for result in (first, second))
    found = []
    for link_id in dict.fromkeys((*a, *b)):
        one, other = a.get(link_id), b.get(link_id)
        road = one or b[link_id]
        found.append(
            models.ComparedRoad(
                link_id=link_id,
                en=road.en,
                zh=road.zh,
                delay_a_veh_h=one.delay_veh_h if one else None,
                delay_b_veh_h=other.delay_veh_h if other else None,
                longest_queue_a_veh=max(one.queue_veh) if one else None,
                longest_queue_b_veh=max(other.queue_veh) if other else None,
                lowest_speed_a_km_h=min(one.speed_km_h) if one else None,
                lowest_speed_b_km_h=min(other.speed_km_h) if other else None,
            )
        )
    return found
