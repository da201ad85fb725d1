"""Builds the explanatory sentence of a site's event, with its cause, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Site

MAX_NAMED_QUANTITIES = 4

CAUSE_TEXTS_EN = {
    "air_exposure": "the sonde may stand in the air: conductivity has gone to nothing",
    "sensor_stuck": "a sensor is stuck: it repeats one value while the others go on",
    "sewage": "sewage-like water: ammonia nitrogen is up and other quantities bear it out",
    "rain_turbidity": "rain has stirred up the water: turbidity is up during or after it",
    "sensor_fouling": "a sensor is fouled or drifts: it moves away gradually and alone",
    "calibration_jump": "a sensor jumped and stays, alone: a calibration, or a change of the sensor",
    "incident_downstream": "a queue stands here: an incident or a bottleneck lies downstream",
    "incident_upstream": "traffic is held back upstream: a queue stands there and the road here is emptied",
}
CAUSE_TEXTS_ZH = {
    "air_exposure": "探头可能露出水面：电导率降至近零",
    "sensor_stuck": "传感器卡死：持续重复同一数值，而其他监测项正常变化",
    "sewage": "疑似污水：氨氮升高，且其他监测项佐证",
    "rain_turbidity": "降雨扰动水体：雨中或雨后浊度升高",
    "sensor_fouling": "传感器污染或漂移：单项逐渐偏离，其他监测项平稳",
    "calibration_jump": "单项阶跃后保持，其他监测项平稳：可能为校准或更换传感器",
    "incident_downstream": "此处排队：下游可能发生事故或存在瓶颈",
    "incident_upstream": "上游车流受阻：上游排队，此处车流减少",
}
CAUSES_WITHOUT_DIRECTION = {"sensor_stuck"}  # the direction of the departure is left out
SEVERAL_QUANTITIES_EN, SEVERAL_QUANTITIES_ZH = "several quantities depart together", "多个监测项同时偏离"


OTHER_AREA_EN, OTHER_AREA_ZH = "a neighbouring town", "邻镇"
"""Replaces the name of a site of another area, which the reader may have no right to."""


class DepartedQuantity(NamedTuple):
    """A quantity that departs, and its signed mean score (−log10 of the false-alarm probability)."""

    quantity: str
    score: float


class PassedSite(NamedTuple):
    """A neighbour with the same departure; ``lag_s`` is by how much earlier, negative for later [s]."""

    site: Site
    lag_s: float


def cause_sentences(
    cause: str | None, departed: Sequence[DepartedQuantity], passed: Sequence[PassedSite], *, alone: bool
) -> tuple[str, str]:
    """Describe an event at a site in English and in Chinese.

    Parameters
    ----------
    cause : name of a pattern of `analytics.core.cause_patterns.PATTERNS`, or None
    departed : departing quantities, largest score first
    passed : neighbours with the same departure
    alone : whether there are neighbours and none of them has it

    """
    named = departed[:MAX_NAMED_QUANTITIES]
    up_en, down_en, up_zh, down_zh = (
        ("", "", "", "") if cause in CAUSES_WITHOUT_DIRECTION else (" up", " down", "偏高", "偏低")
    )
    quantities_en = ", ".join(
        f"{QUANTITIES[one.quantity].en}{_direction_word(one, up_en, down_en)}" for one in named
    )
    quantities_zh = "、".join(
        f"{QUANTITIES[one.quantity].zh}{_direction_word(one, up_zh, down_zh)}" for one in named
    )
    neighbour_en, neighbour_zh = _neighbour_clause(passed, alone=alone)
    english = CAUSE_TEXTS_EN[cause] if cause else SEVERAL_QUANTITIES_EN
    chinese = CAUSE_TEXTS_ZH[cause] if cause else SEVERAL_QUANTITIES_ZH
    return f"{english} ({quantities_en}){neighbour_en}", f"{chinese}（{quantities_zh}）{neighbour_zh}"


def _direction_word(one: DepartedQuantity, up: str, down: str) -> str:
    return up if one.score > 0 else down


def _neighbour_clause(passed: Sequence[PassedSite], *, alone: bool) -> tuple[str, str]:
    if not passed:
        return ("; its neighbours show nothing of it", "；相邻站点无此现象") if alone else ("", "")
    first = passed[0]
    hours = abs(first.lag_s) / 3600
    if hours < 0.05:
        return f"; {first.site.en} shows it, too", f"；{first.site.zh}同时出现"
    if first.lag_s > 0:
        return (
            f"; it passed {first.site.en} about {hours:.1f} h before",
            f"；约{hours:.1f}小时前经过{first.site.zh}",
        )
    return (
        f"; it reaches {first.site.en} about {hours:.1f} h later",
        f"；约{hours:.1f}小时后到达{first.site.zh}",
    )
