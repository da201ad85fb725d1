"""Texts of the page of scenarios, in English and Chinese."""

from __future__ import annotations

SCENARIO_TRANSLATIONS: dict[str, tuple[str, str]] = {
    "scenarios": ("what if", "情景推演"),
    "scenario_new": ("compute a scenario", "新建情景"),
    "scenario_name": ("name of the scenario", "情景名称"),
    "scenario_hours": ("computed time [h]", "计算时长（小时）"),
    "scenario_change": ("change {}", "变化{}"),
    "scenario_changes": ("changes", "变化"),
    "list_separator": ("; ", "；"),
    "scenario_kind": ("kind", "类型"),
    "scenario_spill": ("spill [kg]", "泄漏（千克）"),
    "scenario_sluice": ("sluice [opening, 0 to 1]", "水闸（开度，0至1）"),
    "scenario_pump": ("pump [m³/s]", "水泵（立方米每秒）"),
    "scenario_rain": ("rain [mm]", "降雨（毫米）"),
    "scenario_lane_closure": ("lanes closed [lanes]", "封闭车道（条）"),
    "scenario_road_closure": ("road closed", "封闭道路"),
    "scenario_diversion": ("traffic diverted from a road [share, 0 to 1]", "从道路分流（比例，0至1）"),
    "scenario_signal": ("signal at a road's end [green share]", "道路末端信号灯（绿信比）"),
    "scenario_road_rain": ("rain on the roads [mm/h]", "道路降雨（毫米每小时）"),
    "scenario_place": ("node, or reach of the sluice, or road", "节点，或水闸所在河段，或道路"),
    "scenario_nodes": ("nodes", "节点"),
    "scenario_reaches": ("reaches", "河段"),
    "scenario_roads": ("roads", "道路"),
    "scenario_at": (
        "begins at; the flows of that time count (now without one)",
        "开始时间；采用该时段的流量（留空为现在）",
    ),
    "scenario_of_incident": ("Incident {}, replayed", "事件{}重演"),
    "scenario_replay": ("replay with a change", "改变条件重演"),
    "scenario_replay_hint": (
        "The most probable release is put into the form; add a change, such as a closed sluice.",
        "表单中填入最可能的排放；可加入变化，如关闭水闸。",
    ),
    "scenario_with": ("with the changes", "有变化"),
    "scenario_without": ("without the changes", "无变化"),
    "worst_level": ("worst level of congestion", "最严重拥堵等级"),
    "level_1": ("smooth", "畅通"),
    "level_2": ("basically smooth", "基本畅通"),
    "level_3": ("light congestion", "轻度拥堵"),
    "level_4": ("medium congestion", "中度拥堵"),
    "level_5": ("heavy congestion", "严重拥堵"),
    "queue_over_time": ("queue [vehicles] over time [h]", "排队（辆）随时间（小时）"),
    "roads_altered": ("roads that are altered", "受影响的道路"),
    "road_link": ("road", "道路"),
    "flow_largest": ("largest flow [vehicles/h]", "最大流量（辆每小时）"),
    "flow_usual": ("without changes", "无变化时"),
    "speed_lowest": ("lowest speed [km/h]", "最低车速（公里每小时）"),
    "speed_usual": ("without changes", "无变化时"),
    "queue_longest": ("longest queue [vehicles]", "最长排队（辆）"),
    "queue_usual": ("without changes", "无变化时"),
    "delay_more": ("more time of all vehicles [vehicle-hours]", "全部车辆增加的时间（车·小时）"),
    "reach_between": ("{}: {} → {}", "{}：{} → {}"),
    "scenario_amount": ("amount, in the unit of the kind", "数量，单位同类型"),
    "scenario_catchment": ("catchment of the rain [km²]", "降雨汇水面积（平方公里）"),
    "scenario_start": ("begins after [min]", "开始于（分钟后）"),
    "scenario_duration": ("lasts [min]", "持续（分钟）"),
    "scenario_hint": (
        (
            "Without a duration, a spill lasts an hour and all else to the end. "
            "A pump below 0 takes water out. A signal has a green share of 0.5 "
            "without the change, and is changed for the whole time. "
            "All changes are on the river, or all on the roads."
        ),
        (
            "持续时间留空时，泄漏按一小时计，其他变化持续到结束。水泵为负值表示抽水。"
            "信号灯无变化时绿信比为0.5，变化持续全程。所有变化须同在河网，或同在路网。"
        ),
    ),
    "scenario_run": ("compute", "计算"),
    "scenario_computed": ("computed", "计算时间"),
    "scenarios_kept": ("scenarios so far", "已有情景"),
    "no_scenarios": ("no scenario was computed yet", "尚无情景"),
    "side_by_side": ("side by side", "并排比较"),
    "compare_with": ("compare with {}", "与{}比较"),
    "places_reached": ("places that the spill reaches", "泄漏到达的地点"),
    "reach": ("reach", "河段"),
    "reaches_altered": ("reaches with another discharge", "流量改变的河段"),
    "arrival_h": ("arrival [h]", "到达（小时）"),
    "peak_h": ("peak after [h]", "峰值时间（小时）"),
    "peak_mg_l": ("peak [mg/L]", "峰值（毫克每升）"),
    "peak_without_changes": ("peak without the changes [mg/L]", "无变化时峰值（毫克每升）"),
    "discharge_m3_s": ("discharge [m³/s]", "流量（立方米每秒）"),
    "discharge_usual": ("usual discharge [m³/s]", "常时流量（立方米每秒）"),
    "concentration_over_time": (
        "added concentration [mg/L] over time [h]",
        "增加的浓度（毫克每升）随时间（小时）",
    ),
    "rule_scenario": (
        "give a place of the kind, and values within their limits.",
        "请选择与类型相符的地点，并填写允许范围内的数值。",
    ),
}
