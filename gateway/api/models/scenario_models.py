"""Request and response models of scenarios: what if something were changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime
from ingest_service.storage.contract.bounds import MAX_NAME_CHARS

MAX_HOURS = 72
MAX_CHANGES = 20
PlaceId = Annotated[str, Field(min_length=1, max_length=200)]


class ScenarioChange(ApiModel):
    """What all kinds of change have: when it begins, and how long it lasts."""

    start_minutes: float = Field(
        default=0, ge=0, le=60 * MAX_HOURS, description="From the beginning of the scenario [min]"
    )
    duration_minutes: float | None = Field(
        default=None,
        gt=0,
        le=60 * MAX_HOURS,
        description="How long it lasts [min]; by default a spill lasts an hour, all else to the end",
    )


class SpillChange(ScenarioChange):
    """A substance is spilled at a node, evenly over the duration."""

    kind: Literal["spill"]
    node: PlaceId = Field(examples=["330483-d1-r02"])
    kg: float = Field(gt=0, le=1e7, allow_inf_nan=False, description="Mass [kg]", examples=[50])


class SluiceChange(ScenarioChange):
    """The sluice at the beginning of a reach is closed, or opened to a part."""

    kind: Literal["sluice"]
    link: PlaceId
    opening: float = Field(default=0, ge=0, le=1, description="0 is closed, 1 is open")


class PumpChange(ScenarioChange):
    """A pump adds water to the river at a node; below 0 it takes water out."""

    kind: Literal["pump"]
    node: PlaceId
    m3_s: float = Field(
        ge=-1000, le=1000, allow_inf_nan=False, description="Discharge [m³/s]", examples=[1.5]
    )


class RainChange(ScenarioChange):
    """Rain on a catchment runs off to a node, evenly over the duration."""

    kind: Literal["rain"]
    node: PlaceId
    mm: float = Field(gt=0, le=1000, allow_inf_nan=False, description="Depth of the rain [mm]", examples=[30])
    catchment_km2: float = Field(gt=0, le=10_000, allow_inf_nan=False, description="Area [km²]", examples=[2])
    runoff_share: float = Field(default=0.5, gt=0, le=1, description="Of the rain, what reaches the river")


WaterScenarioChange = SpillChange | SluiceChange | PumpChange | RainChange


class LaneClosureChange(ScenarioChange):
    """Lanes of a road link are closed; its capacity falls in proportion."""

    kind: Literal["lane_closure"]
    link: PlaceId
    lanes: float = Field(gt=0, le=20, description="How many are closed", examples=[1])


class RoadClosureChange(ScenarioChange):
    """A road link is closed; its traffic takes the others at its beginning, where there are any."""

    kind: Literal["road_closure"]
    link: PlaceId


class DiversionChange(ScenarioChange):
    """A share of the vehicles that would enter a road link takes another one there."""

    kind: Literal["diversion"]
    link: PlaceId = Field(description="Link that is avoided")
    share: float = Field(gt=0, le=1, description="Of the vehicles", examples=[0.3])
    to_link: PlaceId | None = Field(
        default=None, description="Link taken instead; by default all others there, in proportion"
    )


class SignalChange(ApiModel):
    """The green share of the signal at the end of a road link is another one for the whole scenario."""

    kind: Literal["signal"]
    link: PlaceId
    green_share: float = Field(gt=0, le=1, examples=[0.6])
    usual_green_share: float = Field(
        default=0.5, gt=0, le=1, description="Without the change; signals aren't enrolled"
    )


class RoadRainChange(ScenarioChange):
    """Rain on the connected roads of a link: less traffic can pass on each of them."""

    kind: Literal["road_rain"]
    link: PlaceId = Field(description="Any of the roads in the rain")
    mm_h: float = Field(gt=0, le=300, allow_inf_nan=False, description="Intensity [mm/h]", examples=[10])


RoadScenarioChange = LaneClosureChange | RoadClosureChange | DiversionChange | SignalChange | RoadRainChange
AnyScenarioChange = Annotated[
    SpillChange
    | SluiceChange
    | PumpChange
    | RainChange
    | LaneClosureChange
    | RoadClosureChange
    | DiversionChange
    | SignalChange
    | RoadRainChange,
    Field(discriminator="kind"),
]


class ScenarioRequest(ApiModel):
    """A scenario on the river or on the roads: changes that apply together, beside the state without them."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, examples=["Tanker at the west bridge"])
    at: AwareTime | None = Field(
        default=None,
        description="When it begins: the discharges of the day before count, and the traffic counted in its "
        "hours. By default now, or the release with `incident_id`",
    )
    hours: float = Field(default=24, ge=1, le=MAX_HOURS, description="Computed time [h]")
    incident_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="Traced incident whose most probable release is put before the changes, as a spill",
    )
    changes: list[AnyScenarioChange] = Field(
        default=[], max_length=MAX_CHANGES, description="All on the river, or all on the roads"
    )


class ScenarioSummary(ApiModel):
    """A stored scenario without its result."""

    scenario_id: int
    kind: Literal["water", "traffic"]
    name: str
    who: str
    created: UtcTime
    network_version: int = Field(description="Version of the directory, whose network it was computed on")
    at: UtcTime
    computing_s: float = Field(description="How long the computation took [s]")
    inputs: dict[str, Any] = Field(description="The request")


class StatementResponse(ApiModel):
    """What the scenario alters, as a sentence."""

    code: str
    en: str
    zh: str


class PassageResponse(ApiModel):
    """Arrival and peak of a spill at a node; null where it isn't reached."""

    arrival_s: float | None = Field(
        description="1 % of the peak is reached, from the beginning [s]; null below 0.001 mg/L"
    )
    peak_s: float | None = Field(description="From the beginning [s]; null with `arrival_s`")
    peak_mg_l: float


class ScenarioSiteResponse(PassageResponse):
    """A node that a spill reaches, with or without the other changes."""

    node_id: str
    site_id: str | None
    en: str
    zh: str
    arrival_band_s: list[float] | None = Field(
        description="80 % of the model's variants lie between; null where it or they don't reach the node"
    )
    peak_band_mg_l: list[float] | None = Field(description="Null without a spill")
    base: PassageResponse | None = Field(
        description="The same spill without the other changes; null where they alter no flow"
    )
    concentration_mg_l: list[float] = Field(description="Added at each `time_s`")
    base_concentration_mg_l: list[float] | None = Field(
        default=None, description="The same without the other changes; null where they alter no flow"
    )


class ScenarioLinkResponse(ApiModel):
    """A reach whose discharge is altered: at the largest alteration, and in sum."""

    link_id: str
    en: str
    zh: str
    base_m3_s: float
    discharge_m3_s: float
    base_m3: float
    volume_m3: float


class WaterScenarioResult(ApiModel):
    """Result of a scenario on the river."""

    statements: list[StatementResponse]
    is_discharge_measured: bool = Field(description="False: flows are those of the model's assumptions")
    nodes: int = Field(description="Of the network that was computed")
    time_s: list[float] = Field(description="From the beginning [s]")
    sites: list[ScenarioSiteResponse] = Field(
        description="In order of arrival, 50 at most; none without a spill"
    )
    links: list[ScenarioLinkResponse] = Field(
        description="The most altered ones first, 100 at most; none where the changes alter no discharge"
    )


class ScenarioRoadResponse(ApiModel):
    """A road link that a scenario alters; lists are by `time_s`, ``base`` is without changes."""

    link_id: str
    en: str
    zh: str
    coordinates: list[list[float]] = Field(description="Longitude and latitude along the link")
    lanes: float
    capacity_veh_h: float
    flow_spread_veh_h: float = Field(description="Standard deviation of the estimated flow")
    delay_veh_h: float = Field(
        description="Time on it and before it beyond that without the changes [vehicle h]"
    )
    base_level: int = Field(description="Worst level of congestion, 1 smooth to 5 heavy")
    level: int
    base_flow_veh_h: list[float]
    flow_veh_h: list[float]
    base_speed_km_h: list[float]
    speed_km_h: list[float]
    base_queue_veh: list[float] = Field(description="Delayed vehicles, with those that wait to enter")
    queue_veh: list[float]


class RoadScenarioResult(ApiModel):
    """Result of a scenario on the roads."""

    statements: list[StatementResponse]
    counted_nodes: int = Field(description="Nodes whose counts gave the demand; 0: it is assumed")
    recorded_share: float = Field(
        description="Of their hours, those recorded at the scenario's time; others are means of days before"
    )
    nodes: int = Field(description="Of the network that was computed")
    time_s: list[float] = Field(description="Ends of the intervals, from the beginning [s]")
    delay_veh_h: float = Field(description="Of all vehicles, longer ways included [vehicle h]")
    delay_band_veh_h: list[float] = Field(description="80 % of days, by their demand, lie between")
    roads: list[ScenarioRoadResponse] = Field(description="The most delayed ones first, 40 at most")


class ScenarioResponse(ScenarioSummary):
    """A stored scenario."""

    result: WaterScenarioResult | RoadScenarioResult


class ScenarioListResponse(ApiModel):
    """Scenarios, newest first."""

    items: list[ScenarioSummary]
    next_before: int | None = Field(description="`before` of the next page; null on the last one")


class ComparedSite(ApiModel):
    """A node that the spills of either scenario reach."""

    node_id: str
    en: str
    zh: str
    a: PassageResponse | None
    b: PassageResponse | None


class ComparedLink(ApiModel):
    """A reach whose discharge either scenario alters [m³/s]; null where it doesn't."""

    link_id: str
    en: str
    zh: str
    base_a_m3_s: float | None
    base_b_m3_s: float | None
    a_m3_s: float | None
    b_m3_s: float | None


class ComparedRoad(ApiModel):
    """A road link that either scenario alters; null where it doesn't."""

    link_id: str
    en: str
    zh: str
    delay_a_veh_h: float | None
    delay_b_veh_h: float | None
    longest_queue_a_veh: float | None
    longest_queue_b_veh: float | None
    lowest_speed_a_km_h: float | None
    lowest_speed_b_km_h: float | None


class ScenarioComparison(ApiModel):
    """Two scenarios side by side."""

    a: ScenarioSummary
    b: ScenarioSummary
    statements_a: list[StatementResponse]
    statements_b: list[StatementResponse]
    sites: list[ComparedSite]
    links: list[ComparedLink]
    roads: list[ComparedRoad]
