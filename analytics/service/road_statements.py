"""Puts what a scenario alters on the roads into sentences, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.service import road_rain
from analytics.service.scenario_statements import ScenarioStatement, reach_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.road_scenarios import RoadChange, RoadResult

NO_DELAY_VEH_H = 0.5
LEAST_QUEUE_VEH = 1.0


def road_statements(
    found: RoadResult, changes: Sequence[RoadChange], roads: Sequence[dict[str, Any]], *, hours: int
) -> list[ScenarioStatement]:
    """Return what a scenario on the roads alters: a sentence for each change, the delay, the limits."""
    statements = [_change(found, one) for one in changes]
    statements.append(_delay(found, roads, hours))
    waiting = float((found.comparison.changed.waiting[-1] - found.comparison.base.waiting[-1]).sum())
    if waiting >= LEAST_QUEUE_VEH:
        statements.append(
            ScenarioStatement(
                "queue_outside",
                f"{waiting:,.0f} vehicles more still wait outside of the network at the end.",
                f"结束时仍有{waiting:,.0f}辆车在路网外等待。",
            )
        )
    if not len(found.record.counts.node):
        statements.append(
            ScenarioStatement(
                "no_counts",
                "No traffic was counted on these roads in the week before: the demand is assumed, "
                "a quarter of the capacity.",
                "此前一周这些道路没有交通量记录：需求按通行能力的四分之一假定。",
            )
        )
    elif found.record.recorded_share < 1:
        typical = 100 * (1 - found.record.recorded_share)
        spread = 100 * found.record.spread_share
        statements.append(
            ScenarioStatement(
                "demand_of_days_before",
                f"For {typical:.0f} % of the hours the demand is the mean of the same hour of the days "
                f"before; it varies by {spread:.0f} % from day to day.",
                f"{typical:.0f}%的时段需求取前几日同一时段均值；日间变化{spread:.0f}%。",
            )
        )
    return statements


def _change(found: RoadResult, change: RoadChange) -> ScenarioStatement:
    number = next(at for at, one in enumerate(found.part.links) if one.link_id == change.link)
    en, zh = reach_names(found.part, number)
    capacity = 3600 * float(found.traffic.diagram.capacity_per_s[number])
    lasting = change.duration_s / 3600
    if change.kind == "signal":
        usual, new = change.usual_green_share, change.amount
        before, after = capacity * usual, capacity * new
        return ScenarioStatement(
            "signal_retimed",
            f"The green share at the end of {en} changes from {usual:g} to {new:g}: {before:,.0f} and "
            f"{after:,.0f} vehicles/h can pass.",
            f"{zh}末端绿信比由{usual:g}改为{new:g}：每小时可通过{before:,.0f}辆和{after:,.0f}辆。",
        )
    if change.kind == "diversion":
        return ScenarioStatement(
            "traffic_diverted",
            f"{100 * change.amount:.0f} % of the vehicles that would enter {en} take another link for "
            f"{lasting:g} h.",
            f"原驶入{zh}的车辆中有{100 * change.amount:.0f}%改走其他道路，持续{lasting:g}小时。",
        )
    if change.kind == "road_rain":
        lost, slower = (100 * one(change.amount) for one in (road_rain.lost_capacity, road_rain.lost_speed))
        return ScenarioStatement(
            "roads_in_rain",
            f"In rain of {change.amount:g} mm/h on all {len(found.part.links)} connected roads, {lost:g} % "
            f"less traffic can pass for {lasting:g} h, and free traffic is {slower:g} % slower.",
            f"相连的{len(found.part.links)}条道路降雨强度为每小时{change.amount:g}毫米，"
            f"通行能力下降{lost:g}%，自由流车速下降{slower:g}%，持续{lasting:g}小时。",
        )
    lanes = float(found.traffic.lanes[number])
    left = 0.0 if change.kind == "road_closure" else capacity * (1 - change.amount / lanes)
    if left <= 0:
        has_other = bool((found.traffic.to_link == number).any()) and _has_other_way(found, number)
        return ScenarioStatement(
            "road_closed" if has_other else "road_closed_without_other_way",
            f"{en} is closed for {lasting:g} h; "
            + (
                "its traffic takes the other links."
                if has_other
                else "no other link leads on: vehicles wait."
            ),
            f"{zh}封闭{lasting:g}小时；"
            + ("车辆改走其他道路。" if has_other else "没有其他去路，车辆等待。"),
        )
    return ScenarioStatement(
        "lanes_closed",
        f"{change.amount:g} of {lanes:g} lanes of {en} are closed for {lasting:g} h: {left:,.0f} of "
        f"{capacity:,.0f} vehicles/h can pass.",
        f"{zh}共{lanes:g}条车道，封闭{change.amount:g}条，持续{lasting:g}小时："
        f"通行能力由每小时{capacity:,.0f}辆降为{left:,.0f}辆。",
    )


def _has_other_way(found: RoadResult, link: int) -> bool:
    traffic = found.traffic
    before = traffic.from_link[traffic.to_link == link]
    others = np.isin(traffic.from_link, before) & (traffic.to_link != link)
    return bool(others.any())


def _delay(found: RoadResult, roads: Sequence[dict[str, Any]], hours: int) -> ScenarioStatement:
    delay = float(found.delay_veh_h.sum())
    low, high = found.delay_band_veh_h
    if max(abs(delay), high, -low) < NO_DELAY_VEH_H:
        return ScenarioStatement(
            "no_delay",
            "No delay follows, nor on 80 % of days: the demand stays below what can pass.",
            "不产生延误，八成的日子也是如此：需求低于可通过的流量。",
        )
    more_en, more_zh = ("more", "增加") if delay >= 0 else ("less", "减少")
    more = [np.subtract(one["queue_veh"], one["base_queue_veh"]) for one in roads]
    worst = roads[int(np.argmax([one.max() for one in more]))]
    at = int(np.argmax(more[roads.index(worst)]))
    queue, usual = worst["queue_veh"][at], worst["base_queue_veh"][at]
    after_h = (at + 1) / 4
    speed = min(worst["speed_km_h"])
    return ScenarioStatement(
        "delay",
        f"All vehicles together take {abs(delay):,.0f} vehicle-hours {more_en} within {hours} h "
        f"({low:,.0f} to {high:,.0f} on 80 % of days). The queue grows most on "
        f"{worst['en']}: {queue:,.0f} vehicles after {after_h:g} h ({usual:,.0f} without the changes); "
        f"the speed falls to {speed:.0f} km/h.",
        f"{hours}小时内全部车辆行程时间{more_zh}{abs(delay):,.0f}车·小时（八成的日子在{low:,.0f}至{high:,.0f}之间）。"
        f"排队增加最多的是{worst['zh']}：{after_h:g}小时后{queue:,.0f}辆（无变化时{usual:,.0f}辆），"
        f"车速降至每小时{speed:.0f}公里。",
    )
