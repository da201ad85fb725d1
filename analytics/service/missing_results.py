"""Reasons for which the twin has no estimate, source, arrival or verdict, in English and in Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from ingest_service.storage.contract.incidents import Incident
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.sensor_verdicts import StoredVerdict

MissingCode = Literal[
    "not_requested",
    "no_traced_quantity",
    "off_network",
    "no_source_upstream",
    "too_large",
    "no_readings",
    "nothing_detected",
    "few_detections",
    "nothing_downstream",
    "other_river",
    "not_reached",
    "one_source",
    "out_of_sight",
    "not_traced",
    "of_no_sensor",
    "not_computed",
    "kept_out",
    "no_network",
    "no_sensors",
    "too_few_sensors",
]


class MissingResult(msgspec.Struct, frozen=True):
    """Why a result is missing, and what would change that."""

    code: MissingCode
    en: str
    zh: str


# -- sources of an anomaly ---------------------------------------------------------------------------

NOT_REQUESTED = MissingResult(
    "not_requested",
    "Sources by concentrations were not requested: give posterior=true.",
    "未请求按浓度推断来源：请在查询参数中要求推断。",
)
NO_TRACED_QUANTITY = MissingResult(
    "no_traced_quantity",
    "Sources are inferred from ammonia nitrogen, permanganate index, total nitrogen and total phosphorus;"
    " none of them is measured there.",
    "来源由氨氮、高锰酸盐指数、总氮、总磷推断；该处未监测其中任何一项。",
)
OFF_RIVER = MissingResult(
    "off_network",
    "The site is at no node of the river network with a reach: enrol its node, and links to its neighbours.",
    "该站点不在河网的任何连通节点上：请登记其节点及与相邻节点的连线。",
)
NO_SOURCE_UPSTREAM = MissingResult(
    "no_source_upstream",
    "No outfall or inflow lies upstream of the site in the enrolled river network.",
    "已登记的河网中，该站点上游没有排口或来水。",
)
NOTHING_DETECTED = MissingResult(
    "nothing_detected",
    "No reading there is far enough above its expected value, from which a source could be inferred.",
    "该处没有明显高于预期值的读数，无法据以推断来源。",
)
NO_SOURCE_READINGS = MissingResult(
    "no_readings",
    "There are no readings with an expected value in the time before and after the anomaly: a new sensor has"
    " them after its warm-up.",
    "异常前后没有带预期值的读数：新传感器须经预热期后才有预期值。",
)


def too_large(what_en: str, what_zh: str, number: int, most: int) -> MissingResult:
    """Return the reason of a river upstream that has too many parts."""
    return MissingResult(
        "too_large",
        f"The river upstream has {number:,} {what_en}: {most:,} at most are computed.",
        f"上游河网有{number:,}个{what_zh}：最多计算{most:,}个。",
    )


# -- arrivals and a further sample -------------------------------------------------------------------

FEW_DETECTIONS = MissingResult(
    "few_detections",
    "Arrivals are forecast once readings above the limit span an hour.",
    "超出检出限的读数持续满一小时后才预报到达时间。",
)
NOTHING_DOWNSTREAM = MissingResult(
    "nothing_downstream",
    "No site lies downstream of that of the anomaly.",
    "异常站点下游没有站点。",
)
OTHER_RIVER = MissingResult(
    "other_river",
    "A part of the river that the sources are of does not flow to the sites downstream.",
    "来源所在河段有一部分并不流向下游站点。",
)
NOT_REACHED = MissingResult(
    "not_reached",
    "The release reaches no site downstream within the time computed.",
    "在计算时段内，排放不会到达下游任何站点。",
)
ONE_SOURCE = MissingResult(
    "one_source",
    "One more sample would separate nothing: a single source is likely, or all give the same samples.",
    "再采一个样并无区分作用：可能的来源只有一个，或各来源在可采样处没有差别。",
)
OUT_OF_SIGHT = MissingResult(
    "out_of_sight",
    "It lies in an area that you may not see.",
    "其位于您无权查看的区划。",
)

# -- trace of an incident ----------------------------------------------------------------------------

NOT_ON_RIVER = MissingResult(
    "off_network",
    "The sources of incidents on the river alone are traced.",
    "仅对河道事件溯源。",
)
NOT_TRACED = MissingResult(
    "not_traced",
    "It is not traced yet: the service traces open incidents of TOWNTWIN_SERVICE_TRACE_SEVERITY and above"
    " within minutes of their first anomaly, one after the other.",
    "尚未溯源：服务对达到设定等级的未结事件逐一溯源，首个异常后数分钟内完成。",
)
CLOSED_UNTRACED = MissingResult(
    "not_traced",
    "It was closed, merged or forwarded before it was traced: open incidents of this platform are traced.",
    "事件在溯源前已结案、合并或由下级上报；仅对本平台的未结事件溯源。",
)
TRACED_WITHOUT_SOURCE = MissingResult(
    "nothing_detected",
    "It was traced without result: no source can be inferred from the readings of its sites.",
    "已溯源但无结果：由其各站点的读数推断不出来源。",
)


def untraced(incident: Incident) -> MissingResult:
    """Return why an incident has not been traced."""
    if incident.kind != "water":
        return NOT_ON_RIVER
    is_open = incident.state not in {"closed", "false_alarm"} and incident.merged_into is None
    return NOT_TRACED if is_open and incident.origin is None else CLOSED_UNTRACED


# -- verdict on a sensor -----------------------------------------------------------------------------

OF_NO_SENSOR = MissingResult(
    "of_no_sensor",
    "The anomaly is of no sensor of the water or traffic networks (of a device, or of another quantity):"
    " there is no verdict on it.",
    "该异常不属于河网或路网上的传感器（属于设备或其他监测项）：不作研判。",
)
SENSOR_OFF_NETWORK = MissingResult(
    "off_network",
    "The site is at no node of its network, where its sensor could be compared: enrol a node at it.",
    "该站点不在网络的任何节点上：无相邻站点可比较。请登记其节点。",
)
VERDICT_NOT_COMPUTED = MissingResult(
    "not_computed",
    "The verdict is not computed yet; the service does so within minutes, for anomalies of three days.",
    "尚未研判；服务在数分钟内对近三日的异常作出研判。",
)
NO_DEPARTURES = MissingResult(
    "no_readings",
    "The sensor has no reading with an expected value in the time of the anomaly.",
    "异常时段内该传感器没有带预期值的读数。",
)
KEPT_OUT = MissingResult(
    "kept_out",
    "The anomaly was kept out of the incident; its verdict is with the anomaly itself.",
    "该异常未计入事件；其研判见异常本身。",
)
NO_ANOMALIES = MissingResult(
    "of_no_sensor",
    "The incident has no anomaly of a sensor.",
    "事件中没有属于传感器的异常。",
)


def missing_verdict(
    site_id: str, device_id: str | None, stored: StoredVerdict | None, directory: Directory
) -> MissingResult:
    """Return why there is no verdict on the sensor of an anomaly at a site, or of a device there."""
    if stored is None:
        return VERDICT_NOT_COMPUTED
    if stored.series_id is not None:
        return NO_DEPARTURES
    nodes = {one.site_id for one in directory.nodes}
    return SENSOR_OFF_NETWORK if device_id is None and site_id not in nodes else OF_NO_SENSOR


# -- estimates ---------------------------------------------------------------------------------------

NO_NETWORK = MissingResult(
    "no_network",
    "No network of this quantity is enrolled: import nodes and links by `towntwin network import`.",
    "未登记该监测项所属的网络：请导入其节点和连线。",
)
NO_SENSORS = MissingResult(
    "no_sensors",
    "No site at a node of the network measures this quantity.",
    "网络节点上没有站点监测该项。",
)
NO_EXPECTED = MissingResult(
    "no_readings",
    "No sensor of this quantity has a recent reading with an expected value; a new one needs its warm-up.",
    "该监测项没有传感器近期有带预期值的读数：新传感器须经预热期后才有预期值。",
)


def too_few_sensors(number: int, needed: int) -> MissingResult:
    """Return the reason of nodes without a sensor where too few others have an expected value."""
    return MissingResult(
        "too_few_sensors",
        f"Sensors with a recent reading and an expected value: {number}; places without a sensor are"
        f" estimated from {needed} on.",
        f"近期有读数且有预期值的传感器：{number}个；无传感器处至少需要{needed}个才能估计。",
    )
