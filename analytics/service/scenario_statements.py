"""Puts what a scenario alters into sentences, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.river_model import RiverPart
    from analytics.service.road_model import RoadPart
    from analytics.service.water_scenarios import WaterChange
    from analytics.twin.water_scenario import SteadyRiver, WaterScenarioRun


class ScenarioStatement(msgspec.Struct, frozen=True):
    """A sentence on a result, in both languages, with a code for programs."""

    code: str
    en: str
    zh: str


def river_statements(
    part: RiverPart,
    river: SteadyRiver,
    changes: Sequence[WaterChange],
    changed: WaterScenarioRun,
    *,
    links: Sequence[dict[str, Any]],
    sites: Sequence[dict[str, Any]],
    is_measured: bool,
    hours: float,
) -> list[ScenarioStatement]:
    """Return what a scenario on a river alters: one sentence at least for each of its changes."""
    found = []
    for change in changes:
        if change.kind == "sluice":
            found.append(_sluice(part, river, change, changed, hours))
        elif change.kind == "spill":
            found.append(_spill(part, change, sites, hours))
        else:
            found.append(_added(part, change, links))
    if not is_measured:
        found.append(
            ScenarioStatement(
                "no_discharge",
                "No discharge of the river was measured in the day before: flows are assumed ones.",
                "此前一天没有河道流量测值：流量按模型假定计算。",
            )
        )
    return found


def reach_names(part: RiverPart | RoadPart, number: int) -> tuple[str, str]:
    """Return the names of a reach or road link, with the node that it begins at: many share a name."""
    link = part.links[number]
    begin = next(one for one in part.nodes if one.node_id == link.from_node)
    return f"{link.en} (from {begin.en})", f"{link.zh}（起自{begin.zh}）"


def _sluice(
    part: RiverPart, river: SteadyRiver, change: WaterChange, changed: WaterScenarioRun, hours: float
) -> ScenarioStatement:
    reach = next(number for number, one in enumerate(part.links) if one.link_id == change.target)
    node = int(river.tail[reach])
    link_en, link_zh = reach_names(part, reach)
    usual = float(river.discharge_m3_s[reach])
    least = min(float(flow.discharge_m3_s[reach]) for flow in changed.flows)
    held = np.array([flow.held_back_m3_s[node] for flow in changed.flows])
    volume_m3 = float(held.sum() * changed.time_s[0])
    held_kg = float(changed.held_back_kg[node])
    at = part.nodes[node]
    if held.any():
        stops = least <= 1e-6 * usual
        en = (
            f"Flow stops at {link_en}"
            if stops
            else f"Flow through {link_en} falls from {usual:.3g} to {least:.3g} m³/s"
        )
        zh = f"{link_zh}断流" if stops else f"{link_zh}流量由{usual:.3g} m³/s降至{least:.3g} m³/s"
        return ScenarioStatement(
            "flow_stops" if stops else "flow_held_back",
            f"{en}: {at.en} has no other way. {held.max():.3g} m³/s are held back there, "
            f"{volume_m3:,.0f} m³ in {hours:g} h with {held_kg:.3g} kg of what was "
            f"spilled; how far the level rises isn't computed.",
            f"{zh}：{at.zh}没有其他去路，壅水{held.max():.3g} m³/s，"
            f"{hours:g}小时共{volume_m3:,.0f} m³，含泄漏物{held_kg:.3g} kg；水位上升未计算。",
        )
    if usual - least <= 1e-3 * usual:
        return ScenarioStatement(
            "sluice_alters_nothing",
            f"The sluice of {link_en} alters nothing: it stays open, or another change brings as much water.",
            f"{link_zh}的水闸没有改变水流：闸门仍全开，或其他变化带来同样多的水。",
        )
    others = [
        reach_names(part, int(number)) for number in np.flatnonzero(river.tail == node) if number != reach
    ]
    return ScenarioStatement(
        "flow_diverted",
        f"Flow through {link_en} falls from {usual:.3g} to {least:.3g} m³/s; the rest takes "
        f"{', '.join(en for en, _ in others)}.",
        f"{link_zh}流量由{usual:.3g} m³/s降至{least:.3g} m³/s；其余改走{'、'.join(zh for _, zh in others)}。",
    )


def _spill(
    part: RiverPart, change: WaterChange, sites: Sequence[dict[str, Any]], hours: float
) -> ScenarioStatement:
    node = next(one for one in part.nodes if one.node_id == change.target)
    reached = [one for one in sites if one["arrival_s"] is not None and one["node_id"] != change.target]
    if not reached:
        return ScenarioStatement(
            "spill_stays",
            f"The spill at {node.en} reaches no other place of the network within {hours:g} h.",
            f"{node.zh}的泄漏在{hours:g}小时内没有到达河网的其他地点。",
        )
    last = reached[-1]
    return ScenarioStatement(
        "spill_reaches",
        f"The spills reach {len(reached)} other places within {hours:g} h, {last['en']} last, after "
        f"{last['arrival_s'] / 3600:.1f} h.",
        f"泄漏在{hours:g}小时内到达其他{len(reached)}处，"
        f"最后到达{last['zh']}，历时{last['arrival_s'] / 3600:.1f}小时。",
    )


def _added(part: RiverPart, change: WaterChange, links: Sequence[dict[str, Any]]) -> ScenarioStatement:
    node = next(one for one in part.nodes if one.node_id == change.target)
    word_en, word_zh = {"pump": ("The pump", "水泵"), "rain": ("Rain", "降雨")}[change.kind]
    verb_en, verb_zh = ("adds", "加入") if change.amount > 0 else ("takes out", "抽出")
    amount = abs(change.amount)
    return ScenarioStatement(
        f"{change.kind}_alters_flow",
        f"{word_en} at {node.en} {verb_en} {amount:.3g} m³/s; "
        f"the discharge of {len(links)} reaches is altered.",
        f"{node.zh}：{word_zh}{verb_zh}{amount:.3g} m³/s；{len(links)}个河段的流量改变。",
    )
